//! What can go wrong with control groups. Each variant names the file, because the answer is mostly there.

use std::{io, path::PathBuf};

/// A refused operation on a control group file or directory.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused `doing` on `path`.
    #[error("cannot {doing} {}", path.display())]
    File {
        doing: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// A control file holds something that is not what the kernel documents.
    #[error("{} holds {found:?}, which is not {expected}", path.display())]
    Content { path: PathBuf, found: String, expected: &'static str },
    /// Processes stayed in a group although they were killed; they hang in the kernel.
    #[error("{} still holds processes after {rounds} rounds of SIGKILL", path.display())]
    StillAlive { path: PathBuf, rounds: u32 },
    /// This host has no control groups for us.
    #[error("no control groups here: {cause}; {remedy}")]
    Unavailable { cause: String, remedy: String },
}

impl Error {
    /// The kernel's error number, where the kernel refused.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Error::File { source, .. } => source.raw_os_error(),
            Error::Content { .. } | Error::StillAlive { .. } | Error::Unavailable { .. } => None,
        }
    }
}
