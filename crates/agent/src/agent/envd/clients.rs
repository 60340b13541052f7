//! The clients that listen to one process of the process service: who started it, and who came later.
//!
//! Each hears the same: the start, what is put out from then on, the end. Output waits for the slowest of them, as in a
//! pipe, but not for ever: who takes nothing for [`PATIENCE_US`] while output waits is cut off. Where nobody listens,
//! output is read and dropped. So no client can hold a process up, and none can end it by going away.

use buffa::MessageField;
use sandkeep_protocol::envelope::{Code, ConnectError};
use sandkeep_protocol::mux::StreamId;
use sandkeep_protocol::process as envd;
use sandkeep_protocol::process::__buffa::oneof::process_event::{Event, data_event::Output};
use sandkeep_sandbox::process::Status;

use super::codec::Codec;
use super::pulse::{Pulse, out_of_time};
use crate::agent::voice::Pipe;
use crate::calls::{self, Incoming};
use crate::clock;
use crate::link::Link;

/// How long output waits for a client that takes nothing of it.
const PATIENCE_US: u64 = 60_000_000;
/// Below this much room a client holds output up.
const ROOM_BYTES: usize = 2 * (crate::agent::pipes::READ_BYTES + 1024);
/// What is read of pipes after their process has ended, however slow the clients are: more than the largest pipes hold.
/// (What outlives the process with one of its pipes in hand is not waited for.)
const LEFT_OVER_BYTES: usize = 4 << 20;

/// All that listen to one process, and what they are told of it.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) config: envd::ProcessConfig,
    pub(crate) tag: Option<String>,
    /// When the supervisor kills it for want of time; 0: never.
    deadline_boot_us: u64,
    listeners: Vec<Listener>,
    /// Once it runs.
    pid: Option<u32>,
    ended: Option<Ended>,
}

#[derive(Debug, Clone, Copy)]
struct Ended {
    status: Status,
    timed_out: bool,
    /// How much more is read of its pipes without asking for room.
    left_over: usize,
}

impl Clients {
    pub(crate) fn new(config: envd::ProcessConfig, tag: Option<String>, deadline_boot_us: u64) -> Self {
        Self { config, tag, deadline_boot_us, listeners: Vec::new(), pid: None, ended: None }
    }

    /// One more listens, whose stream has its reply.
    pub(crate) fn join(&mut self, mut listener: Listener, link: &mut Link) {
        if let Some(pid) = self.pid {
            listener.tell(&start_event(pid), link);
        }
        self.listeners.push(listener);
    }

    /// Whoever listened on `stream`, if anyone did, went away.
    pub(crate) fn leave(&mut self, stream: StreamId) {
        self.listeners.retain(|listener| listener.stream != stream);
    }

    pub(crate) fn started(&mut self, pid: u32, link: &mut Link) {
        self.pid = Some(pid);
        self.tell(&start_event(pid), link);
    }

    pub(crate) fn output(&mut self, pipe: Pipe, data: Vec<u8>, link: &mut Link) {
        if let Some(ended) = &mut self.ended {
            ended.left_over = ended.left_over.saturating_sub(data.len());
        }
        let output = match pipe {
            Pipe::Stdout => Output::Stdout(data),
            Pipe::Stderr => Output::Stderr(data),
            Pipe::Terminal => Output::Pty(data),
        };
        self.tell(&envd::process_event::DataEvent { output: Some(output) }.into(), link);
    }

    /// The first process has ended; what its pipes still hold comes before that is told.
    pub(crate) fn ended(&mut self, status: Status) {
        let late = self.deadline_boot_us > 0 && clock::boot_us() >= self.deadline_boot_us;
        let timed_out = late && status == Status::Signalled(KILLED);
        self.ended = Some(Ended { status, timed_out, left_over: LEFT_OVER_BYTES });
    }

    /// How much output may be read now: written as JSON, it is a third longer.
    pub(crate) fn room(&self, link: &Link) -> usize {
        if self.ended.is_some_and(|ended| ended.left_over > 0) {
            return usize::MAX;
        }
        let rooms = self.listeners.iter().map(|listener| link.room(listener.stream));
        rooms.min().unwrap_or(usize::MAX) / 2
    }

    /// Nothing more will come: tells the end to everybody. Gives it back for those who ask later.
    pub(crate) fn close(self, link: &mut Link) -> envd::process_event::EndEvent {
        // Where the end was not seen, whoever held it has killed it.
        let ended =
            self.ended.unwrap_or(Ended { status: Status::Signalled(KILLED), timed_out: false, left_over: 0 });
        let event = end_event(ended.status);
        for mut listener in self.listeners {
            listener.tell(&event.clone().into(), link);
            let in_time = !(ended.timed_out && listener.started_it);
            listener.end(link, if in_time { Ok(()) } else { Err(out_of_time()) });
        }
        event
    }

    /// It did not start.
    pub(crate) fn refuse(self, link: &mut Link, error: &ConnectError) {
        for listener in self.listeners {
            listener.end(link, Err(error.clone()));
        }
    }

    /// When something is due next, by the clock that counts sleep too.
    pub(crate) fn next_moment_us(&self) -> Option<u64> {
        self.listeners.iter().filter_map(Listener::next_moment_us).min()
    }

    /// Does what is due.
    pub(crate) fn keep_time(&mut self, now: u64, link: &mut Link) {
        let started = self.pid.is_some();
        let listeners = std::mem::take(&mut self.listeners);
        let kept = listeners.into_iter().filter_map(|listener| listener.keep_time(now, started, link));
        self.listeners = kept.collect();
    }

    fn tell(&mut self, event: &Event, link: &mut Link) {
        for listener in &mut self.listeners {
            listener.tell(event, link);
        }
    }
}

/// SIGKILL.
const KILLED: i32 = 9;

/// A client on one stream.
#[derive(Debug)]
pub(crate) struct Listener {
    stream: StreamId,
    codec: Codec,
    /// Its call is the one that started the process.
    started_it: bool,
    pulse: Pulse,
    waits: Waits,
}

impl Listener {
    /// # Errors
    /// `invalid_argument` for a time limit that is none.
    pub(crate) fn new(stream: StreamId, call: &Incoming, started_it: bool) -> Result<Self, ConnectError> {
        Ok(Self {
            stream,
            codec: Codec::of(call),
            started_it,
            // The limit of the call that starts a process is the process's own: the supervisor keeps it.
            pulse: Pulse::new(call, !started_it)?,
            waits: Waits { room: usize::MAX, since_us: clock::boot_us() },
        })
    }

    fn tell(&mut self, event: &Event, link: &mut Link) {
        let event = envd::ProcessEvent { event: Some(event.clone()) };
        // The answers of Connect have the same form.
        let message = envd::StartResponse { event: MessageField::some(event) };
        self.codec.push(link, self.stream, &message);
        self.pulse.beat();
    }

    /// Tells of a process that has ended before.
    pub(crate) fn tell_past(mut self, pid: u32, event: envd::process_event::EndEvent, link: &mut Link) {
        self.tell(&start_event(pid), link);
        self.tell(&event.into(), link);
        self.end(link, Ok(()));
    }

    fn end(self, link: &mut Link, outcome: Result<(), ConnectError>) {
        calls::end(link, self.stream, outcome);
    }

    fn next_moment_us(&self) -> Option<u64> {
        [self.pulse.next_moment_us(), self.waits.until_us()].into_iter().flatten().min()
    }

    /// Does what is due; `None` when it is cut off.
    fn keep_time(mut self, now: u64, started: bool, link: &mut Link) -> Option<Self> {
        self.waits.look(link.room(self.stream), now);
        if self.pulse.is_over(now) {
            self.end(link, Err(out_of_time()));
            return None;
        }
        if self.waits.until_us().is_some_and(|moment| moment <= now) {
            let text = "output was not taken for a minute; the process runs on";
            self.end(link, Err(ConnectError::new(Code::ResourceExhausted, text)));
            return None;
        }
        // Nothing comes before the start.
        if self.pulse.is_due(now) && started {
            self.tell(&envd::process_event::KeepAlive::default().into(), link);
        } else if self.pulse.is_due(now) {
            self.pulse.beat();
        }
        Some(self)
    }
}

/// Since when a stream has had the same little room.
#[derive(Debug)]
struct Waits {
    room: usize,
    since_us: u64,
}

impl Waits {
    fn look(&mut self, room: usize, now: u64) {
        if room != self.room {
            *self = Self { room, since_us: now };
        }
    }

    /// When patience with it ends.
    fn until_us(&self) -> Option<u64> {
        (self.room < ROOM_BYTES).then_some(self.since_us + PATIENCE_US)
    }
}

fn start_event(pid: u32) -> Event {
    envd::process_event::StartEvent { pid }.into()
}

fn end_event(status: Status) -> envd::process_event::EndEvent {
    match status {
        Status::Exited(code) => {
            let status = format!("exit status {code}");
            let error = (code != 0).then(|| status.clone());
            envd::process_event::EndEvent { exit_code: code, exited: true, status, error }
        }
        Status::Signalled(signal) => {
            let status = format!("signal: {}", signal_name(signal));
            envd::process_event::EndEvent {
                exit_code: -1,
                exited: false,
                error: Some(status.clone()),
                status,
            }
        }
    }
}

/// What clients know a signal as.
fn signal_name(number: i32) -> String {
    let name = match number {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        KILLED => "killed",
        11 => "segmentation fault",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        _ => return format!("signal {number}"),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends_only_with_those_who_take_nothing() {
        let mut waits = Waits { room: usize::MAX, since_us: 0 };
        let mut look = |room, now| {
            waits.look(room, now);
            waits.until_us()
        };
        assert_eq!(look(ROOM_BYTES, 5), None, "there is room");
        assert_eq!(look(10, 10), Some(10 + PATIENCE_US));
        assert_eq!(look(10, PATIENCE_US), Some(10 + PATIENCE_US), "nothing was taken");
        assert_eq!(look(11, PATIENCE_US), Some(2 * PATIENCE_US), "a byte was taken");
        assert_eq!(look(usize::MAX, PATIENCE_US + 1), None);
    }

    #[test]
    fn ends_are_told_as_clients_know_them() {
        let check = |status, code, exited, text: &str, error: Option<&str>| {
            let event = end_event(status);
            assert_eq!((event.exit_code, event.exited, event.status.as_str()), (code, exited, text));
            assert_eq!(event.error.as_deref(), error);
        };
        check(Status::Exited(0), 0, true, "exit status 0", None);
        check(Status::Exited(3), 3, true, "exit status 3", Some("exit status 3"));
        check(Status::Signalled(9), -1, false, "signal: killed", Some("signal: killed"));
        check(Status::Signalled(40), -1, false, "signal: signal 40", Some("signal: signal 40"));
    }
}
