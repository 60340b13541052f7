//! The socket of a sandbox that outlives its server, and those who have come in by it and not said who they are.
//!
//! It lies in a directory that nobody else may enter, and whoever connects must be of our own user all the same. What comes
//! in by it can do one thing: [`Attach`](routes::ATTACH). Only the connection that attached is a server's.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with, sockopt,
};
use sandkeep_protocol::envelope::{Code, ConnectError};
use sandkeep_protocol::mux::{Event, Side, StreamId};
use sandkeep_protocol::routes::supervisor as routes;
use sandkeep_protocol::supervisor as proto;

use crate::calls::Incoming;
use crate::link::{Broken, Link};

/// Who may wait to be heard at once. One more sends the first away, so that nobody who says nothing keeps a server out.
const MOST_CALLERS: usize = 8;
/// What an [`proto::AttachRequest`] never exceeds.
const MOST_BYTES: usize = 4096;

/// The socket and its callers.
#[derive(Debug)]
pub(crate) struct Door {
    listener: OwnedFd,
    directory: OwnedFd,
    name: String,
    callers: Vec<Caller>,
    /// How long the sandbox goes on alone.
    pub(crate) orphan_after_us: u64,
}

/// Somebody who has not attached.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) link: Link,
    incoming: BTreeMap<StreamId, Incoming>,
    bytes: usize,
}

impl Door {
    /// Makes the socket; from then on it can be connected to under its name.
    ///
    /// # Errors
    /// The kernel's: the directory is not there, or is full.
    pub(crate) fn open(wanted: &proto::Outliving) -> rustix::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(wanted.directory.as_str(), flags, Mode::empty())?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // Under its name only once it listens, in place of what a dead one may have left there. And by descriptor, since an
        // address has room for 107 bytes and a directory may have a longer path.
        let fresh = format!(".{}-{}", wanted.name, std::process::id());
        let path = format!("/proc/self/fd/{}/{fresh}", directory.as_raw_fd());
        bind(&listener, &SocketAddrUnix::new(path)?)?;
        let door = Self {
            listener,
            directory,
            name: wanted.name.clone(),
            callers: Vec::new(),
            orphan_after_us: wanted.orphan_after_ms.saturating_mul(1_000),
        };
        listen(&door.listener, 16)?;
        rustix::fs::renameat(&door.directory, &fresh, &door.directory, &door.name)?;
        Ok(door)
    }

    /// What to poll: the socket, and whoever came in by it.
    pub(crate) fn interests(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let callers = self.callers.iter().map(|caller| (caller.link.fd(), caller.link.interest()));
        std::iter::once((self.listener.as_fd(), PollFlags::IN)).chain(callers)
    }

    /// Lets in everybody who waits outside and is of our own user.
    pub(crate) fn admit(&mut self) {
        let us = rustix::process::geteuid();
        while let Ok(socket) = accept_with(&self.listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            let is_ours = sockopt::socket_peercred(&socket).is_ok_and(|peer| peer.uid == us);
            let Some(link) = is_ours.then(|| Link::new(socket, Side::Lower).ok()).flatten() else { continue };
            if self.callers.len() >= MOST_CALLERS {
                self.callers.remove(0);
            }
            self.callers.push(Caller { link, incoming: BTreeMap::new(), bytes: 0 });
        }
    }

    /// Hears what callers say, as far as it has come. Whoever says something else than who they are, or leaves, is gone.
    pub(crate) fn hear(&mut self) -> Vec<(Caller, StreamId, Incoming)> {
        let (mut asking, mut waiting) = (Vec::new(), Vec::new());
        for mut caller in std::mem::take(&mut self.callers) {
            match caller.hear() {
                Ok(Some((id, call))) => asking.push((caller, id, call)),
                Ok(None) if caller.link.flush().is_ok() => waiting.push(caller),
                Ok(None) | Err(_) => {}
            }
        }
        self.callers = waiting;
        asking
    }

    /// Keeps one whose call was refused: it may ask again, and has to be told.
    pub(crate) fn keep(&mut self, mut caller: Caller) {
        if caller.link.flush().is_ok() && self.callers.len() < MOST_CALLERS {
            self.callers.push(caller);
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _gone = rustix::fs::unlinkat(&self.directory, &self.name, AtFlags::empty());
    }
}

impl Caller {
    fn hear(&mut self) -> Result<Option<(StreamId, Incoming)>, Broken> {
        let left = self.link.receive();
        while let Some((event, _)) = self.link.next_event()? {
            match event {
                Event::Opened { id, head, .. } => drop(self.incoming.insert(id, Incoming::new(&head))),
                Event::Data { id, bytes } => {
                    self.link.consume(id, bytes.len());
                    self.bytes += bytes.len();
                    if self.bytes > MOST_BYTES {
                        return Err(Broken::Closed);
                    }
                    self.incoming.get_mut(&id).map(|incoming| incoming.take(&bytes));
                }
                Event::Finished { id } => {
                    let Some(call) = self.incoming.remove(&id) else { continue };
                    if call.path == routes::ATTACH {
                        return left.map(|()| Some((id, call)));
                    }
                    let error = ConnectError::new(Code::FailedPrecondition, "stale_token: attach first");
                    call.refuse(&mut self.link, id, &error);
                }
                Event::Reset { id, .. } => drop(self.incoming.remove(&id)),
                Event::Hello { .. } | Event::Replied { .. } | Event::Writable { .. } | Event::Pong { .. } => {
                }
            }
        }
        left.map(|()| None)
    }
}
