//! An interpreter that dies is replaced, and takes no execution along: what had not begun is begun elsewhere, once.

use std::collections::BTreeMap;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{block_on, block_on_for, eventually, run, shell};
use crate::{become_warm, interpreter, only_where_it_can_be_warm, python, warm};

/// Kills it; false where it is not ours to kill.
fn kill(pid: i32) -> bool {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL) != Err(rustix::io::Errno::PERM)
}

/// False, and says so, where the interpreter has an id that this test may not send signals to.
fn only_as_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIPPED: only root may kill what has a subordinate id");
    }
    root && only_where_it_can_be_warm()
}

#[test]
fn one_that_died_is_replaced() {
    if !only_as_root() {
        return;
    }
    block_on(async {
        let sandbox = warm().await;
        for _ in 0..3 {
            let pid = interpreter(sandbox.as_ref()).unwrap();
            assert!(kill(pid));
            eventually("it is gone", || interpreter(sandbox.as_ref()) != Some(pid));
            run(sandbox.as_ref(), &python("print(1)")).await.assert_succeeded();
            become_warm(sandbox.as_ref()).await;
            assert_ne!(interpreter(sandbox.as_ref()), Some(pid));
        }
        sandbox.stop().await;
    });
}

#[test]
fn one_that_stands_still_is_given_up() {
    if !only_as_root() {
        return;
    }
    block_on(async {
        let sandbox = warm().await;
        let pid = interpreter(sandbox.as_ref()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::STOP).unwrap();
        let code = "print(1); open('/workspace/ran', 'a').write('x')";
        assert_eq!(run(sandbox.as_ref(), &python(code)).await.assert_succeeded().out(), "1\n");
        assert_eq!(run(sandbox.as_ref(), &shell("cat /workspace/ran")).await.out(), "x");
        become_warm(sandbox.as_ref()).await;
        assert_ne!(interpreter(sandbox.as_ref()), Some(pid));
        sandbox.stop().await;
    });
}

/// Executions while it is killed at any moment: each has one end, and ran once.
#[test]
fn whenever_it_is_killed_everything_runs_once() {
    if !only_as_root() {
        return;
    }
    let rounds = if std::env::var_os("SANDKEEP_SOAK").is_some() { 2_000 } else { 150 };
    let seed = std::env::var("SANDKEEP_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7_u64);
    println!("SANDKEEP_SEED={seed}");
    block_on_for(std::time::Duration::from_secs(60 + rounds / 10), async {
        let sandbox = warm().await;
        let mut state = seed;
        for round in 0..rounds {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let pause = std::time::Duration::from_micros(state >> 33 & 0xfff);
            let victim = interpreter(sandbox.as_ref());
            let killer = std::thread::spawn(move || {
                // The moment itself is what is random.
                std::thread::sleep(pause);
                victim.is_none_or(kill)
            });
            let code = format!("open('/workspace/log', 'a').write('{round}\\n'); print({round})");
            let heard = run(sandbox.as_ref(), &python(&code)).await;
            assert_eq!(heard.assert_succeeded().out(), format!("{round}\n"));
            assert!(killer.join().unwrap());
            if round % 3 == 0 {
                become_warm(sandbox.as_ref()).await;
            }
        }
        let log = run(sandbox.as_ref(), &shell("cat /workspace/log")).await.out();
        let mut times: BTreeMap<&str, u32> = BTreeMap::new();
        for line in log.lines() {
            *times.entry(line).or_default() += 1;
        }
        let expected: usize = usize::try_from(rounds).unwrap();
        assert_eq!((times.len(), times.values().max()), (expected, Some(&1)));
        sandbox.stop().await;
    });
}
