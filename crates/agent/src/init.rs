//! The face `init`: process 1 of one execution's own PID namespace, on hosts without control groups.
//!
//! It mounts a /proc that shows only this execution, forks the code, and reaps whatever is orphaned to it, so
//! that the processor time of every descendant is counted. When the code ends it passes the end on and ends
//! itself; the kernel then kills all that is left in the namespace, however it detached.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;
use sandkeep_sandbox::fence::Fence;
use sandkeep_sandbox::process::{self, Fork, Namespaces, Status};
use sandkeep_sandbox::{mount, root, seccomp};

use crate::agent::child::{Failure, Start, Step, become_code};

/// Where this face tells what happened: two pipes to the agent.
#[derive(Debug)]
pub(crate) struct Reports {
    /// A [`Failure`], or nothing but its end once the code runs.
    pub(crate) start: OwnedFd,
    /// How the code ended, see [`encode`].
    pub(crate) end: OwnedFd,
}

/// Runs the code in this fresh namespace and ends with it.
pub(crate) fn run(start: Start, fence: Option<&Fence>, filter: &seccomp::Program, reports: Reports) -> ! {
    let fail = |failure: Failure| -> ! {
        let _told = rustix::io::write(&reports.start, &failure.encode());
        process::exit_now(FAILED)
    };
    if let Err(errno) = own_proc() {
        fail(Failure { step: Step::Namespace, errno });
    }
    let _named = rustix::thread::set_name(c"sandkeep-init");
    match process::fork(Namespaces::NONE, None) {
        Ok(Fork::Child) => fail(become_code(start, fence, filter, reports.start.as_fd())),
        Err(errno) => fail(Failure { step: Step::Exec, errno }),
        Ok(Fork::Parent(code)) => {
            // The pipes must be the code's alone: their end is how the agent knows that all writers are gone.
            process::close_all_but(0, &[reports.end.as_fd()]);
            // Closed with the rest, so not to be closed again.
            std::mem::forget((start, reports.start));
            let _told = rustix::io::write(&reports.end, &encode(reap_until(code.pid)));
            process::exit_now(0)
        }
    }
}

/// Exit code of an `init` that could not start its code; the pipe has the reason.
const FAILED: i32 = 125;

/// Five bytes: 0 for an exit or 1 for a signal, then the number.
pub(crate) fn encode(status: Status) -> [u8; 5] {
    let (kind, number) = match status {
        Status::Exited(code) => (0, code),
        Status::Signalled(signal) => (1, signal),
    };
    let mut bytes = [kind, 0, 0, 0, 0];
    bytes[1..].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// The reverse of [`encode`]; `None` when the face was killed before it could say.
pub(crate) fn decode(bytes: &[u8]) -> Option<Status> {
    let (kind, number) = bytes.split_first()?;
    let number = i32::from_le_bytes(number.try_into().ok()?);
    Some(if *kind == 0 { Status::Exited(number) } else { Status::Signalled(number) })
}

fn own_proc() -> rustix::io::Result<()> {
    mount::make_private().map_err(|error| error.errno())?;
    root::own_processes().map_err(|error| match &error {
        root::Error::Mount(mount) => mount.errno(),
        root::Error::Make { .. }
        | root::Error::Source { .. }
        | root::Error::Target { .. }
        | root::Error::Image(_) => Errno::IO,
    })
}

fn reap_until(code: Pid) -> Status {
    loop {
        match process::wait_any() {
            Ok(Some(ended)) if ended.pid == code => return ended.status,
            Ok(Some(_)) => {}
            // Cannot be while the code lives; as an end it is at least visible.
            Ok(None) | Err(_) => return Status::Signalled(9),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_survive_the_pipe() {
        for status in [Status::Exited(0), Status::Exited(255), Status::Signalled(9)] {
            assert_eq!(decode(&encode(status)), Some(status));
        }
        assert_eq!(decode(b""), None);
    }
}
