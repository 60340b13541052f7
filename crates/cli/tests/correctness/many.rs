//! Many at once.

use std::time::Duration;

use sandkeep_core::execution::Exit;
use sandkeep_runtime::Sandbox;
use sandkeep_runtime::driver::Facts;

use crate::support::driver::{all_of, block_on_for, fresh, run, sandbox_spec, shell};
use crate::support::{host, is_root, is_soak, local};

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn fifty_executions_at_once_in_one_sandbox() {
    block_on_for(PATIENCE, async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        // Each waits until all fifty are there: one after another would never end.
        let line = "mkdir -p all; : > all/$N; until [ $(ls all | wc -l) = 50 ]; do sleep 0.05; done; echo $N; echo e$N >&2; exit $N";
        let mut started = Vec::new();
        for n in 0..50 {
            let mut spec = shell(line);
            spec.env.insert("N".to_owned(), n.to_string());
            started.push(sandbox.start(&spec).await.unwrap());
        }
        for (n, mut running) in started.into_iter().enumerate() {
            let heard = all_of(running.as_mut()).await;
            assert_eq!((heard.out(), heard.err()), (format!("{n}\n"), format!("e{n}\n")), "{heard:?}");
            assert_eq!(heard.exit(), Some(Exit::Code(u8::try_from(n).unwrap())));
        }
    });
}

#[test]
fn two_hundred_sandboxes_at_once() {
    let count = if is_soak() { 600 } else { 200 };
    block_on_for(PATIENCE * 3, async {
        let driver = local();
        let mut sandboxes: Vec<Box<dyn Sandbox>> = Vec::new();
        for n in 0..count {
            let sandbox = fresh(&driver).await;
            let heard = run(sandbox.as_ref(), &shell(&format!("echo {n} > mine; cat mine"))).await;
            assert_eq!(heard.assert_succeeded().out(), format!("{n}\n"));
            sandboxes.push(sandbox);
        }
        for (n, sandbox) in sandboxes.iter().enumerate() {
            let heard = run(sandbox.as_ref(), &shell("cat mine")).await;
            assert_eq!(heard.assert_succeeded().out(), format!("{n}\n"), "still itself");
        }
        assert_ids_apart(&sandboxes.iter().map(|sandbox| sandbox.facts().clone()).collect::<Vec<_>>());
        for sandbox in sandboxes {
            sandbox.stop().await;
        }
    });
}

/// Reads every map: none has host id 0, and as root no two share an id.
fn assert_ids_apart(all: &[Facts]) {
    let mut ranges = Vec::new();
    for facts in all {
        let map = host::uid_map(facts.agent_pid);
        assert!(!map.is_empty(), "no map of {facts:?}");
        for (_, outside, ids) in map {
            assert!(outside != 0, "{facts:?} maps host id 0");
            ranges.push((outside, outside + ids));
        }
    }
    let mut slots: Vec<u32> = all.iter().map(|facts| facts.slot).collect();
    slots.sort_unstable();
    slots.dedup();
    assert_eq!(slots.len(), all.len(), "two sandboxes share a slot");
    if !is_root() {
        // An ordinary user has one range, or one id, for all.
        return;
    }
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        assert!(pair[0].1 <= pair[1].0, "{pair:?} overlap");
    }
    assert!(ranges.iter().all(|(from, to)| to - from <= 65_536));
}

#[test]
fn sandboxes_are_made_at_the_same_time() {
    block_on_for(PATIENCE, async {
        let driver = local();
        let specs: Vec<_> = (0..40).map(|_| sandbox_spec()).collect();
        let mut attempts = tokio::task::JoinSet::new();
        let driver = std::sync::Arc::new(driver);
        for spec in specs {
            let driver = driver.clone();
            attempts.spawn(async move {
                let sandbox = sandkeep_runtime::Driver::create(driver.as_ref(), &spec).await.unwrap();
                let heard = run(sandbox.as_ref(), &shell("echo here")).await;
                assert_eq!(heard.assert_succeeded().out(), "here\n");
                sandbox.stop().await;
            });
        }
        while let Some(attempt) = attempts.join_next().await {
            attempt.unwrap();
        }
    });
}

#[test]
fn commands_run_at_the_same_time() {
    let started: Vec<_> = (0..16)
        .map(|n| crate::support::run(&["--", "sh", "-c", &format!("echo {n}; exit {n}")]).start())
        .collect();
    for (n, run) in started.into_iter().enumerate() {
        let done = run.done();
        assert_eq!(done.assert_status(i32::try_from(n).unwrap()).out(), format!("{n}\n"));
    }
}

#[test]
fn hundreds_of_executions_one_after_another() {
    block_on_for(PATIENCE, async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        let begun = host::tree(sandbox.facts().supervisor_pid).len();
        for n in 0..400 {
            assert_eq!(
                run(sandbox.as_ref(), &shell(&format!("echo {n}"))).await.assert_succeeded().out(),
                format!("{n}\n")
            );
        }
        assert_eq!(host::tree(sandbox.facts().supervisor_pid).len(), begun, "processes are left");
        let descriptors = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        assert!(descriptors(sandbox.facts().supervisor_pid) < 100, "descriptors are left");
    });
}
