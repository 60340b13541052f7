//! What keeps an image from being used, and the stable code of each.

use std::io;

use sandkeep_core::code::{ErrorCode, Problem};

/// Why an image cannot be used, or the store cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no image, is damaged, or breaks a rule that images have to keep.
    #[error("{what}: {why}")]
    Invalid {
        /// The file, or the part of the image.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// It may be in order, and is nothing that can be used here.
    #[error("{what}: {why}")]
    Unsupported {
        /// The file, or the part of the image.
        what: String,
        /// What is missing here.
        why: String,
        /// What would work.
        expected: Option<String>,
    },
    /// It is larger than what is taken.
    #[error("{what}: {why}")]
    TooLarge {
        /// The file, or the part of the image.
        what: String,
        /// Which amount is over which bound.
        why: String,
    },
    /// Nothing of that name is there.
    #[error("{0}")]
    Unknown(Problem),
    /// It cannot be removed while a sandbox uses it.
    #[error("image {0} is in use by a sandbox")]
    InUse(String),
    /// The image cannot be read.
    #[error("{what} cannot be read")]
    Read {
        /// The file.
        what: String,
        #[source]
        source: io::Error,
    },
    /// The store cannot be used or has no room.
    #[error("{what}")]
    Store {
        /// What was tried.
        what: String,
        #[source]
        source: io::Error,
    },
}

/// The result of what this crate does.
pub(crate) type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn invalid(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid { what: what.into(), why: why.into() }
    }

    pub(crate) fn unsupported(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Unsupported { what: what.into(), why: why.into(), expected: None }
    }

    pub(crate) fn too_large(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::TooLarge { what: what.into(), why: why.into() }
    }

    pub(crate) fn read(what: impl Into<String>, source: io::Error) -> Self {
        Self::Read { what: what.into(), source }
    }

    pub(crate) fn store(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Store { what: what.into(), source: source.into() }
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Invalid { .. } => ErrorCode::ImageInvalid,
            Self::Unsupported { .. } => ErrorCode::ImageUnsupported,
            Self::TooLarge { .. } => ErrorCode::ImageTooLarge,
            Self::Unknown(problem) => problem.code,
            Self::InUse(_) => ErrorCode::ImageInUse,
            Self::Read { .. } => ErrorCode::FileUnreadable,
            Self::Store { .. } => ErrorCode::ImageStoreUnusable,
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let code = error.code();
        match error {
            Error::Unknown(problem) => problem,
            Error::Unsupported { expected: Some(expected), what, why } => {
                Problem::new(code, format!("{what}: {why}")).expecting(expected)
            }
            Error::Read { ref source, .. } | Error::Store { ref source, .. } => {
                Problem::new(code, format!("{error}: {source}"))
            }
            Error::Invalid { .. }
            | Error::Unsupported { expected: None, .. }
            | Error::TooLarge { .. }
            | Error::InUse(_) => Problem::new(code, error.to_string()),
        }
    }
}

/// Longest name that a message repeats, in characters.
const SHOWN_CHARS: usize = 120;

/// A name that an archive chose, as it may stand in a terminal: no control characters, not long.
pub(crate) fn shown(name: &[u8]) -> String {
    let text = String::from_utf8_lossy(name);
    let mut shown: String = text.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(SHOWN_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_archives_are_safe_to_show() {
        assert_eq!(shown(b"a/b c"), "a/b c");
        assert_eq!(shown(b"\x1b[2J\xff\n"), "\\u{1b}[2J\u{fffd}\\n");
        assert_eq!(shown(&[b'x'; 500]).chars().count(), SHOWN_CHARS + 1);
    }

    #[test]
    fn a_problem_names_its_cause() {
        let error = Error::store("cannot write", io::Error::from_raw_os_error(28));
        let problem = Problem::from(error);
        assert_eq!(problem.code, ErrorCode::ImageStoreUnusable);
        assert!(problem.message.contains("No space left"), "{problem}");
    }
}
