//! Limits bite, and what was used and refused is counted where it happened.

use std::time::Duration;

use sandkeep_sandbox::cgroup::{GroupLimits, Layout, PARENT, Pool};

use super::machine::*;

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

/// As when two programs start on one host with different settings.
#[test]
fn ceilings_that_are_set_at_once_do_not_fail() {
    each_layout(|_pool| {
        let layout = Layout::detect();
        let (tenth, layout) = (memory_of_machine() / 10, &layout);
        std::thread::scope(|scope| {
            for share in [7, 6] {
                scope.spawn(move || {
                    for round in 0..500 {
                        Pool::open(layout, PARENT, Some(tenth * share + (round % 2) * (64 << 20))).unwrap();
                    }
                });
            }
        });
        Pool::open(layout, PARENT, Some(tenth * 8)).unwrap();
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
        // The clock of a process and the books of a group differ by some ticks.
        assert!((150_000..400_000).contains(&cpu), "{usage:?}");
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
