//! How what a handler handed back is shown.

use sandkeep_core::execution::Json;

/// The text of a value without blanks between its tokens; numbers and texts stay as they were written.
pub(super) fn compact(value: &Json) -> String {
    let mut compact = String::with_capacity(value.as_str().len());
    let (mut in_text, mut escaped) = (false, false);
    for character in value.as_str().chars() {
        if !in_text && character.is_ascii_whitespace() {
            continue;
        }
        compact.push(character);
        if escaped {
            escaped = false;
        } else if in_text && character == '\\' {
            escaped = true;
        } else if character == '"' {
            in_text = !in_text;
        }
    }
    compact
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_is_the_same_value() {
        let cases = [
            ("{\"a b\": [1, 2.50,  {}]}", "{\"a b\":[1,2.50,{}]}"),
            ("\"a \\\" b\\\\\"", "\"a \\\" b\\\\\""),
            ("[\n  \"\\u0020 \"\t]", "[\"\\u0020 \"]"),
            ("null", "null"),
        ];
        for (text, expected) in cases {
            assert_eq!(compact(&Json::parse(text.as_bytes()).unwrap()), expected);
        }
    }
}
