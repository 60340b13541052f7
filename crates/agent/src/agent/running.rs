//! One execution while it lives: its descriptors, and what of its story has been told.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::PollFlags;
use rustix::process::{Pid, Signal};
use sandkeep_protocol::agent::Rlimits;
use sandkeep_protocol::mux::StreamId;
use sandkeep_sandbox::process::{self, Ended, Status};
use sandkeep_sandbox::start::{Failure, init};

use super::envd::clients::Clients;
use super::pipes::{self, Input, READ_BYTES, Read};
use super::voice::{self, Pipe};
use crate::link::Link;

/// Which descriptor of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Report,
    Stdout,
    Stderr,
    Result,
    Stdin,
    /// Not of an execution: a worker that looks for changed files.
    Looker,
    /// Nor these: children that do something to files for a client, or watch them.
    Files,
    Watcher,
}

/// An execution between its fork and the last byte of its output.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) execution_id: String,
    /// Who hears its output, if it was started by the process service; else the supervisor does.
    pub(crate) clients: Option<Clients>,
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
    /// Carries a [`Failure`]; its end without one means that the code runs.
    pub(crate) report: Option<OwnedFd>,
    /// Whether it has a PID namespace of its own.
    pub(crate) own_pids: bool,
    /// How the code ended, where an `init` stands between it and us.
    pub(crate) end_report: Option<OwnedFd>,
    /// Our end of the terminal, where there is one.
    pub(crate) stdout: Option<OwnedFd>,
    /// `None` from the start when both streams share one pipe.
    pub(crate) stderr: Option<OwnedFd>,
    pub(crate) result: Option<ReturnChannel>,
    pub(crate) stdin: Option<Input>,
    /// Whether its streams are a terminal.
    pub(crate) on_terminal: bool,
    /// How more processes get into its groups, in profile `dev`.
    pub(crate) ways_in: WaysIn,
    /// See `Started.changes_after_unix_ns`.
    pub(crate) changes_after_unix_ns: u64,
    /// What kept it from starting.
    pub(crate) failed: Option<Failure>,
    pub(crate) exited: bool,
    /// Directory with the files of this execution, removed after it.
    pub(crate) directory: Option<String>,
}

/// The ways into the control groups of an execution, and its resource limits.
#[derive(Debug)]
pub(crate) struct WaysIn {
    pub(crate) descriptors: Vec<OwnedFd>,
    pub(crate) clone_into_group: bool,
    pub(crate) rlimits: buffa::MessageField<Rlimits, buffa::Inline<Rlimits>>,
}

/// What a handler returns, as it comes in.
#[derive(Debug)]
pub(crate) struct ReturnChannel {
    pub(crate) pipe: Option<OwnedFd>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) max_bytes: usize,
    pub(crate) too_large: bool,
}

impl Running {
    /// What to poll, given how many bytes its own stream takes.
    pub(crate) fn sources(&self, id: StreamId, link: &Link) -> Vec<(Source, BorrowedFd<'_>, PollFlags)> {
        let mut sources = Vec::with_capacity(5);
        // Output that nobody has room for stays in the pipe, and all of it until the start was told: where an init stands
        // between, its copy of the report may outlast the first words of the code.
        let room = self.clients.as_ref().map_or_else(|| link.room(id), |clients| clients.room(link));
        let roomy = room > READ_BYTES + 1024 && self.report.is_none();
        let result = self.result.as_ref().and_then(|channel| channel.pipe.as_ref());
        let readable = [
            (Source::Report, self.report.as_ref()),
            (Source::Stdout, self.stdout.as_ref().filter(|_| roomy)),
            (Source::Stderr, self.stderr.as_ref().filter(|_| roomy)),
            (Source::Result, result),
        ];
        sources.extend(
            readable.into_iter().filter_map(|(source, fd)| Some((source, fd?.as_fd(), PollFlags::IN))),
        );
        let stdin = self.stdin.as_ref().and_then(Input::wants);
        sources.extend(stdin.map(|fd| (Source::Stdin, fd, PollFlags::OUT)));
        sources
    }

    /// Moves what `source` is ready for.
    pub(crate) fn advance(&mut self, source: Source, link: &mut Link, id: StreamId) {
        match source {
            Source::Report => self.read_report(link, id),
            Source::Stdout => self.forward(Pipe::Stdout, link, id),
            Source::Stderr => self.forward(Pipe::Stderr, link, id),
            Source::Result => self.read_result(link, id),
            Source::Stdin => {
                if let Some(stdin) = &mut self.stdin {
                    stdin.write();
                }
            }
            Source::Looker | Source::Files | Source::Watcher => {}
        }
    }

    fn read_report(&mut self, link: &mut Link, id: StreamId) {
        let Some(report) = &self.report else { return };
        let mut bytes = [0; 16];
        match pipes::read(report, &mut bytes) {
            Read::Later => return,
            Read::Bytes(got) => {
                self.failed = Failure::decode(&bytes[..got]);
                if let Some(failure) = self.failed {
                    voice::not_runnable(link, id, failure);
                }
            }
            Read::End => {
                voice::started(link, id, self.number(), self.changes_after_unix_ns);
                let pid = self.number();
                if let Some(clients) = &mut self.clients {
                    clients.started(pid, link);
                }
            }
        }
        self.report = None;
    }

    /// Its first process, as the sandbox and clients number it.
    pub(crate) fn number(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Reads one buffer and passes it on.
    fn forward(&mut self, which: Pipe, link: &mut Link, id: StreamId) {
        let pipe = if which == Pipe::Stderr { &mut self.stderr } else { &mut self.stdout };
        let Some(fd) = pipe else { return };
        let mut data = vec![0; READ_BYTES];
        let got = match pipes::read(fd, &mut data) {
            Read::Later => return,
            Read::End => return drop(pipe.take()),
            Read::Bytes(got) => got,
        };
        data.truncate(got);
        match &mut self.clients {
            Some(clients) => {
                clients.output(if self.on_terminal { Pipe::Terminal } else { which }, data, link)
            }
            None => voice::output(link, id, which, data),
        }
    }

    fn read_result(&mut self, link: &mut Link, id: StreamId) {
        let Some(channel) = &mut self.result else { return };
        let Some(pipe) = &channel.pipe else { return };
        let mut buffer = vec![0; READ_BYTES];
        match pipes::read(pipe, &mut buffer) {
            Read::Later => {}
            Read::Bytes(got) if channel.bytes.len() + got <= channel.max_bytes => {
                channel.bytes.extend_from_slice(&buffer[..got]);
            }
            // Drained all the same, so that the handler is not blocked by what it may not return.
            Read::Bytes(_) => channel.too_large = true,
            Read::End => {
                channel.pipe = None;
                let data = if channel.too_large { Vec::new() } else { std::mem::take(&mut channel.bytes) };
                let too_large = channel.too_large;
                if !data.is_empty() || too_large {
                    voice::returned(link, id, data, too_large);
                }
            }
        }
    }

    /// The first process has ended.
    pub(crate) fn ended(&mut self, ended: Ended, link: &mut Link, id: StreamId) {
        // A failure to start is in the pipe before the process can be gone.
        self.read_report(link, id);
        self.exited = true;
        self.stdin = None;
        if self.failed.is_some() {
            return;
        }
        let status = self.status_of(&ended);
        voice::exited(link, id, &ended, status);
        if let Some(clients) = &mut self.clients {
            clients.ended(status);
        }
    }

    /// How the code ended, given how the first process did.
    pub(crate) fn status_of(&mut self, ended: &Ended) -> Status {
        self.end_report.take().map_or(ended.status, |report| said_by_init(&report))
    }

    /// What kept the code from starting, once its process is gone.
    pub(crate) fn failure(&mut self) -> Option<Failure> {
        let mut bytes = [0; 16];
        match pipes::read(self.report.take()?, &mut bytes) {
            Read::Bytes(got) => Failure::decode(&bytes[..got]),
            Read::Later | Read::End => None,
        }
    }

    /// Whether `pid`, as we see it, is one of its processes.
    pub(crate) fn holds(&self, pid: Pid) -> bool {
        if !self.own_pids {
            return super::sudo::same_groups(pid, self.pid);
        }
        // In a namespace of its own whatever lost its parent has the init, so the line of parents always leads there.
        let parents = std::iter::successors(Some(pid), |pid| parent(*pid));
        parents.take(MOST_ANCESTORS).any(|ancestor| ancestor == self.pid)
    }

    /// Nothing more will come.
    pub(crate) fn is_finished(&self) -> bool {
        let result_open = self.result.as_ref().is_some_and(|channel| channel.pipe.is_some());
        self.exited && self.stdout.is_none() && self.stderr.is_none() && !result_open
    }

    /// Hands input to the code; false when it takes none, or no more.
    pub(crate) fn input(&mut self, bytes: &[u8]) -> bool {
        self.stdin.as_mut().is_some_and(|stdin| stdin.add(bytes))
    }

    /// Whether there is room for more input, or nobody to read it any more.
    pub(crate) fn takes_input(&self) -> bool {
        self.stdin.as_ref().is_none_or(|stdin| stdin.len() < INPUT_ENOUGH_BYTES)
    }

    pub(crate) fn close_input(&mut self) {
        if let Some(stdin) = &mut self.stdin {
            stdin.close();
        }
    }

    /// Signals the group that the first process leads; says how many signals were sent.
    pub(crate) fn signal(&self, signal: u32) -> u32 {
        let number = i32::try_from(signal).unwrap_or(0);
        let Some(signal) = Signal::from_named_raw(number) else { return 0 };
        if self.exited {
            return 0;
        }
        if signal == Signal::KILL && self.own_pids {
            // The init's end is everybody's.
            return u32::from(process::signal(&self.pidfd, signal).is_ok());
        }
        // The code leads a session, and with it a group. Before it has got there, only the process itself is there.
        let leader = if self.end_report.is_some() { first_child(self.pid) } else { Some(self.pid) };
        let Some(leader) = leader else { return 0 };
        let sent = rustix::process::kill_process_group(leader, signal)
            .or_else(|_| rustix::process::kill_process(leader, signal));
        u32::from(sent.is_ok())
    }

    /// Kills what is left of an execution that the supervisor has given up.
    pub(crate) fn abandon(&self) {
        let _gone = process::signal(&self.pidfd, Signal::KILL);
    }

    /// Removes its files.
    pub(crate) fn clean_up(&self) {
        if let Some(directory) = &self.directory {
            // The sandbox's own memory holds it; what cannot be removed goes with the sandbox.
            let _left = std::fs::remove_dir_all(directory);
        }
    }
}

/// Input that waits for the code, above which whoever sends it waits for an answer.
const INPUT_ENOUGH_BYTES: usize = 256 * 1024;

/// A bound on a walk that processes which come and go could otherwise prolong.
const MOST_ANCESTORS: usize = 10_000;

fn parent(pid: Pid) -> Option<Pid> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Pid::from_raw(rest.split_whitespace().nth(1)?.parse().ok()?)
}

/// The code that an init stands before: its oldest child, since it forks nothing else.
fn first_child(init: Pid) -> Option<Pid> {
    let init = init.as_raw_nonzero();
    let list = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children")).ok()?;
    Pid::from_raw(list.split_whitespace().next()?.parse().ok()?)
}

fn said_by_init(report: &OwnedFd) -> Status {
    let mut bytes = [0; 16];
    match pipes::read(report, &mut bytes) {
        Read::Bytes(got) => init::decode(&bytes[..got]).unwrap_or(Status::Signalled(9)),
        // It was killed before it could say, and the code with it.
        Read::Later | Read::End => Status::Signalled(9),
    }
}
