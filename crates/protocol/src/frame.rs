//! Frames: the units in which two ends of a socket pair talk.
//!
//! ```text
//!   0        4          8      9       10         12
//!   | len u32 | stream u32 | kind u8 | flags u8 | reserved u16 = 0 | payload, len bytes |
//! ```
//!
//! All integers are little endian. `len` counts the payload only and is at most 65,536; each kind narrows it
//! further. Stream 0 is the connection itself. `flags` is 0, except in [`Kind::Open`] where it is the number
//! of file descriptors that ride with the frame: the sender attaches them (`SCM_RIGHTS`) to the send that
//! carries the first byte of the frame, so that the receiver has them when the frame is complete.
//!
//! The decoder faces code that nobody trusts: it refuses a bad header before it keeps a byte of payload, and
//! it never holds more than one unfinished frame, grown as the bytes arrive and not as the header claims.

use thiserror::Error;

/// Size of the header of every frame.
pub const HEADER_BYTES: usize = 12;
/// The most payload a frame may carry: what a default socket buffer takes in one go, and small enough that
/// one busy stream does not hold up the others.
pub const MAX_PAYLOAD_BYTES: usize = 65_536;
/// The most payload of [`Kind::Open`] and [`Kind::Reply`]: a path and some headers.
pub const MAX_HEAD_BYTES: usize = 16_384;
/// The most file descriptors that ride with one [`Kind::Open`] (the kernel allows 253; we need one per
/// cgroup hierarchy of the host).
pub const MAX_FDS: u8 = 16;

/// What a frame is about. The numbers are the wire format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// First frame of each side: who speaks, and which versions. Stream 0.
    Hello = 1,
    /// Opens a stream with an encoded request head.
    Open = 2,
    /// Answers a stream with an encoded response head.
    Reply = 3,
    /// A piece of a body, never empty.
    Data = 4,
    /// The sender's body is complete. Empty.
    End = 5,
    /// The stream is over at once, both ways. Payload: code u32.
    Reset = 6,
    /// The sender may send that many more bytes. Payload: credit u32.
    Window = 7,
    /// Asks for a [`Kind::Pong`] with the same 8 bytes. Stream 0.
    Ping = 8,
    /// Answers the last [`Kind::Ping`]. Stream 0.
    Pong = 9,
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Hello,
        Self::Open,
        Self::Reply,
        Self::Data,
        Self::End,
        Self::Reset,
        Self::Window,
        Self::Ping,
        Self::Pong,
    ];

    fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == value)
    }

    /// Smallest and largest payload, in bytes.
    fn payload_range(self) -> (usize, usize) {
        match self {
            // Room for what later versions append; the first 8 bytes are fixed.
            Self::Hello => (8, 64),
            Self::Open | Self::Reply => (2, MAX_HEAD_BYTES),
            Self::Data => (1, MAX_PAYLOAD_BYTES),
            Self::End => (0, 0),
            Self::Reset | Self::Window => (4, 4),
            Self::Ping | Self::Pong => (8, 8),
        }
    }

    fn is_connection_wide(self) -> bool {
        match self {
            Self::Hello | Self::Ping | Self::Pong => true,
            Self::Open | Self::Reply | Self::Data | Self::End | Self::Reset | Self::Window => false,
        }
    }
}

/// The fixed part of a frame, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Bytes of payload that follow.
    pub len: usize,
    /// 0 for the connection, else the stream.
    pub stream: u32,
    /// What the frame is about.
    pub kind: Kind,
    /// Descriptors that ride with it; 0 for everything but [`Kind::Open`].
    pub fds: u8,
}

impl Header {
    /// Writes the header as it stands on the wire.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        debug_assert!(self.len <= MAX_PAYLOAD_BYTES, "payload of {} bytes", self.len);
        let len = u32::try_from(self.len).unwrap_or(u32::MAX).to_le_bytes();
        let stream = self.stream.to_le_bytes();
        let mut out = [0; HEADER_BYTES];
        out[..4].copy_from_slice(&len);
        out[4..8].copy_from_slice(&stream);
        out[8] = self.kind as u8;
        out[9] = self.fds;
        out
    }

    /// Reads and checks a header.
    ///
    /// # Errors
    /// Every [`enum@Error`]: the bytes are not a frame that this version could have sent.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, Error> {
        let [l0, l1, l2, l3, s0, s1, s2, s3, kind, fds, r0, r1] = *bytes;
        let kind = Kind::from_u8(kind).ok_or(Error::Kind(kind))?;
        let reserved = u16::from_le_bytes([r0, r1]);
        if reserved != 0 {
            return Err(Error::Reserved(reserved));
        }
        let len = u32::from_le_bytes([l0, l1, l2, l3]);
        let (min, max) = kind.payload_range();
        let size = usize::try_from(len).ok().filter(|len| (min..=max).contains(len));
        let size = size.ok_or(Error::Length { kind, len })?;
        let stream = u32::from_le_bytes([s0, s1, s2, s3]);
        if kind.is_connection_wide() != (stream == 0) {
            return Err(Error::Stream { kind, stream });
        }
        let most = if kind == Kind::Open { MAX_FDS } else { 0 };
        if fds > most {
            return Err(Error::Flags { kind, flags: fds });
        }
        Ok(Self { len: size, stream, kind, fds })
    }
}

/// A whole frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The stream, the kind and how many descriptors came along.
    pub header: Header,
    /// `header.len` bytes.
    pub payload: Vec<u8>,
}

/// Appends a frame to `out`.
///
/// The caller keeps the limits of the kind: a payload that is too long or a wrong stream is our own bug and
/// panics in debug builds.
pub fn encode(out: &mut Vec<u8>, kind: Kind, stream: u32, fds: u8, payload: &[u8]) {
    let header = Header { len: payload.len(), stream, kind, fds }.encode();
    debug_assert!(Header::decode(&header).is_ok(), "{:?}", Header::decode(&header));
    out.extend_from_slice(&header);
    out.extend_from_slice(payload);
}

/// Why bytes are not a frame. After any of these the connection is lost: there is no way to find the next
/// frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Error {
    /// No kind has this number.
    #[error("frame kind {0} does not exist")]
    Kind(u8),
    /// The reserved bytes are not zero.
    #[error("reserved bytes of a frame are {0:#06x}, not 0")]
    Reserved(u16),
    /// The payload is too short or too long for the kind.
    #[error("{kind:?} frame with a payload of {len} bytes")]
    Length {
        /// Of the frame.
        kind: Kind,
        /// As claimed by the header.
        len: u32,
    },
    /// A frame of the connection names a stream, or one of a stream names none.
    #[error("{kind:?} frame on stream {stream}")]
    Stream {
        /// Of the frame.
        kind: Kind,
        /// As claimed by the header.
        stream: u32,
    },
    /// Flags that the kind does not have.
    #[error("{kind:?} frame with flags {flags:#04x}")]
    Flags {
        /// Of the frame.
        kind: Kind,
        /// As claimed by the header.
        flags: u8,
    },
}

/// Finds frames in a stream of bytes that arrives in pieces of any size.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Header and payload of the unfinished frame, at most one frame long.
    partial: Vec<u8>,
}

impl Decoder {
    /// A decoder at the start of a frame.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes bytes from the front of `input` until a frame is whole; `None` when `input` is used up first.
    ///
    /// Call it until it gives `None`.
    ///
    /// # Errors
    /// The bytes are not a frame; every later call gives the same error.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Frame>, Error> {
        self.take(input, HEADER_BYTES);
        let Some(header) = self.partial.first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        // A bad header stays where it is and is refused again.
        let header = Header::decode(header)?;
        self.take(input, HEADER_BYTES + header.len);
        if self.partial.len() < HEADER_BYTES + header.len {
            return Ok(None);
        }
        let payload = self.partial.split_off(HEADER_BYTES);
        self.partial.clear();
        Ok(Some(Frame { header, payload }))
    }

    /// True between two frames: the place where a peer may leave in good order.
    #[must_use]
    pub fn is_at_border(&self) -> bool {
        self.partial.is_empty()
    }

    /// Bytes held for the unfinished frame, at most a header and [`MAX_PAYLOAD_BYTES`].
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.partial.len()
    }

    /// Moves bytes from `input` until `target` bytes are held.
    fn take(&mut self, input: &mut &[u8], target: usize) {
        let wanted = target.saturating_sub(self.partial.len()).min(input.len());
        let (taken, rest) = input.split_at(wanted);
        self.partial.extend_from_slice(taken);
        *input = rest;
    }
}
