//! Cancelling at every phase, and killing what does not want to die.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use sandkeep_core::duration::Span;
use sandkeep_core::execution::{ExecutionState, Exit, Language};
use sandkeep_runtime::driver::{Cancel, Stdin};
use sandkeep_runtime::{Running, Sandbox};

use crate::support::driver::{
    Heard, all_of, block_on, command, eventually, fresh, run, script, shell, to_end, until_output,
    with_timeout,
};
use crate::support::{self, host, local};

const BOTH: [Cancel; 2] = [Cancel::Politely, Cancel::Now];

/// A cancelled execution must be over soon, and its sandbox as good as before.
async fn assert_cancelled(sandbox: &dyn Sandbox, running: &mut dyn Running, heard: Option<Heard>) -> Heard {
    let begun = Instant::now();
    let heard = match heard {
        Some(heard) => to_end(running, heard).await,
        None => all_of(running).await,
    };
    assert_eq!((heard.end().state, heard.end().limit), (ExecutionState::Cancelled, None));
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
    assert_eq!(run(sandbox, &shell("echo alive")).await.assert_succeeded().out(), "alive\n");
    heard
}

#[test]
fn before_the_start_is_told() {
    block_on(async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        for how in BOTH {
            for spec in
                [command(&["sleep", "1000"]), script(Language::Python, "import time\ntime.sleep(1000)\n")]
            {
                let mut running = sandbox.start(&spec).await.unwrap();
                assert!(running.control().cancel(how).await.unwrap(), "{how:?}");
                assert_cancelled(sandbox.as_ref(), running.as_mut(), None).await;
            }
        }
    });
}

#[test]
fn in_the_first_execution_of_a_sandbox() {
    block_on(async {
        let driver = local();
        for how in BOTH {
            let sandbox = fresh(&driver).await;
            let mut running = sandbox.start(&command(&["sleep", "1000"])).await.unwrap();
            running.control().cancel(how).await.unwrap();
            assert_cancelled(sandbox.as_ref(), running.as_mut(), None).await;
        }
    });
}

#[test]
fn while_it_runs() {
    block_on(async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        for how in BOTH {
            let mut running = sandbox.start(&shell("echo ready; sleep 1000 & wait")).await.unwrap();
            let heard = until_output(running.as_mut(), "ready").await;
            assert!(running.control().cancel(how).await.unwrap());
            let heard = assert_cancelled(sandbox.as_ref(), running.as_mut(), Some(heard)).await;
            let expected = if how == Cancel::Politely { 15 } else { 9 };
            assert_eq!(heard.exit(), Some(Exit::Signal(expected)), "{how:?}");
        }
    });
}

#[test]
fn while_its_output_is_drained() {
    block_on(async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        for how in BOTH {
            let mut spec = shell("echo begun; read go; head -c 4000000 /dev/zero");
            spec.stdin = Stdin::Open;
            let mut running = sandbox.start(&spec).await.unwrap();
            let heard = until_output(running.as_mut(), "begun").await;
            running.control().send_input(b"go\n".to_vec()).await.unwrap();
            // Nobody listens, so that bytes wait everywhere on the way when its process is gone.
            let agent = sandbox.facts().agent_pid;
            eventually("its process is gone", || host::children(agent).is_empty());
            let accepted = running.control().cancel(how).await.unwrap();
            let heard = to_end(running.as_mut(), heard).await;
            assert_consistent(accepted, &heard);
            assert_eq!(heard.position, 4_000_006);
        }
    });
}

/// An accepted cancel is its end, and a refused one is not.
#[track_caller]
fn assert_consistent(accepted: bool, heard: &Heard) {
    assert_eq!(accepted, heard.end().state == ExecutionState::Cancelled, "{:?}", heard.end());
}

#[test]
fn at_any_moment_the_answer_is_true() {
    let seed = std::env::var("SANDKEEP_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_241_u64);
    println!("SANDKEEP_SEED={seed}");
    let mut state = seed | 1;
    block_on(async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        let mut tally = [0; 2];
        for round in 0..120 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let micros = (state >> 33) % 12_000;
            let how = BOTH[usize::from(round % 2 == 0)];
            let mut running = sandbox.start(&shell("echo a; sleep 0.004; echo b")).await.unwrap();
            let control = running.control();
            let cancel = async {
                tokio::time::sleep(Duration::from_micros(micros)).await;
                control.cancel(how).await.unwrap()
            };
            let (accepted, heard) = tokio::join!(cancel, all_of(running.as_mut()));
            assert_consistent(accepted, &heard);
            assert!("a\nb\n".starts_with(&heard.out()), "{heard:?}");
            tally[usize::from(accepted)] += 1;
        }
        println!("refused {}, accepted {}", tally[0], tally[1]);
        run(sandbox.as_ref(), &command(&["true"])).await.assert_succeeded();
    });
}

#[test]
fn twice_kills_what_does_not_listen() {
    block_on(async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        let spec = shell("trap '' TERM INT HUP; echo ready; while :; do sleep 0.05; done");
        let mut running = sandbox.start(&spec).await.unwrap();
        let heard = until_output(running.as_mut(), "ready").await;
        let begun = Instant::now();
        assert!(running.control().cancel(Cancel::Politely).await.unwrap());
        assert!(running.control().cancel(Cancel::Now).await.unwrap());
        let heard = assert_cancelled(sandbox.as_ref(), running.as_mut(), Some(heard)).await;
        assert_eq!(heard.exit(), Some(Exit::Signal(9)));
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
        assert!(!running.control().cancel(Cancel::Now).await.unwrap());
    });
}

#[test]
fn politeness_has_an_end() {
    block_on(async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        let spec = shell("trap '' TERM; echo ready; while :; do sleep 0.05; done");
        let mut running = sandbox.start(&spec).await.unwrap();
        let heard = until_output(running.as_mut(), "ready").await;
        let begun = Instant::now();
        assert!(running.control().cancel(Cancel::Politely).await.unwrap());
        let heard = to_end(running.as_mut(), heard).await;
        assert_eq!((heard.end().state, heard.exit()), (ExecutionState::Cancelled, Some(Exit::Signal(9))));
        let waited = begun.elapsed();
        assert!((4_900..12_000).contains(&waited.as_millis()), "killed after {waited:?}, not five seconds");
    });
}

#[test]
fn the_command_asks_first_and_kills_second() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let line = "trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done";
        let run = support::run(&["--", "sh", "-c", line]).start();
        run.until("ready");
        run.signal(signal);
        let done = run.done();
        assert_eq!((done.status, done.out().as_str()), (130, "ready\nbye\n"), "{signal:?}: {}", done.err());
    }
    let marker = host::marker();
    let line = format!("trap '' TERM; echo ready; while :; do sleep 0.05; done; : {marker}");
    let run = support::run(&["--", "sh", "-c", &line]).start();
    run.until("ready");
    let begun = Instant::now();
    run.signal(Signal::INT);
    // Two that are pending at once are one.
    std::thread::sleep(Duration::from_millis(100));
    run.signal(Signal::INT);
    assert_eq!(run.done().status, 130);
    assert!(begun.elapsed() < Duration::from_secs(4), "the second did not kill: {:?}", begun.elapsed());
    assert_eq!(host::with_argument(&marker), [0_u32; 0]);
}

#[test]
fn a_command_can_be_cancelled_while_it_starts() {
    for micros in [0, 500, 1_000, 2_000, 4_000, 8_000, 16_000] {
        let marker = host::marker();
        let run = support::run(&["--", "sleep", "1000", &marker]).start();
        // A moment of the start, not a wait for it.
        std::thread::sleep(Duration::from_micros(micros));
        run.signal(Signal::INT);
        let status = run.done().status;
        // Before it listens, the signal has its own meaning. `sleep` refuses its second argument.
        assert!(matches!(status, 130 | 1 | 1_002), "{status} after {micros} us");
        assert_eq!(host::with_argument(&marker), [0_u32; 0]);
    }
}

#[test]
fn what_is_stopped_can_be_killed() {
    block_on(async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        let stopped = "sh -c 'kill -STOP $$' & sh -c 'kill -STOP $$' & echo ready; kill -STOP $$";
        for how in BOTH {
            let mut running = sandbox.start(&shell(stopped)).await.unwrap();
            let heard = until_output(running.as_mut(), "ready").await;
            running.control().cancel(how).await.unwrap();
            assert_cancelled(sandbox.as_ref(), running.as_mut(), Some(heard)).await;
        }
        let heard = run(sandbox.as_ref(), &with_timeout(shell(stopped), Span::from_millis(500))).await;
        assert_eq!((heard.end().state, heard.exit()), (ExecutionState::TimedOut, Some(Exit::Signal(9))));
    });
}

#[test]
fn what_is_frozen_can_be_killed() {
    if support::skipped_without_groups("what_is_frozen_can_be_killed", "freezing needs control groups") {
        return;
    }
    block_on(async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        let mut frozen = 0;
        for which in ["freezer.state", "cgroup.freeze"] {
            for timeout in [Span::from_secs(60), Span::from_millis(500)] {
                let marker = host::marker();
                let spec = with_timeout(shell(&format!("echo ready; sleep 1000; : {marker}")), timeout);
                let mut running = sandbox.start(&spec).await.unwrap();
                let heard = until_output(running.as_mut(), "ready").await;
                let code = host::with_argument(&marker);
                let Some(file) = freezer_of(code[0], which) else {
                    println!(
                        "SKIPPED what_is_frozen_can_be_killed: no {which} in the groups of an execution here"
                    );
                    running.control().cancel(Cancel::Now).await.unwrap();
                    continue;
                };
                std::fs::write(&file, if which == "freezer.state" { "FROZEN" } else { "1" }).unwrap();
                frozen += 1;
                if timeout == Span::from_secs(60) {
                    running.control().cancel(Cancel::Now).await.unwrap();
                    assert_cancelled(sandbox.as_ref(), running.as_mut(), Some(heard)).await;
                } else {
                    let heard = to_end(running.as_mut(), heard).await;
                    assert_eq!(heard.end().state, ExecutionState::TimedOut);
                }
                assert_eq!(host::with_argument(&marker), [0_u32; 0]);
            }
        }
        assert!(frozen > 0, "nothing could be frozen here");
    });
}

/// The file that freezes the group in which `pid` is, where that group is one of ours.
fn freezer_of(pid: u32, file: &str) -> Option<std::path::PathBuf> {
    let mounts = host::group_mounts();
    host::groups(pid).into_iter().filter(|(_, path)| path.contains("/sandkeep/")).find_map(|(name, path)| {
        let of_ours = |(kind, _, options): &&(String, String, String)| {
            if name.is_empty() { kind == "cgroup2" } else { options.split(',').any(|option| option == name) }
        };
        let (_, directory, _) = mounts.iter().find(of_ours)?;
        let file = std::path::PathBuf::from(format!("{directory}{path}/{file}"));
        file.exists().then_some(file)
    })
}

#[test]
fn a_daemon_dies_with_its_execution() {
    let marker = host::marker();
    let code = "
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for fd in range(3): os.close(fd)
        os.execv('/bin/sh', ['sh', '-c', 'while :; do sleep 1000; done; : ' + sys.argv[1]])
    os._exit(0)
os.wait()
# Until it is somebody else's child.
while not any(sys.argv[1] in open(f'/proc/{p}/cmdline').read() for p in os.listdir('/proc') if p.isdigit() and int(p) != os.getpid()):
    time.sleep(0.01)
print('daemon runs')
";
    block_on(async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        let mut spec = script(Language::Python, code);
        if let sandkeep_core::execution::Work::Script { args, .. } = &mut spec.work {
            args.push(marker.clone());
        }
        let heard = run(sandbox.as_ref(), &spec).await;
        assert_eq!(heard.assert_succeeded().out(), "daemon runs\n");
        assert_eq!(host::with_argument(&marker), [0_u32; 0], "it outlived its execution");
    });
}

#[test]
fn what_is_in_the_background_does_not_hold_up_the_end() {
    let marker = host::marker();
    // It holds both output pipes.
    let line = format!("sh -c 'while :; do sleep 1000; done; : {marker}' & echo done");
    let begun = Instant::now();
    let done = support::run(&["--", "sh", "-c", &line]).done();
    assert_eq!(done.assert_status(0).out(), "done\n");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert_eq!(host::with_argument(&marker), [0_u32; 0]);
}
