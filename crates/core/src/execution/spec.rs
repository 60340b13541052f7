//! What is to run, checked before anything starts.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::json::Json;
use super::language::Language;
use crate::code::{ErrorCode, Problem};
use crate::defaults;

/// The kind of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Code run from its first line to its end.
    Script,
    /// Code that defines `handler(event, context)`, called once.
    Handler,
    /// A program with arguments.
    Command,
}

impl Kind {
    /// The name used in JSON and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Script => "script",
            Kind::Handler => "handler",
            Kind::Command => "command",
        }
    }

    /// Whether new and changed files are collected unless asked otherwise.
    pub const fn collects_artifacts(self) -> bool {
        match self {
            Kind::Script | Kind::Handler => true,
            Kind::Command => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = Problem;

    /// # Errors
    /// `invalid_value`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        match text {
            "script" => Ok(Kind::Script),
            "handler" => Ok(Kind::Handler),
            "command" => Ok(Kind::Command),
            _ => Err(Problem::refused(
                ErrorCode::InvalidValue,
                text,
                "is not a kind of execution",
                "script, handler or command",
            )),
        }
    }
}

/// Where code comes from. It reaches the interpreter as a file, never on a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodeSource {
    /// The code itself, with the name its tracebacks show.
    Inline {
        /// File name without directories.
        name: String,
        /// The code, at most [`defaults::CODE_MAX`].
        code: Vec<u8>,
    },
    /// A file that is in the sandbox already: an absolute path, or one below the working directory.
    InSandbox {
        /// The path inside the sandbox.
        path: String,
    },
}

/// What an execution runs; each kind with exactly what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// Code run from its first line, with arguments.
    Script {
        /// Language of the code.
        language: Language,
        /// The code.
        code: CodeSource,
        /// Arguments after the file name.
        args: Vec<String>,
    },
    /// A call of `handler(event, context)`.
    Handler {
        /// Language of the code; one with handlers.
        language: Language,
        /// The code.
        code: CodeSource,
        /// The event.
        event: Json,
    },
    /// A program, looked up in the sandbox's PATH, with its arguments. Never empty.
    Command {
        /// Program and arguments.
        argv: Vec<String>,
    },
}

impl Work {
    /// The kind it is.
    pub const fn kind(&self) -> Kind {
        match self {
            Work::Script { .. } => Kind::Script,
            Work::Handler { .. } => Kind::Handler,
            Work::Command { .. } => Kind::Command,
        }
    }

    /// The language, where there is one.
    pub const fn language(&self) -> Option<Language> {
        match self {
            Work::Script { language, .. } | Work::Handler { language, .. } => Some(*language),
            Work::Command { .. } => None,
        }
    }

    /// Checks what the types cannot say: sizes, handlers in the language, an argv, no NUL in arguments.
    ///
    /// # Errors
    /// `code_too_large`, `event_too_large`, `handler_unsupported`, `invalid_value`.
    pub fn check(&self) -> Result<(), Problem> {
        match self {
            Work::Script { code, args, .. } => {
                check_code(code)?;
                check_arguments(args)
            }
            Work::Handler { language, code, event } => {
                check_handler(*language)?;
                check_code(code)?;
                check_event_size(event.as_str().len())
            }
            Work::Command { argv } => {
                if argv.first().is_none_or(String::is_empty) {
                    let problem = Problem::new(ErrorCode::InvalidValue, "the command is empty");
                    return Err(problem.expecting("a program and its arguments"));
                }
                check_arguments(argv)
            }
        }
    }
}

/// Reads an event: one JSON value of at most [`defaults::EVENT_MAX`].
///
/// # Errors
/// `event_too_large`, `event_not_json`.
pub fn parse_event(bytes: &[u8]) -> Result<Json, Problem> {
    check_event_size(bytes.len())?;
    Json::parse(bytes).map_err(|error| {
        let start = String::from_utf8_lossy(&bytes[..bytes.len().min(400)]);
        let why = format!("is not JSON ({error})");
        Problem::refused(ErrorCode::EventNotJson, &start, &why, "one JSON value, like {\"n\": 1}")
    })
}

fn check_code(code: &CodeSource) -> Result<(), Problem> {
    match code {
        CodeSource::Inline { code, .. } => {
            at_most(ErrorCode::CodeTooLarge, "code", code.len(), defaults::CODE_MAX)
        }
        CodeSource::InSandbox { path } => check_arguments(std::slice::from_ref(path)),
    }
}

fn check_event_size(size: usize) -> Result<(), Problem> {
    at_most(ErrorCode::EventTooLarge, "event", size, defaults::EVENT_MAX)
}

fn check_handler(language: Language) -> Result<(), Problem> {
    if language.has_handlers() {
        return Ok(());
    }
    Err(Problem::refused(
        ErrorCode::HandlerUnsupported,
        language.as_str(),
        "has no handlers",
        "kind `script`, or a handler in python or javascript",
    ))
}

fn check_arguments(args: &[String]) -> Result<(), Problem> {
    match args.iter().find(|arg| arg.contains('\0')) {
        None => Ok(()),
        Some(arg) => Err(Problem::refused(
            ErrorCode::InvalidValue,
            arg,
            "contains a NUL byte",
            "arguments without NUL; pass binary data on stdin or as a file",
        )),
    }
}

fn at_most(code: ErrorCode, what: &str, size: usize, max: crate::size::ByteSize) -> Result<(), Problem> {
    let size = u64::try_from(size).unwrap_or(u64::MAX);
    if size <= max.bytes() {
        return Ok(());
    }
    let mut problem = Problem::new(code, format!("the {what} has {size} bytes, more than {max}"));
    problem.value = Some(size.to_string());
    Err(problem.expecting(format!("at most {max}, and hand larger data over as a file")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inline(size: usize) -> CodeSource {
        CodeSource::Inline { name: "main.py".to_owned(), code: vec![b'#'; size] }
    }

    fn script(size: usize, args: &[&str]) -> Work {
        let args = args.iter().map(|&arg| arg.to_owned()).collect();
        Work::Script { language: Language::Python, code: inline(size), args }
    }

    fn command(argv: &[&str]) -> Work {
        Work::Command { argv: argv.iter().map(|&arg| arg.to_owned()).collect() }
    }

    fn handler(language: Language) -> Work {
        Work::Handler { language, code: inline(1), event: Json::from(serde_json::Value::Null) }
    }

    #[test]
    fn checks_what_types_cannot_say() {
        let cases = [
            (script(8 << 20, &[]), None),
            (script((8 << 20) + 1, &[]), Some(ErrorCode::CodeTooLarge)),
            (script(1, &["a\0b"]), Some(ErrorCode::InvalidValue)),
            (command(&["true"]), None),
            (command(&["a", ""]), None),
            (command(&[]), Some(ErrorCode::InvalidValue)),
            (command(&[""]), Some(ErrorCode::InvalidValue)),
            (command(&["a\0"]), Some(ErrorCode::InvalidValue)),
            (handler(Language::Python), None),
            (handler(Language::Javascript), None),
            (handler(Language::Bash), Some(ErrorCode::HandlerUnsupported)),
        ];
        for (work, expected) in cases {
            let kind = work.kind();
            assert_eq!(work.check().map_err(|problem| problem.code).err(), expected, "{kind}");
        }
    }

    #[test]
    fn reads_events() {
        assert_eq!(parse_event(b" {\"a\": [1]} ").unwrap().as_str(), "{\"a\": [1]}");
        assert_eq!(parse_event(b"{'a': 1}").unwrap_err().code, ErrorCode::EventNotJson);
        assert_eq!(parse_event(b"").unwrap_err().code, ErrorCode::EventNotJson);
        let text = |size: usize| format!("\"{}\"", "a".repeat(size - 2)).into_bytes();
        assert!(parse_event(&text(8 << 20)).is_ok());
        assert_eq!(parse_event(&text((8 << 20) + 1)).unwrap_err().code, ErrorCode::EventTooLarge);
    }

    #[test]
    fn kinds_are_those_of_json() {
        for kind in [Kind::Script, Kind::Handler, Kind::Command] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert_eq!("interpreter".parse::<Kind>().unwrap_err().code, ErrorCode::InvalidValue);
    }
}
