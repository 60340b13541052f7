//! What is to be sent on streams beyond what the multiplexer takes at once.
//!
//! [`crate::mux::Mux::send`] accepts as much as its window of memory allows; a caller with a whole message of megabytes
//! hands it to an outbox instead, which passes it on as room appears. Callers bound what they hand in.

use std::collections::{BTreeMap, VecDeque};

use crate::mux::{Mux, StreamId};

/// Bytes that wait, per stream.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: BTreeMap<StreamId, Waiting>,
}

#[derive(Debug)]
struct Waiting {
    bytes: VecDeque<u8>,
    finish: bool,
}

impl Outbox {
    /// Queues all of `bytes`. Without effect on a stream that is gone.
    pub fn send(&mut self, mux: &mut Mux, id: StreamId, bytes: &[u8]) {
        if let Some(waiting) = self.waiting.get_mut(&id) {
            waiting.bytes.extend(bytes);
            return;
        }
        let Ok(accepted) = mux.send(id, bytes) else { return };
        if accepted < bytes.len() {
            let rest = bytes[accepted..].iter().copied().collect();
            self.waiting.insert(id, Waiting { bytes: rest, finish: false });
        }
    }

    /// Declares our body complete once all that waits has gone.
    pub fn finish(&mut self, mux: &mut Mux, id: StreamId) {
        match self.waiting.get_mut(&id) {
            Some(waiting) => waiting.finish = true,
            // A stream that is gone needs no end.
            None => drop(mux.finish(id)),
        }
    }

    /// The stream has room ([`crate::mux::Event::Writable`]): passes on what goes.
    pub fn writable(&mut self, mux: &mut Mux, id: StreamId) {
        let Some(waiting) = self.waiting.get_mut(&id) else { return };
        while !waiting.bytes.is_empty() {
            match mux.send(id, waiting.bytes.as_slices().0) {
                Ok(0) => return,
                Ok(accepted) => drop(waiting.bytes.drain(..accepted)),
                Err(_) => waiting.bytes.clear(),
            }
        }
        if self.waiting.remove(&id).is_some_and(|waiting| waiting.finish) {
            self.finish(mux, id);
        }
    }

    /// How much more the stream takes before bytes pile up here.
    #[must_use]
    pub fn room(&self, mux: &Mux, id: StreamId) -> usize {
        if self.waiting.contains_key(&id) { 0 } else { mux.writable(id) }
    }

    /// Drops what waits on a stream that was reset.
    pub fn forget(&mut self, id: StreamId) {
        self.waiting.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::head::Head;
    use crate::mux::{Event, Side};

    #[test]
    fn a_message_larger_than_every_window_arrives_whole() {
        let message: Vec<u8> = (0..3_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
        let (mut upper, mut lower, mut outbox) =
            (Mux::new(Side::Upper), Mux::new(Side::Lower), Outbox::default());
        let id = upper.open(&Head::new("/x"), 0).unwrap();
        outbox.send(&mut upper, id, &message);
        outbox.send(&mut upper, id, b"tail");
        outbox.finish(&mut upper, id);
        assert_eq!(outbox.room(&upper, id), 0);
        let (mut got, mut finished) = (Vec::new(), false);
        while !finished {
            pass(&mut upper, &mut lower);
            while let Some(event) = lower.poll_event() {
                match event {
                    Event::Data { id, bytes } => {
                        lower.consume(id, bytes.len());
                        got.extend(bytes);
                    }
                    Event::Finished { .. } => finished = true,
                    Event::Hello { .. }
                    | Event::Opened { .. }
                    | Event::Replied { .. }
                    | Event::Reset { .. }
                    | Event::Writable { .. }
                    | Event::Pong { .. } => {}
                }
            }
            pass(&mut lower, &mut upper);
            while let Some(event) = upper.poll_event() {
                if let Event::Writable { id } = event {
                    outbox.writable(&mut upper, id);
                }
            }
        }
        assert_eq!(got.len(), message.len() + 4);
        assert!(got.starts_with(&message) && got.ends_with(b"tail"));
    }

    fn pass(from: &mut Mux, to: &mut Mux) {
        while let Some(output) = from.pending_output() {
            let bytes = output.bytes.to_vec();
            for piece in bytes.chunks(60_000) {
                to.receive(piece).unwrap();
            }
            from.advance(bytes.len());
        }
    }
}
