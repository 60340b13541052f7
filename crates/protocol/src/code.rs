//! Error codes of the Connect protocol and the HTTP statuses that belong to them.
//!
//! Source: connectrpc.com/docs/protocol, "Error codes" and "HTTP to error code".

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What kind of failure a call met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The caller went away or asked to stop.
    Canceled,
    /// Anything that has no better code.
    Unknown,
    /// The request is wrong whatever the state.
    InvalidArgument,
    /// Out of time.
    DeadlineExceeded,
    /// What was named is not there.
    NotFound,
    /// It is there already.
    AlreadyExists,
    /// Known, and not allowed.
    PermissionDenied,
    /// Over a quota or out of room.
    ResourceExhausted,
    /// Not in this state.
    FailedPrecondition,
    /// Lost a race; try again from the start.
    Aborted,
    /// Past the end.
    OutOfRange,
    /// There is no such method, or not here.
    Unimplemented,
    /// Our bug.
    Internal,
    /// Try again later.
    Unavailable,
    /// Lost for good.
    DataLoss,
    /// Not known.
    Unauthenticated,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 16] = [
        Self::Canceled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// Name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().0
    }

    /// Status of a unary response that carries this code.
    #[must_use]
    pub fn http_status(self) -> u16 {
        self.row().1
    }

    /// The code of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == name)
    }

    /// The code a client assumes for a status whose body says nothing.
    #[must_use]
    pub fn from_http_status(status: u16) -> Self {
        match status {
            400 => Self::Internal,
            401 => Self::Unauthenticated,
            403 => Self::PermissionDenied,
            404 => Self::Unimplemented,
            429 | 502 | 503 | 504 => Self::Unavailable,
            _ => Self::Unknown,
        }
    }

    fn row(self) -> (&'static str, u16) {
        match self {
            Self::Canceled => ("canceled", 499),
            Self::Unknown => ("unknown", 500),
            Self::InvalidArgument => ("invalid_argument", 400),
            Self::DeadlineExceeded => ("deadline_exceeded", 504),
            Self::NotFound => ("not_found", 404),
            Self::AlreadyExists => ("already_exists", 409),
            Self::PermissionDenied => ("permission_denied", 403),
            Self::ResourceExhausted => ("resource_exhausted", 429),
            Self::FailedPrecondition => ("failed_precondition", 400),
            Self::Aborted => ("aborted", 409),
            Self::OutOfRange => ("out_of_range", 400),
            Self::Unimplemented => ("unimplemented", 501),
            Self::Internal => ("internal", 500),
            Self::Unavailable => ("unavailable", 503),
            Self::DataLoss => ("data_loss", 500),
            Self::Unauthenticated => ("unauthenticated", 401),
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Code {
    /// A name we do not know reads as [`Code::Unknown`]: the peer may be newer.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self::from_name(&name).unwrap_or(Self::Unknown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_statuses_are_those_of_the_protocol() {
        let table: Vec<_> = Code::ALL.iter().map(|code| (code.as_str(), code.http_status())).collect();
        let expect = [
            ("canceled", 499),
            ("unknown", 500),
            ("invalid_argument", 400),
            ("deadline_exceeded", 504),
            ("not_found", 404),
            ("already_exists", 409),
            ("permission_denied", 403),
            ("resource_exhausted", 429),
            ("failed_precondition", 400),
            ("aborted", 409),
            ("out_of_range", 400),
            ("unimplemented", 501),
            ("internal", 500),
            ("unavailable", 503),
            ("data_loss", 500),
            ("unauthenticated", 401),
        ];
        assert_eq!(table, expect);
        for code in Code::ALL {
            assert_eq!(Code::from_name(code.as_str()), Some(code));
        }
        assert_eq!(Code::from_name("NotFound"), None);
    }

    #[test]
    fn statuses_without_a_body_have_a_code() {
        let check = |status, expect| assert_eq!(Code::from_http_status(status), expect, "{status}");
        check(200, Code::Unknown);
        check(400, Code::Internal);
        check(401, Code::Unauthenticated);
        check(403, Code::PermissionDenied);
        check(404, Code::Unimplemented);
        check(429, Code::Unavailable);
        check(500, Code::Unknown);
        check(503, Code::Unavailable);
    }
}
