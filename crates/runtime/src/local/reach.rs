//! The processes of a sandbox, to be killed when its supervisor no longer does what it is told, and to be waited for.
//!
//! Both are held by descriptors, since a process id may be somebody else's by the time it is used. The agent goes too: it
//! ends by itself when the supervisor does, unless it was stopped as well.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use sandkeep_core::code::{ErrorCode, Problem};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Handles on a supervisor and its agent.
#[derive(Debug)]
pub(super) struct Reach {
    /// Those that lived when they were looked for.
    supervisor: Option<OwnedFd>,
    agent: Option<OwnedFd>,
    used: AtomicBool,
}

impl Reach {
    /// Of a supervisor that nobody has waited for (or that has just answered), and of its agent, if it has one that lives.
    pub(super) fn of(supervisor: u32, agent: Option<u32>) -> Self {
        // Looked at once it is held: what has this parent now had it when the supervisor named it.
        let agent = agent.and_then(open).filter(|_| agent.and_then(parent) == Some(supervisor));
        Self { supervisor: open(supervisor), agent, used: AtomicBool::new(false) }
    }

    /// Returns when one of the two is gone, and with it the sandbox. Cancel-safe.
    ///
    /// # Errors
    /// `sandbox_failed`: the kernel does not say.
    pub(super) async fn gone(&self) -> Result<(), Problem> {
        let (Some(supervisor), Some(agent)) = (&self.supervisor, &self.agent) else { return Ok(()) };
        tokio::select! {
            ended = exit_of(supervisor) => ended,
            ended = exit_of(agent) => ended,
        }
    }

    /// Kills both; those that are gone already need nothing.
    pub(super) fn kill(&self) {
        self.used.store(true, Ordering::Relaxed);
        for process in [&self.supervisor, &self.agent].into_iter().flatten() {
            let _gone = pidfd_send_signal(process, Signal::KILL);
        }
    }

    /// Says of a sandbox that was lost that it was so by us.
    pub(super) fn explain(&self, problem: Problem) -> Problem {
        if problem.code != ErrorCode::SandboxLost || !self.used.load(Ordering::Relaxed) {
            return problem;
        }
        Problem::new(ErrorCode::SandboxLost, "the sandbox's supervisor gave no answer in time and was killed")
    }
}

/// The agent of a supervisor, which has no other child that lasts.
pub(super) fn first_child(supervisor: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

/// A descriptor of a process can be read from when that has ended (`pidfd_open(2)`).
#[expect(deprecated, reason = "unsound for what is no descriptor any more; this one is borrowed for as long")]
pub(super) async fn exit_of(process: &OwnedFd) -> Result<(), Problem> {
    let ended = async {
        let process = AsyncFd::with_interest(process.as_fd(), Interest::READABLE)?;
        process.readable().await.map(drop)
    };
    ended.await.map_err(|error: std::io::Error| {
        Problem::new(ErrorCode::SandboxFailed, format!("the end of a process cannot be waited for: {error}"))
    })
}

fn open(pid: u32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()
}

fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}
