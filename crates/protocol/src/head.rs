//! Heads of requests and responses: what stands before a body on a stream.
//!
//! They have the meaning of HTTP heads, so that a proxy can turn one into the other: the path with its query,
//! a status, headers in order with lower-case names (duplicates allowed). The method of a request is POST
//! unless the header `:method` names another. Descriptors never ride with what came in over HTTP.
//!
//! ```text
//!   request    path_len u16 | path | headers          response    status u16 | headers
//!   headers    count u8, then per header: name_len u8 | name | value_len u16 | value
//! ```
//!
//! All integers are little endian. A head is at most [`crate::frame::MAX_HEAD_BYTES`] long and nothing may
//! follow it.

mod wire;

use thiserror::Error;

use wire::{Reader, check_path, check_status, put_headers, put_u16};

/// Longest path, in bytes: room for a signed file URL, far below what proxies refuse.
pub const MAX_PATH_BYTES: usize = 8_192;
/// Most headers of one head.
pub const MAX_HEADERS: usize = 64;
/// Longest name of a header, in bytes.
pub const MAX_NAME_BYTES: usize = 255;

/// Names and values, in order.
pub type Headers = Vec<(String, String)>;

/// The head of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Head {
    /// Begins with `/`, may carry a query.
    pub path: String,
    /// Lower-case names; `:method` when it is not POST.
    pub headers: Headers,
}

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// An HTTP status, 100..=599.
    pub status: u16,
    /// Lower-case names.
    pub headers: Headers,
}

/// Why a head cannot be sent, or bytes are not a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Error {
    /// Longer than [`crate::frame::MAX_HEAD_BYTES`], or one of its parts is too long.
    #[error("head is too large")]
    TooLarge,
    /// More headers than [`MAX_HEADERS`].
    #[error("head has too many headers")]
    TooManyHeaders,
    /// Ends in the middle of a part.
    #[error("head is cut short")]
    Truncated,
    /// Bytes follow the last header.
    #[error("bytes after the head")]
    Trailing,
    /// Not `/` and visible ASCII.
    #[error("path of the head is not a path")]
    Path,
    /// Outside 100..=599.
    #[error("status {0} of the head is not a status")]
    Status(u16),
    /// Empty, or a character that HTTP does not allow in a lower-case name.
    #[error("name of a header is not one")]
    Name,
    /// Not UTF-8, or with control characters that could forge another header.
    #[error("value of a header is not one")]
    Value,
}

impl Head {
    /// A request for a path without headers.
    #[must_use]
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), headers: Headers::new() }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The value of the first header of that (lower-case) name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Writes the head as it stands on the wire.
    ///
    /// # Errors
    /// The head breaks a rule that the other side would refuse it for.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        check_path(&self.path)?;
        let mut out = Vec::with_capacity(64 + self.path.len());
        put_u16(&mut out, self.path.len())?;
        out.extend_from_slice(self.path.as_bytes());
        put_headers(&mut out, &self.headers)?;
        Ok(out)
    }

    /// Reads what [`Head::encode`] wrote.
    ///
    /// # Errors
    /// Every [`enum@Error`] but [`Error::Status`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut rest = Reader(bytes);
        let len = rest.u16()?;
        let path = rest.text(usize::from(len), Error::Path)?;
        check_path(&path)?;
        let headers = rest.headers()?;
        Ok(Self { path, headers })
    }
}

impl ResponseHead {
    /// An answer without headers.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Self { status, headers: Headers::new() }
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// The value of the first header of that (lower-case) name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// Writes the head as it stands on the wire.
    ///
    /// # Errors
    /// The head breaks a rule that the other side would refuse it for.
    pub fn encode(&self) -> Result<Vec<u8>, Error> {
        check_status(self.status)?;
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&self.status.to_le_bytes());
        put_headers(&mut out, &self.headers)?;
        Ok(out)
    }

    /// Reads what [`ResponseHead::encode`] wrote.
    ///
    /// # Errors
    /// Every [`enum@Error`] but [`Error::Path`].
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let mut rest = Reader(bytes);
        let status = rest.u16()?;
        check_status(status)?;
        let headers = rest.headers()?;
        Ok(Self { status, headers })
    }
}

fn find<'a>(headers: &'a Headers, name: &str) -> Option<&'a str> {
    headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::MAX_HEAD_BYTES;

    fn check(head: &Head, expect: Result<(), Error>) {
        let encoded = head.encode();
        assert_eq!(encoded.clone().map(|_| ()), expect, "{head:?}");
        if let Ok(bytes) = encoded {
            assert_eq!(Head::decode(&bytes).as_ref(), Ok(head));
        }
    }

    #[test]
    fn heads_come_back_as_they_were() {
        check(&Head::new("/process.Process/Start"), Ok(()));
        check(&Head::new("/files?path=%2Ftmp%2Fa").with(":method", "GET").with("x-a", "ü\t1"), Ok(()));
        check(&Head::new("/a").with("a", "").with("a", "2"), Ok(()));
    }

    #[test]
    fn what_http_would_not_carry_is_refused() {
        check(&Head::new(""), Err(Error::Path));
        check(&Head::new("a"), Err(Error::Path));
        check(&Head::new("/a b"), Err(Error::Path));
        check(&Head::new("/ü"), Err(Error::Path));
        check(&Head::new(format!("/{}", "a".repeat(MAX_PATH_BYTES))), Err(Error::TooLarge));
        check(&Head::new("/").with("", "a"), Err(Error::Name));
        check(&Head::new("/").with(":", "a"), Err(Error::Name));
        check(&Head::new("/").with("Accept", "a"), Err(Error::Name));
        check(&Head::new("/").with("a b", "a"), Err(Error::Name));
        check(&Head::new("/").with("a".repeat(256), "a"), Err(Error::TooLarge));
        check(&Head::new("/").with("a", "b\r\nc: d"), Err(Error::Value));
        check(&Head::new("/").with("a", "\0"), Err(Error::Value));
        check(&Head::new("/").with("a", "b".repeat(MAX_HEAD_BYTES)), Err(Error::TooLarge));
        let many = Head { path: "/".into(), headers: vec![("a".into(), "b".into()); MAX_HEADERS + 1] };
        check(&many, Err(Error::TooManyHeaders));
    }

    #[test]
    fn statuses_have_three_digits() {
        for (status, expect) in [(99, false), (100, true), (200, true), (599, true), (600, false)] {
            let head = ResponseHead::new(status).with("content-type", "application/proto");
            match head.encode() {
                Ok(bytes) => assert_eq!((ResponseHead::decode(&bytes), expect), (Ok(head), true)),
                Err(error) => assert_eq!((error, expect), (Error::Status(status), false)),
            }
        }
    }

    #[test]
    fn every_prefix_and_every_extra_byte_is_refused() {
        let bytes = Head::new("/a").with("b", "c").encode().unwrap();
        for len in 0..bytes.len() {
            assert_eq!(Head::decode(&bytes[..len]), Err(Error::Truncated), "{len} bytes");
        }
        let longer = [&bytes[..], b"x"].concat();
        assert_eq!(Head::decode(&longer), Err(Error::Trailing));
    }
}
