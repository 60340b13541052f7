//! The calls of a server, each answered from what is known.

use buffa::MessageField;
use sandkeep_core::code::chain;
use sandkeep_protocol::agent as inner;
use sandkeep_protocol::envelope::{Code, ConnectError};
use sandkeep_protocol::mux::StreamId;
use sandkeep_protocol::routes::{agent as agent_routes, process as process_routes, supervisor as routes};
use sandkeep_protocol::supervisor as proto;
use sandkeep_protocol::supervisor::__buffa::oneof::{boot_response::Outcome, start_execution::Stdin};
use sandkeep_sandbox::cgroup::GroupLimits;
use sandkeep_sandbox::idmap::USER_ID;

use super::boot::{self, agent_host_id};
use super::disk::DiskWatch;
use super::domain::{Domain, Namespace};
use super::execution::{Execution, Killed, Phase, Tail};
use super::{Supervisor, layer, watch};
use crate::calls::{self, Incoming};
use crate::clock;
use sandkeep_sandbox::gate::Gate;

/// The versions of this protocol that we speak.
const VERSIONS: (u32, u32) = (1, 2);
/// After a polite cancel the code has this long before it is killed.
const CANCEL_PATIENCE_US: u64 = 5_000_000;
type Answer<T> = Result<T, ConnectError>;

impl Supervisor {
    pub(super) fn called(&mut self, id: StreamId, call: Incoming) {
        match call.path.as_str() {
            routes::HELLO => {
                let outcome = call.message().and_then(|request| self.hello(&request));
                call.answer(&mut self.server, id, outcome);
            }
            routes::BOOT => {
                let outcome = call.message().and_then(|request| self.boot(request));
                call.answer(&mut self.server, id, outcome);
            }
            routes::REMOVE_LAYER => {
                let outcome = call.message().map(|request: proto::RemoveLayerRequest| {
                    let problem = layer::remove(&request.directory).err().map(|problem| *problem);
                    proto::RemoveLayerResponse {
                        problem: problem.map_or_else(MessageField::none, MessageField::some),
                    }
                });
                call.answer(&mut self.server, id, outcome);
            }
            routes::START => self.start(id, &call),
            routes::TAIL => self.tail(id, &call),
            routes::GET => {
                let outcome = call
                    .message()
                    .and_then(|request: proto::GetRequest| Ok(self.known(&request.execution_id)?.status()));
                call.answer(&mut self.server, id, outcome);
            }
            process_routes::START => self.start_process(id, &call),
            routes::LIST => {
                let own = self.executions.values();
                let own = own.filter(|one| !one.is_process && !one.is_held() && !one.is_withheld());
                let without_end = |execution: &Execution| proto::ExecutionStatus {
                    end: MessageField::none(),
                    ..execution.status()
                };
                let executions = own.map(without_end).collect();
                call.answer(&mut self.server, id, Ok(proto::ListResponse { executions }));
            }
            routes::CANCEL => {
                let outcome = call.message().and_then(|request| self.cancel(&request));
                call.answer(&mut self.server, id, outcome);
            }
            routes::SEND_INPUT => {
                let sent = call.message().and_then(|request| self.send_input(request));
                match sent {
                    // The agent answers when it has room for more, and so do we.
                    Ok(asked) => drop(self.inputs.insert(asked, (id, call))),
                    Err(error) => call.refuse(&mut self.server, id, &error),
                }
            }
            routes::CLOSE_INPUT => {
                let outcome = call.message().and_then(|request| self.close_input(&request));
                call.answer(&mut self.server, id, outcome);
            }
            routes::FORGET => {
                let outcome = call.message().and_then(|request| self.forget(&request));
                call.answer(&mut self.server, id, outcome);
            }
            routes::SHUTDOWN => self.shutdown(id, call),
            path => {
                let error =
                    ConnectError::new(Code::Unimplemented, format!("the supervisor has no method {path}"));
                call.refuse(&mut self.server, id, &error);
            }
        }
    }

    fn hello(&self, request: &proto::HelloRequest) -> Answer<proto::HelloResponse> {
        Ok(proto::HelloResponse {
            version: version(request.min_version, request.max_version)?,
            boot_id: watch::boot_id(),
            pid: std::process::id(),
            start_time: watch::start_time("self"),
            incarnation: self.spec.incarnation,
            sandbox_id: self.spec.sandbox_id.clone(),
        })
    }

    fn boot(&mut self, request: proto::BootRequest) -> Answer<proto::BootResponse> {
        if self.spec.incarnation != 0 {
            let text = "already_started: this supervisor holds a sandbox already";
            return Err(ConnectError::new(Code::AlreadyExists, text));
        }
        let spec = request.spec.into_option().unwrap_or_default();
        let outcome = match self.open_door(&spec).and_then(|()| boot::boot(&spec)) {
            Err(problem) => {
                self.door = None;
                Outcome::Problem(problem)
            }
            Ok(mut sandbox) => {
                self.idle_domains
                    .extend(sandbox.first_domain.take().map(|domain| (0, Domain::Group(Box::new(domain)))));
                let booted = proto::Booted {
                    enforcement: watch::enforcement(&sandbox),
                    agent_pid: u32::try_from(sandbox.agent.pid.as_raw_nonzero().get()).unwrap_or(0),
                    landlock_abi: sandbox.landlock_abi,
                    slot: sandbox.slot.number,
                    user_host_id: sandbox.ids.outside_uid(USER_ID).unwrap_or(0),
                    agent_host_id: agent_host_id(&sandbox.ids),
                    id_count: sandbox.ids.uids.iter().map(|span| span.count).sum(),
                };
                self.spec = spec;
                self.booted = booted.clone();
                self.token = request.token;
                self.sandbox = Some(sandbox);
                Outcome::Booted(Box::new(booted))
            }
        };
        Ok(proto::BootResponse { outcome: Some(outcome) })
    }

    /// Refuses commands for another incarnation and from servers that were fenced off.
    pub(super) fn fence(&mut self, incarnation: u64, token: u64) -> Answer<()> {
        if incarnation != self.spec.incarnation {
            let text = format!("stale_token: this is incarnation {}", self.spec.incarnation);
            return Err(ConnectError::new(Code::FailedPrecondition, text));
        }
        if token < self.token {
            let text = format!("stale_token: token {token} is lower than {}", self.token);
            return Err(ConnectError::new(Code::FailedPrecondition, text));
        }
        self.token = token;
        Ok(())
    }

    pub(super) fn start(&mut self, id: StreamId, call: &Incoming) {
        let begun = call.message().and_then(|request: proto::StartExecution| {
            self.fence(request.incarnation, request.token)?;
            let (execution_id, told_to) = (request.execution_id.clone(), request.told_to);
            // The same id again is the same execution: whoever asks listens, nothing runs twice.
            match self.executions.get_mut(&execution_id) {
                Some(execution) => execution.release(),
                None => self.begin(request, None)?,
            }
            Ok((execution_id, told_to))
        });
        match begun {
            Ok((execution_id, _)) if self.executions[&execution_id].is_withheld() => {
                self.start_again(&execution_id, id, call);
            }
            Ok((execution_id, told_to)) => self.listen(id, call, &execution_id, told_to),
            Err(error) => call.refuse(&mut self.server, id, &error),
        }
    }

    /// Starts one whose code is held back until the call ends.
    pub(super) fn prepare(&mut self, id: StreamId, call: &Incoming) {
        let begun = call.message().and_then(|request: proto::StartExecution| {
            self.fence(request.incarnation, request.token)?;
            let (execution_id, told_to) = (request.execution_id.clone(), request.told_to);
            if self.executions.contains_key(&execution_id) {
                let text = format!("already_started: execution {execution_id} is known");
                return Err(ConnectError::new(Code::AlreadyExists, text));
            }
            self.begin(request, Some(id))?;
            Ok((execution_id, told_to))
        });
        match begun {
            Ok((execution_id, told_to)) => self.listen(id, call, &execution_id, told_to),
            Err(error) => call.refuse(&mut self.server, id, &error),
        }
    }

    fn begin(&mut self, request: proto::StartExecution, held_by: Option<StreamId>) -> Answer<()> {
        self.make_room()?;
        let limits = request.limits.as_option().cloned().unwrap_or_default();
        let (number, domain) = self.take_domain(&limits)?;
        let mut execution = Execution::new(request, domain, number);
        let asked = self.ask_to_spawn(&mut execution, held_by);
        if let Err(error) = asked {
            self.give_domain_back(&mut execution);
            return Err(error);
        }
        execution.forget_request();
        self.executions.insert(execution.request.execution_id.clone(), execution);
        Ok(())
    }

    fn ask_to_spawn(&mut self, execution: &mut Execution, held_by: Option<StreamId>) -> Answer<()> {
        let failed = |error: std::io::Error| {
            ConnectError::new(Code::ResourceExhausted, format!("sandbox_failed: {error}"))
        };
        let domain = execution.domain.as_ref().expect("a new execution has its domain");
        let (mut descriptors, clone_into) = domain.ways_in().map_err(failed)?;
        let own_pid_namespace = matches!(domain, Domain::Namespace(_));
        let own_processes = watch::own_processes(self.sandbox.as_ref(), self.is_dev());
        let rlimits = watch::rlimits(&execution.request, &self.spec, own_pid_namespace, own_processes);
        let mut spawn = spawn_request(&execution.request, clone_into, own_pid_namespace, rlimits);
        if let Some(by) = held_by {
            let (gate, theirs) = Gate::new().map_err(|errno| failed(errno.into()))?;
            descriptors.push(theirs);
            spawn.held = true;
            execution.hold(by, gate);
        }
        let Some(sandbox) = &mut self.sandbox else {
            return Err(ConnectError::new(Code::FailedPrecondition, "sandbox_failed: the sandbox has ended"));
        };
        let call =
            calls::call(&mut sandbox.link, agent_routes::SPAWN, &spawn, descriptors).map_err(|error| {
                ConnectError::new(Code::ResourceExhausted, format!("too_many_executions: {error}"))
            })?;
        execution.call = Some(call);
        Ok(())
    }

    pub(super) fn take_domain(&mut self, limits: &proto::ExecutionLimits) -> Answer<(u32, Domain)> {
        let unavailable = |what: &dyn std::fmt::Display| {
            ConnectError::new(Code::Unavailable, format!("sandbox_failed: {what}"))
        };
        let Some(sandbox) = &self.sandbox else { return Err(unavailable(&"the sandbox has ended")) };
        if sandbox.disk_watch.as_ref().is_some_and(DiskWatch::is_full) {
            let text =
                "layer_full: code passed its limit again and again, or made it too deep to be measured";
            return Err(ConnectError::new(Code::FailedPrecondition, text));
        }
        let Some(group) = &sandbox.group else { return Ok((0, Domain::Namespace(Namespace::default()))) };
        let some = |value: u64| (value > 0).then_some(value);
        let held = GroupLimits {
            memory: some(limits.memory_bytes),
            cpu_millis: (limits.cpu_millis > 0).then_some(limits.cpu_millis),
            processes: (limits.processes > 0).then_some(limits.processes),
        };
        if let Some((number, Domain::Group(mut domain))) = self.idle_domains.pop() {
            if held != GroupLimits::default() {
                group.renew(&mut domain, Some(&held)).map_err(|error| unavailable(&chain(&error)))?;
            }
            self.used_domains.insert(number);
            return Ok((number, Domain::Group(domain)));
        }
        let number = (0..).find(|n| !self.used_domains.contains(n)).expect("fewer executions than numbers");
        let domain = group.domain(number, Some(&held)).map_err(|error| unavailable(&chain(&error)))?;
        self.used_domains.insert(number);
        Ok((number, Domain::Group(Box::new(domain))))
    }

    pub(super) fn is_dev(&self) -> bool {
        self.spec.profile.as_known() == Some(proto::Profile::PROFILE_DEV)
    }

    /// Keeps an emptied domain for another execution.
    pub(super) fn give_domain_back(&mut self, execution: &mut Execution) {
        if let Some(domain) = execution.domain.take() {
            self.spend_domain(execution.domain_number, domain);
        }
    }

    pub(super) fn spend_domain(&mut self, number: u32, domain: Domain) {
        match domain {
            Domain::Group(_) => self.spent_domains.push((number, domain)),
            Domain::Namespace(_) => drop(self.used_domains.remove(&number)),
        }
    }

    /// Makes spent domains ready: empty, and counting from zero.
    pub(super) fn renew_domains(&mut self) {
        let group = self.sandbox.as_ref().and_then(|sandbox| sandbox.group.as_ref());
        for (number, mut domain) in std::mem::take(&mut self.spent_domains) {
            self.used_domains.remove(&number);
            if let (Some(group), Domain::Group(spent)) = (group, &mut domain)
                && group.renew(spent, None).is_ok()
            {
                self.idle_domains.push((number, domain));
            }
            // One that cannot be renewed is opened again, by its number, when it is needed.
        }
    }

    fn tail(&mut self, id: StreamId, call: &Incoming) {
        let request = call.message().and_then(|request: proto::TailRequest| {
            self.known(&request.execution_id)?;
            Ok(request)
        });
        match request {
            Ok(request) => self.listen(id, call, &request.execution_id, request.offset),
            Err(error) => call.refuse(&mut self.server, id, &error),
        }
    }

    fn listen(&mut self, id: StreamId, call: &Incoming, execution_id: &str, offset: u64) {
        call.begin(&mut self.server, id);
        if let Some(execution) = self.executions.get_mut(execution_id) {
            execution.tails.push(Tail { stream: id, offset, told_start: false });
        }
    }

    pub(super) fn known(&mut self, execution_id: &str) -> Answer<&mut Execution> {
        let unknown = || ConnectError::new(Code::NotFound, format!("not_found: no execution {execution_id}"));
        let found = self.executions.get_mut(execution_id).ok_or_else(unknown)?;
        if found.is_withheld() {
            let text = format!("not_found: execution {execution_id} was not released, and is going");
            return Err(ConnectError::new(Code::Unavailable, text));
        }
        Ok(found)
    }

    fn cancel(&mut self, request: &proto::CancelRequest) -> Answer<proto::CancelResponse> {
        self.fence(request.incarnation, request.token)?;
        let execution = self.known(&request.execution_id)?;
        let politely = request.mode.as_known() != Some(proto::CancelMode::CANCEL_MODE_KILL);
        let cancelled = if politely && matches!(execution.phase, Phase::Running) {
            // Asking again gives no more time, nor does it beyond the timeout.
            if execution.killed.is_none() {
                let moment = clock::boot_us() + CANCEL_PATIENCE_US;
                execution.deadline_us = Some(execution.deadline_us.map_or(moment, |due| due.min(moment)));
            }
            execution.killed.get_or_insert(Killed::Cancelled);
            let request = inner::SignalRequest {
                execution_id: request.execution_id.clone(),
                signal: SIGTERM,
                ..Default::default()
            };
            self.ask_agent(agent_routes::SIGNAL, &request)?;
            true
        } else {
            execution.kill(Killed::Cancelled)
        };
        Ok(proto::CancelResponse { cancelled })
    }

    fn send_input(&mut self, request: proto::SendInputRequest) -> Answer<StreamId> {
        self.fence(request.incarnation, request.token)?;
        self.known(&request.execution_id)?;
        let (execution_id, data) = (request.execution_id, request.data);
        self.ask_agent(agent_routes::INPUT, &inner::InputRequest { execution_id, data })
    }

    /// The agent has answered for a piece of input: either it has room for more, or the code is gone.
    pub(super) fn input_answered(&mut self, asked: StreamId) {
        if let Some((id, call)) = self.inputs.remove(&asked) {
            call.answer(&mut self.server, id, Ok(proto::SendInputResponse::default()));
        }
    }

    fn close_input(&mut self, request: &proto::CloseInputRequest) -> Answer<proto::CloseInputResponse> {
        self.fence(request.incarnation, request.token)?;
        self.known(&request.execution_id)?;
        let execution_id = request.execution_id.clone();
        self.ask_agent(agent_routes::CLOSE_INPUT, &inner::CloseInputRequest { execution_id })?;
        Ok(proto::CloseInputResponse::default())
    }

    /// Opens a unary call to the agent.
    pub(super) fn ask_agent<M: buffa::Message>(&mut self, path: &str, message: &M) -> Answer<StreamId> {
        let unavailable = |text: String| ConnectError::new(Code::Unavailable, text);
        let Some(sandbox) = &mut self.sandbox else {
            return Err(unavailable("sandbox_lost: the sandbox has ended".to_owned()));
        };
        calls::call_unary(&mut sandbox.link, path, message)
            .map_err(|error| unavailable(format!("too_many_executions: {error}")))
    }

    fn shutdown(&mut self, id: StreamId, call: Incoming) {
        let allowed = call
            .message()
            .and_then(|request: proto::ShutdownRequest| self.fence(request.incarnation, request.token));
        match allowed {
            Ok(()) => self.leaving = Some((id, call)),
            Err(error) => call.refuse(&mut self.server, id, &error),
        }
    }
}

/// The newest version that both sides speak.
///
/// # Errors
/// `protocol_error`: there is none.
pub(super) fn version(least: u32, most: u32) -> Answer<u32> {
    if least > VERSIONS.1 || most < VERSIONS.0 {
        let text =
            format!("protocol_error: this supervisor speaks versions {} to {}", VERSIONS.0, VERSIONS.1);
        return Err(ConnectError::new(Code::FailedPrecondition, text));
    }
    Ok(most.min(VERSIONS.1))
}

const SIGTERM: u32 = 15;

fn spawn_request(
    request: &proto::StartExecution,
    clone_into_group: bool,
    own_pid_namespace: bool,
    rlimits: inner::Rlimits,
) -> inner::SpawnRequest {
    let (stdin_mode, stdin) = match &request.stdin {
        None | Some(Stdin::StdinOpen(false)) => (inner::Stdin::STDIN_UNSPECIFIED, Vec::new()),
        Some(Stdin::StdinBytes(bytes)) => (inner::Stdin::STDIN_BYTES, bytes.clone()),
        Some(Stdin::StdinOpen(true)) => (inner::Stdin::STDIN_OPEN, Vec::new()),
    };
    let file = |file: &proto::File| inner::File {
        path: file.path.clone(),
        mode: file.mode,
        data: file.data.clone(),
    };
    inner::SpawnRequest {
        execution_id: request.execution_id.clone(),
        argv: request.argv.clone(),
        env: request.env.clone(),
        cwd: request.cwd.clone(),
        uid: request.uid,
        gid: request.gid,
        files: request.files.iter().map(file).collect(),
        stdin_mode: stdin_mode.into(),
        stdin,
        merge_stderr: request.merge_stderr,
        rlimits: MessageField::some(rlimits),
        clone_into_group,
        own_pid_namespace,
        wants_return_value: request.return_value_max_bytes > 0,
        return_value_max_bytes: request.return_value_max_bytes,
        watch_changes: !request.artifact_roots.is_empty(),
        held: false,
        warm: request.warm.as_option().map_or_else(MessageField::none, |warm| {
            MessageField::some(inner::WarmPython { modules: warm.modules.clone() })
        }),
    }
}
