//! The last steps between a fork and foreign code.
//!
//! Order matters. Groups first, while their descriptors are still open; ids before capabilities, which
//! changing ids needs; Landlock and the system call filter last, since both forbid what comes before.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Gid, Uid, chdir, set_dumpable_behavior, setsid, umask};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::{Failure, Identity, RESULT, Start, Step, Walls, stamp};
use crate::process::{self, Program};
use crate::rlimit::Rlimits;
use crate::{caps, cgroup, gate};

/// Becomes the code. Only returns to report why it could not; the caller writes that to `report` and ends.
#[must_use]
pub fn become_code(start: Start, program: &Program, walls: Walls<'_>, report: BorrowedFd<'_>) -> Failure {
    let ready = stand_behind(&start, walls, report).and_then(|()| wait_for_word(&start));
    let failure = match ready {
        Err(failure) => failure,
        Ok(()) => Failure { step: Step::Exec, errno: program.exec() },
    };
    // Most of its descriptors are closed, so not to be closed again.
    std::mem::forget(start);
    failure
}

/// Puts this process behind all walls. Of its descriptors the standard ones, that of a result, `report`, and those that it
/// waits at are open; `start` must be forgotten, not dropped.
///
/// # Errors
/// The step that failed; then this process must end.
pub fn stand_behind(start: &Start, walls: Walls<'_>, report: BorrowedFd<'_>) -> Result<(), Failure> {
    let at = |step| move |errno| Failure { step, errno };
    cgroup::enter::enter(&start.groups).map_err(|error| at(Step::Group)(as_errno(&error)))?;
    if start.grouped {
        process::own_cgroup_namespace().map_err(at(Step::Namespace))?;
    }
    setsid().map_err(at(Step::Session))?;
    if start.terminal {
        rustix::process::ioctl_tiocsctty(&start.stdio[0]).map_err(at(Step::Session))?;
    }
    process::reset_signals();
    umask(rustix::fs::Mode::from_raw_mode(0o022));
    // A limit that could not be had is a stricter one.
    let _stricter = start.rlimits.apply();
    enter_namespace(start.userns.as_ref())?;
    descriptors(start, walls, report).map_err(at(Step::Descriptors))?;
    become_user(start.identity, start.userns.is_some())?;
    enter(&start.cwd).map_err(at(Step::Cwd))?;
    wall_in(walls)
}

/// Into the user namespace of profile `dev`.
fn enter_namespace(userns: Option<&OwnedFd>) -> Result<(), Failure> {
    let Some(userns) = userns else { return Ok(()) };
    let kind = Some(rustix::thread::LinkNameSpaceType::User);
    rustix::thread::move_into_link_name_space(userns.as_fd(), kind)
        .map_err(|errno| Failure { step: Step::Namespace, errno })?;
    // Entering gave all capabilities over that namespace, and with them the right to bound them.
    caps::bound(caps::ALL, caps::DEV_ROOT).map_err(|_| Failure { step: Step::Privileges, errno: Errno::PERM })
}

/// From here on this process is the code's user, and can never again be more.
fn become_user(who: Identity, is_dev: bool) -> Result<(), Failure> {
    let dropped = |_| Failure { step: Step::Privileges, errno: Errno::PERM };
    if who.change {
        identity(who).map_err(|errno| Failure { step: Step::Identity, errno })?;
    }
    // Only inside-root of profile `dev` keeps any, and those only over its own namespace.
    let kept = if is_dev && who.uid == 0 { caps::DEV_ROOT } else { caps::NONE };
    caps::hold(kept).map_err(dropped)?;
    caps::set_no_new_privs().map_err(dropped)
}

fn wall_in(walls: Walls<'_>) -> Result<(), Failure> {
    if let Some(fence) = walls.fence {
        fence.enter().map_err(|_| Failure { step: Step::Landlock, errno: Errno::PERM })?;
    }
    walls.filter.install().map_err(|_| Failure { step: Step::Seccomp, errno: Errno::PERM })
}

/// Waits until the code may begin: from here on this process may run it.
///
/// # Errors
/// It may not; then this process must end.
pub fn wait_for_word(start: &Start) -> Result<(), Failure> {
    start.gates.iter().try_for_each(gate::pass).map_err(|errno| Failure { step: Step::Gate, errno })?;
    stamp::wait_past(start.not_before_unix_ns);
    Ok(())
}

/// Does everything that stands before foreign code but its start: for a child of ours that does something to files on
/// behalf of whoever `who` is, and must not be able to do more than their code. It stays out of reach of that code, as we
/// are: nobody may trace it or open its memory.
///
/// # Errors
/// The step that failed; then this process must end.
pub fn become_worker(
    who: Identity,
    userns: Option<&OwnedFd>,
    walls: Walls<'_>,
    rlimits: &Rlimits,
) -> Result<(), Failure> {
    setsid().map_err(|errno| Failure { step: Step::Session, errno })?;
    process::reset_signals();
    umask(rustix::fs::Mode::from_raw_mode(0o022));
    let _stricter = rlimits.apply();
    enter_namespace(userns)?;
    become_user(who, userns.is_some())?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| Failure { step: Step::Privileges, errno })?;
    wall_in(walls)
}

/// Leaves the code its own descriptors, and us those that are needed until the exec. All others are closed before any path
/// of the code's is followed: the links of /proc/self/fd lead to what they stand for, some of it outside of the root.
fn descriptors(start: &Start, walls: Walls<'_>, report: BorrowedFd<'_>) -> rustix::io::Result<()> {
    rustix::stdio::dup2_stdin(&start.stdio[0])?;
    rustix::stdio::dup2_stdout(&start.stdio[1])?;
    rustix::stdio::dup2_stderr(&start.stdio[2])?;
    // Whatever stays goes at exec, also what a mistake of ours left open without the flag.
    process::cloexec_from(3);
    let mut kept = vec![report];
    kept.extend(walls.fence.map(AsFd::as_fd));
    kept.extend(start.gates.iter().map(AsFd::as_fd));
    let Some(result) = &start.result else {
        process::close_all_but(RESULT, &kept);
        return Ok(());
    };
    process::place_inheritable(result, RESULT.cast_signed())?;
    process::close_all_but(RESULT + 1, &kept);
    Ok(())
}

/// Enters the directory as the code, so that it cannot start where it may not go.
fn enter(cwd: &str) -> rustix::io::Result<()> {
    chdir(cwd)?;
    // The kernel says `(unreachable)` of what is outside of the root.
    let inside = rustix::process::getcwd(Vec::new())?.as_bytes().starts_with(b"/");
    if inside { Ok(()) } else { Err(Errno::XDEV) }
}

fn identity(identity: Identity) -> rustix::io::Result<()> {
    let (gid, uid) = (Gid::from_raw(identity.gid), Uid::from_raw(identity.uid));
    set_thread_groups(&[])?;
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

fn as_errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
