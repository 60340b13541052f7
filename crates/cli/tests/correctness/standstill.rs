//! Whoever holds a sandbox stands still, or the code does not take what it is given: every wait has an end.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use sandkeep_core::code::ErrorCode;
use sandkeep_core::duration::Span;
use sandkeep_core::execution::ExecutionState;
use sandkeep_runtime::driver::Cancel;

use crate::support::driver::{
    block_on_for, eventually, fresh, new_execution_id, shell, to_end, until_output, with_timeout,
};
use crate::support::host::Process;
use crate::support::{self, host, local};

/// Longer than the driver waits for a supervisor (a timeout, 5 s, 10 s), or the supervisor for an agent.
const PATIENCE: Duration = Duration::from_secs(60);

fn stop(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::STOP).unwrap();
}

/// A run of the command that says `ready` and stays, with its supervisor and its agent.
fn busy(timeout: &str, marker: &str) -> (support::Started, u32, u32) {
    let line = format!("echo ready; sleep 1000; : {marker}");
    let run = support::run(&["--timeout", timeout, "--", "sh", "-c", &line]).start();
    run.until("ready");
    let supervisor = host::children(run.pid())[0];
    let agent = host::children(supervisor)[0];
    (run, supervisor, agent)
}

#[track_caller]
fn assert_nothing_left(marker: &str) {
    eventually("nothing of it is left", || host::with_argument(marker).is_empty());
}

#[test]
fn whoever_is_stopped_the_command_ends_in_time() {
    let markers = [host::marker(), host::marker(), host::marker()];
    // At the same time, since each is a wait of many seconds.
    let (of_supervisor, supervisor, _) = busy("500ms", &markers[0]);
    stop(supervisor);
    let (of_agent, _, agent) = busy("500ms", &markers[1]);
    stop(agent);
    let (of_both, supervisor, agent) = busy("10m", &markers[2]);
    stop(supervisor);
    stop(agent);
    of_both.signal(Signal::INT);
    // The limits are the supervisor's: without an agent it still keeps them.
    let done = of_agent.done();
    assert_eq!((done.status, done.out().as_str()), (124, "ready\n"), "{}", done.err());
    for run in [of_supervisor, of_both] {
        let done = run.done();
        assert_eq!((done.status, done.out().as_str()), (125, "ready\n"), "{}", done.err());
        assert!(
            done.err().contains("sandbox_lost: ") && done.err().contains("gave no answer"),
            "{}",
            done.err()
        );
    }
    for marker in markers {
        assert_nothing_left(&marker);
    }
}

#[test]
fn who_asks_a_stopped_supervisor_gets_an_answer_in_the_end() {
    block_on_for(PATIENCE, async {
        let driver = local();
        let (cancelled, ended, dropped) = (fresh(&driver).await, fresh(&driver).await, fresh(&driver).await);
        let mut running = cancelled.start(&shell("echo ready; sleep 1000")).await.unwrap();
        let heard = until_output(running.as_mut(), "ready").await;
        for sandbox in [&cancelled, &ended, &dropped] {
            stop(sandbox.facts().supervisor_pid);
        }
        let control = running.control();
        let (told, heard, ()) =
            tokio::join!(control.cancel(Cancel::Now), to_end(running.as_mut(), heard), ended.stop());
        assert_eq!(told.unwrap_err().code, ErrorCode::SandboxLost);
        assert_eq!(heard.problem.map(|problem| problem.code), Some(ErrorCode::SandboxLost));
        for sandbox in [&cancelled, &ended] {
            let agent = Process::of(sandbox.facts().agent_pid);
            eventually("the agent is gone", || !agent.as_ref().is_some_and(Process::is_alive));
        }
        // Whoever lets go without a word does not leave it standing either.
        let agent = Process::of(dropped.facts().agent_pid).unwrap();
        drop(dropped);
        while agent.is_alive() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn an_agent_that_stood_still_for_a_while_goes_on() {
    block_on_for(PATIENCE, async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        let spec = with_timeout(shell("echo ready; sleep 0.1; echo done"), Span::from_secs(30));
        let mut running = sandbox.start(&spec).await.unwrap();
        let heard = until_output(running.as_mut(), "ready").await;
        for pid in [sandbox.facts().supervisor_pid, sandbox.facts().agent_pid] {
            stop(pid);
            tokio::time::sleep(Duration::from_millis(300)).await; // the time it stands still
            let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            rustix::process::kill_process(pid, Signal::CONT).unwrap();
        }
        let heard = to_end(running.as_mut(), heard).await;
        assert_eq!(heard.assert_succeeded().out(), "ready\ndone\n");
        let mut spec = spec;
        spec.id = new_execution_id();
        let heard = crate::support::driver::run(sandbox.as_ref(), &spec).await;
        assert_eq!(heard.end().state, ExecutionState::Succeeded);
    });
}

#[test]
fn an_interrupt_is_heard_while_input_waits() {
    let marker = host::marker();
    // More than pipes and queues on the way hold, for code that reads nothing.
    let line = format!("echo ready; sleep 1000; : {marker}");
    let run = support::run(&["--stdin", "-", "--", "sh", "-c", &line]).stdin(vec![b'x'; 8 << 20]).start();
    run.until("ready");
    let begun = Instant::now();
    run.signal(Signal::INT);
    assert_eq!(run.done().status, 130);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_nothing_left(&marker);
}

#[test]
fn output_flows_while_input_waits() {
    let line = "i=0; while [ $i -lt 20 ]; do echo $i; i=$((i+1)); sleep 0.02; done; wc -c";
    let done = support::run(&["--stdin", "-", "--", "sh", "-c", line]).stdin(vec![b'x'; 8 << 20]).done();
    let out = done.assert_status(0).out();
    assert_eq!(out.lines().last(), Some("8388608"), "{out}");
    assert_eq!(out.lines().count(), 21, "{out}");
}
