//! How executions and sandboxes end.

use std::time::{Duration, Instant};

use sandkeep_core::duration::Span;
use sandkeep_core::execution::{ExecutionState, Exit};
use sandkeep_core::limits::LimitKind;
use sandkeep_runtime::Driver;
use sandkeep_runtime::driver::Cancel;

use crate::support::{
    all_of, command, eventually, fresh, run, sandbox_spec, shell, to_end, until_output, with_timeout,
};

pub async fn an_exit_code_arrives(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    for code in [0, 1, 42, 255] {
        let heard = run(sandbox.as_ref(), &shell(&format!("exit {code}"))).await;
        assert_eq!(heard.exit(), Some(Exit::Code(code)));
        assert!(heard.started);
        let ended = heard.ended();
        assert!(ended.started_at_ms > 0 && ended.finished_at_ms >= ended.started_at_ms, "{ended:?}");
    }
}

pub async fn a_signal_arrives(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    for (name, number) in [("TERM", 15), ("KILL", 9), ("SEGV", 11)] {
        let heard = run(sandbox.as_ref(), &shell(&format!("kill -{name} $$"))).await;
        assert_eq!(heard.exit(), Some(Exit::Signal(number)), "{name}");
    }
}

pub async fn a_missing_program_is_not_found(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    for name in ["no-such-program", "/no/such/program", "./no-such-program"] {
        let heard = run(sandbox.as_ref(), &command(&[name])).await;
        assert_eq!(heard.exit(), Some(Exit::NotFound), "{name}");
        assert!(!heard.started && heard.ended().not_runnable.is_some(), "{name}");
    }
    run(sandbox.as_ref(), &command(&["true"])).await.assert_succeeded();
}

pub async fn a_file_that_is_no_program_is_not_runnable(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    for name in ["/etc/passwd", "/usr", "/workspace"] {
        let heard = run(sandbox.as_ref(), &command(&[name])).await;
        assert_eq!(heard.exit(), Some(Exit::NotRunnable), "{name}");
        assert!(!heard.started, "{name}");
    }
}

pub async fn a_timeout_ends_the_whole_tree(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let spec = with_timeout(shell("echo here; sleep 100 & sleep 100"), Span::from_millis(300));
    let begun = Instant::now();
    let heard = run(sandbox.as_ref(), &spec).await;
    assert_eq!((heard.end().state, heard.end().limit), (ExecutionState::TimedOut, Some(LimitKind::Timeout)));
    assert_eq!(heard.out(), "here\n", "what was written before stays");
    assert!((300..10_000).contains(&begun.elapsed().as_millis()), "{:?}", begun.elapsed());
    let left = run(sandbox.as_ref(), &shell("grep -l sleep /proc/[0-9]*/comm; true")).await;
    assert_eq!(left.assert_succeeded().out(), "");
}

pub async fn a_polite_cancel_lets_the_code_finish(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let spec = shell("trap 'echo bye; exit 3' TERM; echo ready; while :; do sleep 0.05; done");
    let mut running = sandbox.start(&spec).await.unwrap();
    let heard = until_output(running.as_mut(), "ready").await;
    let begun = Instant::now();
    assert!(running.control().cancel(Cancel::Politely).await.unwrap());
    let heard = to_end(running.as_mut(), heard).await;
    assert_eq!(heard.out(), "ready\nbye\n", "it had its chance");
    assert_eq!((heard.end().state, heard.exit()), (ExecutionState::Cancelled, Some(Exit::Code(3))));
    assert!(begun.elapsed() < Duration::from_secs(5), "the signal did not reach it: it was killed");
}

pub async fn a_cancel_now_does_not_ask(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let spec = shell("trap 'echo bye; exit 3' TERM INT; echo ready; while :; do sleep 0.05; done");
    let mut running = sandbox.start(&spec).await.unwrap();
    let heard = until_output(running.as_mut(), "ready").await;
    assert!(running.control().cancel(Cancel::Now).await.unwrap());
    let heard = to_end(running.as_mut(), heard).await;
    assert_eq!(heard.out(), "ready\n");
    assert_eq!((heard.end().state, heard.exit()), (ExecutionState::Cancelled, Some(Exit::Signal(9))));
}

pub async fn a_cancel_after_the_end_is_refused(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let mut running = sandbox.start(&command(&["true"])).await.unwrap();
    let control = running.control();
    let heard = all_of(running.as_mut()).await;
    for how in [Cancel::Politely, Cancel::Now] {
        assert!(!control.cancel(how).await.unwrap());
    }
    assert_eq!(heard.end().state, ExecutionState::Succeeded);
}

pub async fn what_detached_dies_with_its_execution(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let spec = shell("(setsid sleep 100 </dev/null >/dev/null 2>&1 &) ; sleep 100 & echo done");
    let begun = Instant::now();
    let heard = run(sandbox.as_ref(), &spec).await;
    assert_eq!(heard.assert_succeeded().out(), "done\n");
    assert!(begun.elapsed() < Duration::from_secs(30), "the end waited for what was left in the background");
    let left = run(sandbox.as_ref(), &shell("grep -l sleep /proc/[0-9]*/comm; true")).await;
    assert_eq!(left.assert_succeeded().out(), "");
}

pub async fn stopping_ends_what_runs(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let mut running = sandbox.start(&shell("echo ready; sleep 100")).await.unwrap();
    let heard = until_output(running.as_mut(), "ready").await;
    sandbox.stop().await;
    let heard = to_end(running.as_mut(), heard).await;
    let lost = heard.problem.is_some() || heard.end().state == ExecutionState::Lost;
    assert!(lost, "{heard:?}");
    assert!(sandbox.start(&command(&["true"])).await.is_err(), "a stopped sandbox starts nothing");
    gone(sandbox.facts().agent_pid);
}

pub async fn dropping_the_handle_ends_the_sandbox(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let mut running = sandbox.start(&shell("echo ready; sleep 100")).await.unwrap();
    drop(until_output(running.as_mut(), "ready").await);
    let (supervisor, agent) = (sandbox.facts().supervisor_pid, sandbox.facts().agent_pid);
    assert!(alive(supervisor) && alive(agent));
    drop((running, sandbox));
    // What ends it is a socket that closes, and the task that owns it runs when this one waits.
    while alive(agent) || alive(supervisor) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub async fn a_create_that_is_given_up_leaves_nothing(driver: &dyn Driver) {
    for micros in [0, 100, 1_000, 3_000, 10_000] {
        let spec = sandbox_spec();
        let attempt = driver.create(&spec);
        // One that was made in time is not given up.
        if let Ok(made) = tokio::time::timeout(Duration::from_micros(micros), attempt).await {
            made.unwrap().stop().await;
        }
    }
    while children_of_ours() > 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    run(fresh(driver).await.as_ref(), &command(&["true"])).await.assert_succeeded();
}

fn gone(pid: u32) {
    eventually("the process is gone", || !alive(pid));
}

pub fn is_gone(pid: u32) -> bool {
    !alive(pid)
}

/// Not dead and not a zombie that waits for its parent.
fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    state.is_some_and(|state| state != 'Z' && state != 'X')
}

/// Supervisors of this very thread: tests beside this one start theirs from their own.
fn children_of_ours() -> usize {
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let path = format!("/proc/self/task/{thread}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    children.split_whitespace().filter(|pid| pid.parse().is_ok_and(alive)).count()
}
