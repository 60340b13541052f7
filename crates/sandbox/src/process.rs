//! Making, watching and replacing processes: `clone`, `wait4`, `execve`, pidfds.
//!
//! These are for single-threaded programs (the agent binary in all its faces). After [`fork`] the child is
//! ordinary Rust: it may allocate, because no other thread could have held a lock. Never call this from a
//! process that runs threads or an async runtime.
#![expect(unsafe_code, reason = "clone, wait4 and execve have no safe wrapper that fits")]

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io;
use rustix::process::{Pid, Signal};

/// Namespaces to enter at birth; a plain child has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Namespaces(i32);

impl Namespaces {
    /// No new namespace.
    pub const NONE: Self = Self(0);
    /// All a sandbox has but one: user, mount, pid, ipc, uts and network. A cgroup namespace made here would have the
    /// supervisor's own group as its root, and where the tree is delegated by namespaces (systemd's way) nothing
    /// could be cloned into a group outside of it; so executions make theirs, see [`own_cgroup_namespace`].
    pub const SANDBOX: Self = Self(
        libc::CLONE_NEWUSER
            | libc::CLONE_NEWNS
            | libc::CLONE_NEWPID
            | libc::CLONE_NEWIPC
            | libc::CLONE_NEWUTS
            | libc::CLONE_NEWNET,
    );
    /// What one execution has of its own where there are no control groups: pid, mount and cgroup.
    pub const EXECUTION: Self = Self(libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP);
    /// A user namespace alone, made to carry an id mapping.
    pub const USER: Self = Self(libc::CLONE_NEWUSER);
}

/// Which side of a [`fork`] this is.
#[derive(Debug)]
pub enum Fork {
    /// The new process.
    Child,
    /// The old one, with a handle on the new.
    Parent(Child),
}

/// A child process of ours, not yet waited for.
#[derive(Debug)]
pub struct Child {
    /// Its id in our PID namespace.
    pub pid: Pid,
    /// Becomes readable when it has ended.
    pub pidfd: OwnedFd,
}

/// Copies this process into `namespaces`, and into the version 2 control group whose directory is `group`.
///
/// # Errors
/// What `clone3(2)` said: `EPERM` where user namespaces are forbidden, `ENOSPC` at a namespace limit, `EAGAIN`
/// at a process limit, `EACCES` where the group may not be entered. Where `clone3` itself is refused (container
/// runtimes answer `ENOSYS`), `clone` is used, and a group is an error.
pub fn fork(namespaces: Namespaces, group: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    copy(namespaces.0 | libc::CLONE_PIDFD, libc::SIGCHLD, group)
}

/// The same, but the copy is a child of our parent, which hears of its end as it would of ours. We get to know its number
/// and handle all the same.
///
/// # Errors
/// As [`fork`]; `EINVAL` for the first process of a namespace.
pub fn fork_for_parent(namespaces: Namespaces, group: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    copy(namespaces.0 | libc::CLONE_PIDFD | libc::CLONE_PARENT, 0, group)
}

fn copy(flags: i32, exit_signal: i32, group: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    let mut pidfd: RawFd = -1;
    let thread_id = thread_id_address();
    let own_id = if thread_id == 0 { 0 } else { libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID };
    let flags = u64::from((flags | own_id).unsigned_abs());
    let exit_signal = u64::from(exit_signal.unsigned_abs());
    let pid = match clone3(flags, exit_signal, &mut pidfd, thread_id, group) {
        Err(io::Errno::NOSYS) if group.is_none() => clone(flags | exit_signal, &mut pidfd, thread_id)?,
        other => other?,
    };
    let Some(pid) = Pid::from_raw(pid) else { return Ok(Fork::Child) };
    // SAFETY: CLONE_PIDFD stored a fresh descriptor that nothing else owns.
    Ok(Fork::Parent(Child { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }))
}

/// Where glibc keeps this thread's number, which it asked the kernel to clear at the thread's end; there the copy's number
/// has to be written, as glibc's own fork has it done, since a mutex that names its owner would name us. 0 where the
/// kernel does not tell (it was built without `CONFIG_CHECKPOINT_RESTORE`) or another library has something else there.
fn thread_id_address() -> u64 {
    let mut address: u64 = 0;
    // SAFETY: the kernel writes one pointer to where it is told; the number there is ours to read.
    unsafe {
        let told = libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut address) == 0 && address != 0;
        let id = if told { *(address as *const libc::pid_t) } else { 0 };
        if i64::from(id) == libc::syscall(libc::SYS_gettid) { address } else { 0 }
    }
}

fn clone3(
    flags: u64,
    exit_signal: u64,
    pidfd: &mut RawFd,
    thread_id: u64,
    group: Option<BorrowedFd<'_>>,
) -> io::Result<libc::pid_t> {
    // SAFETY: clone_args is plain integers, for which zero bytes are a value.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.flags = flags;
    args.pidfd = std::ptr::from_mut(pidfd) as u64;
    args.child_tid = thread_id;
    args.exit_signal = exit_signal;
    if let Some(group) = group {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = u64::from(group.as_raw_fd().unsigned_abs());
    }
    // SAFETY: no stack is given and CLONE_VM never set, so the child continues on its copy of this stack, as
    // fork does; callers are single-threaded (module contract), so skipping glibc's fork handlers is harmless.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>()) };
    pid_or_error(pid)
}

/// `CLONE_INTO_CGROUP` of linux/sched.h; libc types it as a 32-bit integer, in which it has no room.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

fn clone(flags: u64, pidfd: &mut RawFd, thread_id: u64) -> io::Result<libc::pid_t> {
    let no_stack = std::ptr::null_mut::<libc::c_void>();
    // The last two stand the other way round elsewhere.
    #[cfg(target_arch = "x86_64")]
    let (fourth, fifth) = (thread_id, 0_u64);
    #[cfg(not(target_arch = "x86_64"))]
    let (fourth, fifth) = (0_u64, thread_id);
    // SAFETY: as for clone3; the pid descriptor is stored where the parent's thread id would be.
    let pid =
        unsafe { libc::syscall(libc::SYS_clone, flags, no_stack, std::ptr::from_mut(pidfd), fourth, fifth) };
    pid_or_error(pid)
}

fn pid_or_error(pid: libc::c_long) -> io::Result<libc::pid_t> {
    match libc::pid_t::try_from(pid) {
        Ok(pid) if pid >= 0 => Ok(pid),
        Ok(_) | Err(_) => Err(last_error()),
    }
}

/// Makes the group that this process is in the root of all groups that it and its children can name.
///
/// # Errors
/// The kernel's refusal; `EPERM` without authority over the user namespace.
pub fn own_cgroup_namespace() -> io::Result<()> {
    // SAFETY: this namespace is about names alone; no descriptor or memory changes.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWCGROUP) }
}

/// How a process ended, and what it and its waited-for descendants used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Which process.
    pub pid: Pid,
    /// Exit status or signal.
    pub status: Status,
    /// User time in microseconds, of it and of all it reaped.
    pub cpu_user_us: u64,
    /// System time in microseconds, of it and of all it reaped.
    pub cpu_system_us: u64,
}

/// The two ways a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// `exit(code)`, 0..=255.
    Exited(i32),
    /// Killed by this signal number.
    Signalled(i32),
}

/// Reaps one ended child without waiting: any when `pid` is `None`. `Ok(None)`: none has ended, or there is none.
///
/// # Errors
/// What `wait4(2)` said, except `ECHILD`.
pub fn reap(pid: Option<Pid>) -> io::Result<Option<Ended>> {
    wait4(pid, libc::WNOHANG)
}

/// Waits until any child has ended and reaps it. `Ok(None)`: there is none.
///
/// # Errors
/// What `wait4(2)` said, except `ECHILD`.
pub fn wait_any() -> io::Result<Option<Ended>> {
    loop {
        match wait4(None, 0) {
            Err(io::Errno::INTR) => {}
            other => return other,
        }
    }
}

fn wait4(pid: Option<Pid>, options: libc::c_int) -> io::Result<Option<Ended>> {
    let mut status = 0;
    // SAFETY: rusage is plain integers, for which zero bytes are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let who = pid.map_or(-1, |pid| pid.as_raw_nonzero().get());
    // SAFETY: both pointers are to live locals of the right type.
    let got = unsafe { libc::wait4(who, &raw mut status, options | libc::__WALL, &raw mut usage) };
    if got < 0 {
        return match last_error() {
            io::Errno::CHILD => Ok(None),
            errno => Err(errno),
        };
    }
    let Some(pid) = Pid::from_raw(got) else { return Ok(None) };
    let status = if libc::WIFSIGNALED(status) {
        Status::Signalled(libc::WTERMSIG(status))
    } else {
        Status::Exited(libc::WEXITSTATUS(status))
    };
    let (cpu_user_us, cpu_system_us) = (micros(usage.ru_utime), micros(usage.ru_stime));
    Ok(Some(Ended { pid, status, cpu_user_us, cpu_system_us }))
}

/// A descriptor that becomes readable when any child ends; the signal itself is blocked from now on.
///
/// # Errors
/// The kernel's refusal.
pub fn child_signals() -> io::Result<OwnedFd> {
    // SAFETY: a local set is filled and handed to calls that only read it.
    let fd = unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK)
    };
    if fd < 0 {
        return Err(last_error());
    }
    // SAFETY: signalfd returned a fresh descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sends `signal` to the process behind `pidfd`; a process that has already ended is not an error.
///
/// # Errors
/// What `pidfd_send_signal(2)` said, except `ESRCH`.
pub fn signal(pidfd: impl AsFd, signal: Signal) -> io::Result<()> {
    match rustix::process::pidfd_send_signal(pidfd, signal) {
        Err(io::Errno::SRCH) => Ok(()),
        other => other,
    }
}

/// A program with its arguments and environment, prepared before the fork.
#[derive(Debug)]
pub struct Program {
    paths: Vec<CString>,
    argv: Vec<CString>,
    env: Vec<CString>,
}

impl Program {
    /// `paths` are where the program may be, in order; `argv` includes its name; `env` is the whole environment (`K=V`).
    /// `None` when any of them holds a NUL byte.
    #[must_use]
    pub fn new(paths: Vec<Vec<u8>>, argv: Vec<Vec<u8>>, env: Vec<Vec<u8>>) -> Option<Self> {
        let all = |list: Vec<Vec<u8>>| list.into_iter().map(|s| CString::new(s).ok()).collect::<Option<_>>();
        Some(Self { paths: all(paths)?, argv: all(argv)?, env: all(env)? })
    }

    /// Becomes the first of the paths that can be executed, as execvp(3) does; returns only the error: `EACCES` rather than
    /// `ENOENT` where something was there that could not.
    #[must_use]
    pub fn exec(&self) -> io::Errno {
        let (argv, env) = (pointers(&self.argv), pointers(&self.env));
        let mut why = io::Errno::NOENT;
        for path in &self.paths {
            // SAFETY: both arrays are null-terminated and point into CStrings that `self` keeps alive.
            unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
            match last_error() {
                io::Errno::NOENT | io::Errno::NOTDIR if self.paths.len() > 1 => {}
                io::Errno::ACCESS => why = io::Errno::ACCESS,
                other => return other,
            }
        }
        why
    }
}

/// Ends this process at once: no destructors, no buffers, nothing of the parent's state is run twice.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: _exit does not return and touches no memory of ours.
    unsafe { libc::_exit(code) }
}

/// While it lives, files are made and reached as another user: on file systems that know that user and not us, too.
#[derive(Debug)]
pub struct FileIds {
    before: (libc::c_int, libc::c_int),
}

impl FileIds {
    /// Becomes `uid` and `gid` for files, which takes the capabilities for changing ids. `uid` must not be 0: coming back
    /// from that would cost capabilities (capabilities(7)).
    #[must_use]
    pub fn assume(uid: u32, gid: u32) -> Self {
        assert!(uid != 0, "0 is no other user");
        // SAFETY: both change ids of this thread alone and touch no memory. A refusal leaves our own, which may do less.
        let before = unsafe { (libc::setfsuid(uid), libc::setfsgid(gid)) };
        Self { before }
    }
}

impl Drop for FileIds {
    fn drop(&mut self) {
        // SAFETY: as above; these are the ids that we had.
        unsafe {
            libc::setfsuid(self.before.0.cast_unsigned());
            libc::setfsgid(self.before.1.cast_unsigned());
        }
    }
}

/// Signals whose default action or delivery would disturb the agent's own faces, which end by protocol alone.
const OURS_TO_IGNORE: [libc::c_int; 6] =
    [libc::SIGPIPE, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGTERM, libc::SIGTSTP];

/// Once per supervisor: whatever the caller's parents had ignored is not, but for what our faces ignore.
pub fn ignore_own_signals() {
    let ignored = inherited_ignored();
    for number in (1..=64).filter(|number| ignored & (1 << (number - 1)) != 0) {
        // SAFETY: installing SIG_DFL runs no code; numbers that cannot be changed are refused.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    for number in OURS_TO_IGNORE {
        // SAFETY: installing SIG_IGN runs no code of ours.
        unsafe { libc::signal(number, libc::SIG_IGN) };
    }
}

/// Takes away the handlers that Rust's runtime has for stack overflows.
pub fn drop_fault_handlers() {
    for number in [libc::SIGSEGV, libc::SIGBUS] {
        // SAFETY: installing SIG_DFL runs no code; an overflow then ends the process without a message.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

/// One bit per ignored signal, the lowest for signal 1.
fn inherited_ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(u64::MAX)
}

/// Default action for every signal, none blocked: what a program expects at its start. Exec itself resets those
/// that are handled.
pub fn reset_signals() {
    // SAFETY: plain libc calls on constants and a local set; none can fail.
    unsafe {
        for number in OURS_TO_IGNORE {
            libc::signal(number, libc::SIG_DFL);
        }
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Makes `descriptor` number `at`, to be inherited by the program that comes next.
///
/// # Errors
/// The kernel's refusal.
pub fn place_inheritable(descriptor: &impl AsFd, at: RawFd) -> io::Result<()> {
    let from = descriptor.as_fd().as_raw_fd();
    // SAFETY: both are plain numbers; whatever `at` was is closed, which the caller of a last step before exec wants.
    let done = unsafe {
        // dup2 onto itself would leave close-on-exec set.
        if from == at { libc::fcntl(from, libc::F_SETFD, 0) } else { libc::dup2(from, at) }
    };
    if done < 0 { Err(last_error()) } else { Ok(()) }
}

/// Closes every descriptor from `first` up but those `kept`. Whatever else owns one in this process must be forgotten, not
/// dropped.
pub fn close_all_but(first: u32, kept: &[BorrowedFd<'_>]) {
    let mut numbers: Vec<u32> = kept.iter().map(|fd| fd.as_raw_fd().unsigned_abs()).collect();
    numbers.sort_unstable();
    let mut from = first;
    for number in numbers.into_iter().filter(|number| *number >= first) {
        close_between(from, number.saturating_sub(1));
        from = number + 1;
    }
    close_between(from, u32::MAX);
}

/// Closes the descriptors `first..=last`; none when there are none.
fn close_between(first: u32, last: u32) {
    if first <= last {
        // SAFETY: callers name what they still need; close_range cannot touch memory.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}

/// Marks every descriptor from `first` up close-on-exec.
pub fn cloexec_from(first: u32) {
    // SAFETY: only sets a flag on descriptors.
    unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

fn pointers(list: &[CString]) -> Vec<*const libc::c_char> {
    list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
}

fn micros(time: libc::timeval) -> u64 {
    let part = |n: i64| u64::try_from(n).unwrap_or(0);
    part(time.tv_sec) * 1_000_000 + part(time.tv_usec)
}

fn last_error() -> io::Errno {
    io::Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(io::Errno::IO)
}

#[cfg(test)]
mod tests {
    use super::*;

    // The test harness runs threads, so children here do nothing but end.
    fn ended_with(code: i32) -> Ended {
        match fork(Namespaces::NONE, None).unwrap() {
            Fork::Child => exit_now(code),
            Fork::Parent(child) => wait_for(&child),
        }
    }

    fn wait_for(child: &Child) -> Ended {
        loop {
            let mut fds = [rustix::event::PollFd::new(&child.pidfd, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut fds, None).unwrap();
            if let Some(ended) = reap(Some(child.pid)).unwrap() {
                return ended;
            }
        }
    }

    #[test]
    fn exit_codes_come_back_whole() {
        for code in [0, 1, 127, 255] {
            assert_eq!(ended_with(code).status, Status::Exited(code));
        }
    }

    #[test]
    fn a_signalled_child_says_so() {
        let Fork::Parent(child) = fork(Namespaces::NONE, None).unwrap() else {
            loop {
                std::hint::spin_loop();
            }
        };
        signal(&child.pidfd, Signal::KILL).unwrap();
        let mut fds = [rustix::event::PollFd::new(&child.pidfd, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        assert_eq!(reap(Some(child.pid)).unwrap().unwrap().status, Status::Signalled(9));
        signal(&child.pidfd, Signal::KILL).unwrap();
    }

    #[test]
    fn a_nul_byte_is_refused() {
        assert!(Program::new(vec![b"/bin/tr\0ue".to_vec()], vec![], vec![]).is_none());
    }

    #[test]
    fn the_first_path_that_can_be_executed_is() {
        let directory = tempfile::tempdir().unwrap();
        let plain = directory.path().join("plain");
        std::fs::write(&plain, "").unwrap();
        let plain = plain.to_str().unwrap();
        let below = format!("{plain}/x");
        let check = |paths: &[&str], expected: Result<(), io::Errno>| {
            let paths_of = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
            let program = Program::new(paths_of, vec![b"true".to_vec()], vec![]).unwrap();
            let ended = match fork(Namespaces::NONE, None).unwrap() {
                Fork::Child => exit_now(program.exec().raw_os_error()),
                Fork::Parent(child) => wait_for(&child),
            };
            let expected = expected.err().map_or(0, io::Errno::raw_os_error);
            assert_eq!(ended.status, Status::Exited(expected), "{paths:?}");
        };
        check(&["/bin/true"], Ok(()));
        check(&["/nowhere/true", plain, &below, "/bin/true"], Ok(()));
        check(&[], Err(io::Errno::NOENT));
        check(&["/nowhere/a", "/nowhere/b"], Err(io::Errno::NOENT));
        check(&["/nowhere/a", plain, "/nowhere/b"], Err(io::Errno::ACCESS));
        check(&[&below], Err(io::Errno::NOTDIR));
    }

    #[test]
    fn only_what_is_kept_stays_open() {
        let open =
            || rustix::fs::open("/dev/null", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty()).unwrap();
        let (a, kept, b, also) = (open(), open(), open(), open());
        let Fork::Parent(child) = fork(Namespaces::NONE, None).unwrap() else {
            close_all_but(3, &[also.as_fd(), kept.as_fd()]);
            let is_open = |fd: &OwnedFd| rustix::fs::fstat(fd).is_ok();
            let right = is_open(&kept) && is_open(&also) && !is_open(&a) && !is_open(&b);
            exit_now(i32::from(!right))
        };
        assert_eq!(wait_for(&child).status, Status::Exited(0));
    }
}
