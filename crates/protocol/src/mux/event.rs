//! What a connection tells its owner: events of the peer, and bytes for the socket.

use std::fmt;

use crate::head::{Head, ResponseHead};

/// Which end of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Opens odd ids.
    Upper,
    /// Opens even ids.
    Lower,
}

impl Side {
    pub(super) fn first_id(self) -> u32 {
        match self {
            Self::Upper => 1,
            Self::Lower => 2,
        }
    }

    pub(super) fn opens(self, id: u32) -> bool {
        id % 2 == self.first_id() % 2
    }
}

/// A stream of one connection. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub(super) u32);

impl StreamId {
    /// The number on the wire, never 0.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream {}", self.0)
    }
}

/// What the other side did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It is there and speaks our protocol.
    Hello {
        /// The highest version both know.
        version: u16,
    },
    /// It opened a stream; answer with [`super::Mux::reply`] or [`super::Mux::reset`].
    Opened {
        /// The new stream.
        id: StreamId,
        /// What it asks for.
        head: Head,
        /// Descriptors that came along.
        fds: u8,
    },
    /// It answered a stream of ours.
    Replied {
        /// A stream that we opened.
        id: StreamId,
        /// Status and headers.
        head: ResponseHead,
    },
    /// A piece of a body; give credit back with [`super::Mux::consume`] once it is dealt with.
    Data {
        /// The stream.
        id: StreamId,
        /// Never empty. Borders between pieces mean nothing.
        bytes: Vec<u8>,
    },
    /// Its body is complete.
    Finished {
        /// The stream; gone if our body is complete as well.
        id: StreamId,
    },
    /// It gave up the stream, which is gone. What we had queued was dropped.
    Reset {
        /// The stream.
        id: StreamId,
        /// Its reason, see [`reset_code`].
        code: u32,
    },
    /// A stream on which [`super::Mux::send`] had accepted less than was offered has room again.
    Writable {
        /// The stream.
        id: StreamId,
    },
    /// It answered [`super::Mux::ping`] (of several pings under way maybe only the last).
    Pong {
        /// The token of the ping.
        token: u64,
    },
}

impl Event {
    /// The stream that it is about.
    pub(super) fn stream(&self) -> Option<StreamId> {
        match self {
            Self::Hello { .. } | Self::Pong { .. } => None,
            Self::Opened { id, .. }
            | Self::Replied { id, .. }
            | Self::Data { id, .. }
            | Self::Finished { id }
            | Self::Reset { id, .. }
            | Self::Writable { id } => Some(*id),
        }
    }
}

/// Reasons for a reset. Unknown ones are to be read as [`reset_code::CANCEL`].
pub mod reset_code {
    /// The result is not wanted any more.
    pub const CANCEL: u32 = 1;
    /// The stream is not for us: nothing was done.
    pub const REFUSED: u32 = 2;
    /// Our bug.
    pub const INTERNAL: u32 = 3;
    /// The body broke the rules of its content type.
    pub const PROTOCOL: u32 = 4;
}

/// Bytes for the socket.
#[derive(Debug, PartialEq, Eq)]
pub struct Output<'a> {
    /// Never empty; write as much as goes and report it to [`super::Mux::advance`].
    pub bytes: &'a [u8],
    /// The descriptors of this stream, [`Output::fd_count`] of them, must be attached to this write. They are
    /// gone with the first byte written.
    pub fds: Option<StreamId>,
    /// How many descriptors; 0 without `fds`.
    pub fd_count: u8,
}
