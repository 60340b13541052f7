//! One stream of a connection: what is queued, what was promised, which halves are closed.

use std::collections::VecDeque;

use super::{SEND_QUEUE_BYTES, WINDOW_BYTES};
use crate::frame::{self, Kind};

/// Credit is given back in steps, not byte by byte: a quarter of the window keeps the sender going while the
/// frame is under way.
const GRANT_STEP_BYTES: usize = WINDOW_BYTES / 4;
/// How much one stream sends before it is the next one's turn.
const TURN_BYTES: usize = 16 * 1024;

/// Our half.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sending {
    Open,
    /// Complete, with bytes or the end still to be written.
    Finishing,
    Finished,
}

#[derive(Debug)]
pub(super) struct Stream {
    /// We opened it.
    pub(super) ours: bool,
    /// It stands in the ring of streams that have something to write.
    pub(super) scheduled: bool,
    /// Encoded request (ours) or response (theirs) that is still to be written, and its descriptors.
    pub(super) head: Option<(Vec<u8>, u8)>,
    /// The response head was given (theirs) or has arrived (ours).
    pub(super) replied: bool,
    pub(super) sending: Sending,
    /// We gave it up; all that is left is to say so.
    pub(super) reset: Option<u32>,
    queue: VecDeque<u8>,
    /// Bytes that the peer lets us send.
    credit: usize,
    /// We refused bytes and owe a `Writable`.
    refused: bool,
    /// Bytes that the peer may send.
    window: usize,
    /// Bytes handed to the application and not consumed yet.
    unconsumed: usize,
    /// Bytes consumed and not given back yet.
    grant: usize,
    /// The peer's half is closed.
    pub(super) peer_finished: bool,
}

/// What a turn of writing did.
pub(super) enum Turn {
    /// Nothing more to write now.
    Idle,
    /// There is more.
    More,
    /// The stream is gone.
    Gone,
}

impl Stream {
    pub(super) fn opened_by_us(head: Vec<u8>, fds: u8) -> Self {
        Self { ours: true, head: Some((head, fds)), ..Self::opened_by_peer() }
    }

    pub(super) fn opened_by_peer() -> Self {
        Self {
            ours: false,
            scheduled: false,
            head: None,
            replied: false,
            sending: Sending::Open,
            reset: None,
            queue: VecDeque::new(),
            credit: WINDOW_BYTES,
            refused: false,
            window: WINDOW_BYTES,
            unconsumed: 0,
            grant: 0,
            peer_finished: false,
        }
    }

    pub(super) fn room(&self) -> usize {
        match self.sending {
            Sending::Open if self.reset.is_none() => SEND_QUEUE_BYTES - self.queue.len(),
            Sending::Open | Sending::Finishing | Sending::Finished => 0,
        }
    }

    pub(super) fn enqueue(&mut self, bytes: &[u8]) -> usize {
        let accepted = bytes.len().min(self.room());
        self.queue.extend(&bytes[..accepted]);
        self.refused |= accepted < bytes.len();
        accepted
    }

    pub(super) fn finish(&mut self) {
        self.sending = Sending::Finishing;
        self.refused = false;
    }

    pub(super) fn give_up(&mut self, code: u32) {
        self.reset = Some(code);
        self.queue = VecDeque::new();
        self.refused = false;
    }

    /// True when there is credit worth a frame.
    pub(super) fn consume(&mut self, bytes: usize) -> bool {
        debug_assert!(bytes <= self.unconsumed, "{bytes} bytes consumed of {}", self.unconsumed);
        let bytes = bytes.min(self.unconsumed);
        self.unconsumed -= bytes;
        self.grant += bytes;
        self.grant >= GRANT_STEP_BYTES && !self.peer_finished
    }

    /// Accounts for data from the peer; false when it had no credit for it.
    pub(super) fn take_in(&mut self, bytes: usize) -> bool {
        let Some(window) = self.window.checked_sub(bytes) else {
            return false;
        };
        self.window = window;
        self.unconsumed += bytes;
        true
    }

    /// Takes credit from the peer; false when it is more than we can have used.
    pub(super) fn take_credit(&mut self, bytes: u32) -> bool {
        let credit = usize::try_from(bytes).ok().and_then(|bytes| self.credit.checked_add(bytes));
        let credit = credit.filter(|credit| *credit <= WINDOW_BYTES);
        self.credit = credit.unwrap_or(self.credit);
        credit.is_some()
    }

    /// True when there are bytes to send and credit to send them.
    pub(super) fn can_send(&self) -> bool {
        !self.queue.is_empty() && self.credit > 0
    }

    /// True once after room was made for somebody who was refused.
    pub(super) fn owes_writable(&mut self) -> bool {
        let owes = self.refused && self.queue.len() <= SEND_QUEUE_BYTES / 2;
        self.refused &= !owes;
        owes
    }

    /// Writes what this stream has to say, at most one frame of data.
    pub(super) fn write_turn(&mut self, id: u32, out: &mut Vec<u8>) -> Turn {
        if let Some(code) = self.reset {
            frame::encode(out, Kind::Reset, id, 0, &code.to_le_bytes());
            return Turn::Gone;
        }
        self.write_head(id, out);
        self.write_grant(id, out);
        self.write_data(id, out);
        if self.can_send() {
            return Turn::More;
        }
        if self.sending == Sending::Finishing && self.queue.is_empty() {
            frame::encode(out, Kind::End, id, 0, &[]);
            self.sending = Sending::Finished;
        }
        if self.sending == Sending::Finished && self.peer_finished { Turn::Gone } else { Turn::Idle }
    }

    fn write_head(&mut self, id: u32, out: &mut Vec<u8>) {
        if let Some((head, fds)) = self.head.take() {
            let kind = if self.ours { Kind::Open } else { Kind::Reply };
            frame::encode(out, kind, id, fds, &head);
        }
    }

    fn write_grant(&mut self, id: u32, out: &mut Vec<u8>) {
        if self.grant < GRANT_STEP_BYTES || self.peer_finished {
            return;
        }
        let grant = u32::try_from(self.grant).expect("never more than the window");
        frame::encode(out, Kind::Window, id, 0, &grant.to_le_bytes());
        self.window += self.grant;
        self.grant = 0;
    }

    fn write_data(&mut self, id: u32, out: &mut Vec<u8>) {
        let len = self.queue.len().min(self.credit).min(TURN_BYTES);
        if len == 0 {
            return;
        }
        let header = frame::Header { len, stream: id, kind: Kind::Data, fds: 0 };
        out.extend_from_slice(&header.encode());
        let (front, back) = self.queue.as_slices();
        let from_front = len.min(front.len());
        out.extend_from_slice(&front[..from_front]);
        out.extend_from_slice(&back[..len - from_front]);
        self.queue.drain(..len);
        self.credit -= len;
        if self.queue.is_empty() {
            // An idle stream keeps no buffer.
            self.queue = VecDeque::new();
        }
    }
}
