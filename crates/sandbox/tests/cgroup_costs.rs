//! What each step on the way of a sandbox through its control groups costs here. A measurement, not a check:
//! `cargo test --release -p sandkeep-sandbox --test cgroup_costs -- --ignored --nocapture`.
#![expect(unsafe_code, reason = "children are made with clone3")]
#![expect(clippy::print_stdout, reason = "the table is the result")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use sandkeep_sandbox::cgroup::{Group, GroupLimits, Layout, PARENT, Pool, enter};

const SLOT: u32 = 4_100_000;
const LIMITS: GroupLimits =
    GroupLimits { memory: Some(512 << 20), cpu_millis: Some(1000), processes: Some(256) };

/// Times `work` `rounds` times and prints least, median and worst in microseconds.
fn time(name: &str, rounds: usize, gap: Duration, mut work: impl FnMut(usize)) {
    let mut took: Vec<f64> = (0..rounds)
        .map(|round| {
            std::thread::sleep(gap);
            let start = Instant::now();
            work(round);
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    took.sort_by(f64::total_cmp);
    println!("{name:<52} {:>8.0} {:>8.0} {:>8.0}", took[0], took[rounds / 2], took[rounds - 1]);
}

/// Forks, lets the child enter by `files` after being cloned into `into`, and waits for it.
fn pass(into: Option<std::os::fd::BorrowedFd<'_>>, files: &[impl AsFd]) {
    // SAFETY: the child writes and leaves by _exit.
    unsafe {
        let pid = enter::fork_into(into, 0).unwrap();
        if pid == 0 {
            libc::_exit(i32::from(enter::enter(files).is_err()));
        }
        let mut status = 0;
        libc::waitpid(pid, &raw mut status, 0);
        assert_eq!(status, 0);
    }
}

#[test]
#[ignore = "a measurement"]
fn costs() {
    let pool = Pool::open(&Layout::detect(), PARENT, None).unwrap();
    let remove = |slot: u32| drop(pool.sweep(|s| (s == slot).then_some(()), true).unwrap());
    let now = Duration::ZERO;
    println!("{:<52} {:>8} {:>8} {:>8}  µs", "step", "min", "median", "max");
    time("open the pool", 100, now, |_| drop(Pool::open(&Layout::detect(), PARENT, None).unwrap()));
    let mut groups: Vec<Group> = Vec::new();
    time("claim, new group", 50, now, |round| {
        groups.push(pool.claim(SLOT + u32::try_from(round).unwrap(), &LIMITS).unwrap())
    });
    time("new domain in it", 50, now, |round| drop(groups[round].domain(0, None).unwrap()));
    time("claim, pooled group, same limits", 50, now, |round| {
        drop(pool.claim(SLOT + u32::try_from(round).unwrap(), &LIMITS).unwrap())
    });
    let other = GroupLimits { memory: Some(256 << 20), cpu_millis: Some(500), processes: Some(100) };
    time("claim, pooled group, other limits", 50, now, |round| {
        drop(pool.claim(SLOT + u32::try_from(round).unwrap(), &other).unwrap())
    });
    time("pooled domain", 50, now, |round| drop(groups[round].domain(0, None).unwrap()));
    let mut domain = groups[0].domain(0, None).unwrap();
    time("renew domain", 100, now, |_| groups[0].renew(&mut domain, None).unwrap());
    time("usage", 100, now, |_| _ = domain.usage().unwrap());
    time("is_empty", 100, now, |_| _ = domain.is_empty().unwrap());
    time("oom_kills", 100, now, |_| _ = domain.oom_kills().unwrap());
    time("kill an empty domain, renew it", 100, now, |_| {
        domain.kill().unwrap();
        groups[0].renew(&mut domain, None).unwrap();
    });
    time("first oom_watch", 1, now, |_| _ = domain.oom_watch().unwrap().is_some());
    let none: [std::os::fd::OwnedFd; 0] = [];
    for (name, rounds, gap) in [("back to back", 200, now), ("every 30 ms", 60, Duration::from_millis(30))] {
        time(&format!("fork and wait, no group, {name}"), rounds, gap, |_| pass(None, &none));
        time(&format!("fork and wait, clone into v2, {name}"), rounds, gap, |_| {
            pass(domain.clone_into(), &none)
        });
        time(&format!("fork and wait, all trees, {name}"), rounds, gap, |_| {
            pass(domain.clone_into(), domain.procs_fds())
        });
        for file in domain.procs_fds() {
            let path = std::fs::read_link(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)))
                .unwrap();
            time(&format!("  {}, {name}", path.display()), rounds, gap, |_| pass(None, &[file]));
        }
        if let Some(slow) = domain.unified_procs_fd() {
            time(&format!("fork and wait, v2 cgroup.procs, {name}"), rounds, gap, |_| pass(None, &[slow]));
        }
    }
    drop(domain);
    drop(groups);
    time("remove a group", 50, now, |round| remove(SLOT + u32::try_from(round).unwrap()));
}
