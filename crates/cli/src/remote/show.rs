//! How a server's answer is shown.

use comfy_table::{ContentArrangement, Table};
use sandkeep_client::Answer;
use sandkeep_core::code::{ErrorCode, Problem};
use serde_json::Value;

use crate::out::{self, Stop};

/// How an answer is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// As the server wrote it.
    Json,
    /// The same as YAML.
    Yaml,
}

/// A column: its head, and where its value stands in an item.
pub(crate) type Column = (&'static str, &'static str);

/// Shows an answer that is one thing, or a page of them.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn answer(answer: &Answer, format: Format, columns: &[Column]) -> Result<u8, Stop> {
    match format {
        Format::Json if answer.text.is_empty() => {}
        Format::Json => out::line(answer.text.trim_end())?,
        Format::Yaml if answer.value.is_null() => {}
        Format::Yaml => out::bytes(yaml(&answer.value)?.as_bytes())?,
        Format::Table => table(&answer.value, columns)?,
    }
    Ok(0)
}

/// Shows one of many that come one after another, which came as `text`: a line, or a document of YAML.
///
/// # Errors
/// Standard output cannot be written.
pub(crate) fn item(text: &str, value: &Value, format: Format, columns: &[Column]) -> Result<(), Stop> {
    match format {
        Format::Json => out::line(text),
        Format::Yaml => Ok(out::bytes(format!("---\n{}", yaml(value)?).as_bytes())?),
        Format::Table => {
            let cells: Vec<String> = columns.iter().map(|(_, place)| cell(value, place)).collect();
            out::line(cells.join("  ").trim_end())
        }
    }
}

/// A value as YAML.
///
/// # Errors
/// `internal`.
pub(crate) fn yaml(value: &Value) -> Result<String, Problem> {
    serde_saphyr::to_string(value)
        .map_err(|error| Problem::new(ErrorCode::Internal, format!("the answer has no YAML: {error}")))
}

fn table(value: &Value, columns: &[Column]) -> Result<(), Stop> {
    if value.is_null() {
        return Ok(());
    }
    let items = match &value["items"] {
        Value::Array(items) => items.as_slice(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => {
            std::slice::from_ref(value)
        }
    };
    out::line(&text(items, columns))?;
    if let Some(cursor) = value["next_cursor"].as_str() {
        out::note(&format!("there are more: --cursor {cursor}"));
    }
    Ok(())
}

/// A table without lines, as wide as it is.
pub(crate) fn text(items: &[Value], columns: &[Column]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|(head, _)| *head));
    for item in items {
        table.add_row(columns.iter().map(|(_, place)| cell(item, place)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// What stands at `place`, as it may stand in a terminal: others chose the names.
fn cell(item: &Value, place: &str) -> String {
    let shown = match &item[place] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(pairs) => {
            let pair = |(name, value): (&String, &Value)| match value.as_str() {
                Some(text) => format!("{name}={text}"),
                None => format!("{name}={value}"),
            };
            pairs.iter().map(pair).collect::<Vec<_>>().join(",")
        }
        Value::Array(items) => {
            items.iter().map(|item| item.as_str().unwrap_or("…")).collect::<Vec<_>>().join(",")
        }
        other @ (Value::Bool(_) | Value::Number(_)) => other.to_string(),
    };
    shown
        .chars()
        .flat_map(|one| if one.is_control() { one.escape_default().collect() } else { vec![one] })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_is_columns_of_blanks_and_no_name_reaches_the_terminal() {
        let items =
            [json!({"id": "a", "name": "x\u{1b}[2J", "labels": {"b": "c", "d": 1}}), json!({"id": "bbb"})];
        let text = text(&items, &[("ID", "id"), ("NAME", "name"), ("LABELS", "labels")]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            ["ID   NAME        LABELS", "a    x\\u{1b}[2J  b=c,d=1", "bbb  -           -"],
            "{text}"
        );
    }

    #[test]
    fn yaml_keeps_what_json_says() {
        let text =
            yaml(&json!({"a": "true", "b": null, "c": ["1", 2, "x: y\n"], "d": {}, "e": "null"})).unwrap();
        assert!(text.contains("a: \"true\"") || text.contains("a: 'true'"), "{text}");
        assert!(text.contains("b: null") && text.contains("- 2\n"), "{text}");
        assert!(text.contains("e: \"null\"") || text.contains("e: 'null'"), "{text}");
    }
}
