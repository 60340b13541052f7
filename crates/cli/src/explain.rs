//! `sandkeep explain`: the page of an error code.

use sandkeep_core::code::{self, ErrorCode, Problem};
use sandkeep_core::nearest::nearest;

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
    let nearest = nearest(text, ErrorCode::all().map(ErrorCode::as_str));
    let expected = nearest.unwrap_or("a code that `sandkeep explain` lists");
    Problem::refused(ErrorCode::UnknownCode, text, "is not an error code", expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_code_is_offered() {
        let offered = |text| unknown(text).expected.unwrap();
        assert_eq!(offered("invalid_sise"), "invalid_size");
        assert_eq!(offered("no_slots"), "no_slot");
        assert_eq!(offered("zzz"), "a code that `sandkeep explain` lists");
    }
}
