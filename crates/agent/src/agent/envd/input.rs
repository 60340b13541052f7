//! Input from clients: one piece with `SendInput`, any number on one stream with `StreamInput`.
//!
//! A piece is handed on when the process has room for it, and answered then, so a client that sends more than is read
//! waits, and nothing piles up here: of a stream no more than its window and one message is held.

use std::collections::{BTreeMap, VecDeque};

use sandkeep_protocol::envelope::{self, Code, ConnectError, Envelope};
use sandkeep_protocol::head::Head;
use sandkeep_protocol::mux::StreamId;
use sandkeep_protocol::process as envd;
use sandkeep_protocol::process::__buffa::oneof::process_input::Input;
use sandkeep_protocol::process::__buffa::oneof::stream_input_request::Event;

use super::codec::{self, Codec};
use super::process::find;
use super::pulse::out_of_time;
use crate::agent::running::Running;
use crate::calls::{self, Incoming, MAX_CLIENT_REQUEST_BYTES};
use crate::clock;
use crate::link::Link;

/// Executions by their streams, as the agent has them.
type Processes = BTreeMap<StreamId, Running>;

/// Input that is under way.
#[derive(Debug, Default)]
pub(crate) struct Inputs {
    pieces: BTreeMap<StreamId, Piece>,
    feeds: BTreeMap<StreamId, Feed>,
}

/// A call of `SendInput` that waits for room.
#[derive(Debug)]
struct Piece {
    call: Incoming,
    process: StreamId,
    input: Input,
    deadline_us: Option<u64>,
}

/// A call of `StreamInput`.
#[derive(Debug)]
struct Feed {
    call: Incoming,
    decoder: envelope::Decoder,
    /// What came and was not read yet; its credit is given back as it is read.
    waiting: VecDeque<u8>,
    process: Option<StreamId>,
    /// The client has said all.
    finished: bool,
    deadline_us: Option<u64>,
}

impl Inputs {
    /// A piece for a process of these; answered once it has room for it.
    pub(super) fn send(&mut self, id: StreamId, call: Incoming, processes: &Processes, link: &mut Link) {
        let found = codec::read(&call).and_then(|request: envd::SendInputRequest| {
            let process = find(processes, request.process.into_option())?;
            Ok((process, given(request.input.into_option())?, deadline_us(&call)?))
        });
        match found {
            Ok((process, input, deadline_us)) => {
                self.pieces.insert(id, Piece { call, process, input, deadline_us });
            }
            Err(error) => call.refuse(link, id, &error),
        }
    }

    /// A stream of input begins; what it is for, its first message says.
    pub(crate) fn open(&mut self, id: StreamId, head: &Head, link: &mut Link) {
        let call = Incoming::new(head);
        let deadline_us = match deadline_us(&call) {
            Ok(deadline_us) => deadline_us,
            Err(error) => return call.refuse(link, id, &error),
        };
        let decoder = envelope::Decoder::new(MAX_CLIENT_REQUEST_BYTES);
        let waiting = VecDeque::new();
        self.feeds.insert(id, Feed { call, decoder, waiting, process: None, finished: false, deadline_us });
    }

    /// Bytes of such a stream; false when `id` is none.
    pub(crate) fn take(&mut self, id: StreamId, bytes: &[u8]) -> bool {
        let feed = self.feeds.get_mut(&id);
        feed.map(|feed| feed.waiting.extend(bytes)).is_some()
    }

    /// The client has said all on such a stream; false when `id` is none.
    pub(crate) fn finished(&mut self, id: StreamId) -> bool {
        self.feeds.get_mut(&id).map(|feed| feed.finished = true).is_some()
    }

    pub(super) fn forget(&mut self, id: StreamId) {
        self.pieces.remove(&id);
        self.feeds.remove(&id);
    }

    /// Hands on what there is room for, and answers what is done.
    pub(crate) fn hand_on(&mut self, processes: &mut Processes, link: &mut Link) {
        let ready: Vec<StreamId> = self.pieces.keys().copied().collect();
        for id in ready {
            if self.pieces.get(&id).is_none_or(|piece| !has_room(processes, piece.process)) {
                continue;
            }
            let Some(Piece { call, process, input, .. }) = self.pieces.remove(&id) else { continue };
            let outcome = running(processes, process).and_then(|running| feed(running, input));
            codec::answer(link, id, &call, outcome.map(|()| envd::SendInputResponse::default()));
        }
        self.feeds.retain(|id, feed| match feed.advance(*id, processes, link) {
            None => true,
            Some(outcome) => {
                feed.answer(*id, outcome, link);
                false
            }
        });
    }

    pub(super) fn next_moment_us(&self) -> Option<u64> {
        let pieces = self.pieces.values().filter_map(|piece| piece.deadline_us);
        pieces.chain(self.feeds.values().filter_map(|feed| feed.deadline_us)).min()
    }

    pub(super) fn keep_time(&mut self, now: u64, link: &mut Link) {
        let in_time = |deadline_us: Option<u64>| deadline_us.is_none_or(|moment| moment > now);
        self.pieces.retain(|id, piece| {
            let in_time = in_time(piece.deadline_us);
            if !in_time {
                piece.call.refuse(link, *id, &out_of_time());
            }
            in_time
        });
        self.feeds.retain(|id, feed| {
            let in_time = in_time(feed.deadline_us);
            if !in_time {
                feed.answer(*id, Err(out_of_time()), link);
            }
            in_time
        });
    }
}

impl Feed {
    /// Reads on while the process has room; the outcome once there is one.
    fn advance(
        &mut self,
        id: StreamId,
        processes: &mut Processes,
        link: &mut Link,
    ) -> Option<Result<(), ConnectError>> {
        loop {
            if self.process.is_some_and(|process| !has_room(processes, process)) {
                return None;
            }
            match self.next(id, link) {
                Ok(Some(message)) => {
                    if let Err(error) = self.message(&message, processes) {
                        return Some(Err(error));
                    }
                }
                Ok(None) if self.finished && self.decoder.is_at_border() => return Some(Ok(())),
                Ok(None) if self.finished => return Some(Err(invalid("the input ends in the middle"))),
                Ok(None) => return None,
                Err(error @ envelope::Error::TooLarge { .. }) => {
                    return Some(Err(ConnectError::new(Code::ResourceExhausted, error.to_string())));
                }
                Err(error) => return Some(Err(invalid(&error.to_string()))),
            }
        }
    }

    /// The next message, if it is whole; gives credit back for what was read.
    fn next(&mut self, id: StreamId, link: &mut Link) -> Result<Option<Vec<u8>>, envelope::Error> {
        loop {
            let all = self.waiting.make_contiguous();
            let mut rest = &*all;
            let found = self.decoder.next(&mut rest);
            let read = all.len() - rest.len();
            self.waiting.drain(..read);
            link.consume(id, read);
            match found? {
                Some(Envelope::Message(message)) => return Ok(Some(message)),
                // Clients have no outcome to tell; one that says it is done nevertheless means no more than that.
                Some(Envelope::End(_)) => {}
                None => return Ok(None),
            }
        }
    }

    fn message(&mut self, message: &[u8], processes: &mut Processes) -> Result<(), ConnectError> {
        let request: envd::StreamInputRequest = Codec::of(&self.call).decode(message)?;
        match request.event {
            Some(Event::Start(start)) => {
                self.process = Some(find(processes, start.process.into_option())?);
                Ok(())
            }
            Some(Event::Data(data)) => {
                let process = self.process.ok_or_else(|| invalid("input before its process was named"))?;
                let input = given(data.input.into_option())?;
                feed(running(processes, process)?, input)
            }
            Some(Event::Keepalive(_)) | None => Ok(()),
        }
    }

    fn answer(&self, id: StreamId, outcome: Result<(), ConnectError>, link: &mut Link) {
        let codec = Codec::of(&self.call);
        codec.begin(link, id);
        if outcome.is_ok() {
            codec.push(link, id, &envd::StreamInputResponse::default());
        }
        calls::end(link, id, outcome);
    }
}

/// When the time is over that a call was given.
fn deadline_us(call: &Incoming) -> Result<Option<u64>, ConnectError> {
    Ok(call.timeout_us()?.map(|timeout| clock::boot_us() + timeout))
}

/// Whether the process has room for more. One that has ended has: whoever sends more is to hear that at once.
fn has_room(processes: &Processes, process: StreamId) -> bool {
    processes.get(&process).is_none_or(Running::takes_input)
}

fn running(processes: &mut Processes, process: StreamId) -> Result<&mut Running, ConnectError> {
    let gone = || ConnectError::new(Code::NotFound, "the process has ended");
    processes.get_mut(&process).ok_or_else(gone)
}

fn given(input: Option<envd::ProcessInput>) -> Result<Input, ConnectError> {
    input.and_then(|input| input.input).ok_or_else(|| invalid("there is no input in the request"))
}

/// Hands input to a process, which must be of the kind that the process takes.
fn feed(running: &mut Running, input: Input) -> Result<(), ConnectError> {
    let wrong = |text: &str| Err(ConnectError::new(Code::FailedPrecondition, text));
    let bytes = match (input, running.on_terminal) {
        (Input::Stdin(_), true) => return wrong("the process has a terminal: send pty, not stdin"),
        (Input::Pty(_), false) => return wrong("the process has no terminal: send stdin, not pty"),
        (Input::Stdin(bytes), false) | (Input::Pty(bytes), true) => bytes,
    };
    if !running.input(&bytes) {
        return wrong("the process was started without standard input, or it is closed");
    }
    Ok(())
}

fn invalid(text: &str) -> ConnectError {
    ConnectError::new(Code::InvalidArgument, text)
}
