//! Runs a closure in a forked child, for what a process can do to itself only once.

#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(unsafe_code, reason = "fork and wait have no safe form")]

use std::os::unix::process::ExitStatusExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;

/// What the child answers when its closure panicked.
const PANICKED: i32 = 254;

/// Forks, runs `body` in the child, exits with what it returns (0..=253) and gives the status.
///
/// The child of a test binary has one of many threads, so `body` keeps to system calls and our own modules, which do
/// not allocate, and says what went wrong by number.
pub(crate) fn in_child(body: impl FnOnce() -> i32) -> ExitStatus {
    // SAFETY: the child runs `body`, which keeps to what is safe after fork (see above), and leaves by `_exit`.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        let code = catch_unwind(AssertUnwindSafe(body)).unwrap_or(PANICKED);
        // SAFETY: ends the child at once, without running what belongs to the parent.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    // SAFETY: `pid` is our child, `status` is writable.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid, "waitpid: {}", std::io::Error::last_os_error());
    ExitStatus::from_raw(status)
}

/// The number of the first row for which `check` fails, in a child that ran `prepare` first.
pub(crate) fn first_failing<Row>(
    prepare: impl FnOnce(),
    rows: &[Row],
    check: impl Fn(&Row) -> bool,
) -> Option<usize> {
    assert!(rows.len() < 250, "rows are numbered by exit code");
    let status = in_child(|| {
        prepare();
        rows.iter().position(|row| !check(row)).map_or(0, |row| i32::try_from(row).expect("few rows") + 1)
    });
    let code = status.code().unwrap_or_else(|| panic!("the child was killed: {status}"));
    assert_ne!(code, PANICKED, "the child panicked");
    usize::try_from(code).expect("not negative").checked_sub(1)
}

/// Makes the calling process uid 0 of a user namespace of its own, with all capabilities in it; `false` where this
/// machine does not let it.
pub(crate) fn become_inside_root() -> bool {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // SAFETY: the child has one thread, and nothing of ours depends on the namespace it leaves.
    if unsafe { libc::unshare(libc::CLONE_NEWUSER) } != 0 {
        return false;
    }
    let write = |path: &str, id: u32| {
        let mut line = [0_u8; 32];
        let mut rest = &mut line[..];
        std::io::Write::write_fmt(&mut rest, format_args!("0 {id} 1\n")).expect("fits");
        let left = rest.len();
        std::fs::write(path, &line[..line.len() - left]).is_ok()
    };
    write("/proc/self/uid_map", uid)
        && std::fs::write("/proc/self/setgroups", "deny").is_ok()
        && write("/proc/self/gid_map", gid)
}
