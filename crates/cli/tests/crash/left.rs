//! What a sandbox may have left on its host.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sandkeep_runtime::driver::Facts;
use sandkeep_runtime::local::{ID_BASE, StateDirectory};

use crate::support::host::{self, Process};
use crate::support::{driver, is_root};

/// Waits until every process that was seen, and every one that carries the marker, is gone.
#[track_caller]
pub(crate) fn assert_processes_gone(when: &str, seen: &BTreeSet<Process>, marker: &str) {
    driver::eventually(&format!("{when}: every process is gone"), || are_gone(seen, marker));
}

pub(crate) fn are_gone(seen: &BTreeSet<Process>, marker: &str) -> bool {
    seen.iter().all(|process| !process.is_alive()) && host::with_argument(marker).is_empty()
}

/// The same, and nothing that belongs to the sandbox's slot. Awaits, so that the driver's own tasks go on.
pub(crate) async fn assert_nothing(when: &str, seen: &BTreeSet<Process>, marker: &str, facts: &Facts) {
    let deadline = std::time::Instant::now() + driver::PATIENCE;
    let in_time = || assert!(std::time::Instant::now() < deadline, "{when}: not gone: {:?}", alive(seen));
    while !are_gone(seen, marker) {
        in_time();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let path = StateDirectory::default_path().join("slots").join(facts.slot.to_string());
    let lock = File::options().write(true).open(path).unwrap();
    while flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        // Another test may have taken it: then somebody lives there, and looking says nothing.
        if std::time::Instant::now() > deadline {
            panic!("{when}: slot {} is still locked", facts.slot);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    if !is_root() {
        return;
    }
    let first = ID_BASE + facts.slot * 65_536;
    let range = first..first + 65_536;
    // Not at once: a test beside this one may have killed a supervisor in this slot since, whose agent notices in a moment.
    while !host::with_user_in(&range).is_empty() || !host::in_groups_of_slot(facts.slot).is_empty() {
        let living: Vec<String> = host::with_user_in(&range).into_iter().map(host::describe).collect();
        let grouped = host::in_groups_of_slot(facts.slot);
        assert!(std::time::Instant::now() < deadline, "{when}: slot {}: {living:?} {grouped:?}", facts.slot);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Puts a process into the group of the slot's first execution, in every hierarchy that has one.
pub(crate) fn plant(slot: u32, pid: u32) {
    let mut planted = 0;
    for (_, directory, _) in host::group_mounts() {
        for group in ["e0", "code/e0"] {
            let file = format!("{directory}/sandkeep/s{slot}/{group}/cgroup.procs");
            planted += usize::from(fs::write(file, pid.to_string()).is_ok());
        }
    }
    assert!(planted > 0, "slot {slot} has no groups");
}

fn alive(seen: &BTreeSet<Process>) -> Vec<String> {
    seen.iter().filter(|process| process.is_alive()).map(|process| host::describe(process.pid)).collect()
}

/// Our own directory holds locks and a place to build on, and no pieces of sandboxes.
pub(crate) fn assert_state_directory_is_clean() {
    let path = StateDirectory::default_path();
    for entry in fs::read_dir(&path).unwrap().flatten() {
        // Locks; and where sandboxes that are to go on are found again, which is for the suite `outlive` to look at.
        if entry.file_name() == "slots" || entry.file_name() == "supervisors" {
            continue;
        }
        let below = fs::read_dir(entry.path()).map_or(0, Iterator::count);
        assert_eq!(below, 0, "{} is not empty", entry.path().display());
    }
}
