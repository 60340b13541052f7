//! Being told of an out-of-memory kill instead of asking for it.
//!
//! Version 1: an eventfd registered with the group; it becomes readable when the group is at its limit and
//! the kernel looks for a victim, which is just *before* the counter rises. Version 2: `memory.events`
//! becomes ready for priority data after any of its counters changed.

use std::{
    fs::File,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::fs::FileExt as _,
    },
};

use rustix::{
    event::{EventfdFlags, PollFlags, eventfd},
    fs::OFlags,
};

use super::{Error, dir::Dir, trees::Trees};

/// A descriptor for `poll(2)`.
#[derive(Debug)]
pub struct OomWatch {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Eventfd(OwnedFd),
    Events(File),
}

impl OomWatch {
    pub(super) fn new(trees: &Trees) -> Result<Option<Self>, Error> {
        let kind = match (&trees.memory, &trees.unified) {
            (Some(dir), _) => Kind::Eventfd(register(dir)?),
            (None, Some(dir)) if trees.handed.memory => {
                Kind::Events(File::from(dir.open_file("memory.events", OFlags::RDONLY)?))
            }
            (None, _) => return Ok(None),
        };
        let watch = Self { kind };
        watch.clear();
        Ok(Some(watch))
    }

    /// The descriptor to poll.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        match &self.kind {
            Kind::Eventfd(fd) => fd.as_fd(),
            Kind::Events(file) => file.as_fd(),
        }
    }

    /// What to poll it for.
    #[must_use]
    pub fn interest(&self) -> PollFlags {
        match &self.kind {
            Kind::Eventfd(_) => PollFlags::IN,
            Kind::Events(_) => PollFlags::PRI,
        }
    }

    /// Takes the event, so that the next one shows. Call it *before* [`super::Domain::oom_kills`], and if that
    /// has not risen yet, ask again a few milliseconds later: the notice may run ahead of the kill.
    pub fn clear(&self) {
        match &self.kind {
            Kind::Eventfd(fd) => {
                // An error means that nothing was pending.
                let _nothing_pending = rustix::io::read(fd, &mut [0u8; 8]);
            }
            Kind::Events(file) => {
                // Reading through the polled file is what re-arms it.
                let _content = file.read_at(&mut [0u8; 512], 0);
            }
        }
    }
}

fn register(dir: &Dir) -> Result<OwnedFd, Error> {
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|e| dir.error("make an eventfd for", "memory.oom_control", e))?;
    let control = dir.open_file("memory.oom_control", OFlags::RDONLY)?;
    dir.write("cgroup.event_control", &format!("{} {}", event.as_raw_fd(), control.as_raw_fd()))?;
    Ok(event)
}
