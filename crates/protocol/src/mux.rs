//! Many streams over one socket: the state of one connection, without the socket.
//!
//! The upper side (`sandkeep` towards a supervisor, a supervisor towards its agent) opens odd ids, the lower
//! side even ones; both may open at any time. A stream is one call:
//!
//! ```text
//!   opener     Open(head) ── Data* ── End            End closes one direction; Reset closes both at once;
//!   acceptor        Reply(head) ── Data* ── End      a stream is gone when both directions are closed
//! ```
//!
//! *Credit.* Each direction of each stream starts with [`WINDOW_BYTES`]; the receiver gives back what its
//! application has consumed ([`Mux::consume`]). There is no credit for the connection: one stream that nobody
//! reads never holds up another. Who wants no more of a body goes on consuming, or resets the stream.
//!
//! *Memory.* What we hold for a peer is bounded whatever it sends: at most [`MAX_STREAMS`] streams per
//! direction, [`WINDOW_BYTES`] of unconsumed data each, [`SEND_QUEUE_BYTES`] of unsent data each, one
//! unfinished frame. Answers that a peer does not read are states of streams, not a growing list of frames.
//!
//! *Faults.* A peer that breaks the rules gets a [`Violation`]; the connection is over and every later
//! [`Mux::receive`] says the same. Frames for streams that are gone are ignored: they may have been on their
//! way. An id that was skipped by the opener counts as gone.
//!
//! *Use.* The owner of the socket loops: [`Mux::receive`] what was read (at most [`RECEIVE_BYTES`] at a time),
//! [`Mux::poll_event`] until `None`, write [`Mux::pending_output`] and tell [`Mux::advance`]. Writing may make
//! streams writable: poll events after it, too.
//!
//! *Descriptors.* The mux only counts them. A sender keeps the descriptors of a stream until
//! [`Output::fds`] names it and attaches them to the send of exactly those bytes. A receiver keeps what arrives
//! in a queue and takes as many from its front as [`Event::Opened`] says; fewer there is a fault of the peer,
//! and what is left over at the end is closed.

mod error;
mod event;
mod output;
mod receive;
mod stream;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use crate::frame;
use crate::head::{Head, ResponseHead};
use stream::{Sending, Stream};

pub use error::{OpenError, StreamError, Violation};
pub use event::{Event, Output, Side, StreamId, reset_code};

/// What each direction of a stream may have under way before the receiver consumes: about what a pipe and a
/// socket buffer hold together, so that one stream can fill the socket.
pub const WINDOW_BYTES: usize = 256 * 1024;
/// What may wait to be sent per stream before [`Mux::send`] accepts nothing more.
pub const SEND_QUEUE_BYTES: usize = 256 * 1024;
/// Streams that each side may have open at once.
pub const MAX_STREAMS: usize = 256;
/// How much to read and hand to [`Mux::receive`] at a time.
pub const RECEIVE_BYTES: usize = 65_536;
/// Version of the framing that we speak; [`Event::Hello`] tells what both agreed on.
pub const VERSION: u16 = 1;

/// Opens the first frame of each side.
const MAGIC: [u8; 4] = *b"SKMX";
/// Events that may wait; more than [`RECEIVE_BYTES`] of the smallest frames give. A caller that drains
/// events after each receive never meets it.
const MAX_EVENTS: usize = 16_384;

/// One end of a connection.
#[derive(Debug)]
pub struct Mux {
    side: Side,
    decoder: frame::Decoder,
    violation: Option<Violation>,
    greeted: bool,
    streams: BTreeMap<u32, Stream>,
    /// Next id of ours.
    next_id: u32,
    /// Highest id that the peer opened, or 0.
    last_peer_id: u32,
    events: VecDeque<Event>,
    output: output::Buffer,
}

impl Mux {
    /// A fresh connection; its greeting is already pending.
    #[must_use]
    pub fn new(side: Side) -> Self {
        Self {
            side,
            decoder: frame::Decoder::new(),
            violation: None,
            greeted: false,
            streams: BTreeMap::new(),
            next_id: side.first_id(),
            last_peer_id: 0,
            events: VecDeque::new(),
            output: output::Buffer::new(),
        }
    }

    /// Opens a stream. `fds` descriptors (at most [`frame::MAX_FDS`]) will ride with its first frame.
    ///
    /// # Errors
    /// See [`OpenError`]; nothing was done.
    pub fn open(&mut self, head: &Head, fds: u8) -> Result<StreamId, OpenError> {
        if fds > frame::MAX_FDS {
            return Err(OpenError::TooManyFds(fds));
        }
        if self.count(true) >= MAX_STREAMS {
            return Err(OpenError::TooManyStreams);
        }
        let id = self.next_id;
        let next = id.checked_add(2).ok_or(OpenError::Exhausted)?;
        let head = head.encode()?;
        self.next_id = next;
        self.streams.insert(id, Stream::opened_by_us(head, fds));
        self.schedule(id);
        Ok(StreamId(id))
    }

    /// Answers a stream that the peer opened, before any data.
    ///
    /// # Errors
    /// [`StreamError::Gone`], [`StreamError::Replied`], [`StreamError::Head`].
    pub fn reply(&mut self, id: StreamId, head: &ResponseHead) -> Result<(), StreamError> {
        let stream = self.live(id)?;
        if stream.ours || stream.replied {
            return Err(StreamError::Replied);
        }
        stream.head = Some((head.encode()?, 0));
        stream.replied = true;
        self.schedule(id.0);
        Ok(())
    }

    /// Queues bytes of our body and says how many were accepted, 0..=`bytes.len()`. When it is less than all,
    /// [`Event::Writable`] comes once half of [`SEND_QUEUE_BYTES`] is free.
    ///
    /// # Errors
    /// [`StreamError::Gone`], [`StreamError::Finished`], [`StreamError::NotReplied`].
    pub fn send(&mut self, id: StreamId, bytes: &[u8]) -> Result<usize, StreamError> {
        let accepted = self.writable_stream(id)?.enqueue(bytes);
        if accepted > 0 {
            self.schedule(id.0);
        }
        Ok(accepted)
    }

    /// How many bytes [`Mux::send`] would accept now; 0 also when the stream is gone.
    #[must_use]
    pub fn writable(&self, id: StreamId) -> usize {
        self.streams.get(&id.0).map_or(0, Stream::room)
    }

    /// Declares our body complete, once what is queued has gone.
    ///
    /// # Errors
    /// [`StreamError::Gone`], [`StreamError::Finished`], [`StreamError::NotReplied`].
    pub fn finish(&mut self, id: StreamId) -> Result<(), StreamError> {
        self.writable_stream(id)?.finish();
        self.schedule(id.0);
        Ok(())
    }

    /// Gives the stream up both ways, dropping what is queued; nothing more is heard of it. Without effect on
    /// a stream that is gone.
    pub fn reset(&mut self, id: StreamId, code: u32) {
        let Ok(stream) = self.live(id) else {
            return;
        };
        if stream.ours && stream.head.is_some() {
            // The peer has not heard of it and never will.
            self.remove(id.0);
        } else {
            stream.give_up(code);
            self.schedule(id.0);
        }
        self.events.retain(|event| event.stream() != Some(id));
    }

    /// Gives credit back for `bytes` of [`Event::Data`] that the application is done with. Without effect on a
    /// stream that is gone.
    pub fn consume(&mut self, id: StreamId, bytes: usize) {
        if self.streams.get_mut(&id.0).is_some_and(|stream| stream.consume(bytes)) {
            self.schedule(id.0);
        }
    }

    /// Asks the peer for a [`Event::Pong`]; replaces a ping that has not gone out yet.
    pub fn ping(&mut self, token: u64) {
        self.output.ping = Some(token);
    }

    /// The next thing that the other side did.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Streams that are not gone, of both sides.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.streams.len()
    }

    /// True when the peer may leave here without cutting a frame in two.
    #[must_use]
    pub fn is_at_border(&self) -> bool {
        self.decoder.is_at_border()
    }

    fn count(&self, ours: bool) -> usize {
        self.streams.values().filter(|stream| stream.ours == ours).count()
    }

    /// A stream that we have not given up.
    fn live(&mut self, id: StreamId) -> Result<&mut Stream, StreamError> {
        self.streams.get_mut(&id.0).filter(|stream| stream.reset.is_none()).ok_or(StreamError::Gone)
    }

    /// A stream that takes more of our body.
    fn writable_stream(&mut self, id: StreamId) -> Result<&mut Stream, StreamError> {
        let stream = self.live(id)?;
        if !stream.ours && !stream.replied {
            return Err(StreamError::NotReplied);
        }
        match stream.sending {
            Sending::Open => Ok(stream),
            Sending::Finishing | Sending::Finished => Err(StreamError::Finished),
        }
    }

    fn schedule(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id).filter(|stream| !stream.scheduled) {
            stream.scheduled = true;
            self.output.ready.push_back(id);
        }
    }

    fn remove(&mut self, id: u32) {
        if self.streams.remove(&id).is_some_and(|stream| stream.scheduled) {
            self.output.ready.retain(|ready| *ready != id);
        }
    }
}
