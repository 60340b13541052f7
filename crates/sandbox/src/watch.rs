//! What a tree of processes uses, read from /proc: for hosts where no control group counts it.
//!
//! The reader stands outside the sandbox's PID namespace and sees every process in it as a descendant of the
//! sandbox's first process, also daemons that detached from their parents.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::os::linux::fs::MetadataExt as _;

/// Processes of one tree and what they hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    /// Proportional set size of all, plus memory files that only descriptors keep, in bytes.
    pub memory_bytes: u64,
    /// How many processes.
    pub processes: u32,
    /// User time of the living, in microseconds (10 ms steps).
    pub cpu_user_us: u64,
    /// System time of the living, in microseconds (10 ms steps).
    pub cpu_system_us: u64,
    /// Bytes they caused to be read from storage.
    pub read_bytes: u64,
    /// Bytes they caused to be written to storage.
    pub write_bytes: u64,
}

/// All descendants of `root` (itself left out), as pids of our namespace. At most 65,536 are followed.
#[must_use]
pub fn descendants(root: i32) -> Vec<i32> {
    let mut found = children(root);
    let mut next = 0;
    while next < found.len() && found.len() < MOST_PROCESSES {
        found.extend(children(found[next]));
        next += 1;
    }
    found
}

/// A bound on the walk, above any process limit we hand out.
const MOST_PROCESSES: usize = 65_536;

/// Shared anonymous mappings by inode, with the largest size that each was ever seen with.
///
/// Their pages stay when a process drops or unmaps its view of them, and then no process shows them any more: so they are
/// counted by size, for as long as any process has a part of them mapped.
#[derive(Debug, Clone, Default)]
pub struct SharedMappings(HashMap<u64, u64>);

/// Reads what `pids` use now. Those that ended meanwhile count nothing.
#[must_use]
pub fn sample(pids: &[i32], shared: &mut SharedMappings) -> Sample {
    let mut sum = Sample::default();
    let mut memory_files = HashSet::new();
    let mut mapped = HashMap::new();
    for &pid in pids {
        sum.processes += 1;
        sum.memory_bytes += proportional_bytes(pid) + memory_file_bytes(pid, &mut memory_files);
        shared_anonymous(pid, &mut mapped);
        let (user, system) = cpu_ticks(pid);
        sum.cpu_user_us += user * TICK_US;
        sum.cpu_system_us += system * TICK_US;
        let (read, written) = storage_bytes(pid);
        sum.read_bytes += read;
        sum.write_bytes += written;
    }
    let largest = |(inode, bytes): (u64, u64)| (inode, bytes.max(shared.0.get(&inode).copied().unwrap_or(0)));
    shared.0 = mapped.into_iter().map(largest).collect();
    sum.memory_bytes += shared.0.values().sum::<u64>();
    sum
}

/// Adds the shared anonymous mappings of `pid`: per process and inode the sum, and of processes the largest.
fn shared_anonymous(pid: i32, mapped: &mut HashMap<u64, u64>) {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/maps")) else { return };
    let mut own: HashMap<u64, u64> = HashMap::new();
    for line in text.lines().filter(|line| line.ends_with("/dev/zero (deleted)")) {
        let mut fields = line.split_whitespace();
        let range = fields.next().and_then(|range| range.split_once('-'));
        let Some((from, to)) = range else { continue };
        let (Ok(from), Ok(to)) = (u64::from_str_radix(from, 16), u64::from_str_radix(to, 16)) else {
            continue;
        };
        let Some(inode) = fields.nth(3).and_then(|inode| inode.parse().ok()) else { continue };
        *own.entry(inode).or_default() += to - from;
    }
    for (inode, bytes) in own {
        let largest = mapped.entry(inode).or_default();
        *largest = bytes.max(*largest);
    }
}

/// /proc counts time in `USER_HZ`, which is 100 on every Linux we run on.
const TICK_US: u64 = 10_000;

fn children(pid: i32) -> Vec<i32> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    let lists = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|n| n.parse().ok()).collect::<Vec<i32>>())
        .collect()
}

fn proportional_bytes(pid: i32) -> u64 {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { return 0 };
    field_kib(&text, "Pss:") * 1024
}

/// Memory files (`memfd`, unlinked shared memory) that `pid` holds open but may not have mapped.
fn memory_file_bytes(pid: i32, seen: &mut HashSet<u64>) -> u64 {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else { return 0 };
    let held = descriptors.flatten().filter(|entry| {
        fs::read_link(entry.path()).is_ok_and(|to| to.as_os_str().as_encoded_bytes().starts_with(b"/memfd:"))
    });
    let files = held.filter_map(|entry| fs::metadata(entry.path()).ok());
    files.filter(|file| seen.insert(file.st_ino())).map(|file| file.st_blocks() * 512).sum()
}

/// Bytes of plain files that `pids` hold open and that have no name any more. Those on the file system `memory` (a
/// device number) and memory files are counted elsewhere.
#[must_use]
pub fn unlinked_bytes(pids: &[i32], memory: u64) -> u64 {
    let mut seen = HashSet::new();
    let held = pids.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/fd")).ok()).flatten().flatten();
    let files = held.filter_map(|entry| {
        let link = fs::read_link(entry.path()).ok()?;
        let is_memory = link.as_os_str().as_encoded_bytes().starts_with(b"/memfd:");
        fs::metadata(entry.path()).ok().filter(|file| !is_memory && file.is_file() && file.st_nlink() == 0)
    });
    files
        .filter(|file| file.st_dev() != memory && seen.insert((file.st_dev(), file.st_ino())))
        .map(|file| file.st_blocks() * 512)
        .sum()
}

fn cpu_ticks(pid: i32) -> (u64, u64) {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return (0, 0) };
    // The name in parentheses may hold anything, so fields count from its last bracket.
    let Some((_, rest)) = text.rsplit_once(')') else { return (0, 0) };
    let field = |n: usize| rest.split_whitespace().nth(n).and_then(|f| f.parse().ok()).unwrap_or(0);
    (field(11) + field(13), field(12) + field(14))
}

fn storage_bytes(pid: i32) -> (u64, u64) {
    let Ok(text) = fs::read_to_string(format!("/proc/{pid}/io")) else { return (0, 0) };
    (field_number(&text, "read_bytes:"), field_number(&text, "write_bytes:"))
}

fn field_kib(text: &str, name: &str) -> u64 {
    field_number(text, name)
}

fn field_number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    #[test]
    fn a_detached_grandchild_is_found_and_counted() {
        let script = "setsid sh -c 'echo ready; exec sleep 600' & wait";
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        shell.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        let root = i32::try_from(shell.id()).unwrap();
        let found = descendants(root);
        assert!(!found.is_empty());
        // In the middle of an exec a process has no memory to show.
        let mut seen = Sample::default();
        while seen.memory_bytes < 50 * 1024 {
            seen = sample(&found, &mut SharedMappings::default());
            assert_eq!(seen.processes as usize, found.len());
            std::thread::yield_now();
        }
        for pid in found {
            let _ended = rustix::process::kill_process(
                rustix::process::Pid::from_raw(pid).unwrap(),
                rustix::process::Signal::KILL,
            );
        }
        let _status = shell.wait().unwrap();
    }
}
