//! What clap refuses, in our words: a stable code, the option, the value, what would be right, and exit status 125.

use std::error::Error as _;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::execution::exit;

use crate::out;

/// Tells `error` (or shows the help that was asked for) and returns what to exit with.
pub(crate) fn tell(error: &clap::Error) -> u8 {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Colours are for terminals only; `print` knows.
        return if error.print().is_ok() { 0 } else { out::READER_GONE };
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        out::error_bytes(error.to_string().as_bytes());
        return exit::OURS;
    }
    out::tell(&problem(error), wants_json(std::env::args_os().skip(1)));
    exit::OURS
}

/// The error as a problem: the one that a value's own parser found, or clap's words under `invalid_value`.
fn problem(error: &clap::Error) -> Problem {
    let found = error.source().and_then(|source| source.downcast_ref::<Problem>());
    if let Some(found) = found {
        return found.clone().within(&option(error));
    }
    let text = error.to_string();
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    let mut message = first.strip_prefix("error: ").unwrap_or(first).to_owned();
    for line in lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more")) {
        message.push(' ');
        message.push_str(line);
    }
    Problem::new(ErrorCode::InvalidValue, message)
}

/// `--memory`, without the name of its value.
fn option(error: &clap::Error) -> String {
    let named = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(name)) => name.as_str(),
        _ => "",
    };
    named.split(' ').next().unwrap_or_default().to_owned()
}

/// Nothing is parsed yet when parsing failed, so the word itself is looked for, before any `--`.
fn wants_json(args: impl Iterator<Item = std::ffi::OsString>) -> bool {
    let args: Vec<_> = args.take_while(|arg| arg != "--").collect();
    args.iter().any(|arg| arg == "--json" || arg == "--output=json")
        || args.windows(2).any(|pair| pair[0] == "--output" && pair[1] == "json")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cli;
    use clap::Parser as _;

    #[track_caller]
    fn check(args: &[&str], code: ErrorCode, message: &str) {
        let error = Cli::try_parse_from(["sandkeep"].iter().chain(args)).unwrap_err();
        let problem = problem(&error);
        assert_eq!(problem.code, code, "{problem}");
        assert!(problem.message.contains(message), "{problem}");
    }

    #[test]
    fn a_value_keeps_its_own_code_and_names_its_option() {
        check(&["run", "--memory", "12q", "-"], ErrorCode::InvalidSize, "--memory: `12q` is not a size");
        check(&["run", "--timeout", "30", "-"], ErrorCode::InvalidDuration, "--timeout: `30` has no unit");
        check(&["run", "--cpu", "x", "-"], ErrorCode::InvalidCpu, "--cpu: `x`");
        check(&["run", "--lang", "ruby", "-"], ErrorCode::UnknownLanguage, "--lang: `ruby`");
        check(&["run", "--kind", "job", "-"], ErrorCode::InvalidValue, "--kind: `job`");
        check(&["run", "--profile", "lax", "-"], ErrorCode::InvalidValue, "--profile: `lax`");
        check(&["run", "--env", "1=2", "-"], ErrorCode::EnvInvalid, "--env: `1`");
    }

    #[test]
    fn the_rest_is_an_invalid_value() {
        check(&["run", "--memroy", "1", "-"], ErrorCode::InvalidValue, "'--memory'");
        check(&["run", "--pids", "many", "-"], ErrorCode::InvalidValue, "many");
        check(&["rnu"], ErrorCode::InvalidValue, "rnu");
    }

    #[test]
    fn json_is_wanted_before_the_two_dashes_only() {
        let wants = |args: &[&str]| wants_json(args.iter().map(Into::into));
        assert!(wants(&["run", "--json", "-"]));
        assert!(wants(&["top", "--output", "json"]) && wants(&["top", "--output=json"]));
        assert!(!wants(&["top", "--output", "yaml"]) && !wants(&["run", "--", "x", "--json"]));
    }
}
