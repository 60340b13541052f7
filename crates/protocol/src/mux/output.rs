//! The way out: streams take turns filling a small buffer, and only when it is empty.
//!
//! Whatever waits, waits as state of its stream. So a peer that does not read costs one buffer, and a reset
//! overtakes the data that it makes pointless.

use std::collections::VecDeque;

use super::stream::Turn;
use super::{Event, MAGIC, Mux, Output, StreamId, VERSION};
use crate::frame::{self, Kind};

/// Streams write until the buffer holds that much; the last frame may go over it.
const FILL_BYTES: usize = 65_536;

/// A frame with descriptors in the buffer.
#[derive(Debug)]
struct Mark {
    /// Where the frame begins.
    at: usize,
    stream: StreamId,
    fds: u8,
}

#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    /// How much of `bytes` is on its way.
    sent: usize,
    marks: VecDeque<Mark>,
    /// Streams with something to write, in the order of their turns. A stream stands here at most once, and a
    /// new one behind all before it: opening frames leave in the order of their ids.
    pub(super) ready: VecDeque<u32>,
    pub(super) ping: Option<u64>,
    /// Token of the last ping that is not answered.
    pub(super) pong: Option<u64>,
}

impl Buffer {
    pub(super) fn new() -> Self {
        let mut bytes = Vec::new();
        let [min, max] = [VERSION; 2].map(u16::to_le_bytes);
        frame::encode(&mut bytes, Kind::Hello, 0, 0, &[&MAGIC[..], &min, &max].concat());
        Self { bytes, sent: 0, marks: VecDeque::new(), ready: VecDeque::new(), ping: None, pong: None }
    }

    fn write_connection(&mut self) {
        let tokens = [(Kind::Pong, self.pong.take()), (Kind::Ping, self.ping.take())];
        for (kind, token) in tokens {
            if let Some(token) = token {
                frame::encode(&mut self.bytes, kind, 0, 0, &token.to_le_bytes());
            }
        }
    }
}

impl Mux {
    /// What to write next; `None` when there is nothing.
    ///
    /// Ask again after each [`Mux::advance`]: what belongs to one set of descriptors never shares an
    /// [`Output`] with bytes before it or with another set.
    pub fn pending_output(&mut self) -> Option<Output<'_>> {
        if self.output.sent == self.output.bytes.len() {
            self.fill();
        }
        let Buffer { bytes, sent, marks, .. } = &self.output;
        let here = marks.front().filter(|mark| mark.at == *sent);
        let next = marks.iter().find(|mark| mark.at > *sent);
        let bytes = &bytes[*sent..next.map_or(bytes.len(), |mark| mark.at)];
        if bytes.is_empty() {
            return None;
        }
        Some(Output { bytes, fds: here.map(|mark| mark.stream), fd_count: here.map_or(0, |mark| mark.fds) })
    }

    /// Tells that the first `written` bytes of [`Mux::pending_output`] were written.
    ///
    /// # Panics
    /// When that is more than there was.
    pub fn advance(&mut self, written: usize) {
        let output = &mut self.output;
        assert!(written <= output.bytes.len() - output.sent, "more written than was pending");
        output.sent += written;
        while output.marks.front().is_some_and(|mark| mark.at < output.sent) {
            output.marks.pop_front();
        }
    }

    /// True when there is something to write.
    #[must_use]
    pub fn has_output(&self) -> bool {
        let output = &self.output;
        let waiting = !output.ready.is_empty() || output.ping.is_some() || output.pong.is_some();
        waiting || output.sent < output.bytes.len()
    }

    fn fill(&mut self) {
        self.output.bytes.clear();
        self.output.sent = 0;
        self.output.write_connection();
        while self.output.bytes.len() < FILL_BYTES {
            let Some(id) = self.output.ready.pop_front() else {
                return;
            };
            self.write_turn(id);
        }
    }

    fn write_turn(&mut self, id: u32) {
        let stream = self.streams.get_mut(&id).expect("streams leave the ring when they are removed");
        stream.scheduled = false;
        if let Some((_, fds @ 1..)) = stream.head {
            let at = self.output.bytes.len();
            self.output.marks.push_back(Mark { at, stream: StreamId(id), fds });
        }
        let turn = stream.write_turn(id, &mut self.output.bytes);
        if stream.owes_writable() {
            self.events.push_back(Event::Writable { id: StreamId(id) });
        }
        match turn {
            Turn::Idle => {}
            Turn::More => self.schedule(id),
            Turn::Gone => self.remove(id),
        }
    }
}
