//! How a new process gets into a domain.
//!
//! Order: clone into the version 2 group, then, in the child and before it becomes anything else, write `0` to each
//! of the version 1 `tasks` files. Only `tasks` and the clone avoid a lock that every fork and exit of the
//! machine shares and whose taking waits for an RCU grace period; see the table in the module above.

use std::{
    io,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd},
};

/// Moves the calling thread, which must be the only one of its process, into the groups of `files`.
///
/// Async-signal-safe: only `write`, no allocation. Works without any privilege, since the kernel
/// asks for the rights of whoever opened the files.
///
/// # Errors
/// The kernel's refusal; the process may then be in some of the groups.
pub fn enter<F: AsFd>(files: &[F]) -> io::Result<()> {
    for file in files {
        rustix::io::write(file, b"0")?;
    }
    Ok(())
}

/// Forks with `clone3`, the child starting its life in the version 2 group whose directory is `into`, with
/// `flags` (`CLONE_NEW*`) applied. Returns 0 in the child.
///
/// # Errors
/// `EACCES` where this process may not write `cgroup.procs` of the target or of the nearest group
/// above both (see [`super::Group::admit`]); `ENOSYS`, `EINVAL` or `E2BIG` before Linux 5.7.
///
/// # Safety
/// As `fork`: in the child only async-signal-safe calls until `execve` or `_exit`, and the process should
/// have one thread. The C library does not see this fork, so its idea of the thread's id is stale in the child.
#[expect(unsafe_code, reason = "clone3 has no safe form")]
pub unsafe fn fork_into(into: Option<BorrowedFd<'_>>, flags: u64) -> io::Result<libc::pid_t> {
    // The numbers of the kernel's own interface; libc types some of them as i32.
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
    const SIGCHLD: u64 = 17;
    let mut args = CloneArgs { flags, exit_signal: SIGCHLD, ..CloneArgs::default() };
    if let Some(dir) = into {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(dir.as_raw_fd().unsigned_abs());
    }
    // SAFETY: the structure is valid for the call and its size is given; with no stack given and no CLONE_VM
    // the child continues here on a copy of this stack, as with fork. What the child does is the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<CloneArgs>()) };
    match libc::pid_t::try_from(result) {
        Ok(pid) if pid >= 0 => Ok(pid),
        Ok(_) | Err(_) => Err(io::Error::last_os_error()),
    }
}

/// `struct clone_args` of the kernel up to `cgroup`.
#[repr(C)]
#[derive(Debug, Default)]
struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}
