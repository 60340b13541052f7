//! What stands between a fork and foreign code: join the groups, give up everything, wait for the word, begin.
//!
//! [`walls`] takes the last steps of the process that becomes the code; [`init`] is what stands before it where there are no
//! control groups. Whoever forks fills in a [`Start`] first, so that the child can fail at nothing that could have failed
//! before; what fails all the same travels over a pipe, as a [`Failure`].

pub mod init;
pub mod order;
pub mod stamp;
pub mod walls;

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use crate::fence::Fence;
use crate::rlimit::Rlimits;
use crate::seccomp;

/// The descriptor over which a handler hands back its result.
pub const RESULT: u32 = 3;

/// The walls that every process of foreign code stands behind.
#[derive(Debug, Clone, Copy)]
pub struct Walls<'a> {
    /// The second wall, where the kernel has it.
    pub fence: Option<&'a Fence>,
    /// The system calls that it may make.
    pub filter: &'a seccomp::Program,
}

/// Who the code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// False when the agent has only one id, which then is the code's too.
    pub change: bool,
}

/// Everything one start needs, prepared before the fork so that the child cannot fail for want of memory.
#[derive(Debug)]
pub struct Start {
    pub cwd: String,
    pub identity: Identity,
    /// Standard input, output and error, in that order.
    pub stdio: [OwnedFd; 3],
    /// Whether they are a terminal, which becomes the session's own.
    pub terminal: bool,
    /// Where a handler hands back its result: descriptor 3 of the code.
    pub result: Option<OwnedFd>,
    /// Files of control groups to join, see `cgroup::enter`.
    pub groups: Vec<OwnedFd>,
    /// Whether it is in groups of its own, by those files or by birth.
    pub grouped: bool,
    pub rlimits: Rlimits,
    /// The user namespace of profile `dev`, in which root is only root of this sandbox's files.
    pub userns: Option<OwnedFd>,
    /// Do not begin before all of these let it [pass](crate::gate::pass).
    pub gates: Vec<OwnedFd>,
    /// Do not begin before the file systems' clock shows a time later than this, in nanoseconds since 1970.
    pub not_before_unix_ns: u64,
}

/// A step that failed before the code could run, as it travels over the report pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
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
    pub fn name(self) -> &'static str {
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
pub struct Failure {
    pub step: Step,
    pub errno: Errno,
}

impl Failure {
    /// Five bytes: the step, the errno.
    pub fn encode(self) -> [u8; 5] {
        let step = Step::ALL.iter().position(|step| *step == self.step).expect("ALL has every step");
        let mut bytes = [0; 5];
        bytes[0] = u8::try_from(step).expect("few steps");
        bytes[1..].copy_from_slice(&self.errno.raw_os_error().to_le_bytes());
        bytes
    }

    /// `None` for what is not such a message.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (step, errno) = bytes.split_first()?;
        let step = *Step::ALL.get(usize::from(*step))?;
        let errno = i32::from_le_bytes(errno.try_into().ok()?);
        Some(Self { step, errno: Errno::from_raw_os_error(errno) })
    }
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
