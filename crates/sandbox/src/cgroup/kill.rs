//! Killing all of a group, so that nothing in it can fork itself away.
//!
//! Version 2 has `cgroup.kill`, which also reaches frozen processes (from 5.14). Elsewhere: freeze, signal everything,
//! thaw, until the group is empty. In a version 1 freezer a signal takes effect only after thawing.

use std::{thread, time::Duration};

use super::{Error, dir::Dir, trees::Trees};

/// A group that was killed through `cgroup.kill` carries this mark from then on, because no process can be cloned into it
/// any more: since Linux 6.13 the kernel counts kills per group, and takes a clone whose own group has another
/// count than its target for one that raced with a kill. So the group has to be replaced. The mark
/// is a file of the group itself, which survives the death of whoever killed; our groups are never
/// so deep that it limits anything.
const MARK: (&str, &str) = ("cgroup.max.depth", "64");

/// Rounds of signalling before giving up; with [`PAUSE`] about two seconds.
const ROUNDS: u32 = 400;
/// Between two looks at a group whose processes are dying.
const PAUSE: Duration = Duration::from_millis(5);
/// Looks without a pause: most groups are empty after a few.
const SPINS: u32 = 20;

/// Kills everything in a version 2 group and below, and waits until it is gone.
pub(super) fn unified(dir: &Dir) -> Result<(), Error> {
    for round in 0..ROUNDS {
        if dir.read_keyed("cgroup.events", "populated")? == 0 {
            return Ok(());
        }
        if round < SPINS || round % SPINS == 0 {
            signal_unified(dir)?;
        }
        pause(round);
    }
    Err(Error::StillAlive { path: dir.path().to_owned(), rounds: ROUNDS })
}

/// Sends SIGKILL to everything in a version 2 group and below, without waiting.
pub(super) fn signal_unified(dir: &Dir) -> Result<(), Error> {
    dir.write(MARK.0, MARK.1)?;
    if dir.write_if_there("cgroup.kill", "1")? {
        return Ok(());
    }
    dir.write("cgroup.freeze", "1")?;
    signal_tree(dir)?;
    dir.write("cgroup.freeze", "0")
}

/// Whether the version 2 group `dir` was killed at any time and has to be replaced.
pub(super) fn was_killed(dir: &Dir) -> Result<bool, Error> {
    Ok(dir.read(MARK.0)?.trim() == MARK.1)
}

/// Kills everything in a version 1 group and below, and waits until it is gone.
pub(super) fn v1(group: &Trees) -> Result<(), Error> {
    for round in 0..ROUNDS {
        if group.is_empty()? {
            return Ok(());
        }
        signal_v1(group)?;
        pause(round);
    }
    let path = group.members().map(|dir| dir.path().to_owned()).unwrap_or_default();
    Err(Error::StillAlive { path, rounds: ROUNDS })
}

/// Sends SIGKILL to everything in a version 1 group and below. Without a freezer a fork bomb may win
/// this round; the caller repeats.
pub(super) fn signal_v1(group: &Trees) -> Result<(), Error> {
    let Some(members) = group.members() else { return Ok(()) };
    if let Some(freezer) = &group.freezer {
        freezer.write("freezer.state", "FROZEN")?;
    }
    let signalled = signal_tree(members);
    if let Some(freezer) = &group.freezer {
        thaw_tree(freezer)?;
    }
    signalled
}

fn signal_tree(dir: &Dir) -> Result<(), Error> {
    for pid in dir.read_pids()? {
        if let Some(pid) = rustix::process::Pid::from_raw(pid) {
            // A process that is gone already is what we want.
            let _gone = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    for name in dir.children()? {
        signal_tree(&dir.child(&name)?)?;
    }
    Ok(())
}

/// Thaws a group and its children: a child may have been frozen on its own.
fn thaw_tree(dir: &Dir) -> Result<(), Error> {
    dir.write("freezer.state", "THAWED")?;
    for name in dir.children()? {
        dir.child(&name)?.write("freezer.state", "THAWED")?;
    }
    Ok(())
}

fn pause(round: u32) {
    if round < SPINS {
        thread::yield_now();
    } else {
        thread::sleep(PAUSE);
    }
}
