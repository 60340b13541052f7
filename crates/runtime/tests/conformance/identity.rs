//! Who is who: ids, tokens, and sandboxes that are not each other.

use sandkeep_core::code::ErrorCode;
use sandkeep_runtime::Driver;

use crate::support::{all_of, command, fresh, new_execution_id, run, sandbox_spec, shell};

pub async fn the_same_id_runs_once(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let spec = shell("echo ran >> /workspace/log; cat /workspace/log");
    let first = run(sandbox.as_ref(), &spec).await;
    let again = run(sandbox.as_ref(), &spec).await;
    assert_eq!(first.assert_succeeded().out(), "ran\n");
    assert_eq!(again.assert_succeeded().out(), "ran\n");
    assert_eq!(first.ended, again.ended, "one execution has one end");
    assert_eq!(run(sandbox.as_ref(), &shell("cat /workspace/log")).await.out(), "ran\n");
}

pub async fn two_listeners_hear_the_same(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let spec = shell("i=0; while [ $i -lt 2000 ]; do echo $i; i=$((i+1)); done");
    let mut first = sandbox.start(&spec).await.unwrap();
    let mut second = sandbox.start(&spec).await.unwrap();
    let (first, second) = tokio::join!(all_of(first.as_mut()), all_of(second.as_mut()));
    first.assert_succeeded();
    assert_eq!(first.stdout, second.stdout);
    assert_eq!(first.ended, second.ended);
}

pub async fn a_lower_token_is_refused(driver: &dyn Driver) {
    let mut spec = sandbox_spec();
    spec.token = 7;
    let sandbox = driver.create(&spec).await.unwrap();
    let mut execution = command(&["true"]);
    execution.token = 6;
    let refused = sandbox.start(&execution).await;
    let problem = match refused {
        Err(problem) => problem,
        // Some drivers answer with the first event.
        Ok(mut running) => running.next().await.unwrap_err(),
    };
    assert_eq!(problem.code, ErrorCode::StaleToken, "{problem}");
    execution.token = 7;
    run(sandbox.as_ref(), &execution).await.assert_succeeded();
}

pub async fn a_new_token_fences_the_old_one_off(driver: &dyn Driver) {
    let sandbox = fresh(driver).await;
    let mut newer = command(&["true"]);
    newer.token = 2;
    run(sandbox.as_ref(), &newer).await.assert_succeeded();
    let older = command(&["true"]);
    let problem = match sandbox.start(&older).await {
        Err(problem) => problem,
        Ok(mut running) => running.next().await.unwrap_err(),
    };
    assert_eq!(problem.code, ErrorCode::StaleToken, "{problem}");
}

pub async fn a_sandbox_says_who_it_is(driver: &dyn Driver) {
    let spec = sandbox_spec();
    let sandbox = driver.create(&spec).await.unwrap();
    assert_eq!(sandbox.id(), spec.id);
    let facts = sandbox.facts();
    assert!(facts.id_count >= 1 && facts.user_host_id != 0 && facts.agent_host_id != 0, "{facts:?}");
    if facts.id_count > 1 {
        assert_ne!(facts.user_host_id, facts.agent_host_id, "the code's user is never the agent's");
    }
    assert_ne!(new_execution_id(), new_execution_id());
}

pub async fn sandboxes_do_not_share_files(driver: &dyn Driver) {
    let (one, other) = (fresh(driver).await, fresh(driver).await);
    let write = "echo mine > /tmp/a; echo mine > /workspace/a; echo mine > $HOME/a; echo mine > /dev/shm/a";
    run(one.as_ref(), &shell(write)).await.assert_succeeded();
    let look = "cat /tmp/a /workspace/a $HOME/a /dev/shm/a 2>/dev/null; true";
    assert_eq!(run(other.as_ref(), &shell(look)).await.assert_succeeded().out(), "");
    assert_eq!(run(one.as_ref(), &shell(look)).await.assert_succeeded().out(), "mine\n".repeat(4));
}
