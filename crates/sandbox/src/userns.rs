//! User namespaces that exist to carry a mapping: for ids of mounts, and for code that may be root inside.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal};

use crate::idmap::IdMap;
use crate::process::{self, Fork, Namespaces};

/// A new user namespace below ours with the mapping `map`, held by the returned descriptor alone.
///
/// # Errors
/// The kernel's refusal, of the namespace or of the mapping.
pub fn with_map(map: &IdMap) -> io::Result<OwnedFd> {
    let holder = match process::fork(Namespaces::USER, None)? {
        Fork::Child => loop {
            // Keeps the namespace until it is killed below, or with us.
            let _woken = poll(&mut [], None);
        },
        Fork::Parent(holder) => holder,
    };
    let opened = map.write(holder.pid).and_then(|()| open(holder.pid));
    process::signal(&holder.pidfd, Signal::KILL)?;
    let mut ended = [PollFd::new(&holder.pidfd, PollFlags::IN)];
    while poll(&mut ended, None).is_err() {}
    process::reap(Some(holder.pid))?;
    opened
}

/// The user namespace of a process.
///
/// # Errors
/// The kernel's refusal.
pub fn open(pid: Pid) -> io::Result<OwnedFd> {
    Ok(File::open(format!("/proc/{}/ns/user", pid.as_raw_nonzero()))?.into())
}

/// Host ids of the owner of `path`.
///
/// # Errors
/// `ENOENT` and the like.
pub fn owner(path: &str) -> io::Result<(u32, u32)> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = fs::metadata(path)?;
    Ok((meta.uid(), meta.gid()))
}
