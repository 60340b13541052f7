//! Code that is held back until its start is written down.

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::duration::Span;
use sandkeep_runtime::driver::{ExecutionSpec, Owned, Prepared, Stdin};
use sandkeep_runtime::{Driver, Sandbox};

use crate::support::{
    Heard, all_of, command, fresh, new_execution_id, run, sandbox_spec, shell, with_timeout,
};

const LOG: &str = "/workspace/log";

/// Notes that it ran, and says how often it has.
fn noting() -> ExecutionSpec {
    shell("echo ran >> /workspace/log; cat /workspace/log")
}

/// What is in the log, as seen by an execution that gives those before it some time.
async fn noted(sandbox: &dyn Sandbox) -> String {
    run(sandbox, &shell("sleep 0.1; cat /workspace/log 2>/dev/null; true")).await.assert_succeeded().out()
}

async fn released(prepared: Box<dyn Prepared>) -> Heard {
    all_of(prepared.release().await.unwrap().as_mut()).await
}

/// Drivers may say so at the release, or with the first event.
async fn refused(prepared: Result<Box<dyn Prepared>, Problem>) -> Problem {
    let prepared = match prepared {
        Err(problem) => return problem,
        Ok(prepared) => prepared,
    };
    match prepared.release().await {
        Err(problem) => problem,
        Ok(mut running) => running.next().await.unwrap_err(),
    }
}

pub async fn what_is_prepared_waits_for_its_release(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let spec = noting();
    let prepared = sandbox.prepare(&spec).await.unwrap();
    assert_eq!(noted(sandbox.as_ref()).await, "");
    assert_eq!(released(prepared).await.assert_succeeded().out(), "ran\n");
    assert_eq!(run(sandbox.as_ref(), &spec).await.out(), "ran\n", "one execution");
}

pub async fn what_is_not_released_never_runs(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let known = sandbox.ended().await.unwrap().len();
    for _ in 0..10 {
        drop(sandbox.prepare(&noting()).await.unwrap());
    }
    assert_eq!(noted(sandbox.as_ref()).await, "");
    assert_eq!(sandbox.ended().await.unwrap().len(), known + 1, "nothing is known of them");
}

/// At once, while what waited for the release is still going.
pub async fn what_was_not_released_can_be_started(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    for times in 1..=10 {
        let spec = noting();
        drop(sandbox.prepare(&spec).await.unwrap());
        assert_eq!(run(sandbox.as_ref(), &spec).await.assert_succeeded().out(), "ran\n".repeat(times));
    }
}

pub async fn starting_it_by_its_id_releases_it(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let spec = noting();
    let prepared = sandbox.prepare(&spec).await.unwrap();
    assert_eq!(run(sandbox.as_ref(), &spec).await.assert_succeeded().out(), "ran\n");
    assert_eq!(released(prepared).await.assert_succeeded().out(), "ran\n");
}

pub async fn its_time_begins_with_its_release(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let spec = with_timeout(shell("echo in time"), Span::from_millis(2_000));
    let prepared = sandbox.prepare(&spec).await.unwrap();
    run(sandbox.as_ref(), &command(&["sleep", "2.2"])).await.assert_succeeded();
    let heard = released(prepared).await;
    assert_eq!(heard.assert_succeeded().out(), "in time\n");
    assert!(heard.ended().metrics.wall_ms < 2_000, "{:?}", heard.ended().metrics);
    let spec = with_timeout(command(&["sleep", "1000"]), Span::from_millis(100));
    let heard = released(sandbox.prepare(&spec).await.unwrap()).await;
    assert!(heard.ended().facts.timed_out, "it has no more than that: {:?}", heard.ended());
}

/// Nor has what failed before it: whoever keeps the time has nothing to wait for.
pub async fn what_has_failed_has_no_time(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let lost = ExecutionSpec { cwd: Some("/workspace/nowhere".into()), ..command(&["true"]) };
    let prepared = sandbox.prepare(&with_timeout(lost, Span::from_millis(100))).await.unwrap();
    assert_eq!(noted(sandbox.as_ref()).await, "");
    assert!(released(prepared).await.ended().not_runnable.is_some());
    let before = cpu_ticks(sandbox.facts().supervisor_pid);
    run(sandbox.as_ref(), &command(&["sleep", "1"])).await.assert_succeeded();
    let used = cpu_ticks(sandbox.facts().supervisor_pid) - before;
    assert!(used < 50, "{used} of 100 ticks");
}

/// Processor time of a process: fields 14 and 15 of its line, the first of which follows the name in parentheses.
fn cpu_ticks(pid: u32) -> u64 {
    let line = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields = line.rsplit_once(") ").unwrap().1.split(' ');
    fields.skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum()
}

pub async fn what_keeps_it_from_running_is_told(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let lost = ExecutionSpec { cwd: Some("/workspace/nowhere".into()), ..command(&["true"]) };
    for spec in [command(&["/no/such/program"]), lost] {
        let prepared = sandbox.prepare(&spec).await.unwrap();
        // The one fails before it comes to where it waits, the other behind. Others come and go.
        drop(sandbox.prepare(&noting()).await.unwrap());
        assert_eq!(noted(sandbox.as_ref()).await, "");
        let heard = released(prepared).await;
        assert!(heard.ended().not_runnable.is_some(), "{:?}", heard.ended());
        // Nor does anything stay when nobody asks.
        let again = ExecutionSpec { id: new_execution_id(), ..spec };
        drop(sandbox.prepare(&again).await.unwrap());
        run(sandbox.as_ref(), &command(&["true"])).await.assert_succeeded();
        assert!(!sandbox.ended().await.unwrap().contains(&again.id));
    }
}

/// However long it takes to send, and whoever else gives up meanwhile.
pub async fn a_large_request_is_prepared_too(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    for _ in 0..5 {
        let mut spec = shell("wc -c");
        spec.stdin = Stdin::Bytes(vec![b'x'; 3 << 20]);
        let (prepared, other) = (sandbox.prepare(&spec).await.unwrap(), sandbox.prepare(&noting()).await);
        drop(other);
        let (released, _) = tokio::join!(released(prepared), async {
            run(sandbox.as_ref(), &command(&["true"])).await.assert_succeeded();
        });
        assert_eq!(released.assert_succeeded().out().trim(), (3 << 20).to_string());
    }
}

pub async fn files_are_not_there_before_the_release(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let mut spec = shell("cat /workspace/given");
    spec.files = vec![("given".into(), b"here".to_vec())];
    drop(sandbox.prepare(&ExecutionSpec { id: new_execution_id(), ..spec.clone() }).await.unwrap());
    let prepared = sandbox.prepare(&spec).await.unwrap();
    run(sandbox.as_ref(), &shell("sleep 0.1; test ! -e /workspace/given")).await.assert_succeeded();
    assert_eq!(released(prepared).await.assert_succeeded().out(), "here");
}

pub async fn a_known_id_is_not_prepared(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let spec = noting();
    let prepared = sandbox.prepare(&spec).await.unwrap();
    refused(sandbox.prepare(&spec).await).await;
    assert_eq!(released(prepared).await.assert_succeeded().out(), "ran\n");
    refused(sandbox.prepare(&spec).await).await;
    assert_eq!(noted(sandbox.as_ref()).await, "ran\n");
}

pub async fn a_stale_token_prepares_nothing(driver: &dyn Driver) {
    let mut spec = sandbox_spec();
    spec.token = 7;
    let sandbox = driver.create(&spec).await.unwrap();
    let problem = refused(sandbox.prepare(&noting()).await).await;
    assert_eq!(problem.code, ErrorCode::StaleToken, "{problem}");
    let look = ExecutionSpec { token: 7, ..command(&["test", "!", "-e", LOG]) };
    run(sandbox.as_ref(), &look).await.assert_succeeded();
}

pub async fn a_stop_ends_what_waits(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let prepared = sandbox.prepare(&noting()).await;
    sandbox.stop().await;
    let problem = refused(prepared).await;
    assert_eq!(problem.code, ErrorCode::SandboxLost, "{problem}");
}

/// Whoever prepared it may stand still for any time before it goes on: what it prepared is not its own any more.
pub async fn who_was_fenced_off_releases_nothing(driver: &dyn Driver) {
    let spec = sandbox_spec();
    let first = driver.create(&spec).await.unwrap();
    let mut execution = noting();
    let prepared = first.prepare(&execution).await.unwrap();
    let never = first.prepare(&noting()).await.unwrap();
    let second = driver.attach(Owned { id: spec.id, incarnation: spec.incarnation }, 2).await.unwrap();
    execution.token = 2;
    assert_eq!(run(second.as_ref(), &execution).await.assert_succeeded().out(), "ran\n");
    for prepared in [prepared, never] {
        let problem = refused(Ok(prepared)).await;
        assert!(matches!(problem.code, ErrorCode::StaleToken | ErrorCode::SandboxLost), "{problem}");
    }
    let look = ExecutionSpec { token: 2, ..shell("sleep 0.1; cat /workspace/log") };
    assert_eq!(run(second.as_ref(), &look).await.assert_succeeded().out(), "ran\n");
    second.stop().await;
}
