//! What a handler handed back. The code can write whatever it likes to that descriptor, so nothing is believed.

use serde::{Deserialize, Deserializer};

use super::json::Json;
use super::result::ErrorInfo;
use crate::code::ErrorCode;

/// What our helper writes when the result has no JSON form.
const NOT_JSON: &str = "ResultNotJson";
/// Longest name, message and trace of an error that are taken.
const ERROR_TEXT_CHARS: usize = 256 * 1024;

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
pub fn read(bytes: Option<&[u8]>, too_much: bool) -> Result<Json, ErrorInfo> {
    if too_much {
        return Err(invalid("the handler returned more than 8 MiB of JSON"));
    }
    let Some(bytes) = bytes.filter(|bytes| !bytes.is_empty()) else {
        return Err(invalid("the handler ended without returning"));
    };
    let returned: Result<Returned, _> = serde_json::from_slice(bytes);
    match returned {
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
}
