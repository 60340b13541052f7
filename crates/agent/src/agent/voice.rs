//! An execution's story, told to the supervisor.

use sandkeep_protocol::agent as own;
use sandkeep_protocol::agent::__buffa::oneof::{exited::How, spawn_event};
use sandkeep_protocol::mux::StreamId;
use sandkeep_sandbox::process::{Ended, Status};

use crate::calls;
use crate::clock;
use crate::link::Link;
use sandkeep_sandbox::start::Failure;

/// Which pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pipe {
    Stdout,
    Stderr,
    /// Both, and what the terminal itself says.
    Terminal,
}

pub(crate) fn started(link: &mut Link, id: StreamId, pid: u32, changes_after_unix_ns: u64) {
    let at_unix_ms = clock::unix_ms();
    let started = own::Started { pid, at_unix_ms, changes_after_unix_ns };
    tell(link, id, spawn_event::Event::Started(Box::new(started)));
}

pub(crate) fn output(link: &mut Link, id: StreamId, pipe: Pipe, data: Vec<u8>) {
    let stream = match pipe {
        Pipe::Stdout | Pipe::Terminal => own::Stream::STREAM_STDOUT,
        Pipe::Stderr => own::Stream::STREAM_STDERR,
    };
    let output = own::Output { stream: stream.into(), data };
    tell(link, id, spawn_event::Event::Output(Box::new(output)));
}

/// What a handler handed back.
pub(crate) fn returned(link: &mut Link, id: StreamId, data: Vec<u8>, too_large: bool) {
    let value = own::ReturnValue { data, too_large };
    tell(link, id, spawn_event::Event::ReturnValue(Box::new(value)));
}

pub(crate) fn exited(link: &mut Link, id: StreamId, ended: &Ended, status: Status) {
    let how = match status {
        Status::Exited(code) => How::Code(code),
        Status::Signalled(signal) => How::Signal(signal),
    };
    let (cpu_user_us, cpu_system_us) = (ended.cpu_user_us, ended.cpu_system_us);
    let usage = own::Usage { cpu_user_us, cpu_system_us, ..Default::default() };
    let exited =
        own::Exited { how: Some(how), usage: buffa::MessageField::some(usage), at_unix_ms: clock::unix_ms() };
    tell(link, id, spawn_event::Event::Exited(Box::new(exited)));
}

/// It did not start.
pub(crate) fn not_runnable(link: &mut Link, id: StreamId, failure: Failure) {
    let not_runnable =
        own::NotRunnable { errno: failure.errno.raw_os_error(), stage: failure.step.name().to_owned() };
    tell(link, id, spawn_event::Event::NotRunnable(Box::new(not_runnable)));
}

fn tell(link: &mut Link, id: StreamId, event: spawn_event::Event) {
    calls::push(link, id, &own::SpawnEvent { event: Some(event) });
}
