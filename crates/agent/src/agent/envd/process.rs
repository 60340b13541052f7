//! The calls of `process.Process`.

use std::collections::BTreeMap;

use buffa::MessageField;
use sandkeep_protocol::envelope::{Code, ConnectError};
use sandkeep_protocol::mux::StreamId;
use sandkeep_protocol::process as envd;
use sandkeep_protocol::process::__buffa::oneof::process_selector::Selector;
use sandkeep_protocol::routes::process as routes;

use super::caller::Caller;
use super::clients::{Clients, Listener};
use super::codec::{self, Codec};
use super::{ADMISSION_HEADER, Admission, start};
use crate::agent::running::Running;
use crate::agent::{Agent, spawn, terminal, voice};
use crate::calls::{self, Incoming};

type Answer<T> = Result<T, ConnectError>;

impl Agent {
    /// Answers a call of the process service.
    pub(super) fn process_called(&mut self, id: StreamId, call: Incoming) {
        match call.path.as_str() {
            routes::START => self.start_process(id, &call),
            routes::CONNECT => self.connect_process(id, &call),
            routes::LIST => {
                let outcome = Ok(self.list_processes());
                codec::answer(&mut self.link, id, &call, outcome);
            }
            routes::SEND_INPUT => self.envd.inputs.send(id, call, &self.running, &mut self.link),
            routes::CLOSE_STDIN => {
                let outcome = codec::read(&call).and_then(|request| self.close_stdin(request));
                codec::answer(&mut self.link, id, &call, outcome);
            }
            routes::SEND_SIGNAL => {
                let outcome = codec::read(&call).and_then(|request| self.signal_process(request));
                codec::answer(&mut self.link, id, &call, outcome);
            }
            routes::UPDATE => {
                let outcome = codec::read(&call).and_then(|request| self.update_process(request));
                codec::answer(&mut self.link, id, &call, outcome);
            }
            _ => call.refuse(&mut self.link, id, &super::no_method(&call.path)),
        }
    }

    fn start_process(&mut self, id: StreamId, call: &Incoming) {
        let admission = call.header(ADMISSION_HEADER).and_then(|name| self.envd.admissions.remove(name));
        let Some(admission) = admission else {
            let error = ConnectError::new(Code::FailedPrecondition, "no room was made for this process");
            return call.refuse(&mut self.link, id, &error);
        };
        let hold = admission.hold;
        let wished = Listener::new(id, call, true).and_then(|listener| {
            let caller = Caller::of(call, &self.prepared)?;
            let wish = start::wish(codec::read(call)?, caller, &admission.request)?;
            Ok((wish, listener))
        });
        match wished {
            Ok((wish, listener)) => {
                Codec::of(call).begin(&mut self.link, id);
                self.start_wished(admission, wish, listener);
            }
            Err(error) => {
                call.refuse(&mut self.link, id, &error);
                calls::end(&mut self.link, hold, Ok(()));
            }
        }
    }

    fn start_wished(&mut self, admission: Admission, wish: start::Wish, listener: Listener) {
        let Admission { hold, request, descriptors } = admission;
        let mut clients = Clients::new(wish.config, wish.tag, request.deadline_boot_us);
        clients.join(listener, &mut self.link);
        let spawned = spawn::complete(descriptors).and_then(|descriptors| {
            spawn::spawn(
                wish.spawn,
                descriptors,
                &self.prepared,
                &mut self.warm,
                self.last_end_ns,
                wish.terminal,
            )
        });
        match spawned {
            Ok(mut running) => {
                running.clients = Some(clients);
                self.running.insert(hold, running);
            }
            Err(failure) => {
                let error = start::refusal(failure, &clients.config);
                clients.refuse(&mut self.link, &error);
                voice::not_runnable(&mut self.link, hold, failure);
                calls::end(&mut self.link, hold, Ok(()));
            }
        }
    }

    fn connect_process(&mut self, id: StreamId, call: &Incoming) {
        let asked = codec::read(call).and_then(|request: envd::ConnectRequest| {
            Ok((selector(request.process.into_option())?, Listener::new(id, call, false)?))
        });
        let (selector, listener) = match asked {
            Ok(asked) => asked,
            Err(error) => return call.refuse(&mut self.link, id, &error),
        };
        if let Some(clients) =
            position(&self.running, &selector).and_then(|at| self.running.get_mut(&at)?.clients.as_mut())
        {
            Codec::of(call).begin(&mut self.link, id);
            return clients.join(listener, &mut self.link);
        }
        let ended = self.envd.ended.iter().rev().find(|ended| match &selector {
            Selector::Pid(pid) => ended.pid == *pid,
            Selector::Tag(tag) => ended.tag.as_ref() == Some(tag),
        });
        match ended {
            Some(ended) => {
                Codec::of(call).begin(&mut self.link, id);
                listener.tell_past(ended.pid, ended.event.clone(), &mut self.link);
            }
            None => call.refuse(&mut self.link, id, &unknown()),
        }
    }

    fn list_processes(&self) -> envd::ListResponse {
        let known = self.running.values().filter_map(|running| {
            let clients = running.clients.as_ref()?;
            let config = MessageField::some(clients.config.clone());
            Some(envd::ProcessInfo { config, pid: running.number(), tag: clients.tag.clone() })
        });
        envd::ListResponse { processes: known.collect() }
    }

    fn close_stdin(&mut self, request: envd::CloseStdinRequest) -> Answer<envd::CloseStdinResponse> {
        let running = self.selected(request.process.into_option())?;
        if running.on_terminal {
            let text = "a terminal has no input that could be closed: send Ctrl-D (0x04)";
            return Err(ConnectError::new(Code::FailedPrecondition, text));
        }
        running.close_input();
        Ok(envd::CloseStdinResponse::default())
    }

    fn signal_process(&mut self, request: envd::SendSignalRequest) -> Answer<envd::SendSignalResponse> {
        let number = match request.signal.as_known() {
            Some(envd::Signal::SIGNAL_SIGKILL) => 9,
            Some(envd::Signal::SIGNAL_SIGTERM) => 15,
            Some(envd::Signal::SIGNAL_UNSPECIFIED) | None => {
                return Err(ConnectError::new(Code::InvalidArgument, "the signal is not SIGKILL or SIGTERM"));
            }
        };
        self.selected(request.process.into_option())?.signal(number);
        Ok(envd::SendSignalResponse::default())
    }

    fn update_process(&mut self, request: envd::UpdateRequest) -> Answer<envd::UpdateResponse> {
        let size = request.pty.into_option().map(|pty| start::size(&pty)).transpose()?;
        let running = self.selected(request.process.into_option())?;
        let Some(size) = size else { return Ok(envd::UpdateResponse::default()) };
        let ours = running.stdout.as_ref().filter(|_| running.on_terminal);
        let Some(ours) = ours else {
            return Err(ConnectError::new(Code::FailedPrecondition, "the process has no terminal"));
        };
        terminal::resize(ours, size)
            .map_err(|errno| ConnectError::new(Code::Internal, format!("cannot resize: {errno}")))?;
        Ok(envd::UpdateResponse::default())
    }

    fn selected(&mut self, named: Option<envd::ProcessSelector>) -> Answer<&mut Running> {
        let at = find(&self.running, named)?;
        self.running.get_mut(&at).ok_or_else(unknown)
    }
}

/// The process that is named.
///
/// # Errors
/// `invalid_argument` when none is, `not_found`.
pub(super) fn find(
    running: &BTreeMap<StreamId, Running>,
    named: Option<envd::ProcessSelector>,
) -> Answer<StreamId> {
    position(running, &selector(named)?).ok_or_else(unknown)
}

fn selector(named: Option<envd::ProcessSelector>) -> Answer<Selector> {
    let none = || ConnectError::new(Code::InvalidArgument, "name a process by pid or tag");
    named.and_then(|named| named.selector).ok_or_else(none)
}

/// Of several with the same tag, the one that was started last.
fn position(running: &BTreeMap<StreamId, Running>, selector: &Selector) -> Option<StreamId> {
    let mut newest_first = running.iter().rev();
    let found = newest_first.find(|(_, running)| match (&running.clients, selector) {
        (Some(_), Selector::Pid(pid)) => running.number() == *pid,
        (Some(clients), Selector::Tag(tag)) => clients.tag.as_ref() == Some(tag),
        (None, _) => false,
    });
    found.map(|(id, _)| *id)
}

fn unknown() -> ConnectError {
    ConnectError::new(Code::NotFound, "no such process")
}
