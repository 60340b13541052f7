//! How full a layer is that is a plain directory: no kernel bounds it, so it is measured and what runs is ended.
//!
//! A child of ours walks the tree from within the sandbox's user namespace, since only there all owners are known, so
//! a large tree never keeps the supervisor from anything. It stops at twice the number of files that may be there,
//! rests ten times as long as it took, and sees files that were deleted while they were open. What it cannot see (a
//! deleted file in a mapping or on its way through a socket) is bounded by what the file system below must keep free.

mod book;

use std::fs::File;
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{StatVfs, fstat, fstatvfs};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use sandkeep_protocol::supervisor as proto;
use sandkeep_sandbox::process::{self, Fork, Namespaces};
use sandkeep_sandbox::tree::{self, Usage};
use sandkeep_sandbox::{userns, watch};

use super::Supervisor;
use super::execution::Killed;
use super::layer::Files;
use crate::clock;
use book::{Book, Verdict};

/// Between two walks at least, and while much is written.
const LEAST_REST_US: u64 = 100_000;
const LEAST_HASTY_REST_US: u64 = 20_000;
/// A walk takes one part of the time, and rests this many; while much is written, one.
const REST_PARTS: u64 = 10;
/// What the file system below keeps free: this part of it, but no more than this.
const FREE_PART: u64 = 20;
const FREE_MOST_BYTES: u64 = 1 << 30;
/// Walks that could not be made, one after another, until what runs is ended.
const MOST_FAILURES: u32 = 5;

/// A watched layer.
#[derive(Debug)]
pub(crate) struct DiskWatch {
    files: File,
    /// The sandbox's user namespace.
    ids: OwnedFd,
    agent: Pid,
    /// Device of what is writable and lives in memory.
    memory: u64,
    book: Book,
    walk: Option<Walk>,
    /// When the last one ended, and how long it took.
    ended_us: u64,
    took_us: u64,
    /// Free bytes when the last walk began.
    free_then: u64,
    failures: u32,
    /// Something ran since the last walk that began while nothing did.
    stale: bool,
    /// Somebody has ended since the walk began that goes on now, and there was too much.
    again: bool,
    /// When code was last ended for what was found.
    killed_us: u64,
}

#[derive(Debug)]
struct Walk {
    child: process::Child,
    pipe: File,
    begun_us: u64,
    /// Whoever was to be ended was gone when it began.
    settled: bool,
}

/// What is alive when a watched layer is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Alive {
    /// Whether anything is.
    any: bool,
    /// When the oldest execution of them began.
    oldest_us: Option<u64>,
}

impl DiskWatch {
    /// Watches `files`, which may hold `most` and belong to `ids`. What is on the file system `temporary` is counted
    /// elsewhere.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn new(
        files: &Files,
        most: Usage,
        agent: Pid,
        ids: OwnedFd,
        temporary: &OwnedFd,
    ) -> std::io::Result<Self> {
        let files = files.open.try_clone()?;
        Ok(Self {
            ids,
            memory: fstat(temporary)?.st_dev,
            book: Book::new(most),
            agent,
            walk: None,
            ended_us: 0,
            took_us: 0,
            free_then: free_bytes(&fstatvfs(&files)?),
            failures: 0,
            stale: true,
            again: false,
            killed_us: 0,
            files,
        })
    }

    /// Whether nothing may be started: code went over again and again.
    pub(crate) fn is_full(&self) -> bool {
        self.book.is_full()
    }

    pub(super) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.walk.as_ref().map(|walk| walk.pipe.as_fd())
    }

    /// When the next walk begins.
    pub(super) fn next_us(&self, alive: Alive) -> Option<u64> {
        let rest = (self.took_us * REST_PARTS).max(LEAST_REST_US);
        (self.walk.is_none() && (alive.any || self.stale)).then_some(self.ended_us + rest)
    }

    /// Begins a walk if one is due; the limit that is passed already, if one is.
    fn look(&mut self, alive: Alive, now: u64) -> Option<proto::LimitKind> {
        self.stale |= alive.any;
        let Ok(room) = fstatvfs(&self.files) else {
            // What does not answer cannot be watched.
            return alive.any.then_some(proto::LimitKind::LIMIT_KIND_DISK);
        };
        let free = free_bytes(&room);
        if let Some(next) = self.next_us(alive) {
            // So much was written by somebody that it may be us.
            let hasty = self.free_then.saturating_sub(free) > self.book.room_bytes() / 2;
            let hasty_next = self.ended_us + self.took_us.max(LEAST_HASTY_REST_US);
            if next <= now || (hasty && hasty_next <= now) {
                self.begin(alive, now, free);
            }
        }
        let ends = free < least_free_bytes(&room) || self.failures >= MOST_FAILURES;
        (alive.any && ends).then_some(proto::LimitKind::LIMIT_KIND_DISK)
    }

    /// An execution has ended. While there is too much, what it left is looked at before the next one adds to it.
    fn ended(&mut self, alive: Alive, now: u64) {
        if self.walk.is_some() {
            self.again = self.book.is_over();
        } else if self.book.is_over() {
            self.begin(alive, now, self.free_then);
        }
    }

    fn begin(&mut self, alive: Alive, now: u64, free: u64) {
        self.free_then = free;
        let settled = alive.oldest_us.is_none_or(|oldest| oldest > self.killed_us);
        match self.start(settled, now) {
            Ok(walk) => {
                self.stale = alive.any;
                self.walk = Some(walk);
            }
            Err(_) => (self.ended_us, self.failures) = (now, self.failures + 1),
        }
    }

    fn start(&self, settled: bool, begun_us: u64) -> Result<Walk, Errno> {
        let (pipe, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        match process::fork(Namespaces::NONE, None)? {
            Fork::Child => {
                process::close_all_but(0, &[self.files.as_fd(), self.ids.as_fd(), theirs.as_fd()]);
                let _told = rustix::io::write(&theirs, &encode(self.measure()));
                process::exit_now(0)
            }
            Fork::Parent(child) => Ok(Walk { child, pipe: pipe.into(), begun_us, settled }),
        }
    }

    /// In the child.
    fn measure(&self) -> Result<Usage, Errno> {
        userns::enter(&self.ids).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
        let most = Usage { bytes: u64::MAX, entries: self.book.most_entries().saturating_mul(2) };
        let mut usage = tree::measure(&self.files, most)?;
        let processes = watch::descendants(self.agent.as_raw_nonzero().get());
        usage.bytes += watch::unlinked_bytes(&processes, self.memory);
        Ok(usage)
    }

    /// A walk has ended.
    fn measured(&mut self, now: u64) -> Verdict {
        let Some(mut walk) = self.walk.take() else { return Verdict::Fine };
        let mut answer = Vec::new();
        let _ended_early = walk.pipe.read_to_end(&mut answer);
        end(&walk.child);
        (self.ended_us, self.took_us) = (now, now - walk.begun_us);
        match decode(&answer) {
            Some(Ok(usage)) => {
                self.failures = 0;
                self.book.take(usage, walk.settled)
            }
            // Deeper than anybody makes it by accident: what is there cannot be known.
            Some(Err(Errno::LOOP)) => {
                self.book.lose();
                Verdict::Over(proto::LimitKind::LIMIT_KIND_INODES)
            }
            Some(Err(_)) | None => {
                self.failures += 1;
                Verdict::Fine
            }
        }
    }
}

impl Drop for DiskWatch {
    fn drop(&mut self) {
        if let Some(walk) = self.walk.take() {
            let _gone = process::signal(&walk.child.pidfd, rustix::process::Signal::KILL);
            end(&walk.child);
        }
    }
}

fn end(child: &process::Child) {
    let mut fds = [PollFd::new(&child.pidfd, PollFlags::IN)];
    while poll(&mut fds, None).is_err() {}
    let _reaped = process::reap(Some(child.pid));
}

/// What the file system `room` has for us.
pub(super) fn free_bytes(room: &StatVfs) -> u64 {
    room.f_bavail * room.f_frsize
}

/// What it keeps.
pub(super) fn least_free_bytes(room: &StatVfs) -> u64 {
    (room.f_blocks * room.f_frsize / FREE_PART).min(FREE_MOST_BYTES)
}

/// Bytes, entries and an errno.
fn encode(measured: Result<Usage, Errno>) -> [u8; 24] {
    let (usage, errno) = match measured {
        Ok(usage) => (usage, 0),
        Err(errno) => (Usage::default(), u64::from(errno.raw_os_error().unsigned_abs())),
    };
    let mut bytes = [0; 24];
    for (place, number) in bytes.chunks_exact_mut(8).zip([usage.bytes, usage.entries, errno]) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

/// `None` for an answer that did not come.
fn decode(bytes: &[u8]) -> Option<Result<Usage, Errno>> {
    let numbers = <[u8; 24]>::try_from(bytes).ok()?;
    let mut numbers = numbers.chunks_exact(8).map(|n| u64::from_le_bytes(n.try_into().expect("eight")));
    let (bytes, entries, errno) = (numbers.next()?, numbers.next()?, numbers.next()?);
    if errno == 0 {
        return Some(Ok(Usage { bytes, entries }));
    }
    Some(Err(Errno::from_raw_os_error(i32::try_from(errno).ok()?)))
}

impl Supervisor {
    /// When the next walk through a watched layer is due.
    pub(super) fn next_walk(&self) -> Option<u64> {
        let disk = self.sandbox.as_ref().and_then(|sandbox| sandbox.disk_watch.as_ref());
        disk.and_then(|disk| disk.next_us(self.alive()))
    }

    /// Looks at a watched layer, and ends what runs if it is too full.
    pub(super) fn watch_disk(&mut self, now: u64) {
        let alive = self.alive();
        let disk = self.sandbox.as_mut().and_then(|sandbox| sandbox.disk_watch.as_mut());
        if let Some(limit) = disk.and_then(|disk| disk.look(alive, now)) {
            self.end_for(limit);
        }
    }

    /// A walk has something to say.
    pub(super) fn disk_measured(&mut self) {
        let alive = self.alive();
        let disk = self.sandbox.as_mut().and_then(|sandbox| sandbox.disk_watch.as_mut());
        let Some(disk) = disk else { return };
        let again = std::mem::take(&mut disk.again);
        let now = clock::boot_us();
        match disk.measured(now) {
            Verdict::Fine => {}
            Verdict::Doubtful => disk.begin(alive, now, disk.free_then),
            Verdict::Over(limit) => self.end_for(limit),
        }
        if again {
            self.disk_user_ended();
        }
    }

    /// An execution has ended, and nobody has been told yet.
    pub(super) fn disk_user_ended(&mut self) {
        let alive = self.alive();
        if let Some(disk) = self.sandbox.as_mut().and_then(|sandbox| sandbox.disk_watch.as_mut()) {
            disk.ended(alive, clock::boot_us());
        }
    }

    fn alive(&self) -> Alive {
        let living = self.executions.values().filter(|execution| !execution.is_ended());
        let oldest_us = living.map(|execution| execution.begun_us).min();
        Alive { any: oldest_us.is_some() || self.proxied.has_calls(), oldest_us }
    }

    /// Who of them wrote too much cannot be told: all of them share the layer.
    fn end_for(&mut self, limit: proto::LimitKind) {
        for execution in self.executions.values_mut() {
            execution.kill(Killed::Limit(limit));
        }
        if let Some(disk) = self.sandbox.as_mut().and_then(|sandbox| sandbox.disk_watch.as_mut()) {
            disk.killed_us = clock::boot_us();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_survive_the_pipe() {
        let usage = Usage { bytes: 1 << 40, entries: 7 };
        for answer in [Ok(usage), Err(Errno::LOOP)] {
            assert_eq!(decode(&encode(answer)), Some(answer));
        }
        assert_eq!(decode(&[1; 3]), None);
    }
}
