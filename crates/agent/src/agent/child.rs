//! The last steps between the agent's fork and foreign code: join the groups, give up everything, become it.
//!
//! Order matters. Groups first, while their descriptors are still open; ids before capabilities, which
//! changing ids needs; Landlock and the system call filter last, since both forbid what comes before.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Gid, Uid, chdir, set_dumpable_behavior, setsid, umask};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use sandkeep_sandbox::fence::Fence;
use sandkeep_sandbox::process::{self, Program};
use sandkeep_sandbox::rlimit::Rlimits;
use sandkeep_sandbox::{caps, cgroup, seccomp};

use super::birth::RESULT;
use crate::{clock, gate};

/// Who the code is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// False when the agent has only one id, which then is the code's too.
    pub(crate) change: bool,
}

/// Everything one start needs, prepared before the fork so that the child cannot fail for want of memory.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) program: Program,
    pub(crate) cwd: String,
    pub(crate) identity: Identity,
    /// Standard input, output and error, in that order.
    pub(crate) stdio: [OwnedFd; 3],
    /// Whether they are a terminal, which becomes the session's own.
    pub(crate) terminal: bool,
    /// Where a handler hands back its result: descriptor 3 of the code.
    pub(crate) result: Option<OwnedFd>,
    /// Files of control groups to join, see `cgroup::enter`.
    pub(crate) groups: Vec<OwnedFd>,
    /// Whether it is in groups of its own, by those files or by birth.
    pub(crate) grouped: bool,
    pub(crate) rlimits: Rlimits,
    /// The user namespace of profile `dev`, in which root is only root of this sandbox's files.
    pub(crate) userns: Option<OwnedFd>,
    /// Do not begin before this lets it [pass](gate::pass).
    pub(crate) gate: Option<OwnedFd>,
    /// Do not begin before the file systems' clock shows a time later than this, in nanoseconds since 1970.
    pub(crate) not_before_unix_ns: u64,
}

/// A step that failed before the code could run, as it travels over the report pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Files,
    Group,
    Session,
    Namespace,
    Identity,
    Descriptors,
    Cwd,
    Privileges,
    Landlock,
    Seccomp,
    Gate,
    Exec,
}

impl Step {
    const ALL: [Self; 12] = [
        Self::Files,
        Self::Group,
        Self::Session,
        Self::Namespace,
        Self::Identity,
        Self::Descriptors,
        Self::Cwd,
        Self::Privileges,
        Self::Landlock,
        Self::Seccomp,
        Self::Gate,
        Self::Exec,
    ];

    /// What the protocol calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Group => "group",
            Self::Session => "session",
            Self::Namespace => "namespace",
            Self::Identity => "identity",
            Self::Descriptors => "descriptors",
            Self::Cwd => "cwd",
            Self::Privileges => "privileges",
            Self::Landlock => "landlock",
            Self::Seccomp => "seccomp",
            Self::Gate => "gate",
            Self::Exec => "exec",
        }
    }
}

/// A failure before the code ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) errno: Errno,
}

impl Failure {
    /// Five bytes: the step, the errno.
    pub(crate) fn encode(self) -> [u8; 5] {
        let step = Step::ALL.iter().position(|step| *step == self.step).expect("ALL has every step");
        let mut bytes = [0; 5];
        bytes[0] = u8::try_from(step).expect("few steps");
        bytes[1..].copy_from_slice(&self.errno.raw_os_error().to_le_bytes());
        bytes
    }

    /// `None` for what is not such a message.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (step, errno) = bytes.split_first()?;
        let step = *Step::ALL.get(usize::from(*step))?;
        let errno = i32::from_le_bytes(errno.try_into().ok()?);
        Some(Self { step, errno: Errno::from_raw_os_error(errno) })
    }
}

/// Becomes the code. Only returns to report why it could not; the caller writes that to `report` and ends.
pub(crate) fn become_code(
    start: Start,
    fence: Option<&Fence>,
    filter: &seccomp::Program,
    report: BorrowedFd<'_>,
) -> Failure {
    let ready = prepare(&start, fence, filter, report).and_then(|()| wait(start.gate.as_ref()));
    let failure = match ready {
        Err(failure) => failure,
        Ok(()) => {
            clock::wait_past_file_time(start.not_before_unix_ns);
            Failure { step: Step::Exec, errno: start.program.exec() }
        }
    };
    // Most of its descriptors are closed, so not to be closed again.
    std::mem::forget(start);
    failure
}

fn prepare(
    start: &Start,
    fence: Option<&Fence>,
    filter: &seccomp::Program,
    report: BorrowedFd<'_>,
) -> Result<(), Failure> {
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
    descriptors(start, fence, report).map_err(at(Step::Descriptors))?;
    become_user(start.identity, start.userns.is_some())?;
    enter(&start.cwd).map_err(at(Step::Cwd))?;
    wall_in(fence, filter)
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

fn wall_in(fence: Option<&Fence>, filter: &seccomp::Program) -> Result<(), Failure> {
    if let Some(fence) = fence {
        fence.enter().map_err(|_| Failure { step: Step::Landlock, errno: Errno::PERM })?;
    }
    filter.install().map_err(|_| Failure { step: Step::Seccomp, errno: Errno::PERM })
}

/// Waits until the code may begin.
fn wait(gate: Option<&OwnedFd>) -> Result<(), Failure> {
    gate.map_or(Ok(()), gate::pass).map_err(|errno| Failure { step: Step::Gate, errno })
}

/// Does everything that stands before foreign code but its start: for a child of ours that does something to files on
/// behalf of whoever `who` is, and must not be able to do more than their code. It stays out of reach of that code, as we
/// are: nobody may trace it or open its memory.
pub(crate) fn become_worker(
    who: Identity,
    prepared: &super::Prepared,
    rlimits: &Rlimits,
) -> Result<(), Failure> {
    setsid().map_err(|errno| Failure { step: Step::Session, errno })?;
    process::reset_signals();
    umask(rustix::fs::Mode::from_raw_mode(0o022));
    let _stricter = rlimits.apply();
    enter_namespace(prepared.userns.as_ref())?;
    become_user(who, prepared.is_dev())?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| Failure { step: Step::Privileges, errno })?;
    wall_in(prepared.fence.as_ref(), seccomp::program(prepared.memory))
}

/// Leaves the code its own descriptors, and us those that are needed until the exec. All others are closed before any path
/// of the code's is followed: the links of /proc/self/fd lead to what they stand for, some of it outside of the root.
fn descriptors(start: &Start, fence: Option<&Fence>, report: BorrowedFd<'_>) -> rustix::io::Result<()> {
    rustix::stdio::dup2_stdin(&start.stdio[0])?;
    rustix::stdio::dup2_stdout(&start.stdio[1])?;
    rustix::stdio::dup2_stderr(&start.stdio[2])?;
    // Whatever stays goes at exec, also what a mistake of ours left open without the flag.
    process::cloexec_from(3);
    let mut kept = vec![report];
    kept.extend(fence.map(AsFd::as_fd));
    kept.extend(start.gate.as_ref().map(AsFd::as_fd));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_survive_the_pipe() {
        for step in Step::ALL {
            let failure = Failure { step, errno: Errno::NOENT };
            assert_eq!(Failure::decode(&failure.encode()), Some(failure));
            assert!(!step.name().is_empty());
        }
        assert_eq!(Failure::decode(&[99, 0, 0, 0, 0]), None);
        assert_eq!(Failure::decode(&[1, 0]), None);
    }
}
