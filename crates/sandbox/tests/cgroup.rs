//! Control groups on the trees of the machine that runs the tests: version 1, 2 or both.
//!
//! Needs root and writable trees. Elsewhere the tests say loudly that they did not run, and fail if `CI` is set.
#![expect(unsafe_code, reason = "children are made with clone3 and use bare system calls")]

use std::{
    io,
    os::fd::AsFd as _,
    ptr,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, Timespec, poll};
use sandkeep_sandbox::cgroup::{Domain, Group, GroupLimits, Layout, Pool, enter};

const MIB: u64 = 1 << 20;
/// Slots far from those of real sandboxes on the same machine; each test has its own.
const SLOT: u32 = 4_000_000;

/// Calls `test` with the pool of this machine. A hybrid machine serves as one without a version 2 tree, too.
fn each_layout(test: impl Fn(&Pool)) {
    let detected = Layout::detect();
    let mut layouts = vec![detected.clone()];
    if let Layout::Hybrid { v1, .. } = detected {
        layouts.push(Layout::V1(v1));
    }
    for layout in layouts {
        match Pool::open(&layout, Some(memory_of_machine() / 10 * 8)) {
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

fn memory_of_machine() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap();
    let line = text.lines().find(|line| line.starts_with("MemTotal:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// A claimed group that removes itself.
struct Claimed<'a> {
    pool: &'a Pool,
    group: Option<Group>,
    slot: u32,
}

impl<'a> Claimed<'a> {
    fn new(pool: &'a Pool, slot: u32, limits: GroupLimits) -> Self {
        let slot = SLOT + slot;
        Self { pool, group: Some(pool.claim(slot, &limits).unwrap()), slot }
    }
    fn group(&self) -> &Group {
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
fn spawn(domain: &Domain, work: impl FnOnce() -> i32) -> libc::pid_t {
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
fn wait(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: status is a valid place for the result.
    let got = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(got, pid, "{}", io::Error::last_os_error());
    status
}

fn killed(status: i32) -> bool {
    libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL
}

fn sleep_forever() -> i32 {
    loop {
        // SAFETY: pause has no preconditions.
        unsafe { libc::pause() };
    }
}

/// Touches `bytes` of fresh memory, shared or private.
fn touch(bytes: usize, shared: bool) -> i32 {
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
fn burn(time: Duration) -> i32 {
    let start = Instant::now();
    while start.elapsed() < time {}
    0
}

/// Spins until this process has used `time` of a processor, however busy the machine is.
fn burn_cpu(time: Duration) -> i32 {
    let used = || rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    while Duration::try_from(used()).is_ok_and(|used| used < time) {}
    0
}

/// Becomes `id` without the C library, which would wait for threads that this child does not have.
fn become_user(id: u32) -> bool {
    // SAFETY: three integers each, affecting this process only.
    unsafe {
        libc::syscall(libc::SYS_setresgid, id, id, id) == 0
            && libc::syscall(libc::SYS_setresuid, id, id, id) == 0
    }
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what} did not come about");
        std::thread::yield_now();
    }
}

/// Whether the domain gives notice of an out-of-memory kill within `seconds`.
fn told(domain: &mut Domain, seconds: i64) -> bool {
    let watch = domain.oom_watch().unwrap().unwrap();
    let fd = watch.fd();
    let mut fds = [PollFd::new(&fd, watch.interest())];
    poll(&mut fds, Some(&Timespec { tv_sec: seconds, tv_nsec: 0 })).unwrap() == 1
}

#[test]
fn a_memory_hog_is_killed_counted_and_announced() {
    each_layout(|pool| {
        let claimed = Claimed::new(pool, 1, GroupLimits { memory: Some(48 * MIB), ..GroupLimits::default() });
        for shared in [false, true] {
            let mut domain = claimed.group().domain(0, None).unwrap();
            assert!(!told(&mut domain, 0), "ready before anything happened");
            let pid = spawn(&domain, || touch(200 << 20, shared));
            assert!(told(&mut domain, 10), "no notice of the kill");
            assert!(killed(wait(pid)));
            eventually("the counted kill", || domain.oom_kills().unwrap() >= 1);
            let peak = domain.usage().unwrap().peak_memory_bytes.unwrap();
            // A dying process may go beyond the limit by a little.
            assert!((40 * MIB..=49 * MIB).contains(&peak), "peak {peak}");
            claimed.group().renew(&mut domain, None).unwrap();
            assert_eq!(domain.oom_kills().unwrap(), 0);
        }
    });
}

#[test]
fn a_domain_may_have_less_memory_than_its_sandbox() {
    each_layout(|pool| {
        let claimed =
            Claimed::new(pool, 2, GroupLimits { memory: Some(256 * MIB), ..GroupLimits::default() });
        let small = GroupLimits { memory: Some(24 * MIB), ..GroupLimits::default() };
        let mut domain = claimed.group().domain(0, Some(&small)).unwrap();
        assert!(killed(wait(spawn(&domain, || touch(100 << 20, false)))));
        claimed.group().renew(&mut domain, None).unwrap();
        assert_eq!(wait(spawn(&domain, || touch(100 << 20, false))), 0);
    });
}

#[test]
fn peaks_start_afresh() {
    each_layout(|pool| {
        let claimed =
            Claimed::new(pool, 3, GroupLimits { memory: Some(256 * MIB), ..GroupLimits::default() });
        let mut domain = claimed.group().domain(0, None).unwrap();
        let peaks = [80usize, 8, 40, 1].map(|mib| {
            assert_eq!(wait(spawn(&domain, || touch(mib << 20, false))), 0);
            let peak = domain.usage().unwrap().peak_memory_bytes.unwrap();
            claimed.group().renew(&mut domain, None).unwrap();
            (mib as u64 * MIB, peak)
        });
        for (used, peak) in peaks {
            // The kernel charges in batches, so both ends are off by some pages.
            assert!((used - MIB..used + 6 * MIB).contains(&peak), "used {used}, peak {peak} of {peaks:?}");
        }
    });
}

#[test]
fn cpu_time_of_a_double_forked_process_counts() {
    each_layout(|pool| {
        let claimed = Claimed::new(pool, 4, GroupLimits::default());
        let domain = claimed.group().domain(0, None).unwrap();
        let pid = spawn(&domain, || {
            // SAFETY: the grandchild spins and leaves by _exit.
            if unsafe { libc::fork() } == 0 {
                let code = burn_cpu(Duration::from_millis(200));
                // SAFETY: ends this process only.
                unsafe { libc::_exit(code) };
            }
            0
        });
        assert_eq!(wait(pid), 0);
        eventually("the end of the grandchild", || domain.is_empty().unwrap());
        let usage = domain.usage().unwrap();
        let cpu = usage.cpu_user_us + usage.cpu_system_us;
        assert!((190_000..400_000).contains(&cpu), "{usage:?}");
    });
}

#[test]
fn a_cpu_quota_holds() {
    each_layout(|pool| {
        let claimed = Claimed::new(pool, 5, GroupLimits { cpu_millis: Some(200), ..GroupLimits::default() });
        for own in [None, Some(GroupLimits { cpu_millis: Some(100), ..GroupLimits::default() })] {
            let domain = claimed.group().domain(own.map_or(0, |_| 1), own.as_ref()).unwrap();
            assert_eq!(wait(spawn(&domain, || burn(Duration::from_secs(1)))), 0);
            let usage = domain.usage().unwrap();
            let (cpu, most) =
                (usage.cpu_user_us + usage.cpu_system_us, if own.is_some() { 180_000 } else { 320_000 });
            assert!(cpu < most, "{cpu} µs in one second under {own:?}");
        }
    });
}

#[test]
fn refused_forks_are_counted_where_they_happen() {
    each_layout(|pool| {
        let claimed = Claimed::new(pool, 6, GroupLimits { processes: Some(8), ..GroupLimits::default() });
        let (bomb, calm) =
            (claimed.group().domain(0, None).unwrap(), claimed.group().domain(1, None).unwrap());
        let pid = spawn(&bomb, || {
            for forks in 0..64 {
                // SAFETY: children only sleep until they are killed.
                match unsafe { libc::fork() } {
                    0 => return sleep_forever(),
                    -1 => return forks,
                    _ => {}
                }
            }
            97
        });
        assert_eq!(libc::WEXITSTATUS(wait(pid)), 7);
        assert_eq!(bomb.pids().unwrap().len(), 7);
        assert_eq!(bomb.refused_forks().unwrap(), 1);
        assert_eq!(calm.refused_forks().unwrap(), 0);
        bomb.kill_and_wait().unwrap();
        assert!(bomb.is_empty().unwrap());
    });
}

#[test]
fn what_is_frozen_can_be_killed() {
    each_layout(|pool| {
        let claimed = Claimed::new(pool, 7, GroupLimits::default());
        let domain = claimed.group().domain(0, None).unwrap();
        let pid = spawn(&domain, sleep_forever);
        domain.freeze().unwrap();
        domain.kill().unwrap();
        assert!(killed(wait(pid)));
        eventually("the empty domain", || domain.is_empty().unwrap());
        claimed.group().domain(0, None).unwrap();
    });
}

#[test]
fn a_frozen_domain_stands_still_and_goes_on() {
    each_layout(|pool| {
        let claimed = Claimed::new(pool, 8, GroupLimits::default());
        let domain = claimed.group().domain(0, None).unwrap();
        let pid = spawn(&domain, || burn(Duration::from_secs(3600)));
        let cpu = || domain.usage().unwrap().cpu_user_us;
        eventually("some work", || cpu() > 0);
        domain.freeze().unwrap();
        eventually("the standstill", || {
            let before = cpu();
            burn(Duration::from_millis(100));
            cpu() == before
        });
        let stopped = cpu();
        domain.thaw().unwrap();
        eventually("more work", || cpu() > stopped);
        domain.kill_and_wait().unwrap();
        assert!(killed(wait(pid)));
    });
}

#[test]
fn a_child_without_privileges_enters_through_open_files() {
    each_layout(|pool| {
        let claimed = Claimed::new(pool, 9, GroupLimits::default());
        let domain = claimed.group().domain(0, None).unwrap();
        // SAFETY: the child makes system calls only and leaves by _exit.
        let pid = unsafe { enter::fork_into(None, 0) }.unwrap();
        if pid == 0 {
            // SAFETY: as above.
            unsafe {
                let dropped = become_user(65533);
                let unified = domain.unified_procs_fd();
                let entered = unified.is_none_or(|fd| enter::enter(&[fd]).is_ok())
                    && enter::enter(domain.procs_fds()).is_ok();
                if !(dropped && entered) {
                    libc::_exit(1);
                }
                libc::_exit(sleep_forever());
            }
        }
        eventually("the entry", || domain.pids().unwrap() == [pid]);
        let groups = || std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        eventually("the entry in every tree", || {
            groups().matches("/e0").count() >= domain.procs_fds().len().saturating_sub(1)
        });
        domain.kill_and_wait().unwrap();
        assert!(killed(wait(pid)));
    });
}

#[test]
fn an_admitted_agent_clones_into_domains() {
    const AGENT: u32 = 1_900_000_533;
    each_layout(|pool| {
        let mut claimed = Claimed::new(pool, 10, GroupLimits::default());
        claimed.group.as_mut().unwrap().admit(AGENT).unwrap();
        let domain = claimed.group().domain(0, None).unwrap();
        let Some(leaf) = claimed.group().agent_leaf() else { return };
        // SAFETY: the children make system calls only and leave by _exit.
        let agent = unsafe { enter::fork_into(Some(leaf), 0) }.unwrap();
        if agent == 0 {
            // SAFETY: as above.
            unsafe {
                if !become_user(AGENT) {
                    libc::_exit(1);
                }
                match enter::fork_into(domain.clone_into(), 0) {
                    Ok(0) => {
                        let code = if enter::enter(domain.procs_fds()).is_ok() { sleep_forever() } else { 3 };
                        libc::_exit(code)
                    }
                    Ok(_) => libc::_exit(0),
                    Err(e) => libc::_exit(e.raw_os_error().unwrap_or(4)),
                }
            }
        }
        assert_eq!(wait(agent), 0);
        eventually("the grandchild in the domain", || domain.pids().unwrap().len() == 1);
        claimed.group().empty().unwrap();
        assert!(claimed.group().is_empty().unwrap());
    });
}

#[test]
fn a_claim_empties_what_an_earlier_use_left() {
    each_layout(|pool| {
        let limits = GroupLimits { memory: Some(64 * MIB), cpu_millis: Some(500), processes: Some(32) };
        let first = Claimed::new(pool, 11, limits);
        let domain = first.group().domain(3, Some(&GroupLimits { cpu_millis: Some(400), ..limits })).unwrap();
        let pid = spawn(&domain, sleep_forever);
        drop(domain);
        // As if the supervisor had died: nobody released the group. The next limits are all smaller.
        let smaller = GroupLimits { memory: Some(32 * MIB), cpu_millis: Some(100), processes: Some(8) };
        let group = pool.claim(SLOT + 11, &smaller).unwrap();
        assert!(killed(wait(pid)));
        assert!(group.is_empty().unwrap());
        let domain = group.domain(3, None).unwrap();
        assert_eq!(wait(spawn(&domain, || 5)), 5 << 8);
    });
}

#[test]
fn a_sweep_kills_only_what_it_can_lock() {
    each_layout(|pool| {
        let (dead, alive) =
            (Claimed::new(pool, 12, GroupLimits::default()), Claimed::new(pool, 13, GroupLimits::default()));
        let (lost, kept) = (dead.group().domain(0, None).unwrap(), alive.group().domain(0, None).unwrap());
        let (lost_pid, kept_pid) = (spawn(&lost, sleep_forever), spawn(&kept, sleep_forever));
        let swept = pool.sweep(|slot| (slot == SLOT + 12).then_some(()), false).unwrap();
        assert_eq!(swept.killed, [SLOT + 12]);
        assert!(killed(wait(lost_pid)));
        assert_eq!(kept.pids().unwrap(), [kept_pid]);
        kept.kill_and_wait().unwrap();
        assert!(killed(wait(kept_pid)));
    });
}

#[test]
fn a_fork_bomb_is_killed_whole() {
    each_layout(|pool| {
        let claimed = Claimed::new(
            &pool,
            14,
            GroupLimits { processes: Some(200), cpu_millis: Some(500), memory: Some(128 * MIB) },
        );
        let domain = claimed.group().domain(0, None).unwrap();
        let pid = spawn(&domain, || {
            loop {
                // SAFETY: parent and children go on forking until they are killed.
                unsafe { libc::fork() };
            }
        });
        eventually("the full group", || domain.refused_forks().unwrap() > 100);
        domain.kill_and_wait().unwrap();
        assert!(killed(wait(pid)));
        assert!(domain.is_empty().unwrap());
    });
}

/// Since 6.13 the kernel kills at birth what is cloned into a group that `cgroup.kill` was used on.
#[test]
fn what_was_killed_can_be_used_again() {
    each_layout(|pool| {
        let claimed = Claimed::new(pool, 15, GroupLimits::default());
        let mut domain = claimed.group().domain(0, None).unwrap();
        for round in 0..3 {
            let pid = spawn(&domain, sleep_forever);
            domain.kill_and_wait().unwrap();
            assert!(killed(wait(pid)));
            claimed.group().renew(&mut domain, None).unwrap();
            assert_eq!(wait(spawn(&domain, || 7)), 7 << 8, "round {round}");
        }
        // The group as a whole was killed, and then found by the next claim.
        let pid = spawn(&domain, sleep_forever);
        drop(domain);
        claimed.group().empty().unwrap();
        assert!(killed(wait(pid)));
        let group = pool.claim(SLOT + 15, &GroupLimits::default()).unwrap();
        let domain = group.domain(0, None).unwrap();
        assert_eq!(wait(spawn(&domain, || 8)), 8 << 8);
        if let Some(leaf) = group.agent_leaf() {
            // SAFETY: the child leaves at once.
            let pid = unsafe { enter::fork_into(Some(leaf), 0) }.unwrap();
            if pid == 0 {
                // SAFETY: as above.
                unsafe { libc::_exit(9) };
            }
            assert_eq!(wait(pid), 9 << 8);
        }
    });
}

/// Version 2 kills all of a domain when memory runs out; in version 1 that is the caller's part.
#[test]
fn an_out_of_memory_kill_ends_the_whole_domain() {
    each_layout(|pool| {
        let claimed =
            Claimed::new(pool, 16, GroupLimits { memory: Some(48 * MIB), ..GroupLimits::default() });
        let (domain, other) =
            (claimed.group().domain(0, None).unwrap(), claimed.group().domain(1, None).unwrap());
        let (idle, bystander) = (spawn(&domain, sleep_forever), spawn(&other, sleep_forever));
        assert!(killed(wait(spawn(&domain, || touch(200 << 20, false)))));
        if !matches!(Layout::detect(), Layout::V2(_)) {
            domain.kill().unwrap();
        }
        assert!(killed(wait(idle)));
        assert_eq!((other.oom_kills().unwrap(), other.pids().unwrap()), (0, vec![bystander]));
        other.kill_and_wait().unwrap();
        assert!(killed(wait(bystander)));
    });
}

/// On a tree mounted as systemd does (`nsdelegate`), nothing is cloned out of a cgroup namespace. A namespace made
/// together with the agent would have the supervisor's group as its root, which is elsewhere. So the agent has none,
/// and each execution makes its own when it is where it belongs.
#[test]
fn a_cgroup_namespace_is_made_by_the_execution_itself() {
    each_layout(|pool| {
        let claimed = Claimed::new(pool, 18, GroupLimits::default());
        let Some(leaf) = claimed.group().agent_leaf() else { return };
        let domain = claimed.group().domain(0, None).unwrap();
        // SAFETY: the children make system calls only and leave by _exit.
        let agent = unsafe { enter::fork_into(Some(leaf), 0) }.unwrap();
        if agent == 0 {
            // SAFETY: as above.
            unsafe {
                match enter::fork_into(domain.clone_into(), 0) {
                    Ok(0) => {
                        let entered = enter::enter(domain.procs_fds()).is_ok();
                        let shut_in =
                            entered && libc::unshare(libc::CLONE_NEWCGROUP) == 0 && sees_only_roots();
                        libc::_exit(i32::from(!shut_in))
                    }
                    Ok(execution) => {
                        let mut status = 0;
                        libc::waitpid(execution, &raw mut status, 0);
                        libc::_exit(libc::WEXITSTATUS(status))
                    }
                    Err(e) => libc::_exit(e.raw_os_error().unwrap_or(4)),
                }
            }
        }
        assert_eq!(wait(agent), 0);
    });
}

/// The reason for the test above: the namespace is made with the agent, by a supervisor in a login session.
#[test]
fn a_cgroup_namespace_made_with_the_agent_shuts_it_in() {
    const CLONE_NEWCGROUP: u64 = 0x0200_0000;
    let Layout::V2(v2) = Layout::detect() else {
        println!("SKIPPED: a wall of version 2; tests/v2/run has such a machine");
        return;
    };
    let delegates = std::fs::read_to_string("/proc/self/mountinfo").unwrap().contains("nsdelegate");
    if v2.base != v2.mount || !delegates {
        println!("SKIPPED: needs root and a tree mounted with nsdelegate");
        return;
    }
    each_layout(|pool| {
        let claimed = Claimed::new(pool, 19, GroupLimits::default());
        let domain = claimed.group().domain(0, None).unwrap();
        let session = v2.mount.join("sandkeep-test-session");
        std::fs::create_dir_all(&session).unwrap();
        let place = std::fs::File::open(&session).unwrap();
        // SAFETY: the children make system calls only and leave by _exit.
        let supervisor = unsafe { enter::fork_into(Some(place.as_fd()), 0) }.unwrap();
        if supervisor == 0 {
            // SAFETY: as above.
            unsafe {
                let agent = enter::fork_into(claimed.group().agent_leaf(), CLONE_NEWCGROUP).unwrap_or(-1);
                if agent == 0 {
                    let refused =
                        enter::fork_into(domain.clone_into(), 0).err().and_then(|e| e.raw_os_error());
                    libc::_exit(refused.unwrap_or(0));
                }
                let mut status = 0;
                libc::waitpid(agent, &raw mut status, 0);
                libc::_exit(libc::WEXITSTATUS(status))
            }
        }
        assert_eq!(libc::WEXITSTATUS(wait(supervisor)), libc::ENOENT);
        std::fs::remove_dir(&session).unwrap();
    });
}

/// Whether no tree in which sandboxes have groups shows this process where its group is. No allocation.
fn sees_only_roots() -> bool {
    let flags = rustix::fs::OFlags::RDONLY;
    let Ok(file) = rustix::fs::open(c"/proc/self/cgroup", flags, rustix::fs::Mode::empty()) else {
        return false;
    };
    let mut buffer = [0u8; 4096];
    let length = rustix::io::read(&file, &mut buffer).unwrap_or(0);
    let text = &buffer[..length];
    length > 0
        && !text.windows(8).any(|part| part == b"sandkeep")
        && !text.windows(2).any(|part| part == b"..")
}

/// What a program started by `systemd-run --user --scope -p Delegate=yes` finds: a group of its own with
/// itself in it. Re-runs this program as an ordinary user in such a group.
#[test]
fn an_ordinary_user_with_a_delegated_group_gets_everything() {
    const USER: u32 = 1000;
    let Layout::V2(v2) = Layout::detect() else {
        println!("SKIPPED: delegation is a matter of version 2; tests/v2/run has such a machine");
        return;
    };
    if v2.base != v2.mount {
        println!("SKIPPED: only root can delegate");
        return;
    }
    let group = v2.mount.join("sandkeep-test-user");
    std::fs::create_dir_all(&group).unwrap();
    for file in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
        std::os::unix::fs::chown(group.join(file), Some(USER), Some(USER)).unwrap();
    }
    let procs = [std::fs::OpenOptions::new().write(true).open(group.join("cgroup.procs")).unwrap()];
    let mut command = std::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "inside_a_delegated_group", "--nocapture"]);
    // SAFETY: the closure makes one system call.
    unsafe { std::os::unix::process::CommandExt::pre_exec(&mut command, move || enter::enter(&procs)) };
    std::os::unix::process::CommandExt::uid(&mut command, USER);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    eventually("the removal of the group", || {
        for leaf in ["sandkeep-outside", "sandkeep", ""] {
            std::fs::remove_dir(group.join(leaf)).ok();
        }
        !group.exists()
    });
}

#[test]
#[ignore = "run by an_ordinary_user_with_a_delegated_group_gets_everything"]
fn inside_a_delegated_group() {
    assert!(!rustix::process::geteuid().is_root());
    let before = Layout::detect();
    assert!(matches!(&before, Layout::V2(v2) if v2.evacuate), "{before:?}");
    Pool::open(&before, Some(128 * MIB)).unwrap();
    let after = Layout::detect();
    assert!(matches!(&after, Layout::V2(v2) if !v2.evacuate && v2.controllers.memory), "{after:?}");
    let pool = Pool::open(&after, Some(128 * MIB)).unwrap();
    let claimed = Claimed::new(
        &pool,
        17,
        GroupLimits { memory: Some(32 * MIB), cpu_millis: Some(500), processes: Some(9) },
    );
    let domain = claimed.group().domain(0, None).unwrap();
    assert!(killed(wait(spawn(&domain, || touch(100 << 20, false)))));
    assert!(domain.oom_kills().unwrap() >= 1);
}
