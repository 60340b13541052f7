//! Pipes between the agent and code: non-blocking on our side, blocking on the code's.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

/// How much is read from a pipe at a time: what a pipe holds.
pub(crate) const READ_BYTES: usize = 65_536;

/// A pipe whose read end is ours.
pub(crate) fn to_us() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&read, true)?;
    Ok((read, write))
}

/// A pipe whose write end is ours: `(theirs, ours)`.
pub(crate) fn from_us() -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    rustix::io::ioctl_fionbio(&write, true)?;
    Ok((read, write))
}

/// What a read gave.
#[derive(Debug)]
pub(crate) enum Read {
    Bytes(usize),
    /// Nothing now.
    Later,
    /// All writers are gone.
    End,
}

/// Reads into `buffer`.
pub(crate) fn read(fd: impl AsFd, buffer: &mut [u8]) -> Read {
    match rustix::io::read(fd, buffer) {
        Ok(0) => Read::End,
        Ok(got) => Read::Bytes(got),
        Err(Errno::AGAIN | Errno::INTR) => Read::Later,
        // EIO is how a terminal ends; anything else ends the stream as well.
        Err(_) => Read::End,
    }
}

/// Empties a signal descriptor; which signals they were does not matter.
pub(crate) fn drain_signals(fd: impl AsFd) {
    let mut buffer = [0; 1024];
    while matches!(read(fd.as_fd(), &mut buffer), Read::Bytes(_)) {}
}

/// Input on its way to the code.
#[derive(Debug)]
pub(crate) struct Input {
    pipe: Option<OwnedFd>,
    waiting: VecDeque<u8>,
    /// More may come.
    open: bool,
}

impl Input {
    pub(crate) fn new(pipe: OwnedFd, bytes: Vec<u8>, open: bool) -> Self {
        Self { pipe: Some(pipe), waiting: bytes.into(), open }
    }

    /// The pipe, when there is something to write.
    pub(crate) fn wants(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().filter(|_| !self.waiting.is_empty()).map(AsFd::as_fd)
    }

    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes more; false when it was closed, here or by the code.
    pub(crate) fn add(&mut self, bytes: &[u8]) -> bool {
        let takes = self.pipe.is_some() && self.open;
        if takes {
            self.waiting.extend(bytes);
        }
        self.write();
        takes
    }

    pub(crate) fn close(&mut self) {
        self.open = false;
        self.write();
    }

    /// Writes what goes; closes the pipe once all has gone and no more will come, or nobody reads.
    pub(crate) fn write(&mut self) {
        let Some(pipe) = &self.pipe else { return };
        while !self.waiting.is_empty() {
            match rustix::io::write(pipe, self.waiting.as_slices().0) {
                Ok(written) => drop(self.waiting.drain(..written)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                Err(_) => {
                    self.waiting.clear();
                    self.open = false;
                }
            }
        }
        if !self.open {
            self.pipe = None;
        }
    }
}
