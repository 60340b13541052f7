//! The host's processes, as /proc shows them.

use std::collections::BTreeSet;
use std::fs;

/// A process that cannot be mistaken for a later one with the same number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pub pid: u32,
    /// When it began, in clock ticks since boot.
    pub began: u64,
}

impl Process {
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, began: stat(pid)?.1 })
    }

    /// Not dead, and not a zombie that waits for its parent.
    pub fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|(state, began)| began == self.began && !matches!(state, 'Z' | 'X'))
    }
}

/// State and moment of birth.
fn stat(pid: u32) -> Option<(char, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    let began = rest.split_whitespace().nth(19)?.parse().ok()?;
    Some((rest.chars().next()?, began))
}

/// The state of a process: `T` is stopped, `D` may be frozen.
pub fn state(pid: u32) -> Option<char> {
    Some(stat(pid)?.0)
}

/// For the message of a failure: what it is, whose child, and where.
pub fn describe(pid: u32) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let wanted = ["Name:", "State:", "PPid:", "Uid:", "NSpid:", "SigPnd:", "ShdPnd:"];
    let facts = status.lines().filter(|line| wanted.iter().any(|word| line.starts_with(word)));
    let facts = facts.map(|line| line.replace('\t', " ")).collect::<Vec<_>>().join(", ");
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    format!("{pid} {facts}, {:?}, {:?}", String::from_utf8_lossy(&line), groups(pid))
}

/// Children of any of its threads.
pub fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_whitespace().filter_map(|n| n.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// It and everything below it.
pub fn tree(pid: u32) -> BTreeSet<Process> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![pid];
    while let Some(pid) = waiting.pop() {
        if Process::of(pid).is_some_and(|process| found.insert(process)) {
            waiting.extend(children(pid));
        }
    }
    found
}

pub fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// Living processes with `word` among their arguments, but for those of tests and the command themselves.
pub fn with_argument(word: &str) -> Vec<u32> {
    let ours = super::binary();
    let is = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let has = line.split(|byte| *byte == 0).any(|arg| String::from_utf8_lossy(arg).contains(word));
        has && !line.starts_with(ours.as_os_str().as_encoded_bytes())
            && Process::of(*pid).is_some_and(|process| process.is_alive())
    };
    all().filter(is).collect()
}

/// A word for command lines that no other test uses.
pub fn marker() -> String {
    super::driver::new_execution_id().to_string()
}

/// Living processes with any of their user ids in the range.
pub fn with_user_in(range: &std::ops::Range<u32>) -> Vec<u32> {
    let is = |pid: &u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
        let mut ids = line.split_whitespace().filter_map(|id| id.parse::<u32>().ok());
        ids.any(|id| range.contains(&id)) && Process::of(*pid).is_some_and(|process| process.is_alive())
    };
    all().filter(is).collect()
}

/// Rows of a map of user ids: first id inside, first id outside, how many.
pub fn uid_map(pid: u32) -> Vec<(u32, u32, u32)> {
    let text = fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap_or_default();
    let number = |word: Option<&str>| word.unwrap().parse().unwrap();
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        (number(words.next()), number(words.next()), number(words.next()))
    };
    text.lines().map(row).collect()
}

/// Directories of control groups in which a process is, with the name of the hierarchy: empty for version 2.
pub fn groups(pid: u32) -> Vec<(String, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let group = |line: &str| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?.to_owned(), parts.next()?.to_owned()))
    };
    text.lines().filter_map(group).collect()
}

/// Where hierarchies are mounted: type, directory, options.
pub fn group_mounts() -> Vec<(String, String, String)> {
    let text = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mount = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let kind = *words.get(2)?;
        kind.starts_with("cgroup").then(|| (kind.to_owned(), words[1].to_owned(), words[3].to_owned()))
    };
    text.lines().filter_map(mount).collect()
}

/// Processes in the control groups of a slot, in every hierarchy.
pub fn in_groups_of_slot(slot: u32) -> Vec<String> {
    let mut found = Vec::new();
    for (_, directory, _) in group_mounts() {
        let mut waiting = vec![std::path::PathBuf::from(format!("{directory}/sandkeep/s{slot}"))];
        while let Some(group) = waiting.pop() {
            let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
            found.extend(members.lines().map(|pid| format!("{} in {}", pid, group.display())));
            let below = fs::read_dir(&group).into_iter().flatten().flatten();
            waiting.extend(below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
        }
    }
    found
}

/// Lines of our own mount table that speak of sandboxes.
pub fn mounts_of_ours() -> Vec<String> {
    let state = sandkeep_runtime::local::StateDirectory::default_path();
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines().filter(|line| line.contains(&*state.to_string_lossy())).map(str::to_owned).collect()
}
