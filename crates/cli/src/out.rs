//! What is written where: results to standard output, everything about them to standard error.
//!
//! Nothing panics on a closed pipe. A reader of standard output who went away ends the command with 141, as SIGPIPE
//! would have; nobody is left to tell when standard error is gone.

use std::io::{self, ErrorKind, Write as _};

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::execution::exit;
use serde::Serialize;

/// 128 + SIGPIPE: whoever read our output stopped reading.
pub(crate) const READER_GONE: u8 = 141;

/// Why a command ends without having done its work.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It cannot be done.
    Problem(Problem),
    /// A server refused it, or did not answer. 125 whatever its code: 126 and 127 are for programs.
    Server(Problem),
    /// The reader of standard output is gone.
    ReaderGone,
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Stop::Problem(problem)
    }
}

/// A failed write to standard output.
impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        if error.kind() == ErrorKind::BrokenPipe {
            return Stop::ReaderGone;
        }
        let text = format!("standard output cannot be written: {error}");
        Stop::Problem(Problem::new(ErrorCode::OutputDirUnusable, text))
    }
}

/// Writes to standard output at once.
///
/// # Errors
/// The reader is gone, or the disk is full.
pub(crate) fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Writes bytes to standard error; nobody hears when that fails.
pub(crate) fn error_bytes(bytes: &[u8]) {
    let _unheard = io::stderr().lock().write_all(bytes);
}

/// Writes one line to standard output.
///
/// # Errors
/// The reader is gone, or the disk is full.
pub(crate) fn line(text: &str) -> Result<(), Stop> {
    Ok(bytes(format!("{text}\n").as_bytes())?)
}

/// Writes one line of ours to standard error.
pub(crate) fn note(text: &str) {
    error_bytes(format!("sandkeep: {text}\n").as_bytes());
}

/// Writes a value as indented JSON to standard output.
///
/// # Errors
/// The reader is gone, or the disk is full.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<(), Stop> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Problem::new(ErrorCode::Internal, format!("the result has no JSON: {error}")))?;
    line(&text)
}

/// Whether a person watches standard error.
#[cfg(feature = "host")]
pub(crate) fn is_watched() -> bool {
    io::IsTerminal::is_terminal(&io::stderr())
}

/// The exit status of a command, after telling why it stopped.
pub(crate) fn status(outcome: Result<u8, Stop>, wants_json: bool) -> u8 {
    match outcome {
        Ok(status) => status,
        Err(Stop::ReaderGone) => READER_GONE,
        Err(Stop::Problem(problem)) => {
            tell(&problem, wants_json);
            exit::exit_status_of_problem(&problem)
        }
        Err(Stop::Server(problem)) => {
            tell(&problem, wants_json);
            exit::OURS
        }
    }
}

/// Tells a problem to a person, and to a program that wants JSON.
pub(crate) fn tell(problem: &Problem, wants_json: bool) {
    if wants_json {
        let _unheard = json(&serde_json::json!({ "error": problem }));
    }
    note(&problem.to_string());
    error_bytes(format!("`sandkeep explain {}` says more\n", problem.code).as_bytes());
}

/// A fault around us that no value of the caller's caused.
pub(crate) fn failed(what: &str, error: &dyn std::fmt::Display) -> Problem {
    Problem::new(ErrorCode::Internal, format!("{what}: {error}"))
}
