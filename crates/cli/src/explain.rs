//! `sandkeep explain`: the page of an error code.

use sandkeep_core::code::{self, ErrorCode, Problem};

use crate::out::{self, Stop};

/// Explain an error code; without one, list them all.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The code at the start of an error message, like `invalid_size`.
    code: Option<String>,
}

pub(crate) fn execute(args: &Args) -> Result<u8, Stop> {
    match &args.code {
        None => list()?,
        // What is pasted may still have its colon.
        Some(code) => {
            let code = code.trim().trim_end_matches(':');
            let page = code::explain(code).ok_or_else(|| unknown(code))?;
            out::bytes(page.as_bytes())?;
        }
    }
    Ok(0)
}

fn list() -> Result<(), Stop> {
    for code in ErrorCode::all() {
        let title = code.page().lines().next().unwrap_or_default();
        let about = title.split_once(": ").map_or(title, |(_, about)| about);
        out::line(&format!("{:<22} {about}", code.as_str()))?;
    }
    Ok(())
}

fn unknown(text: &str) -> Problem {
    let nearest = ErrorCode::all().min_by_key(|code| distance(text, code.as_str()));
    let nearest = nearest.filter(|code| distance(text, code.as_str()) <= code.as_str().len() / 2);
    let expected =
        nearest.map_or_else(|| "a code that `sandkeep explain` lists".to_owned(), |code| code.to_string());
    Problem::refused(ErrorCode::UnknownCode, text, "is not an error code", &expected)
}

/// Edits that make one text of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = corner + usize::from(from != *to);
            corner = row[j + 1];
            row[j + 1] = replaced.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, edits) in [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("abc", "abc", 0)] {
            assert_eq!(distance(a, b), edits, "{a} {b}");
            assert_eq!(distance(b, a), edits, "{b} {a}");
        }
    }

    #[test]
    fn the_nearest_code_is_offered() {
        let offered = |text| unknown(text).expected.unwrap();
        assert_eq!(offered("invalid_sise"), "invalid_size");
        assert_eq!(offered("no_slots"), "no_slot");
        assert_eq!(offered("zzz"), "a code that `sandkeep explain` lists");
    }
}
