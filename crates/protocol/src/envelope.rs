//! Envelopes of the Connect protocol: how a stream of messages and its outcome stand in one body.
//!
//! ```text
//!   | flags u8 | length u32, big endian | message |     again and again, last one with flag 0x02
//! ```
//!
//! The last envelope holds JSON: `{}` for success or `{"error":{"code":…,"message":…}}`, in which `metadata`
//! and `details` of others are ignored. Compression (flag 0x01) is refused: it is never negotiated. Source:
//! the protocol reference at connectrpc.com/docs/protocol.

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use crate::code::Code;

/// Size of what stands before every message.
pub const PREFIX_BYTES: usize = 5;
/// Content type of a streaming body of proto-JSON messages.
pub const CONTENT_TYPE_STREAM_JSON: &str = "application/connect+json";
/// Content type of a streaming body of binary messages.
pub const CONTENT_TYPE_STREAM_PROTO: &str = "application/connect+proto";
/// Content type of a unary body in proto-JSON, and of every unary error.
pub const CONTENT_TYPE_JSON: &str = "application/json";
/// Content type of a binary unary body.
pub const CONTENT_TYPE_PROTO: &str = "application/proto";

const FLAG_COMPRESSED: u8 = 0x01;
const FLAG_END: u8 = 0x02;

/// An outcome that is not a success, as it stands in a unary error body or an end record.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
#[error("{code}: {message}")]
pub struct ConnectError {
    /// What kind of failure.
    pub code: Code,
    /// For people; safe to show.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl ConnectError {
    /// An error of this kind.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// The body of a unary error; its status is [`Code::http_status`].
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("two strings are always JSON")
    }

    /// Reads the body of a unary error. A body that is none (from a proxy, say) becomes the code that
    /// belongs to the status.
    #[must_use]
    pub fn from_json(status: u16, body: &[u8]) -> Self {
        serde_json::from_slice(body)
            .unwrap_or_else(|_| Self::new(Code::from_http_status(status), format!("HTTP status {status}")))
    }
}

#[derive(Default, Serialize, Deserialize)]
struct EndRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<ConnectError>,
}

/// One envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Envelope {
    /// An encoded message.
    Message(Vec<u8>),
    /// The stream ended; nothing follows.
    End(Result<(), ConnectError>),
}

/// The prefix of a message of `len` bytes: send it, then the message, without copying the message.
///
/// # Panics
/// On a message of 4 GiB or more, which no limit of ours lets through.
#[must_use]
pub fn prefix(len: usize) -> [u8; PREFIX_BYTES] {
    with_flags(0, len)
}

/// Appends a message in its envelope.
pub fn encode_message(out: &mut Vec<u8>, message: &[u8]) {
    out.extend_from_slice(&prefix(message.len()));
    out.extend_from_slice(message);
}

/// Appends the last envelope.
pub fn encode_end(out: &mut Vec<u8>, outcome: Result<(), ConnectError>) {
    let record = EndRecord { error: outcome.err() };
    let json = serde_json::to_vec(&record).expect("an end record is always JSON");
    out.extend_from_slice(&with_flags(FLAG_END, json.len()));
    out.extend_from_slice(&json);
}

fn with_flags(flags: u8, len: usize) -> [u8; PREFIX_BYTES] {
    let [a, b, c, d] = u32::try_from(len).expect("a message is shorter than 4 GiB").to_be_bytes();
    [flags, a, b, c, d]
}

/// Why a body is not a stream of envelopes. Nothing more can be read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Error {
    /// Longer than the reader allows.
    #[error("message of {len} bytes, at most {max} are allowed")]
    TooLarge {
        /// As claimed.
        len: usize,
        /// The reader's limit.
        max: usize,
    },
    /// Compression was not negotiated.
    #[error("message is compressed")]
    Compressed,
    /// Flags that do not exist.
    #[error("envelope flags {0:#04x} do not exist")]
    Flags(u8),
    /// The last envelope is not the JSON it must be.
    #[error("end of stream is not JSON")]
    End,
    /// Bytes follow the last envelope.
    #[error("bytes after the end of the stream")]
    AfterEnd,
}

/// Finds envelopes in a body that arrives in pieces of any size.
#[derive(Debug)]
pub struct Decoder {
    partial: Vec<u8>,
    max_message_bytes: usize,
    ended: bool,
    failed: Option<Error>,
}

impl Decoder {
    /// A decoder that refuses messages longer than that, before it keeps any of them.
    #[must_use]
    pub fn new(max_message_bytes: usize) -> Self {
        Self { partial: Vec::new(), max_message_bytes, ended: false, failed: None }
    }

    /// Takes bytes from the front of `input` until an envelope is whole; `None` when `input` is used up first.
    ///
    /// # Errors
    /// The body is not a stream of envelopes; every later call gives the same error.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Envelope>, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        self.advance(input).inspect_err(|error| self.failed = Some(*error))
    }

    /// True when the stream ended as it should: the last envelope has been seen. A body that stops without
    /// it was cut off.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// True when nothing of another envelope has come yet: a body of messages alone may stop here.
    #[must_use]
    pub fn is_at_border(&self) -> bool {
        self.partial.is_empty()
    }

    fn advance(&mut self, input: &mut &[u8]) -> Result<Option<Envelope>, Error> {
        if self.ended {
            return if input.is_empty() { Ok(None) } else { Err(Error::AfterEnd) };
        }
        self.take(input, PREFIX_BYTES);
        let Some(&[flags, a, b, c, d]) = self.partial.first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let len = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        self.check(flags, len)?;
        self.take(input, PREFIX_BYTES + len);
        if self.partial.len() < PREFIX_BYTES + len {
            return Ok(None);
        }
        // A long message is handed over whole, without a second copy; short ones keep the buffer.
        let message = self.partial.split_off(PREFIX_BYTES);
        self.partial = Vec::new();
        if flags == FLAG_END { self.end(&message).map(Some) } else { Ok(Some(Envelope::Message(message))) }
    }

    fn check(&self, flags: u8, len: usize) -> Result<(), Error> {
        if flags & FLAG_COMPRESSED != 0 {
            return Err(Error::Compressed);
        }
        if flags & !FLAG_END != 0 {
            return Err(Error::Flags(flags));
        }
        let max = self.max_message_bytes;
        if len > max { Err(Error::TooLarge { len, max }) } else { Ok(()) }
    }

    fn end(&mut self, json: &[u8]) -> Result<Envelope, Error> {
        let record: EndRecord = serde_json::from_slice(json).map_err(|_| Error::End)?;
        self.ended = true;
        Ok(Envelope::End(record.error.map_or(Ok(()), Err)))
    }

    fn take(&mut self, input: &mut &[u8], target: usize) {
        let wanted = target.saturating_sub(self.partial.len()).min(input.len());
        let (taken, rest) = input.split_at(wanted);
        self.partial.extend_from_slice(taken);
        *input = rest;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(decoder: &mut Decoder, mut input: &[u8]) -> Result<Vec<Envelope>, Error> {
        let mut found = Vec::new();
        while let Some(envelope) = decoder.next(&mut input)? {
            found.push(envelope);
        }
        Ok(found)
    }

    fn check_refused(bytes: &[u8], expect: Error) {
        let mut decoder = Decoder::new(100);
        assert_eq!(all(&mut decoder, bytes), Err(expect), "{bytes:?}");
        assert_eq!(all(&mut decoder, b""), Err(expect), "it stays");
    }

    #[test]
    fn the_wire_format_is_fixed() {
        let mut out = Vec::new();
        encode_message(&mut out, b"{}");
        encode_end(&mut out, Ok(()));
        assert_eq!(out, b"\0\0\0\0\x02{}\x02\0\0\0\x02{}");
        let mut out = Vec::new();
        encode_end(&mut out, Err(ConnectError::new(Code::NotFound, "no process 7")));
        assert_eq!(&out[5..], br#"{"error":{"code":"not_found","message":"no process 7"}}"#);
    }

    #[test]
    fn what_is_not_an_envelope_is_refused() {
        check_refused(b"\x01\0\0\0\0", Error::Compressed);
        check_refused(b"\x03\0\0\0\x02{}", Error::Compressed);
        check_refused(b"\x04\0\0\0\0", Error::Flags(4));
        check_refused(b"\x00\0\0\0\x65", Error::TooLarge { len: 101, max: 100 });
        check_refused(b"\x00\xff\xff\xff\xff", Error::TooLarge { len: 0xffff_ffff, max: 100 });
        check_refused(b"\x02\0\0\0\x01{", Error::End);
        check_refused(b"\x02\0\0\0\x0c{\"error\":42}", Error::End);
        check_refused(b"\x02\0\0\0\x02{}x", Error::AfterEnd);
    }

    #[test]
    fn ends_of_others_are_understood() {
        let check = |json: &str, expect: Result<(), ConnectError>| {
            let bytes = [&with_flags(FLAG_END, json.len())[..], json.as_bytes()].concat();
            let mut decoder = Decoder::new(1000);
            assert_eq!(all(&mut decoder, &bytes), Ok(vec![Envelope::End(expect)]), "{json}");
            assert!(decoder.is_ended());
        };
        check(r#"{"metadata":{"a":["b"]}}"#, Ok(()));
        check(r#"{"error":null}"#, Ok(()));
        check(r#"{"error":{"code":"internal"}}"#, Err(ConnectError::new(Code::Internal, "")));
        check(
            r#"{"error":{"code":"from_the_future","message":"\u00fc","details":[{"type":"x","value":"AA"}]}}"#,
            Err(ConnectError::new(Code::Unknown, "ü")),
        );
    }

    #[test]
    fn an_empty_message_is_a_message() {
        let mut decoder = Decoder::new(0);
        assert_eq!(all(&mut decoder, &prefix(0)), Ok(vec![Envelope::Message(vec![])]));
        assert!(!decoder.is_ended());
        assert!(decoder.is_at_border());
    }

    #[test]
    fn a_body_that_stops_in_a_message_is_told_from_one_that_does_not() {
        let mut whole = Vec::new();
        encode_message(&mut whole, b"ab");
        for cut in 0..=whole.len() {
            let mut decoder = Decoder::new(2);
            let found = all(&mut decoder, &whole[..cut]).unwrap();
            assert_eq!(decoder.is_at_border(), cut == 0 || cut == whole.len(), "cut after {cut}");
            assert_eq!(found.len(), usize::from(cut == whole.len()));
        }
    }

    #[test]
    fn unary_errors_are_read_from_any_body() {
        let error = ConnectError::new(Code::AlreadyExists, "there");
        assert_eq!(ConnectError::from_json(409, &error.to_json()), error);
        let error = ConnectError::from_json(502, b"<html>bad gateway");
        assert_eq!(error, ConnectError::new(Code::Unavailable, "HTTP status 502"));
    }

    proptest! {
        #[test]
        fn messages_come_back_in_pieces_of_any_size(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..10),
            piece in 1..50_usize,
        ) {
            let mut bytes = Vec::new();
            messages.iter().for_each(|message| encode_message(&mut bytes, message));
            encode_end(&mut bytes, Ok(()));
            let (mut decoder, mut found) = (Decoder::new(300), Vec::new());
            for piece in bytes.chunks(piece) {
                found.extend(all(&mut decoder, piece).unwrap());
            }
            prop_assert_eq!(found.pop(), Some(Envelope::End(Ok(()))));
            let expect: Vec<_> = messages.into_iter().map(Envelope::Message).collect();
            prop_assert_eq!(found, expect);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), piece in 1..50_usize) {
            let mut decoder = Decoder::new(50);
            for piece in bytes.chunks(piece) {
                if all(&mut decoder, piece).is_err() {
                    break;
                }
                prop_assert!(decoder.partial.len() < PREFIX_BYTES + 50);
            }
        }
    }
}
