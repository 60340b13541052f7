//! What a server answered, and what its errors mean.

use reqwest::{Response, StatusCode, header};
use sandkeep_api::Document;
use sandkeep_core::code::{ErrorCode, Problem};
use serde_json::Value;

/// Most bytes of an answer that is read whole: a page of a thousand executions with their output stays below it.
const MOST_BYTES: usize = 64 << 20;

/// An answer that is no error.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body as it came; empty with 204.
    pub text: String,
    /// The same, read; `null` with 204.
    pub value: Value,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server refused it; with the seconds after which it may well succeed.
    Refused(Problem, Option<u64>),
    /// Nothing came, or not all of it.
    Broken(reqwest::Error),
    /// A stream was over before its end was told.
    Ended,
}

impl From<reqwest::Error> for Failure {
    fn from(error: reqwest::Error) -> Self {
        // The address is told by whoever tells the failure.
        Failure::Broken(error.without_url())
    }
}

impl Answer {
    /// Reads all of `response`.
    pub(crate) async fn read(response: Response) -> Result<Self, Failure> {
        let status = response.status();
        if !status.is_success() {
            return Err(refusal(response).await?);
        }
        let text = text(response).await?;
        let value =
            if status == StatusCode::NO_CONTENT { Ok(Value::Null) } else { serde_json::from_str(&text) };
        let value = value.map_err(|_| Failure::Refused(foreign(status, "it is not JSON"), None))?;
        Ok(Answer { status: status.as_u16(), text, value })
    }
}

/// The problem that a server answered with.
pub(crate) async fn refusal(response: Response) -> Result<Failure, Failure> {
    let status = response.status();
    let after =
        response.headers().get(header::RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
    Ok(Failure::Refused(problem(status, &text(response).await?), after))
}

fn problem(status: StatusCode, text: &str) -> Problem {
    let Ok(document) = serde_json::from_str::<Document>(text) else {
        return foreign(status, "it is not a problem document");
    };
    let Document { code, detail, value, expected, .. } = document;
    match code.parse() {
        Ok(code) => Problem { code, message: detail, value, expected },
        // A later server has codes that we do not know.
        Err(_) => {
            Problem { code: ErrorCode::ProtocolError, message: format!("{code}: {detail}"), value, expected }
        }
    }
}

fn foreign(status: StatusCode, why: &str) -> Problem {
    let message = format!("an answer with status {} cannot be understood: {why}", status.as_u16());
    Problem::new(ErrorCode::ProtocolError, message).expecting("the address of a Sandkeep server")
}

async fn text(mut response: Response) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let status = response.status();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > MOST_BYTES {
            return Err(Failure::Refused(foreign(status, "it is larger than 64 MiB"), None));
        }
        bytes.extend_from_slice(&chunk);
    }
    String::from_utf8(bytes).map_err(|_| Failure::Refused(foreign(status, "it is not text"), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_comes_back_as_it_was() {
        let told = Problem::refused(ErrorCode::InvalidSize, "12q", "is not a size", "512Mi");
        let document = serde_json::to_string(&Document::of(&told, 400, "", "rq")).unwrap();
        assert_eq!(problem(StatusCode::BAD_REQUEST, &document), told);
        let newer = document.replace("\"invalid_size\"", "\"size_of_tomorrow\"");
        let problem = problem(StatusCode::BAD_REQUEST, &newer);
        assert_eq!(problem.code, ErrorCode::ProtocolError);
        assert!(problem.message.starts_with("size_of_tomorrow: `12q`"), "{problem}");
    }

    #[test]
    fn what_is_none_says_so() {
        for text in ["", "<html>", "{}", "null"] {
            let problem = problem(StatusCode::BAD_GATEWAY, text);
            assert!(problem.message.contains("502") && problem.code == ErrorCode::ProtocolError, "{problem}");
        }
    }
}
