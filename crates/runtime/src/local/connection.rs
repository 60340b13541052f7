//! The async end of the socket to a supervisor: one pump, any number of calls.
//!
//! The pump is the only one who reads and writes; calls leave bytes with the multiplexer and wait on a channel of their
//! own. What arrives for a call that nobody reads is bounded by its window, since credit is given back only for
//! what was taken.

use std::collections::{HashMap, VecDeque};
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use buffa::Message;
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_protocol::envelope::{self, ConnectError, Envelope};
use sandkeep_protocol::head::{Head, ResponseHead};
use sandkeep_protocol::mux::{Event, Mux, RECEIVE_BYTES, Side, StreamId, reset_code};
use sandkeep_protocol::outbox::Outbox;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;

use super::embed;

/// A connection; dropping it closes the socket, and the supervisor ends its sandbox, unless that outlives it.
#[derive(Debug)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    pump: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    socket: tokio::net::UnixStream,
    state: Mutex<State>,
    /// There is something to write.
    wake: Notify,
}

#[derive(Debug)]
struct State {
    mux: Mux,
    outbox: Outbox,
    calls: HashMap<StreamId, mpsc::UnboundedSender<Part>>,
    closed: bool,
}

/// A part of an answer.
#[derive(Debug)]
pub(super) enum Part {
    Head(ResponseHead),
    Data(Vec<u8>),
    End,
    Reset,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.pump.abort();
    }
}

impl Connection {
    /// Starts a supervisor and connects to it. One that is to outlive us is `detached` from our session.
    ///
    /// # Errors
    /// `sandbox_failed`.
    pub(super) fn to_new_supervisor(detached: bool) -> Result<(Self, embed::Supervisor), Problem> {
        let failed = |errno: &dyn std::fmt::Display| {
            Problem::new(ErrorCode::SandboxFailed, format!("cannot make a socket pair: {errno}"))
        };
        let (ours, theirs) = UnixStream::pair().map_err(|error| failed(&error))?;
        ours.set_nonblocking(true).map_err(|error| failed(&error))?;
        let child = embed::start_supervisor(theirs.into(), detached)?;
        Ok((Self::over(ours)?, child))
    }

    /// Takes over a connected socket that does not block.
    ///
    /// # Errors
    /// `sandbox_failed`.
    pub(super) fn over(socket: UnixStream) -> Result<Self, Problem> {
        let socket = tokio::net::UnixStream::from_std(socket).map_err(|error| {
            Problem::new(ErrorCode::SandboxFailed, format!("cannot wait for a socket: {error}"))
        })?;
        let state = State {
            mux: Mux::new(Side::Upper),
            outbox: Outbox::default(),
            calls: HashMap::new(),
            closed: false,
        };
        let shared = Arc::new(Shared { socket, state: Mutex::new(state), wake: Notify::new() });
        // Owned by the connection and ended with it.
        let pump = tokio::spawn(Arc::clone(&shared).pump());
        Ok(Self { shared, pump })
    }

    /// A unary call.
    ///
    /// # Errors
    /// What the supervisor answered, or `sandbox_lost` when it is gone.
    pub(super) async fn call<Req: Message, Res: Message>(
        &self,
        path: &str,
        request: &Req,
    ) -> Result<Res, Problem> {
        let head = Head::new(path).with("content-type", envelope::CONTENT_TYPE_PROTO);
        let mut answer = self.shared.open(&head, Some(&request.encode_to_vec()))?;
        answer.finish();
        let (status, body) = answer.whole().await?;
        if status != 200 {
            return Err(super::convert::refusal(&ConnectError::from_json(status, &body)));
        }
        Res::decode_from_slice(&body).map_err(|error| protocol_error(&error))
    }

    /// A call with a stream of answers.
    ///
    /// # Errors
    /// `sandbox_lost` when the supervisor is gone.
    pub(super) fn stream<Req: Message>(&self, path: &str, request: &Req) -> Result<Answers, Problem> {
        let mut answers = self.open_stream(path, request)?;
        answers.finish();
        Ok(answers)
    }

    /// The same, and its request goes on until it is [finished](Answers::finish).
    ///
    /// # Errors
    /// Those of [`Self::stream`].
    pub(super) fn open_stream<Req: Message>(&self, path: &str, request: &Req) -> Result<Answers, Problem> {
        let mut body = Vec::new();
        envelope::encode_message(&mut body, &request.encode_to_vec());
        let head = Head::new(path).with("content-type", envelope::CONTENT_TYPE_STREAM_PROTO);
        let answer = self.shared.open(&head, Some(&body))?;
        let decoder = envelope::Decoder::new(MAX_MESSAGE_BYTES);
        Ok(Answers { answer, decoder, ready: VecDeque::new(), over: false })
    }

    /// A call with any head, as a proxy passes a client's on; its body is still to be sent.
    #[cfg(test)]
    pub(super) fn raw(&self, head: &Head) -> Result<Answer, Problem> {
        self.shared.open(head, None)
    }
}

/// Longest message of a supervisor: an end with a return value and a thousand artifacts.
const MAX_MESSAGE_BYTES: usize = 24 << 20;

/// A stream of answers.
#[derive(Debug)]
pub(super) struct Answers {
    answer: Answer,
    decoder: envelope::Decoder,
    ready: VecDeque<Envelope>,
    over: bool,
}

impl Answers {
    /// The request is complete.
    pub(super) fn finish(&mut self) {
        self.answer.finish();
    }

    /// The next message; `None` after the last. Cancel-safe.
    ///
    /// # Errors
    /// What the supervisor ended the stream with, or `sandbox_lost`.
    pub(super) async fn next<M: Message>(&mut self) -> Result<Option<M>, Problem> {
        loop {
            match self.ready.pop_front() {
                Some(Envelope::Message(bytes)) => {
                    return M::decode_from_slice(&bytes).map(Some).map_err(|error| protocol_error(&error));
                }
                Some(Envelope::End(Ok(()))) => self.over = true,
                Some(Envelope::End(Err(error))) => return Err(super::convert::refusal(&error)),
                None if self.over => return Ok(None),
                None => self.more().await?,
            }
        }
    }

    async fn more(&mut self) -> Result<(), Problem> {
        match self.answer.part().await? {
            Part::Head(_) => Ok(()),
            Part::Data(bytes) => {
                let mut input = bytes.as_slice();
                while let Some(envelope) =
                    self.decoder.next(&mut input).map_err(|error| protocol_error(&error))?
                {
                    self.ready.push_back(envelope);
                }
                Ok(())
            }
            Part::End => Err(lost()),
            Part::Reset => Err(given_up()),
        }
    }
}

/// An answer that is arriving. Dropping it gives the call up.
#[derive(Debug)]
pub(super) struct Answer {
    shared: Arc<Shared>,
    id: StreamId,
    parts: mpsc::UnboundedReceiver<Part>,
    /// Whether the request goes on.
    asking: bool,
}

impl Answer {
    pub(super) async fn part(&mut self) -> Result<Part, Problem> {
        let part = self.parts.recv().await.ok_or_else(lost)?;
        if let Part::Data(bytes) = &part {
            self.shared.lock().mux.consume(self.id, bytes.len());
            self.shared.wake.notify_one();
        }
        Ok(part)
    }

    pub(super) async fn whole(&mut self) -> Result<(u16, Vec<u8>), Problem> {
        let (mut status, mut body) = (0, Vec::new());
        loop {
            match self.part().await? {
                Part::Head(head) => status = head.status,
                Part::Data(bytes) => body.extend(bytes),
                Part::End => return Ok((status, body)),
                Part::Reset => return Err(given_up()),
            }
            if body.len() > MAX_MESSAGE_BYTES {
                return Err(protocol_error(&"an answer is too long"));
            }
        }
    }
}

impl Answer {
    /// The request is complete.
    pub(super) fn finish(&mut self) {
        self.asking = false;
        let mut state = self.shared.lock();
        let State { mux, outbox, .. } = &mut *state;
        outbox.finish(mux, self.id);
        drop(state);
        self.shared.wake.notify_one();
    }
}

#[cfg(test)]
impl Answer {
    /// More of the body.
    pub(super) fn send(&self, bytes: &[u8]) {
        let mut state = self.shared.lock();
        let State { mux, outbox, .. } = &mut *state;
        outbox.send(mux, self.id, bytes);
        drop(state);
        self.shared.wake.notify_one();
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        // Where all of the answer is here, the other side has still an ear open for the rest of the request.
        if state.calls.remove(&self.id).is_some() || self.asking {
            state.outbox.forget(self.id);
            state.mux.reset(self.id, reset_code::CANCEL);
            drop(state);
            self.shared.wake.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a call, with what is there of its body.
    fn open(self: &Arc<Self>, head: &Head, body: Option<&[u8]>) -> Result<Answer, Problem> {
        let mut state = self.lock();
        if state.closed {
            return Err(lost());
        }
        let State { mux, outbox, calls, .. } = &mut *state;
        let id = mux.open(head, 0).map_err(|error| protocol_error(&error))?;
        if let Some(body) = body {
            outbox.send(mux, id, body);
        }
        let (sender, parts) = mpsc::unbounded_channel();
        calls.insert(id, sender);
        drop(state);
        self.wake.notify_one();
        Ok(Answer { shared: Arc::clone(self), id, parts, asking: true })
    }

    /// Reads and writes until the socket ends, then tells every call.
    async fn pump(self: Arc<Self>) {
        let mut buffer = vec![0; RECEIVE_BYTES];
        while let Ok(blocked) = self.write_all() {
            let done = tokio::select! {
                read = self.read(&mut buffer) => read,
                () = self.wake.notified() => Ok(()),
                () = self.until_writable(), if blocked => Ok(()),
            };
            if done.is_err() {
                break;
            }
        }
        let mut state = self.lock();
        state.closed = true;
        state.calls.clear();
    }

    async fn until_writable(&self) {
        // An error shows again at the next write, which deals with it.
        let _ready = self.socket.writable().await;
    }

    /// Waits for bytes and takes them. Cancel-safe: bytes are handed on in the same poll in which they are read.
    async fn read(&self, buffer: &mut [u8]) -> Result<(), ()> {
        self.socket.readable().await.map_err(drop)?;
        match self.socket.try_read(buffer) {
            Ok(0) => Err(()),
            Ok(got) => self.received(&buffer[..got]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Ok(()),
            Err(_) => Err(()),
        }
    }

    fn received(&self, bytes: &[u8]) -> Result<(), ()> {
        let mut state = self.lock();
        state.mux.receive(bytes).map_err(drop)?;
        while let Some(event) = state.mux.poll_event() {
            state.heard(event);
        }
        Ok(())
    }

    /// True when the socket takes no more for now.
    fn write_all(&self) -> Result<bool, ()> {
        let mut state = self.lock();
        loop {
            while let Some(output) = state.mux.pending_output() {
                match self.socket.try_write(output.bytes) {
                    Ok(sent) => state.mux.advance(sent),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return Err(()),
                }
            }
            // Writing makes room, and room makes more to write.
            let mut more = false;
            while let Some(event) = state.mux.poll_event() {
                more = true;
                state.heard(event);
            }
            if !more {
                return Ok(false);
            }
        }
    }
}

impl State {
    fn heard(&mut self, event: Event) {
        let (id, part, last) = match event {
            Event::Replied { id, head } => (id, Part::Head(head), false),
            Event::Data { id, bytes } => (id, Part::Data(bytes), false),
            Event::Finished { id } => (id, Part::End, true),
            Event::Reset { id, .. } => (id, Part::Reset, true),
            Event::Writable { id } => return self.outbox.writable(&mut self.mux, id),
            // Supervisors have nothing to ask of us yet.
            Event::Opened { id, .. } => return self.mux.reset(id, reset_code::REFUSED),
            Event::Hello { .. } | Event::Pong { .. } => return,
        };
        let Some(call) = self.calls.get(&id) else { return };
        // A call that was given up is reset by its own drop.
        let _given_up = call.send(part);
        if last {
            self.calls.remove(&id);
            self.outbox.forget(id);
        }
    }
}

/// The supervisor is gone.
pub(super) fn lost() -> Problem {
    Problem::new(ErrorCode::SandboxLost, "the sandbox's supervisor is gone")
}

/// The supervisor lives, but wants no more of this call: too long a request, or too many at once.
fn given_up() -> Problem {
    Problem::new(ErrorCode::ProtocolError, "the supervisor gave the call up")
}

fn protocol_error(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(ErrorCode::ProtocolError, format!("the supervisor's answer cannot be read: {error}"))
}
