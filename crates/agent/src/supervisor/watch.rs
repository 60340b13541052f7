//! Moments and measurements: deadlines, patience, and the limits that no kernel mechanism holds for us here.

use std::collections::HashSet;
use std::fs;

use rustix::fs::fstatvfs;
use sandkeep_protocol::agent as inner;
use sandkeep_protocol::supervisor as proto;
use sandkeep_sandbox::cgroup::Layout;
use sandkeep_sandbox::watch;

use super::Supervisor;
use super::boot::Sandbox;
use super::execution::{Execution, Killed, Phase};
use crate::clock;

/// How often what nobody counts for us is looked at: an overshoot lasts no longer. Young executions are looked at
/// sooner, so that also short ones are seen at least once.
const LOOK_EVERY_US: std::ops::RangeInclusive<u64> = 4_000..=40_000;
/// How often a group is asked whether the kernel killed something in it: the end of its first process asks at once.
const ASK_EVERY_US: u64 = 100_000;

impl Supervisor {
    /// When the next look at running executions is due.
    pub(super) fn next_look(&self) -> Option<u64> {
        let running = self.executions.values().any(|e| matches!(e.phase, Phase::Starting | Phase::Running));
        running.then_some(self.next_look_us)
    }

    /// Something has just begun: the next look is not further away than the youngest wants.
    pub(super) fn look_soon(&mut self) {
        let now = clock::boot_us();
        self.next_look_us = self.next_look_us.clamp(now, now + LOOK_EVERY_US.start());
    }

    fn patience_of_looks(&self, now: u64) -> u64 {
        let running =
            self.executions.values().filter(|e| matches!(e.phase, Phase::Starting | Phase::Running));
        let youngest =
            running.map(|execution| now.saturating_sub(execution.begun_us)).min().unwrap_or(u64::MAX);
        (youngest / 2).clamp(*LOOK_EVERY_US.start(), *LOOK_EVERY_US.end())
    }

    /// Does what is due.
    pub(super) fn keep_time(&mut self) {
        let now = clock::boot_us();
        let due: Vec<String> = self
            .executions
            .iter()
            .filter(|(_, execution)| execution.next_moment_us().is_some_and(|moment| moment <= now))
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            self.moment(&id, now);
        }
        if [self.next_look(), self.next_walk()].into_iter().flatten().any(|moment| moment <= now) {
            self.watch_disk(now);
        }
        if self.next_look().is_some_and(|moment| moment <= now) {
            self.look();
            let grouped = self.sandbox.as_ref().is_some_and(|sandbox| sandbox.group.is_some());
            self.next_look_us = now + if grouped { ASK_EVERY_US } else { self.patience_of_looks(now) };
        }
    }

    fn moment(&mut self, id: &str, now: u64) {
        let Some(execution) = self.executions.get_mut(id) else { return };
        if execution.patience_us.is_some_and(|moment| moment <= now) {
            return self.out_of_patience(id);
        }
        if execution.settle_us.is_some_and(|moment| moment <= now) {
            return self.output_is_complete(id);
        }
        let reason = execution.killed.unwrap_or(Killed::Limit(proto::LimitKind::LIMIT_KIND_TIMEOUT));
        execution.kill(reason);
    }

    /// Looks again for what was not to be seen when it began (the kernel's list of children is only as good as it is
    /// quiet), and has the agent kill what cannot be killed from here.
    fn search(&mut self) {
        let Some(agent) = self.sandbox.as_ref().map(|sandbox| sandbox.agent.pid) else { return };
        let mut to_kill = Vec::new();
        for (id, execution) in &mut self.executions {
            let Some(started) = &execution.started else { continue };
            let Some(domain) = execution.domain.as_mut().filter(|domain| domain.is_out_of_sight()) else {
                continue;
            };
            domain.started(agent, started.pid);
            if domain.is_out_of_sight() && execution.killed.is_some() {
                to_kill.push(id.clone());
            }
        }
        for execution_id in to_kill {
            let request = inner::SignalRequest { execution_id, signal: 9, ..Default::default() };
            // An agent that cannot be asked is dealt with when patience ends.
            let _asked = self.ask_agent(sandkeep_protocol::routes::agent::SIGNAL, &request);
        }
    }

    /// Ends what the kernel shot at, and what is larger than it may be.
    fn look(&mut self) {
        self.search();
        let Some(sandbox) = &self.sandbox else { return };
        let memory = Killed::Limit(proto::LimitKind::LIMIT_KIND_MEMORY);
        if sandbox.group.is_some() {
            for execution in self.executions.values_mut() {
                if execution.domain.as_ref().is_some_and(super::Domain::out_of_memory) {
                    execution.kill(memory);
                }
            }
            return;
        }
        let limit = sandbox.limits.memory_bytes;
        let files = written_bytes(sandbox);
        let mut sizes: Vec<(&mut Execution, u64)> = self
            .executions
            .values_mut()
            .filter(|execution| matches!(execution.phase, Phase::Running))
            .map(|execution| {
                let bytes = execution.domain.as_mut().map_or(0, super::Domain::sample);
                (execution, bytes)
            })
            .collect();
        for (execution, bytes) in &mut sizes {
            let own = execution.request.limits.as_option().map_or(0, |limits| limits.memory_bytes);
            if own > 0 && *bytes > own {
                execution.kill(memory);
            }
        }
        // What the root inside was asked to do runs beside the execution that asked.
        let agent = sandbox.agent.pid.as_raw_nonzero().get();
        let counted: HashSet<i32> = sizes
            .iter()
            .filter_map(|(execution, _)| execution.domain.as_ref())
            .flat_map(super::Domain::members)
            .collect();
        let others: Vec<i32> =
            watch::descendants(agent).into_iter().filter(|pid| !counted.contains(pid)).collect();
        let beside = watch::sample(&others, &mut self.shared_beside).memory_bytes;
        let all: u64 = beside + sizes.iter().map(|(_, bytes)| bytes).sum::<u64>();
        if limit > 0
            && all + files > limit
            && let Some((largest, _)) = sizes.iter_mut().max_by_key(|(_, bytes)| *bytes)
        {
            largest.kill(memory);
        }
    }
}

/// What files in the sandbox's memory file system take.
fn written_bytes(sandbox: &Sandbox) -> u64 {
    fstatvfs(&sandbox.temporary).map_or(0, |stat| (stat.f_blocks - stat.f_bfree) * stat.f_frsize)
}

/// How each limit is held here.
pub(super) fn enforcement(sandbox: &Sandbox) -> Vec<proto::Enforcement> {
    use proto::{Level, LimitKind};
    let kernel = || (Level::LEVEL_KERNEL, String::new(), String::new());
    let group = |controller, without| match why_not(&sandbox.layout, controller) {
        Some((cause, remedy)) => (without, cause, remedy),
        None => kernel(),
    };
    let disk = || {
        if sandbox.disk_watch.is_none() {
            return kernel();
        }
        let cause = "no kernel bounds a plain directory, as which an ordinary user's layer is kept";
        (Level::LEVEL_WATCHED, cause.to_owned(), "run as root".to_owned())
    };
    let levels = [
        (LimitKind::LIMIT_KIND_MEMORY, group("memory", Level::LEVEL_WATCHED)),
        (LimitKind::LIMIT_KIND_CPU, group("cpu", Level::LEVEL_NONE)),
        // Without a group RLIMIT_NPROC holds it, per user namespace, which is the sandbox's own.
        (LimitKind::LIMIT_KIND_PROCESSES, kernel()),
        (LimitKind::LIMIT_KIND_DISK, disk()),
        (LimitKind::LIMIT_KIND_INODES, disk()),
        (LimitKind::LIMIT_KIND_TIMEOUT, kernel()),
        (LimitKind::LIMIT_KIND_OUTPUT, kernel()),
    ];
    let entry = |(limit, (level, cause, remedy)): (LimitKind, (Level, String, String))| proto::Enforcement {
        limit: limit.into(),
        level: level.into(),
        cause,
        remedy,
    };
    levels.into_iter().map(entry).collect()
}

/// Why no group holds what `controller` would, and what mends it; `None` where one does.
fn why_not(layout: &Layout, controller: &str) -> Option<(String, String)> {
    if let Layout::None { cause, remedy } = layout {
        return Some((cause.clone(), remedy.clone()));
    }
    let missing = layout.missing().into_iter().find(|missing| missing.controller == controller);
    missing.map(|missing| (missing.cause, missing.remedy))
}

/// Resource limits of an execution: the second line behind groups, and the first where there are none.
pub(super) fn rlimits(
    request: &proto::StartExecution,
    spec: &proto::SandboxSpec,
    no_groups: bool,
    own_processes: u64,
) -> inner::Rlimits {
    let own = request.limits.as_option().cloned().unwrap_or_default();
    let all = spec.limits.as_option().cloned().unwrap_or_default();
    let smaller = |own: u64, all: u64| if own == 0 { all } else { own.min(all.max(1)) };
    let memory = smaller(own.memory_bytes, all.memory_bytes);
    let processes = smaller(u64::from(own.processes), u64::from(all.processes));
    inner::Rlimits {
        open_files: u64::from(own.open_files),
        processes: if no_groups && processes > 0 { processes + own_processes } else { 0 },
        file_bytes: if no_groups { all.disk_bytes.max(memory) } else { 0 },
        data_bytes: if no_groups { memory } else { 0 },
    }
}

/// Processes of ours that count against the code's limit: the agent and one init, where they have the code's id in the
/// code's user namespace.
pub(super) fn own_processes(sandbox: Option<&Sandbox>, dev: bool) -> u64 {
    if !dev && sandbox.is_some_and(|sandbox| !sandbox.ids.separates_agent()) { 2 } else { 0 }
}

/// Tells this boot of the machine from others.
pub(super) fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// When `process`, a number or `self`, began, in clock ticks since boot; 0 when there is none.
pub(super) fn start_time(process: &str) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    fields.split_whitespace().nth(19).and_then(|field| field.parse().ok()).unwrap_or(0)
}
