//! `/api/v1/executions`, and those of a sandbox. What is told of one is `sandkeep_core`'s `ExecutionResult`.

use std::collections::BTreeMap;

use sandkeep_core::base64;
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::duration::Span;
use sandkeep_core::execution::json::Json;
use sandkeep_core::execution::language::Language;
use sandkeep_core::execution::result::{Encoding, ExecutionResult};
use sandkeep_core::execution::spec::{CodeSource, Kind, Work};
use sandkeep_core::execution::state::ExecutionState;
use sandkeep_core::id::ExecutionId;
use sandkeep_core::limits::LimitKind;
use sandkeep_core::output::{Gap, Stream};
use sandkeep_core::sandbox::Profile;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::object::{object, word};
use crate::sandboxes::SandboxLimits;
use crate::schema;

/// A request that runs something. Both kinds of it are flat, and refuse what they do not know, which `serde` cannot do for a
/// struct within a struct; so the fields that both have stand here once.
macro_rules! request {
    ($(#[$doc:meta])* $name:ident { $($own:tt)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
        #[serde(default, deny_unknown_fields)]
        #[schema(example = json!({"language": "python", "code": "print(6*7)", "timeout_ms": 5000}))]
        pub struct $name {
            $($own)*
            /// Language of `code`.
            #[serde(deserialize_with = "word")]
            #[schema(value_type = Option<schema::Language>)]
            pub language: Option<Language>,
            /// Code of a script or handler.
            pub code: Option<String>,
            /// A program and its arguments, instead of `code`.
            pub command: Option<Vec<String>>,
            /// What `code` is: `script` unless given.
            #[serde(deserialize_with = "word")]
            #[schema(value_type = Option<schema::Kind>)]
            pub kind: Option<Kind>,
            /// A handler's event: any JSON.
            #[schema(value_type = Option<Value>)]
            pub event: Option<Json>,
            /// Arguments of a script.
            pub args: Vec<String>,
            /// Standard input, written as `stdin_encoding` says.
            pub stdin: String,
            /// `utf-8` unless given.
            #[schema(value_type = Option<schema::Encoding>)]
            pub stdin_encoding: Option<Encoding>,
            /// Variables, over those of the sandbox.
            pub env: BTreeMap<String, String>,
            /// Working directory inside the sandbox.
            pub cwd: Option<String>,
            /// Wall time until the whole tree of processes is killed.
            #[schema(value_type = Option<schema::Duration>)]
            pub timeout_ms: Option<Span>,
        }

        impl $name {
            /// What is to run, checked.
            ///
            /// # Errors
            /// `invalid_value`, or what [`Work::check`] says.
            pub fn work(&self) -> Result<Work, Problem> {
                let event = self.event.as_ref();
                let Self { language, kind, code, command, args, .. } = self;
                let work = work(*kind, *language, code.as_deref(), command.as_deref(), event, args)?;
                work.check()?;
                Ok(work)
            }

            /// The bytes of standard input.
            ///
            /// # Errors
            /// `invalid_value`.
            pub fn stdin(&self) -> Result<Vec<u8>, Problem> {
                match self.stdin_encoding.unwrap_or(Encoding::Utf8) {
                    Encoding::Utf8 => Ok(self.stdin.clone().into_bytes()),
                    Encoding::Base64 => base64::decode(&self.stdin).ok_or_else(|| {
                        let expected = "standard base64 with padding, or stdin_encoding `utf-8`";
                        Problem::new(ErrorCode::InvalidValue, "stdin: is not base64").expecting(expected)
                    }),
                }
            }
        }
    };
}

request! {
    /// Something to run in a sandbox that is there.
    CreateExecution {}
}

request! {
    /// Something to run in a sandbox made for it alone.
    RunExecution {
        /// Id or name of the project; the key's own, or `default`, when absent.
        pub project: Option<String>,
        /// What the sandbox starts from; the server's default when absent.
        pub template: Option<String>,
        /// How much the sandbox allows inside itself.
        #[serde(deserialize_with = "word")]
        #[schema(value_type = Option<schema::Profile>)]
        pub profile: Option<Profile>,
        /// What it may use.
        #[serde(deserialize_with = "object")]
        pub limits: SandboxLimits,
        /// Words of the caller's own, to find the sandbox by.
        pub labels: BTreeMap<String, String>,
    }
}

fn work(
    kind: Option<Kind>,
    language: Option<Language>,
    code: Option<&str>,
    command: Option<&[String]>,
    event: Option<&Json>,
    args: &[String],
) -> Result<Work, Problem> {
    let wrong = |what: &str, expected: &str| {
        Err(Problem::new(ErrorCode::InvalidValue, what.to_owned()).expecting(expected))
    };
    let unsaid = if command.is_some() { Kind::Command } else { Kind::Script };
    match (kind.unwrap_or(unsaid), code, command) {
        (Kind::Command, None, Some(argv)) if language.is_none() && event.is_none() && args.is_empty() => {
            Ok(Work::Command { argv: argv.to_vec() })
        }
        (Kind::Command, None, Some(_)) => {
            wrong("a command has no language, event or args", "all arguments in `command`")
        }
        (Kind::Script, Some(code), None) if event.is_none() => {
            let language = language_of(language)?;
            Ok(Work::Script { language, code: inline(language, code), args: args.to_vec() })
        }
        (Kind::Script, Some(_), None) => {
            wrong("a script has no event", "kind `handler`, or the data in `stdin`")
        }
        (Kind::Handler, Some(code), None) if args.is_empty() => {
            let language = language_of(language)?;
            let event = event.cloned().unwrap_or_else(|| Json::from(serde_json::Value::Null));
            Ok(Work::Handler { language, code: inline(language, code), event })
        }
        (Kind::Handler, Some(_), None) => wrong("a handler has no args", "the data in `event`"),
        (Kind::Command, _, None) => wrong("a command is missing", "`command`: a program and its arguments"),
        (Kind::Script | Kind::Handler, None, _) => {
            wrong("code is missing", "`code` and `language`, or `command`")
        }
        (Kind::Command | Kind::Script | Kind::Handler, Some(_), Some(_)) => {
            wrong("both code and a command are given", "one of them")
        }
    }
}

fn language_of(language: Option<Language>) -> Result<Language, Problem> {
    let names = Language::ALL.map(Language::as_str).join(", ");
    language.ok_or_else(|| {
        Problem::new(ErrorCode::UnknownLanguage, "language: is missing").expecting(format!("one of {names}"))
    })
}

fn inline(language: Language, code: &str) -> CodeSource {
    CodeSource::Inline { name: language.file_name().to_owned(), code: code.as_bytes().to_vec() }
}

/// An execution, with the first and the last of its output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = schema::Execution)]
pub struct Execution(pub ExecutionResult);

/// Which executions a list has, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListExecutions {
    /// Only those in this state.
    #[param(value_type = Option<schema::ExecutionStatus>, inline)]
    pub status: Option<ExecutionState>,
    /// Most items of the answer, 1 to 1000; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Whether a caller waits for the end: `?wait=true&timeout_ms=10000`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WaitExecution {
    /// Answer only when the execution has ended, or the time is over; the answer is then what is.
    pub wait: bool,
    /// How long to wait at most, in milliseconds.
    #[param(maximum = 300_000)]
    pub timeout_ms: Option<u64>,
}

/// From where output is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ReadOutput {
    /// The first position wanted; 0 unless given.
    pub after: u64,
}

/// The last position that a log can have: both databases count in `i64`.
const POSITION_MOST: u64 = i64::MAX.unsigned_abs();

/// A position that a client gave.
///
/// # Errors
/// `invalid_query`: no log is so long.
pub fn position(after: u64) -> Result<u64, Problem> {
    if after <= POSITION_MOST {
        return Ok(after);
    }
    let expected = format!("at most {POSITION_MOST}");
    Err(Problem::refused(ErrorCode::InvalidQuery, &after.to_string(), "is no position", &expected)
        .within("after"))
}

/// A stretch of an execution's merged log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Output {
    /// In the order of their positions.
    pub chunks: Vec<OutputChunk>,
    /// The one range that was not kept, if it lies in this stretch.
    #[schema(required, value_type = Option<schema::Gap>)]
    pub gap: Option<Gap>,
    /// Give this as `after` to read on.
    pub after: u64,
    /// Whether nothing comes after it any more.
    pub complete: bool,
}

/// How an execution ended: the last message of its stream. All of it is at `/executions/{id}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExecutionEnd {
    /// Which.
    #[schema(value_type = String)]
    pub id: ExecutionId,
    /// How.
    #[schema(value_type = schema::ExecutionStatus)]
    pub status: ExecutionState,
    /// Of the code, when it exited.
    #[schema(required, minimum = 0, maximum = 255)]
    pub exit_code: Option<u8>,
    /// That ended the code.
    #[schema(required)]
    pub signal: Option<u8>,
    /// The limit that ended it.
    #[schema(required, value_type = Option<schema::LimitKind>)]
    pub limit: Option<LimitKind>,
}

impl From<&ExecutionResult> for ExecutionEnd {
    fn from(result: &ExecutionResult) -> Self {
        let ExecutionResult { id, status, exit_code, signal, limit, .. } = result;
        ExecutionEnd { id: *id, status: *status, exit_code: *exit_code, signal: *signal, limit: *limit }
    }
}

impl OutputChunk {
    /// The bytes at `position`, as text where they are one.
    #[must_use]
    pub fn of(position: u64, stream: Stream, bytes: Vec<u8>) -> Self {
        let (data, encoding) = match String::from_utf8(bytes) {
            Ok(text) => (text, Encoding::Utf8),
            Err(error) => (base64::encode(error.as_bytes()), Encoding::Base64),
        };
        OutputChunk { position, stream, data, encoding }
    }
}

/// Bytes of one stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OutputChunk {
    /// Position of the first byte.
    pub position: u64,
    /// Which stream wrote them.
    #[schema(value_type = schema::Stream)]
    pub stream: Stream,
    /// The bytes, written as `encoding` says.
    pub data: String,
    /// `utf-8`, or `base64` where they are not.
    #[schema(value_type = schema::Encoding)]
    pub encoding: Encoding,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(json: &str, expected: Result<Kind, ErrorCode>) {
        let request: CreateExecution = serde_json::from_str(json).unwrap();
        assert_eq!(
            request.work().map(|work| work.kind()).map_err(|problem| problem.code),
            expected,
            "{json}"
        );
    }

    #[test]
    fn what_is_given_says_what_runs() {
        use ErrorCode::{HandlerUnsupported, InvalidValue, UnknownLanguage};
        check(r#"{"language":"python","code":"1"}"#, Ok(Kind::Script));
        check(r#"{"language":"python","code":"1","args":["a"]}"#, Ok(Kind::Script));
        check(r#"{"language":"python","code":"1","kind":"handler"}"#, Ok(Kind::Handler));
        check(r#"{"language":"python","code":"1","kind":"handler","event":false}"#, Ok(Kind::Handler));
        check(r#"{"command":["true"]}"#, Ok(Kind::Command));
        check(r#"{"command":["true"],"kind":"command"}"#, Ok(Kind::Command));
        check("{}", Err(InvalidValue));
        check(r#"{"code":"1"}"#, Err(UnknownLanguage));
        check(r#"{"command":[]}"#, Err(InvalidValue));
        check(r#"{"command":["a\u0000"]}"#, Err(InvalidValue));
        check(r#"{"command":["a"],"language":"bash"}"#, Err(InvalidValue));
        check(r#"{"command":["a"],"language":"bash","code":"1"}"#, Err(InvalidValue));
        check(r#"{"command":["a"],"kind":"script"}"#, Err(InvalidValue));
        check(r#"{"kind":"command"}"#, Err(InvalidValue));
        check(r#"{"kind":"handler","language":"bash","code":"1"}"#, Err(HandlerUnsupported));
        check(r#"{"kind":"handler","language":"python","code":"1","args":["x"]}"#, Err(InvalidValue));
        check(r#"{"language":"python","code":"1","event":1}"#, Err(InvalidValue));
    }

    #[test]
    fn one_call_takes_what_the_sandbox_is_made_of() {
        let json =
            r#"{"template":"host","limits":{"pids":3},"language":"bash","code":"true","timeout_ms":"2s"}"#;
        let request: RunExecution = serde_json::from_str(json).unwrap();
        assert_eq!(request.timeout_ms, Some(Span::from_secs(2)));
        assert_eq!(request.limits.pids, Some(3));
        assert!(serde_json::from_str::<CreateExecution>(json).is_err(), "there the sandbox is made already");
        assert!(serde_json::from_str::<RunExecution>(r#"{"cod":"1"}"#).is_err());
    }

    #[test]
    fn input_may_be_any_bytes() {
        let read = |json: &str| serde_json::from_str::<CreateExecution>(json).unwrap().stdin();
        assert_eq!(read("{}"), Ok(vec![]));
        assert_eq!(read(r#"{"stdin":"ü"}"#), Ok("ü".as_bytes().to_vec()));
        assert_eq!(read(r#"{"stdin":"/wA=","stdin_encoding":"base64"}"#), Ok(vec![255, 0]));
        assert_eq!(
            read(r#"{"stdin":"%","stdin_encoding":"base64"}"#).unwrap_err().code,
            ErrorCode::InvalidValue
        );
    }
}
