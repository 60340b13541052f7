//! From failures of the store to what a caller is told.

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_store::Error;

/// What a caller is told. The chain of causes is for the log, which whoever handles the error writes.
#[must_use]
pub fn problem(error: &Error) -> Problem {
    let (code, expected) = match error {
        Error::Overloaded { .. } => (ErrorCode::Overloaded, Some("the same request again in a moment")),
        Error::Taken { .. } => (ErrorCode::NameTaken, Some("another name")),
        Error::Ended { .. } => (ErrorCode::SandboxEnded, Some("a sandbox that has not ended")),
        Error::SchemaNewer { .. } => {
            (ErrorCode::SchemaNewer, Some("the release that made it, or a newer one"))
        }
        Error::InUse { .. } => {
            (ErrorCode::DataDirInUse, Some("another --data-dir, or the end of the other process"))
        }
        Error::Directory { .. } => {
            (ErrorCode::DataDirUnusable, Some("a directory on a local disk that this user may write to"))
        }
        Error::Database { .. } | Error::NotCommitted { .. } | Error::Closed => {
            (ErrorCode::StoreUnavailable, Some("the same request again, with the same Idempotency-Key"))
        }
        Error::Content { .. } | Error::Panicked => (ErrorCode::Internal, None),
    };
    let problem = Problem::new(code, error.to_string());
    match expected {
        Some(expected) => problem.expecting(expected),
        None => problem,
    }
}
