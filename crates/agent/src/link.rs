//! One end of a connection: a socket, the multiplexer over it, and the descriptors that ride along.
//!
//! Sans-IO meets IO here and nowhere else in this program. The owner polls [`Link::interest`] on the socket, calls
//! [`Link::receive`] when it is readable, drains [`Link::next_event`], and calls [`Link::flush`] before it polls again.

use std::collections::{BTreeMap, VecDeque};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use sandkeep_protocol::frame::MAX_FDS;
use sandkeep_protocol::head::{Head, ResponseHead};
use sandkeep_protocol::mux::{Event, Mux, OpenError, Side, StreamError, StreamId, Violation};
use sandkeep_protocol::outbox::Outbox;

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The other side went away.
    #[error("the connection was closed")]
    Closed,
    /// The other side broke the rules.
    #[error("the peer broke the protocol")]
    Violation(#[from] Violation),
    /// It announced descriptors that did not come.
    #[error("announced descriptors are missing")]
    Descriptors,
    /// The kernel refused.
    #[error("socket error")]
    Socket(#[source] Errno),
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    socket: OwnedFd,
    mux: Mux,
    outbox: Outbox,
    leaving: BTreeMap<StreamId, Vec<OwnedFd>>,
    /// Descriptors that came with one message each, for the frames that name them.
    arrived: VecDeque<Vec<OwnedFd>>,
    buffer: Vec<u8>,
}

/// A receive call reads at most this many buffers, so that one busy peer cannot keep us from everything else.
const ROUNDS: usize = 16;
/// What is read at a time, small because every page of it that is touched costs each sandbox 2 µs and 4 KiB.
const BUFFER_BYTES: usize = 16 * 1024;
/// Messages whose descriptors may be waiting for the frame that names them: of every read of one call, and one whose frame has
/// not come whole.
const MOST_ARRIVED: usize = ROUNDS + 1;

impl Link {
    /// Takes over a connected stream socket, which becomes non-blocking.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn new(socket: OwnedFd, side: Side) -> rustix::io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        Ok(Self::over(socket, side))
    }

    fn over(socket: OwnedFd, side: Side) -> Self {
        Self {
            socket,
            mux: Mux::new(side),
            outbox: Outbox::default(),
            leaving: BTreeMap::new(),
            arrived: VecDeque::new(),
            buffer: vec![0; BUFFER_BYTES],
        }
    }

    /// A link that nobody is at the other end of: what is sent on it goes nowhere, and it is never ready.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn nowhere() -> rustix::io::Result<Self> {
        let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self::over(null, Side::Lower))
    }

    /// The socket, to be polled.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// What to poll it for.
    pub(crate) fn interest(&self) -> PollFlags {
        if self.mux.has_output() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
    }

    /// Reads what is there.
    ///
    /// # Errors
    /// The connection is over.
    pub(crate) fn receive(&mut self) -> Result<(), Broken> {
        for _ in 0..ROUNDS {
            let got = match self.receive_once() {
                Ok(0) => return Err(Broken::Closed),
                Ok(got) => got,
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => continue,
                Err(Errno::CONNRESET | Errno::PIPE) => return Err(Broken::Closed),
                Err(errno) => return Err(Broken::Socket(errno)),
            };
            self.mux.receive(&self.buffer[..got])?;
            if got < self.buffer.len() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn receive_once(&mut self) -> rustix::io::Result<usize> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS as usize))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut self.buffer)];
        let got = recvmsg(&self.socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let mut came = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                came.extend(descriptors);
            }
        }
        // One read gives the descriptors of one message at most (unix(7)). Where our table of descriptors is full the kernel
        // leaves some out, or all, and says so: the frame that counts on them must not get those of the next.
        let fell_short = got.flags.contains(ReturnFlags::CTRUNC);
        // What exceeds the bound is closed here; the frame that counts on it is then a fault.
        if (fell_short || !came.is_empty()) && self.arrived.len() < MOST_ARRIVED {
            self.arrived.push_back(came);
        }
        Ok(got.bytes)
    }

    /// The next thing that happened, with the descriptors that came along: fewer than announced where our table of
    /// descriptors was full.
    ///
    /// # Errors
    /// [`Broken::Descriptors`].
    pub(crate) fn next_event(&mut self) -> Result<Option<(Event, Vec<OwnedFd>)>, Broken> {
        let Some(event) = self.mux.poll_event() else { return Ok(None) };
        match &event {
            Event::Opened { fds: 0, .. } => {}
            Event::Opened { fds, .. } => {
                let most = usize::from(*fds);
                let descriptors = self.arrived.pop_front().filter(|came| came.len() <= most);
                return Ok(Some((event, descriptors.ok_or(Broken::Descriptors)?)));
            }
            Event::Writable { id } => self.outbox.writable(&mut self.mux, *id),
            Event::Reset { id, .. } => {
                self.outbox.forget(*id);
                self.leaving.remove(id);
            }
            Event::Hello { .. }
            | Event::Replied { .. }
            | Event::Data { .. }
            | Event::Finished { .. }
            | Event::Pong { .. } => {}
        }
        Ok(Some((event, Vec::new())))
    }

    /// Writes what can be written now.
    ///
    /// # Errors
    /// The connection is over.
    pub(crate) fn flush(&mut self) -> Result<(), Broken> {
        while let Some(output) = self.mux.pending_output() {
            let riders = output.fds;
            let descriptors: Vec<BorrowedFd<'_>> =
                riders.and_then(|id| self.leaving.get(&id)).into_iter().flatten().map(AsFd::as_fd).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS as usize))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() {
                assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)), "space for MAX_FDS");
            }
            match sendmsg(&self.socket, &[IoSlice::new(output.bytes)], &mut control, SendFlags::NOSIGNAL) {
                Ok(sent) => {
                    if let Some(id) = riders {
                        self.leaving.remove(&id);
                    }
                    self.mux.advance(sent);
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(Broken::Closed),
                Err(errno) => return Err(Broken::Socket(errno)),
            }
        }
        Ok(())
    }

    /// Opens a stream; `descriptors` ride along.
    ///
    /// # Errors
    /// See [`OpenError`]; the descriptors are closed.
    pub(crate) fn open(&mut self, head: &Head, descriptors: Vec<OwnedFd>) -> Result<StreamId, OpenError> {
        let count = u8::try_from(descriptors.len()).unwrap_or(u8::MAX);
        let id = self.mux.open(head, count)?;
        if count > 0 {
            self.leaving.insert(id, descriptors);
        }
        Ok(id)
    }

    /// Answers a stream with status 200 and `content_type`.
    pub(crate) fn reply(&mut self, id: StreamId, status: u16, content_type: &str) {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        // A stream that is gone needs no answer.
        let _gone: Result<(), StreamError> = self.mux.reply(id, &ResponseHead { status, headers });
    }

    /// Answers a stream as another answered.
    pub(crate) fn reply_with(&mut self, id: StreamId, head: &ResponseHead) {
        let _gone: Result<(), StreamError> = self.mux.reply(id, head);
    }

    /// Queues all of `bytes`, however many; callers bound what they hand in.
    pub(crate) fn send(&mut self, id: StreamId, bytes: &[u8]) {
        self.outbox.send(&mut self.mux, id, bytes);
    }

    /// Ends our direction of the stream once all that is queued has gone.
    pub(crate) fn finish(&mut self, id: StreamId) {
        self.outbox.finish(&mut self.mux, id);
    }

    /// How much more the stream takes before bytes pile up here.
    pub(crate) fn room(&self, id: StreamId) -> usize {
        self.outbox.room(&self.mux, id)
    }

    /// Gives up a stream.
    pub(crate) fn reset(&mut self, id: StreamId, code: u32) {
        self.outbox.forget(id);
        self.leaving.remove(&id);
        self.mux.reset(id, code);
    }

    /// Gives credit back.
    pub(crate) fn consume(&mut self, id: StreamId, bytes: usize) {
        self.mux.consume(id, bytes);
    }
}
