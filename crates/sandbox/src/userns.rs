//! User namespaces that exist to carry a mapping: for ids of mounts, and for code that may be root inside.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal};

use crate::idmap::IdMap;
use crate::process::{self, Fork, Namespaces};

/// A new user namespace below ours with the mapping `map`, held by the returned descriptor alone.
///
/// # Errors
/// The kernel's refusal, of the namespace or of the mapping.
pub fn with_map(map: &IdMap) -> io::Result<OwnedFd> {
    // The holder ends when we do, however that happens: it waits for the end of a pipe whose other end is ours. It keeps
    // nothing else, so that nobody waits in vain for the end of what it would have inherited.
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
    let holder = match process::fork(Namespaces::USER, None)? {
        Fork::Child => {
            process::close_all_but(0, &[read.as_fd()]);
            let _end = rustix::io::read(&read, &mut [0; 1]);
            process::exit_now(0)
        }
        Fork::Parent(holder) => holder,
    };
    drop(read);
    let opened = map.write(holder.pid).and_then(|()| open(holder.pid));
    process::signal(&holder.pidfd, Signal::KILL)?;
    let mut ended = [PollFd::new(&holder.pidfd, PollFlags::IN)];
    while poll(&mut ended, None).is_err() {}
    process::reap(Some(holder.pid))?;
    drop(write);
    opened
}

/// The user namespace of a process.
///
/// # Errors
/// The kernel's refusal.
pub fn open(pid: Pid) -> io::Result<OwnedFd> {
    Ok(File::open(format!("/proc/{}/ns/user", pid.as_raw_nonzero()))?.into())
}

/// Moves this process, which has one thread, into the user namespace behind `userns`: it then has authority over all
/// that belongs to ids of it, and none that it did not have over anything else.
///
/// # Errors
/// The kernel's refusal; `EPERM` for a namespace that is not ours.
pub fn enter(userns: impl AsFd) -> io::Result<()> {
    let kind = Some(rustix::thread::LinkNameSpaceType::User);
    Ok(rustix::thread::move_into_link_name_space(userns.as_fd(), kind)?)
}
