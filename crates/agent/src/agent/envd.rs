//! `process.Process` as the widely used sandbox clients speak it, over the same processes as our own calls.
//!
//! A process lives as long as the call that started it: who hangs up ends it. (Processes that outlive their client
//! come with live sandboxes.) Terminals are not there yet and are refused by name.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use buffa::{Message, MessageField};
use sandkeep_protocol::envelope::{self, Code, ConnectError};
use sandkeep_protocol::head::Head;
use sandkeep_protocol::mux::StreamId;
use sandkeep_protocol::process as envd;
use sandkeep_protocol::process::__buffa::oneof::process_input::Input;
use sandkeep_protocol::process::__buffa::oneof::process_selector::Selector;
use sandkeep_protocol::routes::process as routes;
use sandkeep_protocol::{agent as own, messages};
use sandkeep_sandbox::idmap::USER_ID;

use super::Agent;
use super::running::Running;
use super::voice::{Codec, Voice, encode};
use crate::calls::Incoming;

/// What the process service knows of a process besides its pipes.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) config: envd::ProcessConfig,
    pub(crate) tag: Option<String>,
}

type Answer<T> = Result<T, ConnectError>;

/// The codec that a call asks for.
fn codec(call: &Incoming) -> Codec {
    if call.content_type.ends_with("json") { Codec::Json } else { Codec::Binary }
}

fn read<M: Message + serde::de::DeserializeOwned>(call: &Incoming) -> Answer<M> {
    match codec(call) {
        Codec::Binary => call.message(),
        Codec::Json => {
            let body = call.only_message()?;
            serde_json::from_slice(&body)
                .map_err(|error| ConnectError::new(Code::InvalidArgument, format!("not a request: {error}")))
        }
    }
}

impl Agent {
    /// Answers a call of the process service; false when it is not one.
    pub(super) fn process_called(
        &mut self,
        id: StreamId,
        call: &Incoming,
        descriptors: Option<Vec<OwnedFd>>,
    ) -> bool {
        match call.path.as_str() {
            routes::START => self.start_process(id, call, descriptors),
            routes::LIST => {
                let outcome = Ok(self.list_processes());
                self.answer(id, call, outcome);
            }
            routes::SEND_INPUT => {
                let outcome = read(call).and_then(|request| self.send_process_input(request));
                self.answer(id, call, outcome);
            }
            routes::CLOSE_STDIN => {
                let outcome = read(call).and_then(|request: envd::CloseStdinRequest| {
                    self.selected(request.process.into_option())?.close_input();
                    Ok(envd::CloseStdinResponse::default())
                });
                self.answer(id, call, outcome);
            }
            routes::SEND_SIGNAL => {
                let outcome = read(call).and_then(|request| self.signal_process(request));
                self.answer(id, call, outcome);
            }
            path if path.starts_with("/process.Process/") => {
                let error = ConnectError::new(Code::Unimplemented, format!("{path} is not there yet"));
                call.refuse(&mut self.link, id, &error);
            }
            _ => return false,
        }
        true
    }

    fn answer<M: Message + serde::Serialize>(&mut self, id: StreamId, call: &Incoming, outcome: Answer<M>) {
        match outcome {
            Ok(message) => {
                let content_type = match codec(call) {
                    Codec::Binary => envelope::CONTENT_TYPE_PROTO,
                    Codec::Json => envelope::CONTENT_TYPE_JSON,
                };
                self.link.reply(id, 200, content_type);
                self.link.send(id, &encode(codec(call), &message));
                self.link.finish(id);
            }
            Err(error) => call.refuse(&mut self.link, id, &error),
        }
    }

    fn start_process(&mut self, id: StreamId, call: &Incoming, descriptors: Option<Vec<OwnedFd>>) {
        let asked = read(call).and_then(|request: envd::StartRequest| {
            if request.pty.as_option().is_some() {
                return Err(ConnectError::new(Code::Unimplemented, "terminals are not there yet"));
            }
            Ok(request)
        });
        let request = match asked {
            Ok(request) => request,
            Err(error) => return call.refuse(&mut self.link, id, &error),
        };
        let codec = codec(call);
        let content_type = match codec {
            Codec::Binary => envelope::CONTENT_TYPE_STREAM_PROTO,
            Codec::Json => envelope::CONTENT_TYPE_STREAM_JSON,
        };
        self.link.reply(id, 200, content_type);
        let described = Described {
            config: request.process.as_option().cloned().unwrap_or_default(),
            tag: request.tag.clone(),
        };
        let spawn = spawn_request(&request, call, id);
        self.launch(id, spawn, descriptors, Voice::Envd(codec), Some(described));
    }

    fn list_processes(&self) -> envd::ListResponse {
        let known = self.running.values().filter_map(|running| {
            let described = running.described.clone()?;
            Some(envd::ProcessInfo {
                config: MessageField::some(described.config),
                pid: pid(running),
                tag: described.tag,
            })
        });
        envd::ListResponse { processes: known.collect() }
    }

    fn send_process_input(&mut self, request: envd::SendInputRequest) -> Answer<envd::SendInputResponse> {
        let running = self.selected(request.process.into_option())?;
        match request.input.into_option().and_then(|input| input.input) {
            Some(Input::Stdin(bytes)) => running.input(&bytes),
            Some(Input::Pty(_)) => {
                return Err(ConnectError::new(Code::InvalidArgument, "the process has no terminal"));
            }
            None => {}
        }
        Ok(envd::SendInputResponse::default())
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

    fn selected(&mut self, selector: Option<envd::ProcessSelector>) -> Answer<&mut Running> {
        let selector = selector.and_then(|selector| selector.selector);
        let Some(selector) = selector else {
            return Err(ConnectError::new(Code::InvalidArgument, "name a process by pid or tag"));
        };
        let found = self.running.values_mut().find(|running| match &selector {
            Selector::Pid(wanted) => running.described.is_some() && pid(running) == *wanted,
            Selector::Tag(tag) => running.described.as_ref().is_some_and(|d| d.tag.as_ref() == Some(tag)),
        });
        found.ok_or_else(|| ConnectError::new(Code::NotFound, "no such process"))
    }
}

fn pid(running: &Running) -> u32 {
    u32::try_from(running.pid.as_raw_nonzero().get()).unwrap_or(0)
}

/// Environment of processes of this service, under what they bring along.
const BASE_ENV: [(&str, &str); 5] = [
    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
    ("HOME", "/home/user"),
    ("USER", "user"),
    ("LOGNAME", "user"),
    ("LANG", "C.UTF-8"),
];

fn spawn_request(request: &envd::StartRequest, call: &Incoming, id: StreamId) -> own::SpawnRequest {
    let config = request.process.as_option().cloned().unwrap_or_default();
    let base = BASE_ENV.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
    let env: BTreeMap<String, String> = base.chain(config.envs).collect();
    let argv = std::iter::once(config.cmd).chain(config.args).collect();
    let stdin_mode = if request.stdin.unwrap_or(true) {
        messages::sandkeep::agent::v1::Stdin::STDIN_OPEN
    } else {
        messages::sandkeep::agent::v1::Stdin::STDIN_UNSPECIFIED
    };
    own::SpawnRequest {
        execution_id: format!("envd-{id}"),
        argv,
        env,
        cwd: config.cwd.unwrap_or_else(|| "/home/user".to_owned()),
        uid: USER_ID,
        gid: USER_ID,
        stdin_mode: stdin_mode.into(),
        clone_into_group: call.asks(CLONE_INTO_HEADER),
        own_pid_namespace: call.asks(OWN_PID_HEADER),
        ..Default::default()
    }
}

/// The supervisor's word that the first descriptor is a group to be cloned into.
pub(crate) const CLONE_INTO_HEADER: &str = "sandkeep-clone-into";
/// The supervisor's word that the process is to have a PID namespace of its own.
pub(crate) const OWN_PID_HEADER: &str = "sandkeep-own-pid-namespace";

/// Only the supervisor says these, so it drops them from what others send.
pub(crate) fn drop_own_words(head: &mut Head) {
    head.headers.retain(|(name, _)| name != CLONE_INTO_HEADER && name != OWN_PID_HEADER);
}
