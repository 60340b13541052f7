//! Telling listeners: what the log has from where they are, as fast as they take it, and the end after it.
//!
//! A slow listener reads from the log and not from a queue of its own; what the log no longer has by then
//! becomes a gap for it, as for anyone who comes later.

use sandkeep_core::output::{OutputLog, Piece, Stream};
use sandkeep_protocol::supervisor as proto;
use sandkeep_protocol::supervisor::__buffa::oneof::event::Event;

use super::Supervisor;
use super::execution::{Execution, Phase, Tail};
use crate::calls;
use crate::link::Link;

/// How much of the log goes into one message.
const PIECE_BYTES: usize = 64 * 1024;
/// What a message needs around its piece.
const ROOM_BYTES: usize = PIECE_BYTES + 1024;

impl Supervisor {
    /// Brings every listener as far as it can be brought now.
    pub(super) fn deliver(&mut self) {
        // Whoever holds one back is told of it once it is released.
        for execution in self.executions.values_mut().filter(|execution| !execution.is_held()) {
            let mut tails = std::mem::take(&mut execution.tails);
            tails.retain_mut(|tail| !advance(&mut self.server, execution, tail));
            execution.tails = tails;
        }
    }
}

/// True when the listener has heard everything.
fn advance(link: &mut Link, execution: &Execution, tail: &mut Tail) -> bool {
    if !tail.told_start {
        let Some(started) = &execution.started else {
            return finish(link, execution, tail);
        };
        tell(link, tail, Event::Started(Box::new(started.clone())));
        tail.told_start = true;
    }
    while link.room(tail.stream) >= ROOM_BYTES {
        match next(&execution.log, &mut tail.offset) {
            Some(event) => tell(link, tail, event),
            None => return finish(link, execution, tail),
        }
    }
    false
}

fn next(log: &OutputLog, offset: &mut u64) -> Option<Event> {
    match log.read(*offset, PIECE_BYTES) {
        Piece::Bytes { offset: at, stream, bytes } => {
            *offset = at + bytes.len() as u64;
            let stream = match stream {
                Stream::Stdout => proto::Stream::STREAM_STDOUT,
                Stream::Stderr => proto::Stream::STREAM_STDERR,
            };
            let data = bytes.to_vec();
            Some(Event::Output(Box::new(proto::Output { offset: at, stream: stream.into(), data })))
        }
        Piece::Gap { from, to } => {
            *offset = to;
            Some(Event::Gap(Box::new(proto::Gap { from, to })))
        }
        Piece::End => None,
    }
}

fn finish(link: &mut Link, execution: &Execution, tail: &Tail) -> bool {
    let Phase::Ended(end) = &execution.phase else { return false };
    // An execution that could not start may still have a log to tell: it has not, so this is its end.
    tell(link, tail, Event::End(end.clone()));
    calls::end(link, tail.stream, Ok(()));
    true
}

fn tell(link: &mut Link, tail: &Tail, event: Event) {
    let message = proto::Event { event: Some(event) };
    calls::push(link, tail.stream, &message);
}
