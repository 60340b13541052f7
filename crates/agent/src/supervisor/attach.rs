//! Servers that come and go, where the sandbox outlives them.

use buffa::MessageField;
use sandkeep_protocol::envelope::{Code, ConnectError};
use sandkeep_protocol::mux::reset_code;
use sandkeep_protocol::supervisor as proto;

use super::Supervisor;
use super::boot::{Problem, problem};
use super::door::Door;
use super::serve::version;
use crate::clock;
use crate::link::{Broken, Link};

impl Supervisor {
    /// Whether it goes on without its server.
    pub(super) fn outlives(&self) -> bool {
        self.door.is_some()
    }

    /// Opens the door, where that was asked for.
    ///
    /// # Errors
    /// `state_dir_unusable`.
    pub(super) fn open_door(&mut self, spec: &proto::SandboxSpec) -> Result<(), Problem> {
        let Some(wanted) = spec.outliving.as_option() else { return Ok(()) };
        let opened = Door::open(wanted).map_err(|errno| {
            problem("state_dir_unusable", format!("no socket can be made in {}: {errno}", wanted.directory))
        });
        self.door = Some(opened?);
        Ok(())
    }

    /// The server is gone. What runs goes on, if it is to; nobody is told anything until another comes.
    ///
    /// # Errors
    /// Why it is gone, where the sandbox ends with it.
    pub(super) fn server_left(&mut self, broken: Broken) -> Result<(), Broken> {
        if !self.outlives() {
            return Err(broken);
        }
        self.forget_server();
        self.server = Link::nowhere().map_err(Broken::Socket)?;
        self.alone_since_us = Some(clock::boot_us());
        Ok(())
    }

    /// Forgets everything that belongs to the connection: who listened, who asked, whose calls went through.
    fn forget_server(&mut self) {
        self.incoming.clear();
        self.inputs.clear();
        for execution in self.executions.values_mut() {
            execution.tails.clear();
        }
        self.callers_are_gone();
        let inwards = std::mem::take(&mut self.proxied).into_inwards();
        if let Some(sandbox) = &mut self.sandbox {
            inwards.for_each(|stream| sandbox.link.reset(stream, reset_code::CANCEL));
        }
    }

    /// When patience without a server ends.
    pub(super) fn orphaned_at_us(&self) -> Option<u64> {
        Some(self.alone_since_us? + self.door.as_ref()?.orphan_after_us)
    }

    /// Deals with whoever came in by the door.
    pub(super) fn hear_door(&mut self) {
        let Some(door) = &mut self.door else { return };
        door.admit();
        let asking = door.hear();
        for (mut caller, id, call) in asking {
            match call.message().and_then(|request| self.attach(&request)) {
                Ok(answer) => {
                    call.answer(&mut caller.link, id, Ok(answer));
                    self.forget_server();
                    // Whoever had it sees its connection close, and is fenced off.
                    self.server = caller.link;
                    self.alone_since_us = None;
                }
                Err(error) => {
                    call.refuse(&mut caller.link, id, &error);
                    if let Some(door) = &mut self.door {
                        door.keep(caller);
                    }
                }
            }
        }
    }

    /// Whether `request` may take the sandbox over. The same token may when its holder is gone; else only a higher one.
    fn attach(&mut self, request: &proto::AttachRequest) -> Result<proto::AttachResponse, ConnectError> {
        let version = version(request.min_version, request.max_version)?;
        let highest = self.token;
        self.fence(request.incarnation, request.token)?;
        if request.token == highest && self.alone_since_us.is_none() {
            let text = format!("stale_token: a server with token {highest} is connected");
            return Err(ConnectError::new(Code::FailedPrecondition, text));
        }
        let (spec, booted) = (self.spec.clone(), self.booted.clone());
        Ok(proto::AttachResponse {
            spec: MessageField::some(spec),
            booted: MessageField::some(booted),
            version,
        })
    }
}
