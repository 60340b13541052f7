//! What makes one execution killable and countable: a control group, or a PID namespace of its own.

use std::fs;
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};
use sandkeep_protocol::supervisor as proto;
use sandkeep_sandbox::cgroup::{Domain as Group, Error};
use sandkeep_sandbox::watch::{self, Sample, SharedMappings};

/// The kill and accounting domain of one execution.
#[derive(Debug)]
pub(crate) enum Domain {
    /// A control group.
    Group(Box<Group>),
    /// The first process of a PID namespace, and what was sampled of its tree.
    Namespace(Namespace),
}

/// A PID namespace as seen from outside.
#[derive(Debug, Default)]
pub(crate) struct Namespace {
    init: Option<(i32, OwnedFd)>,
    peak_memory_bytes: u64,
    last: Sample,
    shared: SharedMappings,
}

impl Domain {
    /// The descriptors that lead a child into it, and whether the first is to be cloned into.
    pub(crate) fn ways_in(&self) -> std::io::Result<(Vec<OwnedFd>, bool)> {
        let Self::Group(group) = self else { return Ok((Vec::new(), false)) };
        let mut descriptors = Vec::new();
        let clone_into = Group::clone_into(group);
        if let Some(directory) = &clone_into {
            descriptors.push(directory.try_clone_to_owned()?);
        }
        for file in group.procs_fds() {
            descriptors.push(file.try_clone()?);
        }
        Ok((descriptors, clone_into.is_some()))
    }

    /// The execution's first process is `inside` in the sandbox, whose process 1 is `agent` here.
    pub(crate) fn started(&mut self, agent: Pid, inside: u32) {
        let Self::Namespace(namespace) = self else { return };
        let found = host_pid(agent.as_raw_nonzero().get(), inside);
        namespace.init = found.and_then(|pid| {
            let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
            Some((pid, pidfd))
        });
    }

    /// Whether it is a namespace that we have no handle on: its first process was not to be seen when it began.
    pub(crate) fn is_out_of_sight(&self) -> bool {
        matches!(self, Self::Namespace(Namespace { init: None, .. }))
    }

    /// Kills every process in it, frozen or not. False when there is no handle on it (yet).
    pub(crate) fn kill(&self) -> bool {
        match self {
            // A group that was killed has to be made anew, and one that is empty stays so: nothing is left to fork.
            Self::Group(group) => group.is_empty().is_ok_and(|empty| empty) || group.kill().is_ok(),
            Self::Namespace(Namespace { init: Some((_, pidfd)), .. }) => {
                sandkeep_sandbox::process::signal(pidfd, Signal::KILL).is_ok()
            }
            Self::Namespace(Namespace { init: None, .. }) => false,
        }
    }

    /// Whether nothing lives in it. Of a namespace that holds once the agent has told its end: the kernel lets a first
    /// process go only after all others.
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Group(group) => group.is_empty().unwrap_or(true),
            Self::Namespace(_) => true,
        }
    }

    /// Whether the kernel killed something in it for want of memory.
    pub(crate) fn out_of_memory(&self) -> bool {
        match self {
            Self::Group(group) => group.oom_kills().is_ok_and(|kills| kills > 0),
            Self::Namespace(_) => false,
        }
    }

    /// Its processes as of now, its first among them, where no group counts them.
    pub(crate) fn members(&self) -> Vec<i32> {
        let Self::Namespace(Namespace { init: Some((init, _)), .. }) = self else { return Vec::new() };
        let mut members = watch::descendants(*init);
        members.push(*init);
        members
    }

    /// Reads what its processes use now, where no group counts it; bytes of memory.
    pub(crate) fn sample(&mut self) -> u64 {
        let Self::Namespace(namespace) = self else { return 0 };
        let Some((init, _)) = &namespace.init else { return 0 };
        // The init itself is ours and shares its few pages with the agent.
        let sample = watch::sample(&watch::descendants(*init), &mut namespace.shared);
        namespace.peak_memory_bytes = namespace.peak_memory_bytes.max(sample.memory_bytes);
        namespace.last = sample;
        sample.memory_bytes
    }

    /// What was used, given what the agent saw of the ended first process.
    ///
    /// # Errors
    /// The group's files cannot be read.
    pub(crate) fn usage(&self, cpu_us: (u64, u64)) -> Result<proto::Metrics, Error> {
        match self {
            Self::Group(group) => {
                let usage = group.usage()?;
                Ok(proto::Metrics {
                    cpu_user_us: usage.cpu_user_us,
                    cpu_system_us: usage.cpu_system_us,
                    peak_memory_bytes: usage.peak_memory_bytes.unwrap_or(0),
                    read_bytes: usage.read_bytes,
                    write_bytes: usage.write_bytes,
                    source: proto::MetricsSource::METRICS_SOURCE_CGROUP.into(),
                    ..Default::default()
                })
            }
            Self::Namespace(namespace) => Ok(proto::Metrics {
                cpu_user_us: cpu_us.0.max(namespace.last.cpu_user_us),
                cpu_system_us: cpu_us.1.max(namespace.last.cpu_system_us),
                peak_memory_bytes: namespace.peak_memory_bytes,
                read_bytes: namespace.last.read_bytes,
                write_bytes: namespace.last.write_bytes,
                source: proto::MetricsSource::METRICS_SOURCE_SAMPLED.into(),
                ..Default::default()
            }),
        }
    }
}

/// The child of `agent` that its own namespace calls `inside`.
fn host_pid(agent: i32, inside: u32) -> Option<i32> {
    let list = fs::read_to_string(format!("/proc/{agent}/task/{agent}/children")).ok()?;
    list.split_whitespace().filter_map(|n| n.parse().ok()).find(|pid: &i32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        // Outermost first: ours, then the sandbox's.
        let second = line.and_then(|line| line.split_whitespace().nth(1));
        second.and_then(|n| n.parse().ok()) == Some(inside)
    })
}
