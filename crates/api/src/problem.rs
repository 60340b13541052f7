//! How an error is told over HTTP: the problem document of RFC 9457.

use sandkeep_core::code::{ErrorCode, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Media type of a [`Document`].
pub const MEDIA_TYPE: &str = "application/problem+json";

/// An error (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct Document {
    /// Address of the page that explains the code, on this server.
    #[serde(rename = "type")]
    #[schema(example = "/errors/invalid_size")]
    pub page: String,
    /// What the code means, in a few words.
    #[schema(example = "a size that cannot be read")]
    pub title: String,
    /// The HTTP status.
    #[schema(minimum = 400, maximum = 599)]
    pub status: u16,
    /// The stable code.
    #[schema(value_type = String, example = "invalid_size")]
    pub code: String,
    /// What is wrong here.
    pub detail: String,
    /// The offending value, shortened.
    #[schema(required)]
    pub value: Option<String>,
    /// What would be right.
    #[schema(required)]
    pub expected: Option<String>,
    /// The request's id, as in the header `X-Request-Id` and in the server's log.
    pub request_id: String,
}

impl Document {
    /// The document for `problem`. `base_path` stands in front of every path of the server.
    #[must_use]
    pub fn of(problem: &Problem, status: u16, base_path: &str, request_id: &str) -> Self {
        let title = problem.code.page().lines().next().unwrap_or_default();
        Document {
            page: format!("{base_path}/errors/{}", problem.code),
            title: title.split_once(": ").map_or(title, |(_, words)| words).to_owned(),
            status,
            code: problem.code.to_string(),
            detail: problem.message.clone(),
            value: problem.value.clone(),
            expected: problem.expected.clone(),
            request_id: request_id.to_owned(),
        }
    }
}

/// What a code is in HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// The status.
    pub status: u16,
    /// Seconds after which the same request may well succeed: the header `Retry-After`.
    pub retry_after_s: Option<u32>,
}

/// The one place that says which HTTP status a code has.
#[must_use]
pub const fn told(code: ErrorCode) -> Told {
    use ErrorCode as C;
    match code {
        C::InvalidSize
        | C::InvalidDuration
        | C::InvalidCpu
        | C::InvalidId
        | C::InvalidValue
        | C::InvalidBody
        | C::InvalidQuery
        | C::UnknownLanguage
        | C::UnknownCode
        | C::LimitOutOfRange
        | C::HandlerUnsupported
        | C::EventNotJson
        | C::EnvInvalid => finally(400),
        C::Unauthenticated | C::TokenExpired => finally(401),
        C::Forbidden | C::OriginRefused => finally(403),
        C::NoSuchRoute | C::NotFound | C::ImageUnknown => finally(404),
        C::MethodNotAllowed => finally(405),
        C::RequestTimeout => finally(408),
        C::NameTaken
        | C::AlreadyStarted
        | C::StaleToken
        | C::IdempotencyKeyReused
        | C::SandboxEnded
        | C::ImageInUse
        | C::LayerInUse
        | C::LayerFull => finally(409),
        C::EventsForgotten => finally(410),
        C::BodyTooLarge | C::CodeTooLarge | C::EventTooLarge | C::ImageTooLarge => finally(413),
        C::UnsupportedMediaType => finally(415),
        // What was asked for is well formed, and does not work in this sandbox or on this host.
        C::NotRunnable
        | C::FileUnreadable
        | C::InterpreterMissing
        | C::MountRefused
        | C::RootUnusable
        | C::ImageInvalid
        | C::ImageUnsupported
        | C::LayerUnusable
        | C::OutputDirUnusable
        | C::LimitNotEnforceable
        | C::ReturnValueInvalid => finally(422),
        C::SandboxFailed
        | C::SandboxLost
        | C::ProtocolError
        // What a client says of a server or of a registry is never an answer of one.
        | C::ServerUnreachable
        | C::RegistryDenied
        | C::RegistryInvalid
        | C::RegistryUnavailable
        | C::CredentialsUnusable
        | C::HostRequired
        | C::Internal
        | C::ConfigInvalid
        | C::MasterKeyMismatch
        | C::KeyFileUnusable
        | C::SealBroken
        | C::ListenerUnusable
        | C::TlsUnusable
        | C::SchemaNewer
        | C::DataDirInUse
        | C::DataDirUnusable
        | C::IsolationUnavailable
        | C::StateDirUnusable
        | C::ImageStoreUnusable
        | C::LayerDamaged
        | C::LayerToolsMissing => finally(500),
        // A commit takes milliseconds; a database that restarts takes seconds; a sandbox is freed when somebody ends one.
        C::Overloaded | C::AnswerTimeout => later(1),
        // What may come in a second is there again after one.
        C::TooManyRequests => Told { status: 429, retry_after_s: Some(1) },
        C::StoreUnavailable => later(2),
        C::TooManySandboxes | C::NoSlot => later(5),
    }
}

const fn finally(status: u16) -> Told {
    Told { status, retry_after_s: None }
}

const fn later(seconds: u32) -> Told {
    Told { status: 503, retry_after_s: Some(seconds) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_says_all_that_a_problem_does() {
        let problem =
            "12q".parse::<sandkeep_core::size::ByteSize>().unwrap_err().within("limits.memory_bytes");
        let document = Document::of(&problem, told(problem.code).status, "/keep", "rq1");
        let json = serde_json::to_value(&document).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "/keep/errors/invalid_size",
                "title": document.title,
                "status": 400,
                "code": "invalid_size",
                "detail": "limits.memory_bytes: `12q` is not a size",
                "value": "12q",
                "expected": "512Mi, 1.5Gi, 512MB or a number of bytes",
                "request_id": "rq1",
            })
        );
        assert!(!document.title.is_empty() && !document.title.contains("invalid_size"), "{}", document.title);
    }

    #[test]
    fn every_code_is_an_error_and_whoever_may_retry_is_told_when() {
        for code in ErrorCode::all() {
            let told = told(code);
            assert!((400..600).contains(&told.status), "{code}");
            assert_eq!(told.retry_after_s.is_some(), matches!(told.status, 429 | 503), "{code}");
        }
    }
}
