//! What comes to a sandbox that is held here is accepted and started in one write, and its end is told from memory.

use std::collections::BTreeMap;
use std::time::Duration;

use sandkeep_control::executions::Executions;
use sandkeep_control::ids;
use sandkeep_core::code::ErrorCode;
use sandkeep_core::execution::ExecutionState;
use sandkeep_core::id::{SandboxId, ServerId};
use sandkeep_core::identity::{Principal, Role, Scopes};
use sandkeep_store::executions::{Before, Live};
use sandkeep_store::{Durability, executions, sandboxes, servers};

use crate::{Bed, command, until};

const SOON: Duration = Duration::from_secs(30);

/// Each case on both databases.
macro_rules! both {
    ($($name:ident)+) => {
        $(
            mod $name {
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sqlite() {
                    super::cases::$name(&crate::Bed::new().await).await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn postgres() {
                    let Some(bed) = crate::Bed::postgres(stringify!($name)).await else { return };
                    super::cases::$name(&bed).await;
                }
            }
        )+
    };
}
both! { it_is_started_in_the_write_that_accepts_it one_that_is_wished_away_takes_nothing
a_stale_claim_starts_nothing what_is_told_is_what_is_stored an_end_that_another_writes_is_heard_of
it_runs_though_whoever_asked_has_left what_is_written_as_running_is_run }

fn principal() -> Principal {
    Principal {
        id: sandkeep_core::id::PrincipalId::new(1, [1; 10]),
        admin: true,
        roles: BTreeMap::new(),
        token_id: sandkeep_core::id::TokenId::new(1, [1; 10]),
        bound: None,
        at_most: Role::Owner,
        scopes: Scopes::All,
        expires_us: None,
    }
}

async fn row(bed: &Bed, id: SandboxId) -> Option<sandboxes::Sandbox> {
    sandboxes::get(&mut bed.parts.store.reader().await.unwrap(), id).await.unwrap()
}

/// A sandbox that runs.
async fn running(bed: &Bed) -> SandboxId {
    let id = bed.sandbox(false).await;
    until(async || row(bed, id).await.filter(|row| row.state == "running").map(drop)).await;
    id
}

/// What has no end in a sandbox.
async fn live_in(bed: &Bed, id: SandboxId) -> Vec<Live> {
    let mut reader = bed.parts.store.reader().await.unwrap();
    executions::live_of(&mut reader, id, &Before::nothing(), 10).await.unwrap()
}

async fn want_deleted(bed: &Bed, id: SandboxId) {
    let generation = row(bed, id).await.unwrap().generation;
    let wish = bed.parts.store.write(Durability::Durable, (id, generation), |tx, of| {
        Box::pin(sandboxes::want(tx, of.0, of.1, "deleted", 1))
    });
    assert!(wish.await.unwrap().is_updated());
}

mod cases {
    use super::*;

    pub(super) async fn it_is_started_in_the_write_that_accepts_it(bed: &Bed) {
        let (service, sandbox_id) = (Executions::new(&bed.engine), running(bed).await);
        let new = command(&["sleep", "1000"]);
        let made = service.create(&principal(), sandbox_id, new, None, "rq").await.unwrap();
        assert_eq!(made.result.status, ExecutionState::Queued, "as it was accepted");
        let live = live_in(bed, sandbox_id).await;
        let [live] = live.as_slice() else { panic!("{live:?}") };
        assert_eq!((live.id, live.state.as_str(), live.token), (made.result.id, "running", 1));
        assert_eq!(live.started_us, Some(live.created_us), "one write");
        service.cancel(&principal(), live.id, "rq").await.unwrap();
        let ended = service.ended(&principal(), made, SOON).await.unwrap();
        assert_eq!(ended.status, ExecutionState::Cancelled);
        bed.engine.stop(Duration::ZERO).await;
    }

    pub(super) async fn what_is_written_as_running_is_run(bed: &Bed) {
        let sandbox_id = running(bed).await;
        let holder = row(bed, sandbox_id).await.unwrap();
        let by = executions::Claim { server_id: holder.server_id.unwrap(), token: holder.token };
        // As when its commit happened and nobody heard of it, a while ago.
        let accepted = bed.accepted(sandbox_id, &["echo", "late"]);
        let (id, then_us) = (accepted.id, bed.parts.clock.now_us() - 20_000_000);
        let write = bed.parts.store.write(Durability::Durable, (accepted, by, then_us), |tx, of| {
            Box::pin(executions::accept_started(tx, &of.0, of.1, of.2))
        });
        assert!(write.await.unwrap().is_some());
        assert_eq!(bed.ended(id).await.status, ExecutionState::Succeeded);
        assert_eq!(bed.output(id).await, b"late\n");
        bed.engine.stop(Duration::ZERO).await;
    }

    pub(super) async fn one_that_is_wished_away_takes_nothing(bed: &Bed) {
        let (service, sandbox_id) = (Executions::new(&bed.engine), running(bed).await);
        // By the time that it is refused the loops may or may not have begun to end it.
        want_deleted(bed, sandbox_id).await;
        let new = command(&["true"]);
        let refused = service.create(&principal(), sandbox_id, new, None, "rq").await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::SandboxEnded, "{refused}");
        assert_eq!(live_in(bed, sandbox_id).await, []);
        bed.engine.stop(Duration::ZERO).await;
    }

    pub(super) async fn a_stale_claim_starts_nothing(bed: &Bed) {
        let (service, sandbox_id) = (Executions::new(&bed.engine), running(bed).await);
        let theirs = taken_by_another(bed).await;
        let new = command(&["true"]);
        let made = service.create(&principal(), sandbox_id, new, None, "rq").await.unwrap();
        // It is accepted, for whoever holds the sandbox now.
        let live = live_in(bed, sandbox_id).await;
        let [live] = live.as_slice() else { panic!("{live:?}") };
        assert_eq!((live.id, live.state.as_str(), live.server_id), (made.result.id, "queued", None));
        assert_eq!(row(bed, sandbox_id).await.unwrap().server_id, Some(theirs));
        bed.engine.stop(Duration::ZERO).await;
    }

    pub(super) async fn what_is_told_is_what_is_stored(bed: &Bed) {
        let (service, sandbox_id) = (Executions::new(&bed.engine), running(bed).await);
        // Nothing; little; more than a row takes; more than stays in memory; more than is kept.
        for line in [
            "exit 3",
            "echo out; echo err >&2",
            "head -c 100000 /dev/zero | tr '\\0' x",
            "head -c 1500000 /dev/zero | tr '\\0' x; sleep 0.1; echo end",
            "head -c 30000000 /dev/zero | tr '\\0' x; echo end >&2",
        ] {
            let new = command(&["sh", "-c", line]);
            let made = service.create(&principal(), sandbox_id, new, None, "rq").await.unwrap();
            let id = made.result.id;
            let told = service.ended(&principal(), made, SOON).await.unwrap();
            assert!(told.status.is_end(), "{line}: {:?}", told.status);
            let read = service.get(&principal(), id).await.unwrap();
            assert_eq!(told.stdout_missing_bytes, read.stdout_missing_bytes, "{line}");
            assert!(told == read, "{line}: {} and {} bytes", told.stdout.len(), read.stdout.len());
        }
        bed.engine.stop(Duration::ZERO).await;
    }

    pub(super) async fn an_end_that_another_writes_is_heard_of(bed: &Bed) {
        let (service, sandbox_id) = (Executions::new(&bed.engine), running(bed).await);
        let new = command(&["sleep", "1000"]);
        let made = service.create(&principal(), sandbox_id, new, None, "rq").await.unwrap();
        let principal = principal();
        let (ended, ()) = tokio::join!(service.ended(&principal, made, SOON), want_deleted(bed, sandbox_id));
        assert_eq!(ended.unwrap().status, ExecutionState::Cancelled);
        bed.engine.stop(Duration::ZERO).await;
    }

    pub(super) async fn it_runs_though_whoever_asked_has_left(bed: &Bed) {
        let (service, sandbox_id) = (Executions::new(&bed.engine), running(bed).await);
        let principal = principal();
        {
            let new = command(&["sh", "-c", "echo here"]);
            let create = service.create(&principal, sandbox_id, new, None, "rq");
            let mut create = std::pin::pin!(create);
            // As far as it comes without waiting for the commit. Then it is dropped.
            while live_in(bed, sandbox_id).await.is_empty() && finished_in(bed, sandbox_id).await == 0 {
                let _pending = futures_util::poll!(create.as_mut());
            }
        }
        until(async || (finished_in(bed, sandbox_id).await == 1).then_some(())).await;
        bed.engine.stop(Duration::ZERO).await;
    }
}

async fn finished_in(bed: &Bed, id: SandboxId) -> usize {
    let mut reader = bed.parts.store.reader().await.unwrap();
    executions::finished_of(&mut reader, id, &Before::nothing(), 10).await.unwrap().len()
}

/// Another server takes every sandbox, as it would where ours was not heard of for too long.
async fn taken_by_another(bed: &Bed) -> ServerId {
    let (id, now): (ServerId, _) = (ids::fresh(&bed.parts.clock), bed.parts.clock.now_us());
    let server = servers::Server {
        id,
        version: "0.1.0".to_owned(),
        host: "elsewhere".to_owned(),
        boot_id: "another".to_owned(),
        started_us: now,
        seen_us: i64::MAX,
    };
    let take = bed.parts.store.write(Durability::Durable, server, |tx, server| {
        Box::pin(async move {
            servers::enter(tx, server).await?;
            sandboxes::adopt(tx, server.id, 10, i64::MAX).await
        })
    });
    assert_eq!(take.await.unwrap().len(), 1);
    id
}
