//! Whatever is in a group ends when it is told to, and the group serves again.

use std::time::Duration;

use sandkeep_sandbox::cgroup::{GroupLimits, enter};

use super::machine::*;

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
            pool,
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
