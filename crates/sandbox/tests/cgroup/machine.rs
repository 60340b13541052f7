//! The machine under the tests: its pools, and processes to put into groups.

use std::{
    io, ptr,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, Timespec, poll};
use sandkeep_sandbox::cgroup::{Domain, Group, GroupLimits, Layout, PARENT, Pool, enter};

pub(super) const MIB: u64 = 1 << 20;
/// Slots far from those of real sandboxes on the same machine; each test has its own.
pub(super) const SLOT: u32 = 4_000_000;

/// Calls `test` with the pool of this machine. A hybrid machine serves as one without a version 2 tree, too.
pub(super) fn each_layout(test: impl Fn(&Pool)) {
    let detected = Layout::detect();
    let mut layouts = vec![detected.clone()];
    if let Layout::Hybrid { v1, .. } = detected {
        layouts.push(Layout::V1(v1));
    }
    for layout in layouts {
        match Pool::open(&layout, PARENT, Some(memory_of_machine() / 10 * 8)) {
            Ok(pool) => {
                println!("with {layout:?}");
                test(&pool);
            }
            Err(refused) => skip(&format!("control groups: {refused} ({layout:?})")),
        }
    }
}

/// A test that could not run is no passed test: it says so, and fails where skipping is not allowed.
fn skip(why: &str) {
    assert!(!std::env::var("CI").is_ok_and(|value| value == "true"), "cannot run here: {why}");
    println!("SKIPPED: cannot run here: {why}");
}

pub(super) fn memory_of_machine() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find(|line| line.starts_with("MemTotal:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// A claimed group that removes itself.
pub(super) struct Claimed<'a> {
    pool: &'a Pool,
    pub(super) group: Option<Group>,
    slot: u32,
}

impl<'a> Claimed<'a> {
    pub(super) fn new(pool: &'a Pool, slot: u32, limits: GroupLimits) -> Self {
        let slot = SLOT + slot;
        Self { pool, group: Some(pool.claim(slot, &limits).unwrap()), slot }
    }
    pub(super) fn group(&self) -> &Group {
        self.group.as_ref().unwrap()
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        self.group.take();
        let slot = self.slot;
        let swept = self.pool.sweep(|s| (s == slot).then_some(()), true);
        if !std::thread::panicking() {
            assert_eq!(swept.unwrap().removed, [slot]);
        }
    }
}

/// Runs `work` in a new process in `domain`; the child ends with the code that `work` returns.
pub(super) fn spawn(domain: &Domain, work: impl FnOnce() -> i32) -> libc::pid_t {
    // SAFETY: the child only makes system calls and touches memory mapped by itself, then leaves by _exit.
    let pid = unsafe { enter::fork_into(domain.clone_into(), 0) }.unwrap();
    if pid == 0 {
        let code = if enter::enter(domain.procs_fds()).is_ok() { work() } else { 99 };
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(code) };
    }
    // Only a child that was cloned into its group is there from the beginning.
    eventually("the entry", || domain.pids().unwrap().contains(&pid) || has_ended(pid));
    pid
}

fn has_ended(pid: libc::pid_t) -> bool {
    let id = libc::id_t::try_from(pid).unwrap();
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: an all-zero siginfo_t is valid, and the call fills it.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        libc::waitid(libc::P_PID, id, &raw mut info, flags) == 0 && info.si_pid() == pid
    }
}

/// Wait status of `pid`.
pub(super) fn wait(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: status is a valid place for the result.
    let got = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(got, pid, "{}", io::Error::last_os_error());
    status
}

pub(super) fn killed(status: i32) -> bool {
    libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL
}

pub(super) fn sleep_forever() -> i32 {
    loop {
        // SAFETY: pause has no preconditions.
        unsafe { libc::pause() };
    }
}

/// Touches `bytes` of fresh memory, shared or private.
pub(super) fn touch(bytes: usize, shared: bool) -> i32 {
    let kind = if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
    // SAFETY: an anonymous mapping of its own; every written address lies inside it.
    unsafe {
        let at = libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            kind | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if at == libc::MAP_FAILED {
            return 98;
        }
        for page in (0..bytes).step_by(4096) {
            at.cast::<u8>().add(page).write_volatile(1);
        }
    }
    0
}

/// Spins for `time` on the clock of the wall.
pub(super) fn burn(time: Duration) -> i32 {
    let start = Instant::now();
    while start.elapsed() < time {}
    0
}

/// Spins until this process has used `time` of a processor, however busy the machine is.
pub(super) fn burn_cpu(time: Duration) -> i32 {
    let used = || rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    while Duration::try_from(used()).is_ok_and(|used| used < time) {}
    0
}

/// Becomes `id` without the C library, which would wait for threads that this child does not have.
pub(super) fn become_user(id: u32) -> bool {
    // SAFETY: three integers each, affecting this process only.
    unsafe {
        libc::syscall(libc::SYS_setresgid, id, id, id) == 0
            && libc::syscall(libc::SYS_setresuid, id, id, id) == 0
    }
}

pub(super) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what} did not come about");
        std::thread::yield_now();
    }
}

/// Whether the domain gives notice of an out-of-memory kill within `seconds`.
pub(super) fn told(domain: &mut Domain, seconds: i64) -> bool {
    let watch = domain.oom_watch().unwrap().unwrap();
    let fd = watch.fd();
    let mut fds = [PollFd::new(&fd, watch.interest())];
    poll(&mut fds, Some(&Timespec { tv_sec: seconds, tv_nsec: 0 })).unwrap() == 1
}
