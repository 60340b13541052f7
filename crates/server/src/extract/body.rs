//! JSON bodies: bounded in size and time, and refused with the place of what is wrong.

use std::time::Duration;

use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use http_body::Body as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use sandkeep_api::object::object;
use sandkeep_core::code::{ErrorCode, Problem};
use serde::de::DeserializeOwned;
use tokio::sync::SemaphorePermit;

use crate::refusal::Refusal;
use crate::state::App;

/// The body, read as `T`, and its bytes. Stands last among a handler's arguments, after the caller is known.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T, pub(crate) Vec<u8>);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refusal> {
        is_json(request.headers())?;
        let most = app.config.limits.body;
        let expected = request.body().size_hint();
        if expected.lower() > most {
            return Err(too_large(most).into());
        }
        let _room = room(app, expected.upper().unwrap_or(most).min(most))?;
        let bytes = collect(request.into_body(), most, app.config.limits.body_timeout).await?;
        Ok(Body(parse(&bytes)?, bytes))
    }
}

fn is_json(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let given = given.unwrap_or_default();
    let media_type = given.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let why = "is not the media type of the body";
    Err(Problem::refused(ErrorCode::UnsupportedMediaType, media_type, why, "Content-Type: application/json"))
}

/// Room in memory for a body of `size`, until it is read and understood.
fn room(app: &App, size: u64) -> Result<SemaphorePermit<'_>, Problem> {
    let kib = u32::try_from(size.div_ceil(1024)).unwrap_or(u32::MAX);
    app.bodies.try_acquire_many(kib).map_err(|_| {
        let problem = Problem::new(ErrorCode::Overloaded, "too many large requests are being read");
        problem.expecting("the same request again in a moment")
    })
}

async fn collect(body: axum::body::Body, most: u64, within: Duration) -> Result<Vec<u8>, Problem> {
    let limited = Limited::new(body, usize::try_from(most).unwrap_or(usize::MAX));
    let read = tokio::time::timeout(within, limited.collect()).await.map_err(|_| {
        let message = format!("the body was not complete within {} s", within.as_secs_f64());
        Problem::new(ErrorCode::RequestTimeout, message)
    })?;
    match read {
        Ok(collected) => Ok(collected.to_bytes().to_vec()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(most)),
        Err(_) => Err(Problem::new(ErrorCode::InvalidBody, "the body broke off")),
    }
}

fn too_large(most: u64) -> Problem {
    let most = sandkeep_core::size::ByteSize::from_bytes(most);
    Problem::new(ErrorCode::BodyTooLarge, format!("the body has more than {most}"))
        .expecting(format!("at most {most}"))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let mut track = serde_path_to_error::Track::new();
    let value = object(serde_path_to_error::Deserializer::new(&mut json, &mut track));
    let value = value.map_err(|error| refused(&track.path().to_string(), &error))?;
    json.end().map_err(|error| refused("", &error))?;
    Ok(value)
}

/// What is wrong, and where. A value of `core` says its own code and what would be right, and the reader has made one text
/// of it.
fn refused(path: &str, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let place = format!("line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&format!(" at {place}")).unwrap_or(&text);
    let problem = Problem::of_text(text)
        .or_else(|| super::unknown(ErrorCode::InvalidBody, text))
        .unwrap_or_else(|| {
            let message =
                if error.is_data() { text.to_owned() } else { format!("is not JSON: {text}, {place}") };
            Problem::new(ErrorCode::InvalidBody, message)
        });
    let is_place = error.is_data() && !matches!(path, "" | ".");
    if is_place { problem.within(path) } else { problem.within("body") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandkeep_api::executions::CreateExecution;
    use sandkeep_api::sandboxes::CreateSandbox;

    #[track_caller]
    fn check(json: &str, code: ErrorCode, says: &str) -> Problem {
        let problem = parse::<CreateSandbox>(json.as_bytes()).expect_err(json);
        assert_eq!(problem.code, code, "{json}: {problem}");
        assert!(problem.message.contains(says), "{json}: {problem}");
        problem
    }

    #[test]
    fn says_where_and_what_would_be_right() {
        use ErrorCode::{InvalidBody, InvalidCpu, InvalidSize};
        check("", InvalidBody, "body: is not JSON");
        check("{\"name\": }", InvalidBody, "line 1 column 10");
        check("{} {}", InvalidBody, "body: is not JSON: trailing characters");
        check("[]", InvalidBody, "body: invalid type: sequence, expected an object");
        check("null", InvalidBody, "expected an object");
        let problem = check("{\"nam\": 1}", InvalidBody, "nam: `nam` is not known here");
        assert!(problem.expected.unwrap().starts_with("one of `project`, `template`"));
        check("{\"lifetime\": \"x\"}", InvalidBody, "lifetime: `x` is not a word that stands here");
        check("{\"name\": 1}", InvalidBody, "name: invalid type: integer `1`, expected a string");
        check("{\"labels\": {\"a\": 1}}", InvalidBody, "labels.a: ");
        let problem = check(
            "{\"limits\": {\"memory_bytes\": \"12q\"}}",
            InvalidSize,
            "limits.memory_bytes: `12q` is not",
        );
        assert_eq!(problem.value.as_deref(), Some("12q"));
        assert_eq!(problem.expected.as_deref(), Some("512Mi, 1.5Gi, 512MB or a number of bytes"));
        check("{\"limits\": {\"cpu\": 0}}", InvalidCpu, "limits.cpu: `0`");
    }

    #[test]
    fn any_json_passes_through_untouched() {
        let json = br#"{"command":["a"],"event":{"n":123456789012345678901234567890, "x" : [null]}}"#;
        let request: CreateExecution = parse(json).unwrap();
        assert_eq!(request.event.unwrap().as_str(), r#"{"n":123456789012345678901234567890, "x" : [null]}"#);
    }
}
