//! What is left on the host: of an execution, of a sandbox, of the whole run.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::time::{ClockId, clock_gettime};
use sandkeep_runtime::driver::Facts;
use sandkeep_runtime::local::{ID_BASE, Slots};

/// The ids of one sandbox of root's.
const RANGE: u32 = 65_536;
/// `USER_HZ`, in which /proc counts: 100 on every architecture that we build for.
const TICKS_PER_SECOND: u64 = 100;

/// A process as /proc/PID/stat shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// Clock ticks since boot: with `pid`, it names one process for ever.
    started: u64,
    parent: u32,
    pub(super) name: String,
}

/// Every process that is more than a zombie.
pub(super) fn processes() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)).collect()
}

fn parse(pid: u32, stat: &str) -> Option<Process> {
    // The name in brackets may hold anything; the fields after it are a letter and numbers.
    let (head, tail) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    if matches!(*fields.first()?, "Z" | "X") {
        return None;
    }
    let name = head.split_once('(')?.1.to_owned();
    Some(Process { pid, started: fields.get(19)?.parse().ok()?, parent: fields.get(1)?.parse().ok()?, name })
}

/// Those that descend from `root`, without it.
pub(super) fn below(all: &[Process], root: u32) -> Vec<Process> {
    let mut known = BTreeSet::from([root]);
    let mut found = Vec::new();
    loop {
        let children =
            all.iter().filter(|process| known.contains(&process.parent) && !known.contains(&process.pid));
        let fresh: Vec<Process> = children.cloned().collect();
        if fresh.is_empty() {
            return found;
        }
        known.extend(fresh.iter().map(|process| process.pid));
        found.extend(fresh);
    }
}

/// A sandbox as it was before it ended.
#[derive(Debug)]
pub(super) struct Trace {
    facts: Facts,
    processes: Vec<Process>,
    /// Clock ticks since boot.
    taken: u64,
}

impl Trace {
    /// Looks at a sandbox that is about to be ended.
    pub(super) fn of(facts: &Facts) -> Self {
        let all = processes();
        let mut members = below(&all, facts.supervisor_pid);
        members.extend(all.into_iter().filter(|process| process.pid == facts.supervisor_pid));
        Self { facts: facts.clone(), processes: members, taken: ticks_since_boot() }
    }

    /// What is still there. A process that began after the trace was taken may belong to whoever has the slot now.
    pub(super) fn left(&self) -> Vec<String> {
        let range = own_range(&self.facts);
        let group = format!("/sandkeep/s{}", self.facts.slot);
        let is_ours = |process: &Process| {
            self.processes.contains(process)
                || (process.started < self.taken
                    && (range.as_ref().is_some_and(|range| has_id_in(process.pid, range))
                        || range.is_some() && is_in_group(process.pid, &group)))
        };
        let left = processes().into_iter().filter(is_ours);
        left.map(|process| format!("process {} ({}) outlived its sandbox", process.pid, process.name))
            .collect()
    }
}

/// The slot of a sandbox that has host ids of its own.
pub(super) fn slot_with_ids(facts: &Facts) -> Option<u32> {
    own_range(facts).map(|_| facts.slot)
}

/// The host ids that this sandbox alone has; `None` where sandboxes share the ids of their caller.
fn own_range(facts: &Facts) -> Option<Range<u32>> {
    let first = ID_BASE + facts.slot * RANGE;
    let range = first..first + RANGE;
    range.contains(&facts.user_host_id).then_some(range)
}

/// Whether it can be the interpreter that the agent keeps warm: its child, with its id, which no code ever has.
pub(super) fn is_interpreter(process: &Process, facts: &Facts) -> bool {
    let agent = facts.agent_host_id;
    agent != facts.user_host_id
        && process.parent == facts.agent_pid
        && has_id_in(process.pid, &(agent..agent + 1))
        && !has_id_in(process.pid, &(facts.user_host_id..facts.user_host_id + 1))
}

fn has_id_in(pid: u32, range: &Range<u32>) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    ids.split_whitespace().any(|id| id.parse().is_ok_and(|id| range.contains(&id)))
}

fn is_in_group(pid: u32, group: &str) -> bool {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    groups.lines().any(|line| {
        line.find(group).is_some_and(|at| !line[at + group.len()..].starts_with(|c: char| c.is_ascii_digit()))
    })
}

fn ticks_since_boot() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    seconds * TICKS_PER_SECOND + nanos / (1_000_000_000 / TICKS_PER_SECOND)
}

/// What is wrong with the ids of a live sandbox, seen from here: from inside, a map of a namespace in a namespace shows
/// nothing of the host.
pub(super) fn wrong_ids(facts: &Facts) -> Vec<String> {
    let allowed = own_range(facts);
    let mut wrong = Vec::new();
    for process in below(&processes(), facts.supervisor_pid) {
        for kind in ["uid_map", "gid_map"] {
            let text = fs::read_to_string(format!("/proc/{}/{kind}", process.pid)).unwrap_or_default();
            let spans = text.lines().filter_map(outside_span);
            let is_wrong = |span: &Range<u64>| {
                let root = rustix::process::geteuid().is_root();
                let within = allowed
                    .as_ref()
                    .is_some_and(|ids| span.start >= u64::from(ids.start) && span.end <= u64::from(ids.end));
                span.contains(&0) || (root && !within)
            };
            let found = spans.filter(is_wrong);
            wrong.extend(
                found.map(|span| format!("{kind} of process {} has host ids {span:?}", process.name)),
            );
        }
    }
    wrong
}

/// Host ids of one line of `/proc/PID/uid_map`.
fn outside_span(line: &str) -> Option<Range<u64>> {
    let mut fields = line.split_whitespace().skip(1).map(str::parse::<u64>);
    let (first, count) = (fields.next()?.ok()?, fields.next()?.ok()?);
    Some(first..first + count)
}

/// Keys in the kernel that belong to ids of slots which nobody has now (only root's sandboxes have ids by slot). Holding the lock of a slot while looking keeps
/// it so.
pub(super) fn keys_of_slots(state_dir: &Path, slots: &BTreeSet<u32>) -> Vec<String> {
    let locks = Slots::of(state_dir, ID_BASE).directory;
    let mut found = Vec::new();
    for slot in slots {
        let Ok(lock) = fs::File::open(locks.join(slot.to_string())) else { continue };
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            continue;
        }
        let first = ID_BASE + slot * RANGE;
        let users = fs::read_to_string("/proc/key-users").unwrap_or_default();
        let with_keys = users
            .lines()
            .filter_map(key_owner)
            .filter(|(id, keys)| *keys > 0 && (first..first + RANGE).contains(id));
        found.extend(with_keys.map(|(id, keys)| format!("{keys} keys of id {id} are left in the kernel")));
    }
    found
}

/// `uid: usage nkeys/nikeys …` (proc_key-users in keyrings(7)).
fn key_owner(line: &str) -> Option<(u32, u32)> {
    let (id, rest) = line.trim().split_once(':')?;
    let keys = rest.split_whitespace().nth(1)?.split('/').next()?;
    Some((id.parse().ok()?, keys.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, parent: u32) -> Process {
        Process { pid, started: 0, parent, name: "x".to_owned() }
    }

    #[test]
    fn stat_is_read_whatever_the_name() {
        let fields = "S 7 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        let read = parse(9, &format!("9 (a) b (c) {fields}")).unwrap();
        assert_eq!((read.pid, read.parent, read.started, read.name.as_str()), (9, 7, 4711, "a) b (c"));
        assert_eq!(parse(9, &format!("9 (a) Z{}", &fields[1..])), None);
        assert_eq!(parse(9, ""), None);
    }

    #[test]
    fn descendants_are_found_in_any_order() {
        let all = [process(5, 4), process(4, 2), process(2, 1), process(3, 1), process(6, 3)];
        let found: Vec<u32> = below(&all, 2).iter().map(|process| process.pid).collect();
        assert_eq!(found, [4, 5]);
        assert!(below(&all, 6).is_empty());
    }

    #[test]
    fn we_are_below_our_parent_and_began_before_now() {
        let all = processes();
        let us = all.iter().find(|process| process.pid == std::process::id()).unwrap();
        assert!(us.started <= ticks_since_boot());
        assert!(below(&all, us.parent).contains(us));
    }

    #[test]
    fn spans_of_host_ids_are_read() {
        assert_eq!(outside_span("         0 1879048192      65536"), Some(1_879_048_192..1_879_113_728));
        assert_eq!(outside_span(""), None);
    }

    #[test]
    fn owners_of_keys_are_read() {
        assert_eq!(key_owner(" 1879048192:     3 2/2 2/200 40/20000"), Some((1_879_048_192, 2)));
        assert_eq!(key_owner("nonsense"), None);
    }
}
