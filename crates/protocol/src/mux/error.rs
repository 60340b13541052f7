//! What cannot be done on a connection, and what a peer must not do.

use thiserror::Error;

use super::{StreamId, VERSION};
use crate::{frame, head};

/// Why a stream cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenError {
    /// [`super::MAX_STREAMS`] of ours are open; wait for one to be gone.
    #[error("too many open streams")]
    TooManyStreams,
    /// All ids were used; start a new connection.
    #[error("stream ids are used up")]
    Exhausted,
    /// More than [`frame::MAX_FDS`].
    #[error("{0} descriptors, at most {max} can ride with a frame", max = frame::MAX_FDS)]
    TooManyFds(u8),
    /// The head cannot be sent.
    #[error("head cannot be sent")]
    Head(#[from] head::Error),
}

/// Why something cannot be done on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StreamError {
    /// It is not there (any more): finished both ways, or reset by either side.
    #[error("the stream is gone")]
    Gone,
    /// Our body was declared complete before.
    #[error("our side of the stream is finished")]
    Finished,
    /// An acceptor sends its head before its body.
    #[error("the stream was not replied to")]
    NotReplied,
    /// There is one reply, and the opener gives none.
    #[error("the stream takes no reply")]
    Replied,
    /// The head cannot be sent.
    #[error("head cannot be sent")]
    Head(#[from] head::Error),
}

/// How a peer broke the rules. The connection is of no further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Violation {
    /// Not a frame.
    #[error("bytes are not a frame")]
    Frame(#[from] frame::Error),
    /// Not a head.
    #[error("head of {stream} is not one", stream = StreamId(*.stream))]
    Head {
        /// The stream.
        stream: u32,
        /// What is wrong with it.
        source: head::Error,
    },
    /// The first frame is not a greeting, or there is a second one.
    #[error("greeting is missing or repeated")]
    Hello,
    /// The greeting is not ours.
    #[error("the peer does not speak this protocol")]
    Magic,
    /// No version is known to both.
    #[error("the peer speaks versions {min} to {max}, we speak {VERSION}")]
    Version {
        /// The peer's lowest.
        min: u16,
        /// The peer's highest.
        max: u16,
    },
    /// An id of our parity, or not above all before it.
    #[error("stream {0} cannot be opened by the peer")]
    OpenedId(u32),
    /// More than [`super::MAX_STREAMS`] at once.
    #[error("too many open streams")]
    TooManyStreams,
    /// A frame for a stream that was never opened.
    #[error("frame for stream {0}, which was never opened")]
    Unknown(u32),
    /// A reply from the opener, a second reply, or a body before the reply.
    #[error("stream {0} has its reply in the wrong place")]
    Reply(u32),
    /// Data or a second end after the end.
    #[error("stream {0} goes on after its end")]
    AfterEnd(u32),
    /// More data than there was credit for.
    #[error("stream {0} overran its credit")]
    Overrun(u32),
    /// More credit than the window.
    #[error("stream {0} got more credit than it used")]
    Window(u32),
    /// More events than a caller that drains them can have.
    #[error("too many frames at once")]
    Flood,
}
