//! In which words an execution's story is told: those of our own package, or those of the envd services.

use buffa::Message;
use sandkeep_protocol::agent as own;
use sandkeep_protocol::agent::__buffa::oneof::{exited::How, spawn_event};
use sandkeep_protocol::envelope::{self, Code, ConnectError};
use sandkeep_protocol::mux::StreamId;
use sandkeep_protocol::process as envd;
use sandkeep_protocol::process::__buffa::oneof::process_event;
use sandkeep_sandbox::process::{Ended, Status};

use super::child::Failure;
use crate::calls;
use crate::clock;
use crate::link::Link;

/// How messages of a call are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Binary,
    Json,
}

/// Who listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Voice {
    /// The supervisor.
    Own,
    /// A client of `process.Process`.
    Envd(Codec),
}

/// Which pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pipe {
    Stdout,
    Stderr,
}

impl Voice {
    pub(crate) fn started(self, link: &mut Link, id: StreamId, pid: u32, changes_after_unix_ns: u64) {
        match self {
            Self::Own => {
                let at_unix_ms = clock::unix_ms();
                let started = own::Started { pid, at_unix_ms, changes_after_unix_ns };
                tell_own(link, id, spawn_event::Event::Started(Box::new(started)));
            }
            Self::Envd(codec) => {
                let start = envd::process_event::StartEvent { pid };
                tell_envd(link, id, codec, start.into());
            }
        }
    }

    pub(crate) fn output(self, link: &mut Link, id: StreamId, pipe: Pipe, data: Vec<u8>) {
        match self {
            Self::Own => {
                let stream = match pipe {
                    Pipe::Stdout => own::Stream::STREAM_STDOUT,
                    Pipe::Stderr => own::Stream::STREAM_STDERR,
                };
                let output = own::Output { stream: stream.into(), data };
                tell_own(link, id, spawn_event::Event::Output(Box::new(output)));
            }
            Self::Envd(codec) => {
                use sandkeep_protocol::process::__buffa::oneof::process_event::data_event::Output;
                let output = match pipe {
                    Pipe::Stdout => Output::Stdout(data),
                    Pipe::Stderr => Output::Stderr(data),
                };
                let data = envd::process_event::DataEvent { output: Some(output) };
                tell_envd(link, id, codec, data.into());
            }
        }
    }

    /// What a handler handed back; envd knows no such thing.
    pub(crate) fn returned(self, link: &mut Link, id: StreamId, data: Vec<u8>, too_large: bool) {
        if self == Self::Own {
            let value = own::ReturnValue { data, too_large };
            tell_own(link, id, spawn_event::Event::ReturnValue(Box::new(value)));
        }
    }

    pub(crate) fn exited(self, link: &mut Link, id: StreamId, ended: &Ended, status: Status) {
        match self {
            Self::Own => {
                let how = match status {
                    Status::Exited(code) => How::Code(code),
                    Status::Signalled(signal) => How::Signal(signal),
                };
                let (cpu_user_us, cpu_system_us) = (ended.cpu_user_us, ended.cpu_system_us);
                let usage = own::Usage { cpu_user_us, cpu_system_us, ..Default::default() };
                let exited = own::Exited {
                    how: Some(how),
                    usage: buffa::MessageField::some(usage),
                    at_unix_ms: clock::unix_ms(),
                };
                tell_own(link, id, spawn_event::Event::Exited(Box::new(exited)));
            }
            Self::Envd(codec) => tell_envd(link, id, codec, end_event(status).into()),
        }
    }

    /// It did not start; false when the listener hears that as the end of the call instead.
    pub(crate) fn not_runnable(
        self,
        link: &mut Link,
        id: StreamId,
        failure: Failure,
    ) -> Result<(), ConnectError> {
        match self {
            Self::Own => {
                let not_runnable = own::NotRunnable {
                    errno: failure.errno.raw_os_error(),
                    stage: failure.step.name().to_owned(),
                };
                tell_own(link, id, spawn_event::Event::NotRunnable(Box::new(not_runnable)));
                Ok(())
            }
            Self::Envd(_) => {
                let code = if failure.errno == rustix::io::Errno::NOENT {
                    Code::NotFound
                } else {
                    Code::InvalidArgument
                };
                Err(ConnectError::new(
                    code,
                    format!("cannot start: {}: {}", failure.step.name(), failure.errno),
                ))
            }
        }
    }
}

fn end_event(status: Status) -> envd::process_event::EndEvent {
    match status {
        Status::Exited(code) => envd::process_event::EndEvent {
            exit_code: code,
            exited: true,
            status: format!("exit status {code}"),
            ..Default::default()
        },
        Status::Signalled(signal) => envd::process_event::EndEvent {
            exit_code: 128 + signal,
            exited: false,
            status: format!("signal: {signal}"),
            error: Some(format!("signal: {signal}")),
        },
    }
}

fn tell_own(link: &mut Link, id: StreamId, event: spawn_event::Event) {
    calls::push(link, id, &own::SpawnEvent { event: Some(event) });
}

fn tell_envd(link: &mut Link, id: StreamId, codec: Codec, event: process_event::Event) {
    let event = envd::ProcessEvent { event: Some(event) };
    let message = envd::StartResponse { event: buffa::MessageField::some(event) };
    push(link, id, codec, &message);
}

/// One message of a streaming answer.
pub(crate) fn push<M: Message + serde::Serialize>(link: &mut Link, id: StreamId, codec: Codec, message: &M) {
    let bytes = encode(codec, message);
    link.send(id, &envelope::prefix(bytes.len()));
    link.send(id, &bytes);
}

/// A message in the codec of its call.
pub(crate) fn encode<M: Message + serde::Serialize>(codec: Codec, message: &M) -> Vec<u8> {
    match codec {
        Codec::Binary => message.encode_to_vec(),
        // Strings, numbers and bytes: there is nothing in our messages that JSON has no form for.
        Codec::Json => serde_json::to_vec(message).expect("messages are JSON"),
    }
}
