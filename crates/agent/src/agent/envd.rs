//! The envd services, `process.Process` and `filesystem.Filesystem`, as the widely used sandbox clients speak them: over
//! the same processes as our own calls, and over files as the code's user.
//!
//! A process is started by two calls. The supervisor first asks to [`Envd::admit`] it, with what its domain needs, and
//! hears on that stream how it starts and ends; the client's own call then names the admission. So the domain, its
//! limits and its end are the supervisor's, as for every execution, and clients only listen: they come and go, and the
//! process runs on. It ends by itself, by a signal, at the time limit of the call that started it, or with the sandbox.
//! What it started in the background ends with it, as for every execution.

pub(crate) mod caller;
pub(crate) mod clients;
pub(crate) mod codec;
mod files;
mod input;
mod process;
mod pulse;
mod start;
mod watchers;

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;

use sandkeep_protocol::envelope::{Code, ConnectError};
use sandkeep_protocol::head::Head;
use sandkeep_protocol::mux::StreamId;
use sandkeep_protocol::process::process_event::EndEvent;
use sandkeep_protocol::{agent as own, routes};

use super::Agent;
use super::running::Running;
use crate::calls::Incoming;

/// What the services know besides the processes that run.
#[derive(Debug, Default)]
pub(crate) struct Envd {
    /// Processes that room was made for, by their names.
    admissions: BTreeMap<String, Admission>,
    /// Processes that have ended, the newest last: for clients that come late.
    ended: VecDeque<EndedProcess>,
    pub(super) inputs: input::Inputs,
    pub(super) files: files::Files,
    pub(super) watchers: watchers::Watchers,
}

/// Room for one process.
#[derive(Debug)]
struct Admission {
    /// The supervisor's call, which hears of its start and its end.
    hold: StreamId,
    request: own::AdmitRequest,
    /// The ways into its groups.
    descriptors: Option<Vec<OwnedFd>>,
}

#[derive(Debug)]
struct EndedProcess {
    pid: u32,
    tag: Option<String>,
    event: EndEvent,
}

/// Ends that are kept.
const MOST_ENDED: usize = 256;

impl Envd {
    /// Makes room for a process.
    pub(crate) fn admit(
        &mut self,
        hold: StreamId,
        request: own::AdmitRequest,
        descriptors: Option<Vec<OwnedFd>>,
    ) {
        self.admissions.insert(request.execution_id.clone(), Admission { hold, request, descriptors });
    }

    /// A stream was reset: nothing of it is waited for any more.
    pub(crate) fn forget(&mut self, id: StreamId) {
        self.admissions.retain(|_, admission| admission.hold != id);
        self.inputs.forget(id);
        self.files.forget(id);
        self.watchers.forget(id);
    }

    fn remember(&mut self, pid: u32, tag: Option<String>, event: EndEvent) {
        if self.ended.len() == MOST_ENDED {
            self.ended.pop_front();
        }
        self.ended.push_back(EndedProcess { pid, tag, event });
    }
}

impl Agent {
    /// Answers a call of these services.
    pub(super) fn envd_called(&mut self, id: StreamId, call: Incoming) {
        if call.path.starts_with("/filesystem.") {
            self.filesystem_called(id, call);
        } else {
            self.process_called(id, call);
        }
    }

    /// Whoever listened to a process on this stream went away.
    pub(super) fn leave(&mut self, id: StreamId) {
        for clients in self.running.values_mut().filter_map(|running| running.clients.as_mut()) {
            clients.leave(id);
        }
    }

    /// A process of these services is over: tells who listens. Without effect on other executions.
    pub(super) fn part_with(&mut self, running: &mut Running) {
        let pid = running.number();
        let Some(clients) = running.clients.take() else { return };
        match running.failed {
            Some(failure) => {
                let error = start::refusal(failure, &clients.config);
                clients.refuse(&mut self.link, &error);
            }
            None => {
                let tag = clients.tag.clone();
                let event = clients.close(&mut self.link);
                self.envd.remember(pid, tag, event);
            }
        }
    }

    /// When something of these services is due next, by the clock that counts sleep too.
    pub(super) fn next_moment_us(&self) -> Option<u64> {
        let clients = self.running.values().filter_map(|running| running.clients.as_ref());
        let moments = clients.filter_map(clients::Clients::next_moment_us);
        let calls = [
            self.envd.inputs.next_moment_us(),
            self.envd.files.next_moment_us(),
            self.envd.watchers.next_moment_us(),
        ];
        moments.chain(calls.into_iter().flatten()).min()
    }

    /// Does what is due.
    pub(super) fn keep_time(&mut self) {
        let now = crate::clock::boot_us();
        for clients in self.running.values_mut().filter_map(|running| running.clients.as_mut()) {
            clients.keep_time(now, &mut self.link);
        }
        self.envd.inputs.keep_time(now, &mut self.link);
        self.envd.files.keep_time(now, &self.prepared, &mut self.link);
        self.envd.watchers.keep_time(now, &mut self.link);
    }
}

/// Whether `path` is of one of these services.
pub(crate) fn is_envd(path: &str) -> bool {
    path.starts_with("/process.Process/") || path.starts_with("/filesystem.Filesystem/")
}

fn no_method(path: &str) -> ConnectError {
    ConnectError::new(Code::Unimplemented, format!("there is no method {path}"))
}

/// Methods of these services, which a supervisor passes on as they are. (Start it prepares.)
pub(crate) const METHODS: [&str; 16] = [
    routes::process::CONNECT,
    routes::process::LIST,
    routes::process::SEND_INPUT,
    routes::process::STREAM_INPUT,
    routes::process::CLOSE_STDIN,
    routes::process::SEND_SIGNAL,
    routes::process::UPDATE,
    routes::filesystem::STAT,
    routes::filesystem::MAKE_DIR,
    routes::filesystem::MOVE,
    routes::filesystem::LIST_DIR,
    routes::filesystem::REMOVE,
    routes::filesystem::WATCH_DIR,
    routes::filesystem::CREATE_WATCHER,
    routes::filesystem::GET_WATCHER_EVENTS,
    routes::filesystem::REMOVE_WATCHER,
];

/// Names the admission of a process in the call that starts it.
const ADMISSION_HEADER: &str = "sandkeep-admission";

/// Whether the services read a header. Anything else stays outside: keys of the caller's, and words that only the
/// supervisor says.
fn is_read(name: &str, value: &str) -> bool {
    match name {
        "content-type" | "connect-timeout-ms" | "keepalive-ping-interval" => true,
        // Names a user; in other schemes it is a key.
        "authorization" => caller::names_user(value),
        _ => false,
    }
}

/// The head of a client's call as the agent gets it; a start with the name of its admission.
pub(crate) fn head_inwards(head: &Head, admission: Option<&str>) -> Head {
    let mut inwards = Head::new(head.path.clone());
    inwards.headers = head
        .headers
        .iter()
        .filter(|(name, value)| is_read(name, value))
        .cloned()
        .chain(admission.map(|name| (ADMISSION_HEADER.to_owned(), name.to_owned())))
        .collect();
    inwards
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_supervisor_says_and_keys_do_not_come_in() {
        let head = Head::new(routes::process::START)
            .with("content-type", "application/json")
            .with(ADMISSION_HEADER, "process-1")
            .with("x-access-token", "secret")
            .with("authorization", "Bearer secret")
            .with("authorization", "Basic cm9vdDo=")
            .with("connect-timeout-ms", "5");
        let inwards = head_inwards(&head, Some("process-2"));
        assert_eq!(inwards.path, head.path);
        let names: Vec<&str> = inwards.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["content-type", "authorization", "connect-timeout-ms", ADMISSION_HEADER]);
        assert_eq!(inwards.header("authorization"), Some("Basic cm9vdDo="));
        assert_eq!(inwards.header(ADMISSION_HEADER), Some("process-2"));
        assert_eq!(head_inwards(&head, None).header(ADMISSION_HEADER), None);
    }
}
