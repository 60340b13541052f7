//! What a handler handed back. The code can write whatever it likes to that descriptor, so nothing is believed.

use serde::{Deserialize, Deserializer};

use super::end::End;
use super::json::Json;
use super::result::ErrorInfo;
use super::state::ExecutionState;
use crate::code::ErrorCode;
use crate::defaults;

/// What our helper writes when the result has no JSON form.
const NOT_JSON: &str = "ResultNotJson";
/// Longest name, message and trace of an error that are taken.
const ERROR_TEXT_CHARS: usize = 256 * 1024;
/// Deepest nesting of a value that is taken: readers of JSON count their levels (the smallest bound in wide use is 128),
/// and a value of the code's must not keep anyone from reading the result around it.
const DEPTH_MAX: usize = 100;

/// What the end of a handler comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Its end: failed where it ended well and gave nothing back.
    pub end: End,
    /// Its value, where it succeeded.
    pub value: Option<Json>,
    /// What it raised, or `return_value_invalid`.
    pub error: Option<ErrorInfo>,
}

/// Weighs the end of a handler and what it wrote as its result. A handler succeeds with a value only; a value that was handed
/// back before a timeout is none; and an exit code or a limit says more than that nothing was handed back.
pub fn settle(end: End, bytes: Option<&[u8]>, too_much: bool) -> Outcome {
    let succeeded = end.state == ExecutionState::Succeeded;
    let by_itself = succeeded || end.state == ExecutionState::Failed;
    match read(bytes, too_much) {
        Ok(value) => Outcome { end, value: succeeded.then_some(value), error: None },
        Err(error) if by_itself && (succeeded || bytes.is_some() || too_much) => {
            Outcome { end: End { state: ExecutionState::Failed, ..end }, value: None, error: Some(error) }
        }
        Err(_) => Outcome { end, value: None, error: None },
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Returned {
    #[serde(default, deserialize_with = "present")]
    value: Option<Json>,
    error: Option<Raised>,
}

#[derive(Debug, Deserialize)]
struct Raised {
    name: String,
    message: String,
    stack: Option<String>,
}

/// `null` is a value too.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(from).map(Some)
}

/// The value, or the error that stands in its place.
///
/// # Errors
/// What the handler raised; `return_value_invalid` for anything that is neither a value nor an error.
fn read(bytes: Option<&[u8]>, too_much: bool) -> Result<Json, ErrorInfo> {
    if too_much {
        return Err(invalid(&format!(
            "the handler returned more than {} of JSON",
            defaults::RETURN_VALUE_MAX
        )));
    }
    let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
        return Err(invalid("the handler ended without returning"));
    };
    let returned: Result<Returned, _> = serde_json::from_slice(bytes);
    match returned {
        Ok(Returned { value: Some(value), error: None }) if value.depth() > DEPTH_MAX => {
            Err(invalid(&format!("the handler's result is nested more than {DEPTH_MAX} levels deep")))
        }
        Ok(Returned { value: Some(value), error: None }) => Ok(value),
        Ok(Returned { value: None, error: Some(raised) }) => Err(raised.into_info()),
        Ok(Returned { .. }) | Err(_) => {
            Err(invalid("the code wrote something else where its return value belongs"))
        }
    }
}

impl Raised {
    fn into_info(self) -> ErrorInfo {
        if self.name == NOT_JSON {
            return invalid(&self.message);
        }
        let short = |text: String| text.chars().take(ERROR_TEXT_CHARS).collect::<String>();
        let stack = self.stack.filter(|stack| !stack.is_empty()).map(short);
        ErrorInfo { name: short(self.name), message: short(self.message), stack }
    }
}

fn invalid(message: &str) -> ErrorInfo {
    ErrorInfo { name: ErrorCode::ReturnValueInvalid.to_string(), message: message.to_owned(), stack: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handler_succeeds_with_a_value_only() {
        use crate::execution::Exit;
        use crate::limits::LimitKind;
        use ExecutionState::{Failed, Succeeded, TimedOut};

        let value: &[u8] = b"{\"value\": 0}";
        let raised: &[u8] = b"{\"error\": {\"name\": \"E\", \"message\": \"m\", \"stack\": \"s\"}}";
        let invalid = Some("return_value_invalid");
        let cases = [
            (Succeeded, None, 0, Some(value), false, Succeeded, None),
            (Failed, None, 1, Some(raised), false, Failed, Some("E")),
            (Succeeded, None, 0, Some(&b"junk"[..]), false, Failed, invalid),
            (Succeeded, None, 0, None, false, Failed, invalid),
            (Succeeded, None, 0, None, true, Failed, invalid),
            (Failed, None, 1, None, true, Failed, invalid),
            (Failed, None, 3, None, false, Failed, None),
            (Failed, None, 3, Some(value), false, Failed, None),
            (Failed, Some(LimitKind::Memory), 1, None, false, Failed, None),
            (TimedOut, Some(LimitKind::Timeout), 1, Some(value), false, TimedOut, None),
            (TimedOut, Some(LimitKind::Timeout), 1, Some(&b"half"[..]), false, TimedOut, None),
        ];
        for (state, limit, code, bytes, too_much, expected, error) in cases {
            let end = End { state, limit, exit: Some(Exit::Code(code)) };
            let outcome = settle(end, bytes, too_much);
            assert_eq!((outcome.end.state, outcome.end.limit), (expected, limit), "{end:?} {bytes:?}");
            assert_eq!(outcome.error.map(|error| error.name).as_deref(), error, "{end:?} {bytes:?}");
            assert_eq!(outcome.value.is_some(), expected == Succeeded);
        }
    }

    #[test]
    fn every_value_comes_back() {
        for text in
            ["null", "false", "0", "\"\"", "[]", "{}", "123456789012345678901234567890", "\"\\\"a b\""]
        {
            let bytes = format!("{{\"value\": {text}}}");
            assert_eq!(read(Some(bytes.as_bytes()), false).unwrap().as_str(), text);
        }
    }

    #[test]
    fn errors_come_back() {
        let bytes = br#"{"error": {"name": "KeyError", "message": "'x'", "stack": "Traceback"}}"#;
        let error = read(Some(bytes), false).unwrap_err();
        assert_eq!((error.name.as_str(), error.message.as_str()), ("KeyError", "'x'"));
        assert_eq!(error.stack.as_deref(), Some("Traceback"));
        let bytes = br#"{"error": {"name": "ResultNotJson", "message": "a date", "stack": ""}}"#;
        let error = read(Some(bytes), false).unwrap_err();
        assert_eq!((error.name.as_str(), error.stack), ("return_value_invalid", None));
    }

    #[test]
    fn everything_else_is_invalid() {
        let cases: [&[u8]; 10] = [
            b"",
            b"1",
            b"{}",
            b"{\"value\":1",
            b"{\"value\":1}{\"value\":2}",
            b"{\"value\":1,\"error\":{\"name\":\"a\",\"message\":\"b\",\"stack\":null}}",
            b"{\"value\":1,\"value\":2}",
            b"{\"value\":NaN}",
            b"{\"error\":{\"name\":1}}",
            b"{\"value\":\"\xff\"}",
        ];
        for bytes in cases {
            let error = read(Some(bytes), false).expect_err(&String::from_utf8_lossy(bytes));
            assert_eq!(error.name, "return_value_invalid");
        }
        assert!(read(None, false).is_err());
        assert!(read(Some(b"{\"value\":1}"), true).unwrap_err().message.contains("8 MiB"));
    }

    #[test]
    fn a_value_is_as_deep_as_readers_go() {
        let nested = |levels: usize| format!("{{\"value\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(read(Some(nested(100).as_bytes()), false).is_ok());
        for levels in [101, 500_000] {
            let error = read(Some(nested(levels).as_bytes()), false).unwrap_err();
            assert_eq!(error.name, "return_value_invalid");
            assert!(error.message.contains("100 levels"), "{}", error.message);
        }
    }
}
