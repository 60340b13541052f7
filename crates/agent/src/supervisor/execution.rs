//! One execution as its supervisor sees it: what was asked, what came out, how it ended.

use sandkeep_core::output::{Mask, Masking, OutputLog, Stream};
use sandkeep_protocol::mux::StreamId;
use sandkeep_protocol::supervisor as proto;

use super::domain::Domain;
use super::held::Hold;
use crate::clock;

/// Where an execution is in its life.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Asked of the agent; foreign code may or may not run yet.
    Starting,
    /// Foreign code runs.
    Running,
    /// It ended; what is left of its tree is being killed and its last output read.
    Draining,
    /// Looking for what it changed.
    Looking,
    /// All is known.
    Ended(Box<proto::End>),
}

/// Why we ended it, where we did. The first reason stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Killed {
    Limit(proto::LimitKind),
    Cancelled,
    /// The sandbox died around it.
    Lost,
}

/// An execution.
#[derive(Debug)]
pub(crate) struct Execution {
    pub(crate) request: proto::StartExecution,
    pub(crate) phase: Phase,
    pub(crate) log: OutputLog,
    /// What standard output and standard error pass through on their way into the log.
    masking: [Masking; 2],
    pub(crate) domain: Option<Domain>,
    /// Number of the domain, to be used again.
    pub(crate) domain_number: u32,
    /// Whether its code may begin.
    pub(crate) hold: Hold,
    /// The call to the agent that runs it, or that looks for its files.
    pub(crate) call: Option<StreamId>,
    pub(crate) killed: Option<Killed>,
    /// When it is killed, by the clock that counts sleep too; microseconds.
    pub(crate) deadline_us: Option<u64>,
    /// After a polite cancel, or while draining: when patience ends.
    pub(crate) patience_us: Option<u64>,
    /// When to look again whether what was killed is gone.
    pub(crate) settle_us: Option<u64>,
    pub(crate) started: Option<proto::Started>,
    pub(crate) changes_after_unix_ns: u64,
    pub(crate) begun_us: u64,
    /// When the first process ended, by the same clock.
    pub(crate) ended_us: Option<u64>,
    pub(crate) end: proto::End,
    /// Time used by the first process and what it waited for, as the agent saw it.
    pub(crate) cpu_us: (u64, u64),
    pub(crate) tails: Vec<Tail>,
    /// Whether a client started it through the envd services: then it is forgotten with its end.
    pub(crate) is_process: bool,
    /// Whether a server has stored all that is known of it.
    pub(crate) stored: bool,
}

/// A listener.
#[derive(Debug)]
pub(crate) struct Tail {
    pub(crate) stream: StreamId,
    pub(crate) offset: u64,
    pub(crate) told_start: bool,
}

impl Execution {
    pub(crate) fn new(request: proto::StartExecution, domain: Domain, domain_number: u32) -> Self {
        let limits = request.limits.as_option().cloned().unwrap_or_default();
        let head = limits.output_head_bytes.min(limits.output_bytes);
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let mask = Mask::new(request.masked.iter().cloned());
        let end = proto::End { started_at_unix_ms: clock::unix_ms(), ..Default::default() };
        let mut execution = Self {
            phase: Phase::Starting,
            log: OutputLog::new(size(head), size(limits.output_bytes - head)),
            masking: [Masking::new(mask.clone()), Masking::new(mask)],
            domain: Some(domain),
            domain_number,
            hold: Hold::Released,
            call: None,
            killed: None,
            deadline_us: None,
            patience_us: None,
            settle_us: None,
            started: None,
            changes_after_unix_ns: 0,
            begun_us: 0,
            ended_us: None,
            end,
            cpu_us: (0, 0),
            tails: Vec::new(),
            is_process: false,
            stored: false,
            request,
        };
        execution.begin_time();
        execution
    }

    /// The time that it has begins now.
    pub(crate) fn begin_time(&mut self) {
        let timeout_ms = self.request.limits.as_option().map_or(0, |limits| limits.timeout_ms);
        self.begun_us = clock::boot_us();
        self.deadline_us = (timeout_ms > 0).then(|| self.begun_us + timeout_ms * 1_000);
    }

    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.phase, Phase::Ended(_))
    }

    /// Takes output; true when there is now more than the execution may live with.
    pub(crate) fn output(&mut self, stream: Stream, bytes: &[u8]) -> bool {
        self.log.append(stream, &self.masking[stream as usize - 1].pass(bytes));
        let kill_at = self.request.limits.as_option().map_or(0, |limits| limits.output_kill_bytes);
        kill_at > 0 && self.log.total() > kill_at
    }

    /// Kills it for `reason`, unless it was killed before or its code has ended by itself.
    pub(crate) fn kill(&mut self, reason: Killed) -> bool {
        if matches!(self.phase, Phase::Draining | Phase::Looking | Phase::Ended(_)) {
            return false;
        }
        self.killed.get_or_insert(reason);
        self.shut();
        self.deadline_us = None;
        self.patience_us = Some(clock::boot_us() + KILL_PATIENCE_US);
        self.kill_tree();
        true
    }

    /// Kills whatever of it lives.
    pub(crate) fn kill_tree(&self) {
        if let Some(domain) = &self.domain {
            // Without a handle yet, the end of patience ends the whole sandbox.
            let _killed = domain.kill();
        }
    }

    /// Whether nothing of it lives.
    pub(crate) fn tree_is_gone(&self) -> bool {
        self.domain.as_ref().is_none_or(Domain::is_empty)
    }

    /// The next moment at which something is to be done, in microseconds.
    pub(crate) fn next_moment_us(&self) -> Option<u64> {
        [self.deadline_us, self.patience_us, self.settle_us].into_iter().flatten().min()
    }

    /// The agent has it now: nothing large of the request is needed again.
    pub(crate) fn forget_request(&mut self) {
        let request = &mut self.request;
        request.files = Vec::new();
        request.argv = Vec::new();
        request.masked = Vec::new();
        request.env = std::collections::BTreeMap::new();
        request.stdin = None;
    }

    /// How much its output and result take.
    pub(crate) fn kept_bytes(&self) -> u64 {
        let returned = match &self.phase {
            Phase::Ended(end) => end.return_value.as_ref().map_or(0, Vec::len) as u64,
            Phase::Starting | Phase::Running | Phase::Draining | Phase::Looking => 0,
        };
        let limits = self.request.limits.as_option().map_or(0, |limits| limits.output_bytes);
        self.log.total().min(limits) + returned
    }

    /// Lets go of what it wrote: a listener that comes now hears the end alone, which says how much is missing.
    pub(crate) fn forget_output(&mut self) {
        self.log = OutputLog::new(0, 0);
        if let Phase::Ended(end) = &mut self.phase {
            end.return_value = None;
        }
    }

    /// Nothing is due any more.
    pub(crate) fn stop_clocks(&mut self) {
        (self.deadline_us, self.patience_us, self.settle_us) = (None, None, None);
    }

    /// The facts of its end, complete but for artifacts.
    pub(crate) fn close_books(&mut self) {
        for (stream, masking) in [Stream::Stdout, Stream::Stderr].into_iter().zip(&mut self.masking) {
            self.log.append(stream, &masking.rest());
        }
        self.masking = Default::default();
        let out_of_memory = self.domain.as_ref().is_some_and(Domain::out_of_memory);
        if out_of_memory && self.killed.is_none() {
            self.killed = Some(Killed::Limit(proto::LimitKind::LIMIT_KIND_MEMORY));
        }
        let metrics = self.domain.as_ref().and_then(|domain| domain.usage(self.cpu_us).ok());
        let mut metrics = metrics.unwrap_or_default();
        metrics.wall_us = self.ended_us.unwrap_or_else(clock::boot_us).saturating_sub(self.begun_us);
        self.end.metrics = buffa::MessageField::some(metrics);
        self.end.stdout_bytes = self.log.total_of(Stream::Stdout);
        self.end.stderr_bytes = self.log.total_of(Stream::Stderr);
        if self.ended_us.is_none() {
            self.end.finished_at_unix_ms = clock::unix_ms();
        }
        match self.killed {
            Some(Killed::Limit(limit)) => self.end.limit = limit.into(),
            Some(Killed::Cancelled) => self.end.cancelled = true,
            Some(Killed::Lost) => self.end.lost = true,
            None => {}
        }
    }

    /// What `Get` and `List` say.
    pub(crate) fn status(&self) -> proto::ExecutionStatus {
        let (state, end) = match &self.phase {
            Phase::Starting => (proto::ExecutionState::EXECUTION_STATE_STARTING, None),
            Phase::Running | Phase::Draining | Phase::Looking => {
                (proto::ExecutionState::EXECUTION_STATE_RUNNING, None)
            }
            Phase::Ended(end) => (proto::ExecutionState::EXECUTION_STATE_ENDED, Some((**end).clone())),
        };
        proto::ExecutionStatus {
            execution_id: self.request.execution_id.clone(),
            incarnation: self.request.incarnation,
            token: self.request.token,
            state: state.into(),
            output_bytes: self.log.total(),
            started: self.started.clone().map_or_else(buffa::MessageField::none, buffa::MessageField::some),
            end: end.map_or_else(buffa::MessageField::none, buffa::MessageField::some),
            stored: self.stored,
        }
    }
}

/// A killed tree is gone within milliseconds; one that is not after this long is stuck in the kernel, and the
/// whole sandbox ends.
pub(crate) const KILL_PATIENCE_US: u64 = 5_000_000;
