//! Sandboxes that outlive their handle: found again, by one, with everything that happened in between.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sandkeep_core::code::ErrorCode;
use sandkeep_core::duration::Span;
use sandkeep_core::execution::{ExecutionState, Exit};
use sandkeep_core::limits::LimitKind;
use sandkeep_runtime::driver::{ExecutionSpec, Owned, SandboxSpec};
use sandkeep_runtime::{Driver, Sandbox};

use crate::support::{
    command, eventually, new_execution_id, run, sandbox_spec, shell, to_end, until_output, until_position,
    with_timeout,
};

/// Ends whatever a case left alive.
pub async fn end_all(driver: &dyn Driver) {
    for owned in driver.list_owned().await.unwrap() {
        if let Ok(sandbox) = driver.attach(owned, u64::MAX).await {
            sandbox.stop().await;
        }
    }
    assert_eq!(driver.list_owned().await.unwrap(), []);
}

fn owned(spec: &SandboxSpec) -> Owned {
    Owned { id: spec.id, incarnation: spec.incarnation }
}

async fn made(driver: &dyn Driver) -> (Owned, Box<dyn Sandbox>) {
    let spec = sandbox_spec();
    (owned(&spec), driver.create(&spec).await.unwrap())
}

async fn code_of_attach(driver: &dyn Driver, owned: Owned, token: u64) -> Option<ErrorCode> {
    driver.attach(owned, token).await.err().map(|problem| problem.code)
}

pub async fn dropping_the_handle_leaves_what_runs(driver: &dyn Driver) {
    let (owned, sandbox) = made(driver).await;
    let spec = shell("echo before; read line; echo after");
    let mut spec = ExecutionSpec { stdin: sandkeep_runtime::driver::Stdin::Open, ..spec };
    let mut running = sandbox.start(&spec).await.unwrap();
    let heard = until_output(running.as_mut(), "before\n").await;
    let facts = sandbox.facts().clone();
    drop((running, sandbox));
    assert_eq!(driver.list_owned().await.unwrap(), [owned]);
    let sandbox = driver.attach(owned, 2).await.unwrap();
    assert_eq!((sandbox.id(), sandbox.facts()), (owned.id, &facts));
    spec.token = 2;
    let mut running = sandbox.resume(&spec, heard.position).await.unwrap();
    running.control().send_input(b"\n".to_vec()).await.unwrap();
    let heard = to_end(running.as_mut(), heard.again()).await;
    assert_eq!(heard.assert_succeeded().out(), "before\nafter\n");
    sandbox.stop().await;
    assert_eq!(driver.list_owned().await.unwrap(), []);
}

/// The name by which the process that is to be killed is told what to make.
const TO_MAKE: &str = "SANDKEEP_TEST_TO_MAKE";

pub async fn killing_the_holder_leaves_what_runs(driver: &dyn Driver) {
    let numbers = || shell("i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); sleep 0.002; done");
    if let Ok(ids) = std::env::var(TO_MAKE) {
        let (sandbox_id, execution_id) = ids.split_once(' ').unwrap();
        let spec = SandboxSpec { id: sandbox_id.parse().unwrap(), ..sandbox_spec() };
        let execution = ExecutionSpec { id: execution_id.parse().unwrap(), ..numbers() };
        let sandbox = driver.create(&spec).await.unwrap();
        let mut running = sandbox.start(&execution).await.unwrap();
        until_output(running.as_mut(), "\n20\n").await;
        println!("\nready");
        std::future::pending::<()>().await;
    }
    let (sandbox_id, execution_id) = (sandbox_spec().id, new_execution_id());
    let thread = std::thread::current();
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([thread.name().unwrap(), "--exact", "--nocapture"])
        .env(TO_MAKE, format!("{sandbox_id} {execution_id}"))
        .env(crate::OWNER, crate::owner())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "ready"), "it made what it was told to");
    holder.kill().unwrap();
    holder.wait().unwrap();
    let sandbox = driver.attach(Owned { id: sandbox_id, incarnation: 1 }, 2).await.unwrap();
    let again = ExecutionSpec { id: execution_id, token: 2, ..numbers() };
    let heard = run(sandbox.as_ref(), &again).await;
    let all: String = (0..300).map(|n| format!("{n}\n")).collect();
    assert_eq!(heard.assert_succeeded().out(), all);
}

pub async fn the_end_of_a_sandbox_is_heard(driver: &dyn Driver) {
    for kills_agent in [false, true] {
        let (owned, first) = made(driver).await;
        let second = driver.attach(owned, 2).await.unwrap();
        // That it is another's now is no end.
        let spec = ExecutionSpec { token: 2, ..shell("sleep 0.05") };
        tokio::select! {
            _ = first.gone() => panic!("it lives"),
            _ = second.gone() => panic!("it lives"),
            heard = run(second.as_ref(), &spec) => drop(heard.assert_succeeded()),
        }
        let facts = second.facts().clone();
        let pid = if kills_agent { facts.agent_pid } else { facts.supervisor_pid };
        match kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL) {
            Err(rustix::io::Errno::PERM) if kills_agent => {
                println!(
                    "SKIPPED the_end_of_a_sandbox_is_heard: an agent with an id of its own is not ours to kill"
                );
                return second.stop().await;
            }
            killed => killed.unwrap(),
        }
        second.gone().await.unwrap();
        // Also by whoever comes later, where there is still somebody to come to.
        match driver.attach(owned, 3).await {
            Ok(third) => {
                assert!(kills_agent);
                third.gone().await.unwrap();
                third.stop().await;
            }
            Err(problem) => assert_eq!((problem.code, kills_agent), (ErrorCode::SandboxLost, false)),
        }
    }
}

pub async fn only_a_higher_token_takes_it_from_its_holder(driver: &dyn Driver) {
    let spec = SandboxSpec { token: 5, ..sandbox_spec() };
    let owned = owned(&spec);
    let first = driver.create(&spec).await.unwrap();
    for token in [0, 4, 5] {
        assert_eq!(code_of_attach(driver, owned, token).await, Some(ErrorCode::StaleToken), "{token}");
    }
    run(first.as_ref(), &ExecutionSpec { token: 5, ..command(&["true"]) }).await.assert_succeeded();
    let second = driver.attach(owned, 6).await.unwrap();
    let refused = first.start(&ExecutionSpec { token: 5, ..command(&["true"]) }).await;
    let refused = match refused {
        Err(problem) => problem,
        Ok(mut running) => running.next().await.unwrap_err(),
    };
    assert_eq!(refused.code, ErrorCode::SandboxLost, "its connection is closed: {refused}");
    run(second.as_ref(), &ExecutionSpec { token: 6, ..command(&["true"]) }).await.assert_succeeded();
    drop(second);
    assert_eq!(
        code_of_attach(driver, owned, 5).await,
        Some(ErrorCode::StaleToken),
        "also when nobody has it"
    );
}

pub async fn of_two_who_attach_at_once_one_wins(driver: &dyn Driver) {
    let (owned, sandbox) = made(driver).await;
    drop(sandbox);
    for round in 0..20 {
        let (one, other) = tokio::join!(driver.attach(owned, 2 + round), driver.attach(owned, 2 + round));
        let (won, lost): (Vec<_>, Vec<_>) = [one, other].into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 1), "round {round}");
        let problem = lost.into_iter().next().unwrap().unwrap_err();
        assert_eq!(problem.code, ErrorCode::StaleToken, "{problem}");
        let token = 2 + round;
        let winner = won.into_iter().next().unwrap().unwrap();
        run(winner.as_ref(), &ExecutionSpec { token, ..command(&["true"]) }).await.assert_succeeded();
    }
    // Of two tokens the higher, whoever was first.
    let (lower, higher) = tokio::join!(driver.attach(owned, 50), driver.attach(owned, 51));
    drop(lower);
    let higher = higher.unwrap();
    run(higher.as_ref(), &ExecutionSpec { token: 51, ..command(&["true"]) }).await.assert_succeeded();
}

pub async fn the_list_names_exactly_the_living(driver: &dyn Driver) {
    assert_eq!(driver.list_owned().await.unwrap(), []);
    let (mut all, mut handles) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let (owned, sandbox) = made(driver).await;
        all.push(owned);
        handles.push(sandbox);
    }
    let mut listed = driver.list_owned().await.unwrap();
    listed.sort_unstable();
    all.sort_unstable();
    assert_eq!(listed, all);
    handles.remove(0).stop().await;
    kill(handles.remove(0).facts().supervisor_pid);
    drop(handles.remove(0));
    while driver.list_owned().await.unwrap().len() != 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let listed = driver.list_owned().await.unwrap();
    assert!(listed.contains(&Owned { id: handles[0].id(), incarnation: 1 }), "the one that is held");
}

pub async fn who_is_gone_is_said_to_be_gone(driver: &dyn Driver) {
    let nobody = Owned { id: sandbox_spec().id, incarnation: 1 };
    assert_eq!(code_of_attach(driver, nobody, 9).await, Some(ErrorCode::SandboxLost), "there never was one");
    let (stopped, sandbox) = made(driver).await;
    sandbox.stop().await;
    assert_eq!(code_of_attach(driver, stopped, 9).await, Some(ErrorCode::SandboxLost), "it was stopped");
    let (killed, sandbox) = made(driver).await;
    let other = Owned { incarnation: 2, ..killed };
    assert_eq!(code_of_attach(driver, other, 9).await, Some(ErrorCode::SandboxLost), "another start of it");
    kill(sandbox.facts().supervisor_pid);
    drop(sandbox);
    assert_eq!(code_of_attach(driver, killed, 9).await, Some(ErrorCode::SandboxLost), "it was killed");
}

pub async fn output_goes_on_where_it_was_left(driver: &dyn Driver) {
    let (owned, mut sandbox) = made(driver).await;
    let line = "i=0; while [ $i -lt 40000 ]; do echo $i; echo $i >&2; i=$((i+1)); done; echo end";
    let mut spec = shell(line);
    let mut running = sandbox.start(&spec).await.unwrap();
    let (mut heard, mut token) = (until_output(running.as_mut(), "0\n").await, 1);
    while heard.ended.is_none() {
        token += 1;
        drop((running, sandbox));
        sandbox = driver.attach(owned, token).await.unwrap();
        spec.token = token;
        running = sandbox.resume(&spec, heard.position).await.unwrap();
        // A little more each time: it is left in the middle of lines too.
        let position = heard.position + 10_001;
        heard = until_position(running.as_mut(), heard.again(), position).await;
    }
    assert!(token > 5, "it was left {token} times");
    let numbers: String = (0..40000).map(|n| format!("{n}\n")).collect();
    assert_eq!(heard.assert_succeeded().out(), numbers.clone() + "end\n");
    assert_eq!(heard.err(), numbers);
    let ended = heard.ended();
    assert_eq!(ended.stdout_bytes + ended.stderr_bytes, heard.position);
}

pub async fn an_end_in_the_meantime_is_told(driver: &dyn Driver) {
    let (owned, sandbox) = made(driver).await;
    let mut spec = shell("echo here; exit 3");
    let mut running = sandbox.start(&spec).await.unwrap();
    // It is begun: the rest happens without us.
    running.next().await.unwrap();
    let agent = sandbox.facts().agent_pid;
    drop((running, sandbox));
    eventually("it has ended", || !has_children(agent));
    for token in [2, 3] {
        let sandbox = driver.attach(owned, token).await.unwrap();
        spec.token = token;
        let heard = run(sandbox.as_ref(), &spec).await;
        assert_eq!((heard.out(), heard.exit()), ("here\n".to_owned(), Some(Exit::Code(3))), "once more");
    }
}

pub async fn limits_hold_while_nobody_is_there(driver: &dyn Driver) {
    let (owned, sandbox) = made(driver).await;
    let mut spec = with_timeout(shell("echo here; sleep 100 & sleep 100"), Span::from_millis(300));
    let mut running = sandbox.start(&spec).await.unwrap();
    drop(until_output(running.as_mut(), "here").await);
    let agent = sandbox.facts().agent_pid;
    drop((running, sandbox));
    eventually("it was killed", || !has_children(agent));
    let sandbox = driver.attach(owned, 2).await.unwrap();
    spec.token = 2;
    let heard = run(sandbox.as_ref(), &spec).await;
    assert_eq!((heard.end().state, heard.end().limit), (ExecutionState::TimedOut, Some(LimitKind::Timeout)));
    assert!(heard.ended().metrics.wall_ms < 5_000, "{:?}", heard.ended());
}

pub async fn what_is_stored_is_forgotten_and_not_run_again(driver: &dyn Driver) {
    let (owned, sandbox) = made(driver).await;
    let spec = shell("echo ran >> /workspace/log; cat /workspace/log; read line");
    let spec = ExecutionSpec { stdin: sandkeep_runtime::driver::Stdin::Open, ..spec };
    let mut running = sandbox.start(&spec).await.unwrap();
    let heard = until_output(running.as_mut(), "ran\n").await;
    assert!(sandbox.forget(spec.id, 1).await.is_err(), "it has not ended");
    running.control().close_input().await.unwrap();
    let heard = to_end(running.as_mut(), heard).await;
    assert_eq!(sandbox.ended().await.unwrap(), [spec.id]);
    sandbox.forget(spec.id, 1).await.unwrap();
    sandbox.forget(spec.id, 1).await.unwrap();
    assert_eq!(sandbox.ended().await.unwrap(), []);
    sandbox.forget(new_execution_id(), 1).await.unwrap();
    drop((running, sandbox));
    let sandbox = driver.attach(owned, 2).await.unwrap();
    assert_eq!(sandbox.forget(spec.id, 1).await.unwrap_err().code, ErrorCode::StaleToken);
    let again = run(sandbox.as_ref(), &ExecutionSpec { token: 2, ..spec }).await;
    assert_eq!(again.out(), "", "its output was stored");
    assert_eq!(again.exit(), heard.exit());
    let log = run(sandbox.as_ref(), &ExecutionSpec { token: 2, ..shell("cat /workspace/log") }).await;
    assert_eq!(log.out(), "ran\n", "it ran once");
}

/// For a driver that waits for half a second.
pub async fn an_orphan_ends_itself(driver: &dyn Driver) {
    let (owned, sandbox) = made(driver).await;
    let mut running = sandbox.start(&shell("echo ready; sleep 100")).await.unwrap();
    drop(until_output(running.as_mut(), "ready").await);
    let facts = sandbox.facts().clone();
    // As long as somebody holds it, it lives, however long that is.
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(driver.list_owned().await.unwrap(), [owned]);
    drop((running, sandbox));
    while !driver.list_owned().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    eventually("nothing of it is left", || {
        [facts.supervisor_pid, facts.agent_pid].iter().all(|pid| crate::ending::is_gone(*pid))
    });
    assert_eq!(code_of_attach(driver, owned, 2).await, Some(ErrorCode::SandboxLost));
}

fn kill(pid: u32) {
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
    eventually("it is dead", || crate::ending::is_gone(pid));
}

fn has_children(pid: u32) -> bool {
    let path = format!("/proc/{pid}/task/{pid}/children");
    std::fs::read_to_string(path).is_ok_and(|children| !children.trim().is_empty())
}

/// Of `local`: nothing ties a supervisor to its maker, and whoever says nothing keeps nobody out.
pub async fn it_is_its_own(driver: &dyn Driver, doors: &std::path::Path) {
    let open = std::fs::File::open("/proc/self/status").unwrap();
    rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
    let (owned, sandbox) = made(driver).await;
    let pid = sandbox.facts().supervisor_pid;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let session = stat.rsplit_once(") ").unwrap().1.split_whitespace().nth(3).unwrap();
    assert_eq!(session, pid.to_string(), "a session of its own");
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
        let leads_to = std::fs::read_link(entry.path()).unwrap();
        assert!(!leads_to.ends_with("status"), "it holds a file of its maker's: {leads_to:?}");
    }
    let socket = doors.join(format!("{}.{}", owned.id, owned.incarnation));
    let silent: Vec<_> = (0..30).map(|_| std::os::unix::net::UnixStream::connect(&socket).unwrap()).collect();
    drop(sandbox);
    let sandbox = driver.attach(owned, 2).await.unwrap();
    run(sandbox.as_ref(), &ExecutionSpec { token: 2, ..command(&["true"]) }).await.assert_succeeded();
    drop(silent);
    sandbox.stop().await;
    assert!(!socket.exists());
}
