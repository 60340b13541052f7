//! What the agent says of executions, and what follows from it.
//!
//! Nothing it says is trusted further than it reaches: each stream belongs to one execution, every size is
//! bounded, and what cannot be read ends the sandbox.

use std::collections::HashMap;

use buffa::Message as _;
use sandkeep_core::output::Stream;
use sandkeep_protocol::agent as inner;
use sandkeep_protocol::agent::__buffa::oneof::{exited::How, spawn_event};
use sandkeep_protocol::envelope::{Decoder, Envelope};
use sandkeep_protocol::mux::{Event, StreamId};
use sandkeep_protocol::routes::agent as agent_routes;
use sandkeep_protocol::supervisor as proto;

use super::Supervisor;
use super::execution::{Execution, KILL_PATIENCE_US, Killed, Phase};
use super::held::Hold;
use crate::calls;
use crate::clock;

/// Longest message of the agent: a list of changed files, or a return value of the largest size.
const MAX_MESSAGE_BYTES: usize = 20 << 20;
/// After the tree was killed its pipes end at once; a writer outside the tree does not hold up the end for longer.
const DRAIN_PATIENCE_US: u64 = 2_000_000;

/// Hashing 256 MB takes a second; a file system that does not answer is not waited for.
const LOOK_PATIENCE_US: u64 = 30_000_000;
/// How long to wait for the kernel to give back what was charged to a tree that is gone.
const RELEASE_US: u64 = 500_000;
/// How soon to look again whether what was killed is gone: the kernel takes that long for a few processes.
const SETTLE_US: u64 = 500;

/// Bodies of the agent's answers, as far as they came.
#[derive(Debug, Default)]
pub(super) struct Bodies(HashMap<StreamId, Decoder>);

impl Supervisor {
    pub(super) fn agent_said(&mut self, event: Event) {
        if self.pass_up(&event) {
            return;
        }
        match event {
            Event::Data { id, bytes } => {
                if let Some(sandbox) = &mut self.sandbox {
                    sandbox.link.consume(id, bytes.len());
                }
                if self.owner(id).is_some() {
                    self.body(id, &bytes);
                }
            }
            Event::Finished { id } | Event::Reset { id, .. } => {
                self.bodies.0.remove(&id);
                self.input_answered(id);
                self.call_finished(id);
            }
            // It has nothing to ask of us yet.
            Event::Opened { id, .. } => {
                if let Some(sandbox) = &mut self.sandbox {
                    sandbox.link.reset(id, sandkeep_protocol::mux::reset_code::REFUSED);
                }
            }
            Event::Hello { .. } | Event::Replied { .. } | Event::Writable { .. } | Event::Pong { .. } => {}
        }
    }

    fn owner(&mut self, id: StreamId) -> Option<&mut Execution> {
        self.executions.values_mut().find(|execution| execution.call == Some(id))
    }

    fn body(&mut self, id: StreamId, bytes: &[u8]) {
        let mut input = bytes;
        loop {
            let decoder = self.bodies.0.entry(id).or_insert_with(|| Decoder::new(MAX_MESSAGE_BYTES));
            match decoder.next(&mut input) {
                Ok(Some(Envelope::Message(message))) => self.message(id, &message),
                Ok(Some(Envelope::End(_))) => {}
                Ok(None) => return,
                Err(_) => return self.sandbox_died(),
            }
        }
    }

    fn message(&mut self, id: StreamId, message: &[u8]) {
        let Some(execution) = self.owner(id) else { return };
        if matches!(execution.phase, Phase::Looking) {
            // What cannot be read leaves the list as it was: none, and not all.
            if let Ok(event) = inner::ListChangedEvent::decode_from_slice(message) {
                changed(execution, event);
            }
            return;
        }
        match inner::SpawnEvent::decode_from_slice(message) {
            Ok(inner::SpawnEvent { event: Some(event), .. }) => self.spawned(id, event),
            Ok(_) => {}
            Err(_) => self.sandbox_died(),
        }
    }

    fn spawned(&mut self, id: StreamId, event: spawn_event::Event) {
        let Some(agent) = self.sandbox.as_ref().map(|sandbox| sandbox.agent.pid) else { return };
        let Some(execution) = self.owner(id) else { return };
        match event {
            spawn_event::Event::Started(started) => {
                execution.changes_after_unix_ns = started.changes_after_unix_ns;
                execution.end.started_at_unix_ms = started.at_unix_ms;
                if let Some(domain) = &mut execution.domain {
                    domain.started(agent, started.pid);
                }
                let (pid, at_unix_ms) = (started.pid, started.at_unix_ms);
                execution.started = Some(proto::Started { pid, at_unix_ms });
                if matches!(execution.phase, Phase::Starting) {
                    execution.phase = Phase::Running;
                }
                if execution.killed.is_some() {
                    execution.kill_tree();
                }
                self.look_soon();
            }
            spawn_event::Event::Output(output) => {
                let stream = match output.stream.as_known() {
                    Some(inner::Stream::STREAM_STDERR) => Stream::Stderr,
                    Some(inner::Stream::STREAM_STDOUT | inner::Stream::STREAM_UNSPECIFIED) | None => {
                        Stream::Stdout
                    }
                };
                if execution.output(stream, &output.data) {
                    execution.kill(Killed::Limit(proto::LimitKind::LIMIT_KIND_OUTPUT));
                }
            }
            spawn_event::Event::ReturnValue(value) => {
                execution.end.return_value_too_large = value.too_large;
                execution.end.return_value = (!value.too_large).then_some(value.data);
            }
            // Where we have ended it before it began, that is why.
            spawn_event::Event::NotRunnable(_) if execution.killed.is_some() => {}
            spawn_event::Event::NotRunnable(why) => {
                let not_runnable = proto::NotRunnable { errno: why.errno, stage: why.stage };
                execution.end.not_runnable = buffa::MessageField::some(not_runnable);
            }
            spawn_event::Event::Exited(exited) => ended(execution, &exited),
        }
    }

    /// The agent has said all of this call.
    fn call_finished(&mut self, id: StreamId) {
        let Some(execution) = self.owner(id) else { return };
        execution.call = None;
        let execution_id = execution.request.execution_id.clone();
        match execution.phase {
            Phase::Starting | Phase::Running | Phase::Draining => self.output_is_complete(&execution_id),
            Phase::Looking => self.conclude(&execution_id),
            Phase::Ended(_) => {}
        }
    }

    /// All output is here. What is left of the tree was killed, and is waited for: nothing is told to be over while
    /// something of it may still run.
    pub(super) fn output_is_complete(&mut self, execution_id: &str) {
        let now = clock::boot_us();
        let crowded = self.is_crowded();
        let Some(execution) = self.executions.get_mut(execution_id) else { return };
        execution.kill_tree();
        // The kernel frees some of what it charged (page tables, for one) only a while after the last process is gone; the
        // next execution must not die of that.
        let waits = crowded && execution.ended_us.is_some_and(|ended| now < ended + RELEASE_US);
        if execution.tree_is_gone() && !waits {
            return self.code_is_gone(execution_id);
        }
        execution.phase = Phase::Draining;
        execution.deadline_us = None;
        execution.patience_us.get_or_insert(now + KILL_PATIENCE_US);
        execution.settle_us = Some(now + SETTLE_US);
    }

    /// Whether so much is charged to the sandbox that hardly anything can be started in it.
    fn is_crowded(&self) -> bool {
        let Some(sandbox) = &self.sandbox else { return false };
        let charged = sandbox.group.as_ref().and_then(sandkeep_sandbox::cgroup::Group::held_bytes);
        charged.is_some_and(|charged| charged > sandbox.limits.memory_bytes / 4 * 3)
    }

    /// Nothing of the tree is left, or patience with it has ended.
    fn code_is_gone(&mut self, execution_id: &str) {
        let Some(execution) = self.executions.get_mut(execution_id) else { return };
        execution.close_books();
        execution.stop_clocks();
        let roots = execution.request.artifact_roots.clone();
        if roots.is_empty() || execution.started.is_none() || execution.is_withheld() {
            return self.conclude(execution_id);
        }
        let request = inner::ListChangedRequest {
            roots,
            max_files: execution.request.artifact_max_files,
            max_bytes: execution.request.artifact_max_bytes,
            hash: true,
            since_unix_ns: execution.changes_after_unix_ns,
        };
        execution.phase = Phase::Looking;
        // Until somebody has looked and says otherwise.
        execution.end.artifacts_truncated = true;
        execution.patience_us = Some(clock::boot_us() + LOOK_PATIENCE_US);
        let Some(sandbox) = &mut self.sandbox else { return self.conclude(execution_id) };
        match calls::call(&mut sandbox.link, agent_routes::LIST_CHANGED, &request, Vec::new()) {
            Ok(call) => execution.call = Some(call),
            Err(_) => self.conclude(execution_id),
        }
    }

    fn conclude(&mut self, execution_id: &str) {
        let Some(mut execution) = self.executions.remove(execution_id) else { return };
        self.give_domain_back(&mut execution);
        if execution.is_process {
            return;
        }
        if let Hold::Withheld { again } = execution.hold {
            return self.withheld_is_gone(again);
        }
        execution.stop_clocks();
        let end = std::mem::take(&mut execution.end);
        execution.phase = Phase::Ended(Box::new(end));
        self.executions.insert(execution_id.to_owned(), execution);
        self.forget_outputs();
        self.disk_user_ended();
    }

    /// Either somebody outside the tree holds its pipes, or the kernel cannot end a process of it.
    fn give_up_draining(&mut self, execution_id: &str) {
        if self.executions.get(execution_id).is_some_and(Execution::tree_is_gone) {
            self.code_is_gone(execution_id);
        } else {
            self.sandbox_died();
        }
    }

    /// Whoever does not go when killed holds the whole sandbox; whoever drains too long is cut off.
    pub(super) fn out_of_patience(&mut self, execution_id: &str) {
        let Some(execution) = self.executions.get_mut(execution_id) else { return };
        let call = execution.call.take();
        if let (Some(call), Some(sandbox)) = (call, &mut self.sandbox) {
            sandbox.link.reset(call, sandkeep_protocol::mux::reset_code::CANCEL);
        }
        match execution.phase {
            Phase::Draining => self.give_up_draining(execution_id),
            Phase::Starting | Phase::Running => self.sandbox_died(),
            Phase::Looking => {
                execution.stop_clocks();
                self.conclude(execution_id);
            }
            Phase::Ended(_) => execution.stop_clocks(),
        }
    }
}

/// The first process ended: the rest of its tree goes with it.
fn ended(execution: &mut Execution, exited: &inner::Exited) {
    match exited.how {
        Some(How::Code(code)) => execution.end.exit_code = Some(code),
        Some(How::Signal(signal)) => execution.end.signal = Some(signal),
        None => {}
    }
    if let Some(usage) = exited.usage.as_option() {
        execution.cpu_us = (usage.cpu_user_us, usage.cpu_system_us);
    }
    execution.end.finished_at_unix_ms = exited.at_unix_ms;
    execution.ended_us = Some(clock::boot_us());
    execution.phase = Phase::Draining;
    execution.deadline_us = None;
    execution.patience_us = Some(clock::boot_us() + DRAIN_PATIENCE_US.min(KILL_PATIENCE_US));
    execution.kill_tree();
}

fn changed(execution: &mut Execution, event: inner::ListChangedEvent) {
    execution.end.artifacts_truncated = event.truncated;
    let most = execution.request.artifact_max_files as usize;
    for file in event.files {
        if execution.end.artifacts.len() >= most {
            execution.end.artifacts_truncated = true;
            return;
        }
        let (path, size_bytes, sha256) = (file.path, file.size_bytes, file.sha256);
        execution.end.artifacts.push(proto::Artifact { path, size_bytes, sha256 });
    }
}
