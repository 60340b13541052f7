//! The calls of `filesystem.Filesystem`: each is handed to a child that acts as the caller (see `fs`), and its answer is
//! passed on as fast as the client takes it.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::Signal;
use sandkeep_protocol::envelope::{Code, ConnectError};
use sandkeep_protocol::filesystem as envd;
use sandkeep_protocol::mux::{StreamId, reset_code};
use sandkeep_protocol::routes::filesystem as routes;
use sandkeep_sandbox::process::{self, Child};

use super::caller::Caller;
use super::codec::{self, Codec};
use super::pulse::out_of_time;
use crate::agent::fs::{self, Work};
use crate::agent::pipes::{self, READ_BYTES, Read};
use crate::agent::{Agent, Prepared};
use crate::calls::Incoming;
use crate::clock;
use crate::link::Link;

/// Children at work at once; more calls wait.
const MOST_AT_ONCE: usize = 4;
/// No directory takes that long; one that does is on a file system that does not answer. Nor does a client wait that long
/// between two pieces of an answer, unless it has forgotten it: hands are few.
const PATIENCE_US: u64 = 60_000_000;

/// Calls that are under way.
#[derive(Debug, Default)]
pub(crate) struct Files {
    waiting: VecDeque<Task>,
    working: BTreeMap<StreamId, Worker>,
}

/// A call, and what it asks for.
#[derive(Debug)]
struct Task {
    id: StreamId,
    call: Incoming,
    work: Work,
    who: Caller,
    /// When the time is over that its client gave it.
    deadline_us: Option<u64>,
    /// When patience with it ends.
    patience_us: u64,
}

/// A child at work on a call.
#[derive(Debug)]
struct Worker {
    task: Task,
    child: Child,
    pipe: OwnedFd,
    said: Said,
}

/// What has come of an answer.
#[derive(Debug)]
enum Said {
    /// The head of it, as far as it came.
    Head(Vec<u8>),
    /// This much of the message is still to come.
    Message {
        left: usize,
    },
    Error {
        left: usize,
        json: Vec<u8>,
    },
}

impl Agent {
    /// Answers a call of the file system service.
    pub(super) fn filesystem_called(&mut self, id: StreamId, call: Incoming) {
        match call.path.as_str() {
            routes::WATCH_DIR | routes::CREATE_WATCHER => return self.watch_called(id, &call),
            routes::GET_WATCHER_EVENTS => {
                let outcome = codec::read(&call).and_then(|request| self.envd.watchers.events(request));
                return codec::answer(&mut self.link, id, &call, outcome);
            }
            routes::REMOVE_WATCHER => {
                let outcome = codec::read(&call).and_then(|request| self.envd.watchers.remove(request));
                return codec::answer(&mut self.link, id, &call, outcome);
            }
            _ => {}
        }
        let task = Caller::of(&call, &self.prepared)
            .and_then(|who| Ok((work(&call, who)?, who, call.timeout_us()?)));
        match task {
            Ok((work, who, timeout)) => {
                let now = clock::boot_us();
                let (deadline_us, patience_us) = (timeout.map(|timeout| now + timeout), now + PATIENCE_US);
                self.envd.files.waiting.push_back(Task { id, call, work, who, deadline_us, patience_us });
                self.envd.files.begin(&self.prepared, &mut self.link);
            }
            Err(error) => call.refuse(&mut self.link, id, &error),
        }
    }
}

/// What a call asks for, with paths worked out.
fn work(call: &Incoming, who: Caller) -> Result<Work, ConnectError> {
    let path = |path: &str| fs::path::expand(path, who.home);
    match call.path.as_str() {
        routes::STAT => Ok(Work::Stat(path(&codec::read::<envd::StatRequest>(call)?.path)?)),
        routes::MAKE_DIR => Ok(Work::MakeDir(path(&codec::read::<envd::MakeDirRequest>(call)?.path)?)),
        routes::MOVE => {
            let request: envd::MoveRequest = codec::read(call)?;
            Ok(Work::Move(path(&request.source)?, path(&request.destination)?))
        }
        routes::LIST_DIR => {
            let request: envd::ListDirRequest = codec::read(call)?;
            Ok(Work::ListDir(path(&request.path)?, request.depth))
        }
        routes::REMOVE => Ok(Work::Remove(path(&codec::read::<envd::RemoveRequest>(call)?.path)?)),
        path => Err(super::no_method(path)),
    }
}

impl Files {
    /// Starts on what waits, as far as there are hands.
    fn begin(&mut self, prepared: &Prepared, link: &mut Link) {
        while self.working.len() < MOST_AT_ONCE
            && let Some(task) = self.waiting.pop_front()
        {
            let codec = Codec::of(&task.call);
            match fs::start(&task.work, task.who.identity(prepared), codec, prepared) {
                Ok((child, pipe)) => {
                    let said = Said::Head(Vec::new());
                    self.working.insert(task.id, Worker { task, child, pipe, said });
                }
                Err(error) => task.call.refuse(link, task.id, &error),
            }
        }
    }

    /// Pipes to poll, as far as their clients have room for what comes.
    pub(crate) fn sources(&self, link: &Link) -> impl Iterator<Item = (StreamId, BorrowedFd<'_>)> {
        let roomy =
            self.working.iter().filter(|(id, worker)| worker.said.is_head() || link.room(**id) > READ_BYTES);
        roomy.map(|(id, worker)| (*id, worker.pipe.as_fd()))
    }

    /// Something came from the child of this call.
    pub(crate) fn advance(&mut self, id: StreamId, prepared: &Prepared, link: &mut Link) {
        let Some(worker) = self.working.get_mut(&id) else { return };
        if !worker.advance(link) {
            self.working.remove(&id);
            self.begin(prepared, link);
        }
    }

    /// The client went away.
    pub(crate) fn forget(&mut self, id: StreamId) {
        self.waiting.retain(|task| task.id != id);
        self.working.remove(&id);
    }

    pub(crate) fn next_moment_us(&self) -> Option<u64> {
        let working = self.working.values().map(|worker| &worker.task);
        working.chain(&self.waiting).map(Task::until_us).min()
    }

    /// Ends what takes too long.
    pub(crate) fn keep_time(&mut self, now: u64, prepared: &Prepared, link: &mut Link) {
        self.waiting.retain(|task| {
            let late = task.until_us() <= now;
            if late {
                task.call.refuse(link, task.id, &out_of_time());
            }
            !late
        });
        self.working.retain(|_, worker| {
            let late = worker.task.until_us() <= now;
            if late {
                worker.give_up(&out_of_time(), link);
            }
            !late
        });
        self.begin(prepared, link);
    }
}

impl Task {
    /// When it is ended.
    fn until_us(&self) -> u64 {
        self.deadline_us.map_or(self.patience_us, |deadline| deadline.min(self.patience_us))
    }
}

impl Worker {
    /// Passes on what is there; false when it is done.
    fn advance(&mut self, link: &mut Link) -> bool {
        self.task.patience_us = clock::boot_us() + PATIENCE_US;
        let mut buffer = vec![0; READ_BYTES];
        match pipes::read(&self.pipe, &mut buffer) {
            Read::Later => true,
            Read::Bytes(got) => self.take(&buffer[..got], link),
            Read::End => {
                // Somebody killed it: code with the same user id may.
                let text = "it was ended before it was done, perhaps by the code";
                self.give_up(&ConnectError::new(Code::Aborted, text), link);
                false
            }
        }
    }

    fn take(&mut self, mut bytes: &[u8], link: &mut Link) -> bool {
        let id = self.task.id;
        if let Said::Head(head) = &mut self.said {
            head.extend_from_slice(bytes);
            let Some((&[kind, a, b, c, d], rest)) = head.split_first_chunk::<5>() else { return true };
            let left = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            bytes = &bytes[bytes.len() - rest.len()..];
            if kind == fs::DONE {
                Codec::of(&self.task.call).begin_unary(link, id);
                self.said = Said::Message { left };
            } else {
                self.said = Said::Error { left, json: Vec::new() };
            }
        }
        match &mut self.said {
            Said::Head(_) => true,
            Said::Message { left } => {
                let take = bytes.len().min(*left);
                link.send(id, &bytes[..take]);
                *left -= take;
                if *left == 0 {
                    link.finish(id);
                }
                *left > 0
            }
            Said::Error { left, json } => {
                json.extend_from_slice(bytes);
                if json.len() < *left {
                    return true;
                }
                let unreadable = || ConnectError::new(Code::Internal, "the error cannot be read");
                let error = serde_json::from_slice(json).unwrap_or_else(|_| unreadable());
                self.task.call.refuse(link, id, &error);
                false
            }
        }
    }

    /// Ends the call without an answer, or in the middle of one.
    fn give_up(&self, error: &ConnectError, link: &mut Link) {
        match &self.said {
            Said::Head(_) | Said::Error { .. } => self.task.call.refuse(link, self.task.id, error),
            // The client has a part of the message, which is then no message.
            Said::Message { .. } => link.reset(self.task.id, reset_code::CANCEL),
        }
    }
}

impl Said {
    fn is_head(&self) -> bool {
        matches!(self, Self::Head(_))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _gone = process::signal(&self.child.pidfd, Signal::KILL);
    }
}
