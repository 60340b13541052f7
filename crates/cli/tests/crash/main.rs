//! kill -9 of whoever holds a sandbox, at random moments of hundreds of executions: nothing may be left.
//!
//! Who is killed: the command, the supervisor, the agent (process 1 of the sandbox), or the execution's own first
//! process (where there are no control groups that is `init`). The moments come from a seed, which is printed and can
//! be given in `SANDKEEP_SEED`. A sandbox is "gone" when every process that it had has ended, its slot can be locked,
//! and, while this test holds that slot so that nobody else can be in it, no process has an id of its range and no
//! control group of its own has a process.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail like tests, and skips are told"
)]

mod left;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sandkeep_core::code::ErrorCode;
use sandkeep_core::execution::{ExecutionState, Exit};
use sandkeep_runtime::{Driver as _, Sandbox};

use support::driver::{Heard, all_of, block_on_for, eventually, fresh, run, shell};
use support::host::{self, Process};
use support::{is_soak, local};

/// Deadline of one test of this suite.
const PATIENCE: Duration = Duration::from_secs(300);
/// Longer than a start and a short execution take: moments are chosen up to here.
const MOMENTS_US: u64 = 15_000;
/// What every execution does: a child, a daemon, a pipe that is full or empty, files.
const BUSY: &str = "(setsid sh -c 'while :; do sleep 1000; done; : MARKER' >/dev/null 2>&1 </dev/null &); \
    sh -c 'while :; do sleep 1000; done; : MARKER' & echo x > /workspace/f; head -c 200000 /dev/zero; echo ready; \
    sh -c 'while :; do sleep 0.01; done; : MARKER'";

/// Executions per victim.
fn rounds() -> u64 {
    if is_soak() { 1_000 } else { 100 }
}

fn busy(marker: &str) -> String {
    BUSY.replace("MARKER", marker)
}

/// A small generator of random numbers (Knuth's constants); the seed is in the test's output.
struct Random(u64);

impl Random {
    fn seeded(salt: u64) -> Self {
        let given = std::env::var("SANDKEEP_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed: u64 = given.unwrap_or_else(|| u64::from(std::process::id()) * 1_000_003);
        println!("SANDKEEP_SEED={seed}");
        Random(seed ^ salt << 32)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    // It may have ended by itself just now.
    let _gone = kill_process(pid, Signal::KILL);
}

/// Starts a sandbox and a busy execution in it, kills what `victim` names at a random moment, and looks.
fn driver_rounds(salt: u64, victim: fn(&dyn Sandbox) -> Option<u32>, after: fn(&Heard)) {
    let mut random = Random::seeded(salt);
    for round in 0..rounds() {
        let micros = random.below(MOMENTS_US);
        let marker = host::marker();
        block_on_for(PATIENCE, async {
            let driver = local();
            let sandbox = fresh(&driver).await;
            let facts = sandbox.facts().clone();
            let mut running = sandbox.start(&shell(&busy(&marker))).await.unwrap();
            let mut seen = BTreeSet::new();
            let killing = async {
                tokio::time::sleep(Duration::from_micros(micros)).await;
                let mut target = victim(sandbox.as_ref());
                while target.is_none() {
                    tokio::time::sleep(Duration::from_micros(200)).await;
                    target = victim(sandbox.as_ref());
                }
                seen = host::tree(facts.supervisor_pid);
                kill(target.unwrap());
            };
            let begun = Instant::now();
            let ((), heard) = tokio::join!(killing, all_of(running.as_mut()));
            assert!(begun.elapsed() < Duration::from_secs(15), "round {round}: {:?}", begun.elapsed());
            after(&heard);
            drop((running, sandbox));
            left::assert_nothing(&format!("round {round}, {micros} us"), &seen, &marker, &facts).await;
        });
    }
    a_next_start_works();
}

fn a_next_start_works() {
    block_on_for(PATIENCE, async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        assert_eq!(run(sandbox.as_ref(), &shell("echo works")).await.assert_succeeded().out(), "works\n");
        sandbox.stop().await;
    });
    support::run(&["--", "true"]).done().assert_status(0);
    assert_eq!(host::mounts_of_ours(), [""; 0], "mounts are left on the host");
    left::assert_state_directory_is_clean();
}

fn assert_lost(heard: &Heard) {
    match &heard.ended {
        None => assert!(heard.problem.is_some(), "the end was not told"),
        Some(_) => assert_eq!(heard.end().state, ExecutionState::Lost, "{:?}", heard.end()),
    }
}

#[test]
fn killing_the_supervisor_leaves_nothing() {
    driver_rounds(1, |sandbox| Some(sandbox.facts().supervisor_pid), assert_lost);
}

#[test]
fn killing_the_agent_leaves_nothing() {
    driver_rounds(2, |sandbox| Some(sandbox.facts().agent_pid), assert_lost);
}

#[test]
fn killing_the_first_process_of_an_execution_ends_it() {
    // The agent's one child: the code itself, or `init`, which holds it.
    let first = |sandbox: &dyn Sandbox| host::children(sandbox.facts().agent_pid).first().copied();
    driver_rounds(3, first, |heard| {
        let exit = heard.exit();
        assert_eq!(heard.end().state, ExecutionState::Failed, "{:?}", heard.end());
        // Killed before it became the code, it is only known not to have run.
        assert!(matches!(exit, Some(Exit::Signal(9) | Exit::NotRunnable)), "{exit:?}");
    });
}

#[test]
fn killing_the_command_leaves_nothing() {
    let mut random = Random::seeded(4);
    for round in 0..rounds() {
        // A command needs longer to start than a driver that runs already.
        let micros = random.below(3 * MOMENTS_US);
        let marker = host::marker();
        let run = support::run(&["--", "sh", "-c", &busy(&marker)]).start();
        let begun = Instant::now();
        let mut seen: BTreeSet<Process> = BTreeSet::new();
        while begun.elapsed() < Duration::from_micros(micros) {
            seen.extend(host::tree(run.pid()));
        }
        seen.extend(host::tree(run.pid()));
        kill(run.pid());
        let done = run.done();
        assert_eq!(done.status, 1_009, "round {round}: it ended by itself: {}", done.err());
        left::assert_processes_gone(&format!("round {round}, {micros} us"), &seen, &marker);
    }
    a_next_start_works();
}

#[test]
fn killing_the_supervisor_or_the_agent_while_it_boots_leaves_nothing() {
    let mut random = Random::seeded(5);
    let thread = rustix::thread::gettid().as_raw_nonzero();
    // Supervisors of this thread, and their agents.
    let supervisors = || {
        let list = std::fs::read_to_string(format!("/proc/self/task/{thread}/children")).unwrap_or_default();
        list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
    };
    for round in 0..rounds() {
        let micros = random.below(6_000);
        let agent = random.below(2) == 0;
        block_on_for(PATIENCE, async {
            let driver = local();
            let spec = support::driver::sandbox_spec();
            let mut seen = BTreeSet::new();
            let killing = async {
                tokio::time::sleep(Duration::from_micros(micros)).await;
                let below = supervisors();
                seen.extend(below.iter().copied().flat_map(host::tree));
                let agents = below.iter().copied().flat_map(host::children).collect();
                for pid in if agent { agents } else { below } {
                    kill(pid);
                }
            };
            let (made, ()) = tokio::join!(driver.create(&spec), killing);
            // It was made before the moment, or is refused; either way in time and with nothing left.
            if let Err(problem) = &made {
                let expected = matches!(problem.code, ErrorCode::SandboxFailed | ErrorCode::SandboxLost);
                assert!(expected, "round {round}, {micros} us: {problem}");
            }
            drop(made);
            let marker = host::marker();
            while !left::are_gone(&seen, &marker)
                || !supervisors().iter().all(|pid| host::state(*pid) == Some('Z'))
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
    a_next_start_works();
}

#[test]
fn the_next_start_sweeps_what_it_finds() {
    if support::skipped_without_groups("the_next_start_sweeps_what_it_finds", "needs control groups") {
        return;
    }
    block_on_for(PATIENCE, async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        run(sandbox.as_ref(), &shell("true")).await.assert_succeeded();
        let slot = sandbox.facts().slot;
        sandbox.stop().await;
        let mut stray = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        left::plant(slot, stray.id());
        // Whoever starts in this slot, this test or another, ends what is there.
        let mut tries = 0;
        while stray.try_wait().unwrap().is_none() {
            tries += 1;
            assert!(tries < 200, "a stray process in the groups of slot {slot} outlives starts in it");
            let sandbox = fresh(&driver).await;
            let again = sandbox.facts().slot == slot;
            run(sandbox.as_ref(), &shell("true")).await.assert_succeeded();
            sandbox.stop().await;
            if again {
                eventually("the stray process is gone", || stray.try_wait().unwrap().is_some());
            }
        }
    });
}

#[test]
fn killing_everyone_at_once_leaves_nothing() {
    for _ in 0..rounds() / 5 {
        let marker = host::marker();
        let run = support::run(&["--", "sh", "-c", &busy(&marker)]).start();
        eventually("it runs", || !host::with_argument(&marker).is_empty());
        let seen = host::tree(run.pid());
        let agents: Vec<u32> = host::children(run.pid()).into_iter().flat_map(host::children).collect();
        for process in seen.iter().filter(|process| agents.contains(&process.pid) || process.pid == run.pid())
        {
            kill(process.pid);
        }
        run.done();
        left::assert_processes_gone("everyone", &seen, &marker);
    }
    a_next_start_works();
}
