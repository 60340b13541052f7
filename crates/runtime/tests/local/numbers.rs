//! Process ids of a sandbox whose processes no group counts.

use std::collections::BTreeSet;
use std::fs;

use sandkeep_core::sandbox::Profile;
use sandkeep_runtime::driver::User;
use sandkeep_runtime::{Driver, Sandbox};
use sandkeep_sandbox::cgroup::Layout;
use sandkeep_sandbox::{pids, watch};

use crate::support::{block_on, sandbox_spec, shell, until_output};

const PROCESSES: u32 = 32;
/// Uses up more numbers than there may be, then shows that as many processes as before can live.
const USE_UP: &str = "i=0; while [ $i -lt 1000 ]; do /bin/true; i=$((i+1)); done; \
                      i=0; while [ $i -lt 20 ]; do sleep 100 & i=$((i+1)); done; echo full; wait";

#[test]
fn numbers_run_out_in_strict() {
    check(Profile::Strict, User::User);
}

#[test]
fn numbers_run_out_in_dev() {
    check(Profile::Dev, User::User);
    check(Profile::Dev, User::Root);
}

fn check(profile: Profile, user: User) {
    if Layout::detect().controllers().pids {
        println!("SKIPPED numbers: a control group counts processes here");
    } else if !kernel_has_bound() {
        println!("SKIPPED numbers: before Linux 6.14 a PID namespace has no pid_max of its own");
    } else {
        block_on(stay_below(&crate::local(), profile, user));
    }
}

async fn stay_below(driver: &dyn Driver, profile: Profile, user: User) {
    let mut spec = sandbox_spec();
    (spec.profile, spec.limits.processes) = (profile, PROCESSES);
    let sandbox = driver.create(&spec).await.unwrap();
    let mut execution = shell(USE_UP);
    (execution.user, execution.limits.processes) = (user, PROCESSES);
    let mut running = sandbox.start(&execution).await.unwrap();
    drop(until_output(running.as_mut(), "full").await);
    let numbers = numbers(sandbox.as_ref());
    assert!(numbers.len() > 20, "{numbers:?}");
    assert!(numbers.last().is_some_and(|most| *most < pids::room_for(PROCESSES)), "{numbers:?}");
    sandbox.stop().await;
}

/// What the sandbox's own PID namespace calls its processes.
fn numbers(sandbox: &dyn Sandbox) -> BTreeSet<u64> {
    let agent = i32::try_from(sandbox.facts().agent_pid).unwrap();
    let status = |pid: i32| fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let second = |text: String| {
        let line = text.lines().find_map(|line| line.strip_prefix("NSpid:"))?.to_owned();
        line.split_whitespace().nth(1)?.parse().ok()
    };
    watch::descendants(agent).into_iter().map(status).filter_map(second).collect()
}

fn kernel_has_bound() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap(), numbers.next().unwrap()) >= (6, 14)
}
