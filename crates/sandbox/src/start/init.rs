//! The face `init`: process 1 of one execution's own PID namespace, on hosts without control groups.
//!
//! It mounts a /proc that shows only this execution, forks the code, and reaps whatever is orphaned to it, so
//! that the processor time of every descendant is counted. When the code ends it passes the end on and ends
//! itself; the kernel then kills all that is left in the namespace, however it detached.

use std::os::fd::{AsFd as _, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use super::{Failure, Step};
use crate::process::{self, Fork, Namespaces, Status};
use crate::{mount, root};

/// Where this face tells what happened: two pipes to the agent.
#[derive(Debug)]
pub struct Reports {
    /// A [`Failure`], or nothing but its end once the code runs.
    pub start: OwnedFd,
    /// How the code ended, see [`encode`].
    pub end: OwnedFd,
}

/// Stands before the code in this fresh namespace: comes back only in the child that is to become it, with the pipe for
/// what fails there. The process that called ends with that child, and everything in the namespace with it.
#[must_use]
pub fn stand_before(reports: Reports) -> OwnedFd {
    if let Err(errno) = own_proc() {
        fail(&reports.start, Failure { step: Step::Namespace, errno });
    }
    let _named = rustix::thread::set_name(c"sandkeep-init");
    match process::fork(Namespaces::NONE, None) {
        Ok(Fork::Child) => reports.start,
        Err(errno) => fail(&reports.start, Failure { step: Step::Exec, errno }),
        Ok(Fork::Parent(code)) => {
            // The pipes must be the code's alone: their end is how the agent knows that all writers are gone.
            process::close_all_but(0, &[reports.end.as_fd()]);
            // Closed with the rest, so not to be closed again.
            std::mem::forget(reports.start);
            let _told = rustix::io::write(&reports.end, &encode(reap_until(code.pid)));
            process::exit_now(0)
        }
    }
}

/// Tells what kept the code from starting, and ends.
pub fn fail(report: &OwnedFd, failure: Failure) -> ! {
    let _told = rustix::io::write(report, &failure.encode());
    process::exit_now(FAILED)
}

/// Exit code of a process that could not become the code; the pipe has the reason.
const FAILED: i32 = 125;

/// Five bytes: 0 for an exit or 1 for a signal, then the number.
pub fn encode(status: Status) -> [u8; 5] {
    let (kind, number) = match status {
        Status::Exited(code) => (0, code),
        Status::Signalled(signal) => (1, signal),
    };
    let mut bytes = [kind, 0, 0, 0, 0];
    bytes[1..].copy_from_slice(&number.to_le_bytes());
    bytes
}

/// The reverse of [`encode`]; `None` when the face was killed before it could say.
pub fn decode(bytes: &[u8]) -> Option<Status> {
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
