//! What sandboxes weigh: from /proc, from their control groups, and from what the machine has left.

use std::fs;
use std::path::PathBuf;

use sandkeep_runtime::driver::Facts;
use serde::Serialize;

/// What the machine says of its memory; bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Host {
    pub(crate) available: u64,
    /// The kernel's own objects: namespaces, mounts, directory entries, inodes.
    pub(crate) slab: u64,
}

impl Host {
    pub(crate) fn now() -> Self {
        let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self { available: kib(&text, "MemAvailable:").unwrap_or(0), slab: kib(&text, "Slab:").unwrap_or(0) }
    }
}

/// Proportional set size of a sandbox's supervisor and agent in bytes; `None` when they are gone or not ours to read.
pub(crate) fn pss(facts: &Facts) -> Option<u64> {
    let of = |pid: u32| kib(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, "Pss:");
    Some(of(facts.supervisor_pid)? + of(facts.agent_pid)?)
}

/// The same of the warm interpreter, which is a child of the agent.
pub(crate) fn warm_pss(facts: &Facts) -> Option<u64> {
    let agent = facts.agent_pid;
    let children = fs::read_to_string(format!("/proc/{agent}/task/{agent}/children")).ok()?;
    let is_warm = |pid: &&str| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "sandkeep-warm\n")
    };
    let pid = children.split_whitespace().find(is_warm)?;
    kib(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, "Pss:")
}

/// Kernel memory charged to the code of the sandbox in this slot, in bytes; `None` without control groups.
pub(crate) fn group_kernel(slot: u32) -> Option<u64> {
    let v1 = format!("/sys/fs/cgroup/memory/sandkeep/s{slot}/memory.kmem.usage_in_bytes");
    if let Ok(text) = fs::read_to_string(v1) {
        return text.trim().parse().ok();
    }
    let v2 = fs::read_to_string(format!("/sys/fs/cgroup/sandkeep/s{slot}/memory.stat")).ok()?;
    let kernel = v2.lines().find_map(|line| line.strip_prefix("kernel "))?;
    kernel.trim().parse().ok()
}

/// A process that cannot be mistaken for a later one with its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pid: u32,
    /// Clock ticks since boot, field 22 of /proc/PID/stat.
    started: u64,
}

impl Process {
    pub(crate) fn find(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in brackets may hold anything; the fields after it are numbers.
        let started = stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()?;
        Some(Self { pid, started })
    }

    /// Whether it is still there, as a zombie at least.
    pub(crate) fn is_left(&self) -> bool {
        Self::find(self.pid) == Some(*self)
    }
}

/// Mounts that this process sees.
pub(crate) fn mounts() -> usize {
    fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines().count()
}

/// Processes in any control group of `slot`, in any hierarchy.
pub(crate) fn group_processes(slot: u32) -> usize {
    let name = format!("s{slot}");
    let mut stack: Vec<PathBuf> = vec!["/sys/fs/cgroup/sandkeep".into()];
    let hierarchies = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten();
    stack.extend(hierarchies.map(|entry| entry.path().join("sandkeep")));
    let mut stack: Vec<PathBuf> = stack.into_iter().map(|parent| parent.join(&name)).collect();
    let mut count = 0;
    while let Some(directory) = stack.pop() {
        let Ok(list) = fs::read_to_string(directory.join("cgroup.procs")) else { continue };
        count += list.lines().count();
        let below = fs::read_dir(&directory).into_iter().flatten().flatten();
        stack.extend(
            below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|e| e.path()),
        );
    }
    count
}

/// The value of a line like `Pss:   123 kB`, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_tables_are_read() {
        let text = "MemTotal:  100 kB\nMemAvailable:   7 kB\nSlab:  3 kB\n";
        assert_eq!((kib(text, "MemAvailable:"), kib(text, "Slab:")), (Some(7_168), Some(3_072)));
        assert_eq!(kib(text, "Pss:"), None);
        assert!(Host::now().available > 0 && mounts() > 0);
    }

    #[test]
    fn a_process_is_left_until_it_is_reaped() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let found = Process::find(child.id()).unwrap();
        assert!(found.is_left());
        child.wait().unwrap();
        assert!(!found.is_left());
        assert!(!Process { pid: std::process::id(), started: 1 }.is_left());
    }
}
