//! Who acts for a row: tokens rise, a stale one changes nothing, the dead are taken over and the living are not.

use sandkeep_core::id::{ExecutionId, SandboxId, ServerId};
use sandkeep_store::executions::{Accepted, Claim, Ending, Live};
use sandkeep_store::{Guarded, executions, sandboxes, servers};

use crate::{Bed, NOW, SECOND, both, durably, enter, execution_id, sandbox_id};

both! { only_who_holds_the_sandbox_claims a_dead_server_is_taken_over a_stale_token_changes_nothing an_end_is_written_once
a_cancel_comes_before_the_start the_running_are_taken_over_not_started
two_who_take_over_at_once_share_nothing what_was_cancelled_is_found nobody_takes_their_own_over
        a_sandbox_that_goes_takes_its_executions a_voided_server_notices who_holds_the_sandbox_starts_at_once }

/// Servers heard of before this are dead.
const ALIVE_SINCE: i64 = NOW - 10 * SECOND;

/// A sandbox that runs under `holder`.
async fn sandbox(bed: &Bed, holder: ServerId) -> SandboxId {
    let id = sandbox_id();
    let accepted = sandboxes::Accepted {
        id,
        project_id: bed.project_id,
        name: None,
        spec: "{}".to_owned(),
        expires_us: None,
    };
    durably!(bed.store, accepted, |tx, new| sandboxes::accept(tx, new, NOW)).unwrap();
    let claimed =
        durably!(bed.store, holder, |tx, by| sandboxes::claim(tx, *by, 1, ALIVE_SINCE, NOW)).unwrap();
    assert_eq!(claimed[0].id, id);
    let claim = Claim { server_id: holder, token: claimed[0].token };
    let observed = sandboxes::Observed {
        generation: 1,
        state: "running",
        detail: None,
        incarnation: 1,
        place: None,
        next_try_us: None,
    };
    let seen = (id, claim, observed);
    durably!(bed.store, seen, |tx, of| sandboxes::observe(tx, of.0, of.1, &of.2, NOW)).unwrap();
    id
}

/// An execution in a sandbox of its own, which `holder` has.
async fn accept_at(bed: &Bed, holder: ServerId, now_us: i64) -> ExecutionId {
    let (id, sandbox_id) = (execution_id(), sandbox(bed, holder).await);
    let accepted = Accepted {
        id,
        project_id: bed.project_id,
        sandbox_id,
        kind: "script",
        language: Some("python"),
        request: b"\x00sealed\xff".to_vec(),
    };
    durably!(bed.store, (accepted, now_us), |tx, new| executions::accept(tx, &new.0, new.1)).unwrap();
    id
}

async fn accept(bed: &Bed, now_us: i64) -> ExecutionId {
    accept_at(bed, bed.server_id, now_us).await
}

/// Takes over the sandboxes of the dead.
async fn adopt_sandboxes(bed: &Bed, server_id: ServerId) -> usize {
    durably!(bed.store, server_id, |tx, id| sandboxes::adopt(tx, *id, 10, ALIVE_SINCE)).unwrap().len()
}

async fn claim(bed: &Bed, server_id: ServerId, most: u32) -> Vec<Live> {
    let asked = (server_id, most);
    durably!(bed.store, asked, |tx, by| executions::claim(tx, by.0, by.1, ALIVE_SINCE)).unwrap()
}

async fn take_over(bed: &Bed, sandbox_id: SandboxId, held: Claim) -> Vec<Live> {
    durably!(bed.store, (sandbox_id, held), |tx, of| executions::take_over(tx, of.0, of.1)).unwrap()
}

/// Where an execution runs.
async fn place_of(bed: &Bed, id: ExecutionId) -> SandboxId {
    executions::live(&mut bed.store.reader().await.unwrap(), id).await.unwrap().unwrap().sandbox_id
}

fn of(live: &Live) -> Claim {
    Claim { server_id: live.server_id.unwrap(), token: live.token }
}

async fn started(bed: &Bed, id: ExecutionId, claim: Claim) -> Guarded {
    durably!(bed.store, (id, claim), |tx, by| executions::started(tx, by.0, by.1, NOW)).unwrap()
}

async fn finish(bed: &Bed, id: ExecutionId, claim: Claim, state: &'static str) -> Guarded {
    let ending = Ending { state, result: "{}".to_owned(), finished_us: NOW + SECOND };
    durably!(bed.store, (id, claim, ending), |tx, by| executions::finish(tx, by.0, by.1, &by.2)).unwrap()
}

async fn live(bed: &Bed, id: ExecutionId) -> Option<Live> {
    executions::live(&mut bed.store.reader().await.unwrap(), id).await.unwrap()
}

/// Accepts and starts in one write, in a sandbox that is held under `by`.
async fn accept_started(bed: &Bed, sandbox_id: SandboxId, by: Claim) -> (ExecutionId, Option<Live>) {
    let accepted = Accepted {
        id: execution_id(),
        project_id: bed.project_id,
        sandbox_id,
        kind: "command",
        language: None,
        request: b"\x00sealed\xff".to_vec(),
    };
    let id = accepted.id;
    let started =
        durably!(bed.store, (accepted, by), |tx, new| executions::accept_started(tx, &new.0, new.1, NOW));
    (id, started.unwrap())
}

mod cases {
    use super::*;

    pub(super) async fn who_holds_the_sandbox_starts_at_once(bed: &Bed) {
        let (sandbox_id, holder) =
            (sandbox(bed, bed.server_id).await, Claim { server_id: bed.server_id, token: 1 });
        let (id, started) = accept_started(bed, sandbox_id, holder).await;
        let started = started.unwrap();
        assert_eq!(live(bed, id).await.as_ref(), Some(&started));
        assert_eq!((started.id, started.state.as_str(), started.token), (id, "running", 1));
        assert_eq!((started.server_id, started.incarnation), (Some(bed.server_id), Some(1)));
        assert_eq!((started.created_us, started.started_us), (NOW, Some(NOW)));
        assert_eq!(started.request, b"\x00sealed\xff");
        assert!(claim(bed, bed.server_id, 10).await.is_empty(), "it is not started twice");
        assert_eq!(finish(bed, id, of(&started), "succeeded").await, Guarded::Updated);
        assert_eq!(finish(bed, id, of(&started), "failed").await, Guarded::Stale);
        // Under any claim but the one that holds it nothing is written.
        let other = enter(&bed.store, NOW).await;
        for by in
            [Claim { token: 0, ..holder }, Claim { token: 2, ..holder }, Claim { server_id: other, ..holder }]
        {
            let (id, started) = accept_started(bed, sandbox_id, by).await;
            assert_eq!((started, live(bed, id).await), (None, None), "{by:?}");
        }
        // Nor in one that does not run.
        let seen = (
            sandbox_id,
            holder,
            sandboxes::Observed {
                generation: 1,
                state: "error",
                detail: None,
                incarnation: 1,
                place: None,
                next_try_us: None,
            },
        );
        durably!(bed.store, seen, |tx, of| sandboxes::observe(tx, of.0, of.1, &of.2, NOW)).unwrap();
        let (id, started) = accept_started(bed, sandbox_id, holder).await;
        assert_eq!((started, live(bed, id).await), (None, None));
    }

    pub(super) async fn only_who_holds_the_sandbox_claims(bed: &Bed) {
        let other = enter(&bed.store, NOW).await;
        let (second, first) = (accept(bed, NOW + 1).await, accept(bed, NOW).await);
        let theirs = accept_at(bed, other, NOW).await;
        let mine = claim(bed, bed.server_id, 1).await;
        assert_eq!(mine.iter().map(|live| live.id).collect::<Vec<_>>(), [first], "the oldest first");
        assert_eq!((mine[0].state.as_str(), mine[0].token), ("starting", 1));
        assert_eq!(mine[0].request, b"\x00sealed\xff");
        let rest = claim(bed, other, 10).await;
        assert_eq!(rest.iter().map(|live| live.id).collect::<Vec<_>>(), [theirs]);
        let rest = claim(bed, bed.server_id, 10).await;
        assert_eq!(rest.iter().map(|live| live.id).collect::<Vec<_>>(), [second]);
        assert!(claim(bed, bed.server_id, 10).await.is_empty(), "nothing is left");
    }

    /// A clock that jumps makes everybody's last heartbeat old, also one's own.
    pub(super) async fn nobody_takes_their_own_over(bed: &Bed) {
        let late = enter(&bed.store, ALIVE_SINCE - 1).await;
        let id = accept_at(bed, late, NOW).await;
        let place = place_of(bed, id).await;
        let began = claim(bed, late, 10).await;
        assert_eq!(began.iter().map(|live| live.id).collect::<Vec<_>>(), [id]);
        assert!(claim(bed, late, 10).await.is_empty(), "it has begun already");
        assert_eq!(adopt_sandboxes(bed, late).await, 0);
        let wish = (place, 1);
        durably!(bed.store, wish, |tx, of| sandboxes::want(tx, of.0, of.1, "deleted", NOW)).unwrap();
        let claimed =
            durably!(bed.store, late, |tx, by| sandboxes::claim(tx, *by, 10, ALIVE_SINCE, NOW)).unwrap();
        assert!(claimed.is_empty(), "it finds what it has to do without a claim");
        // Another does.
        assert_eq!(adopt_sandboxes(bed, bed.server_id).await, 1);
    }

    pub(super) async fn a_dead_server_is_taken_over(bed: &Bed) {
        let dying = enter(&bed.store, ALIVE_SINCE - 1).await;
        let id = accept_at(bed, dying, NOW).await;
        let theirs = claim(bed, dying, 1).await;
        assert_eq!(theirs[0].token, 1);
        assert!(claim(bed, bed.server_id, 1).await.is_empty(), "its sandbox comes first");
        assert_eq!(adopt_sandboxes(bed, bed.server_id).await, 1);
        let mine = claim(bed, bed.server_id, 1).await;
        assert_eq!((mine[0].id, mine[0].token, mine[0].server_id), (id, 2, Some(bed.server_id)));
        // It was only slow: what it does now is late.
        assert_eq!(started(bed, id, of(&theirs[0])).await, Guarded::Stale);
        assert_eq!(started(bed, id, of(&mine[0])).await, Guarded::Updated);
        // One that leaves in order is taken over at once, one that lives is not.
        let leaving = enter(&bed.store, NOW).await;
        let id = accept_at(bed, leaving, NOW).await;
        assert_eq!(claim(bed, leaving, 1).await[0].id, id);
        assert_eq!(adopt_sandboxes(bed, bed.server_id).await, 0);
        durably!(bed.store, leaving, |tx, id| servers::leave(tx, *id)).unwrap();
        assert_eq!(adopt_sandboxes(bed, bed.server_id).await, 1);
        assert_eq!(claim(bed, bed.server_id, 1).await[0].id, id);
    }

    pub(super) async fn a_stale_token_changes_nothing(bed: &Bed) {
        let id = accept(bed, NOW).await;
        let mine = of(&claim(bed, bed.server_id, 1).await[0]);
        let stale = Claim { token: mine.token - 1, ..mine };
        let before = live(bed, id).await;
        assert_eq!(started(bed, id, stale).await, Guarded::Stale);
        assert_eq!(finish(bed, id, stale, "succeeded").await, Guarded::Stale);
        let other = Claim { server_id: enter(&bed.store, NOW).await, ..mine };
        assert_eq!(finish(bed, id, other, "succeeded").await, Guarded::Stale);
        assert_eq!(live(bed, id).await, before);
        assert_eq!(finish(bed, execution_id(), mine, "succeeded").await, Guarded::Absent);
    }

    pub(super) async fn an_end_is_written_once(bed: &Bed) {
        let id = accept(bed, NOW).await;
        let mine = of(&claim(bed, bed.server_id, 1).await[0]);
        assert_eq!(started(bed, id, mine).await, Guarded::Updated);
        assert_eq!(started(bed, id, mine).await, Guarded::Stale, "it starts once");
        assert_eq!(finish(bed, id, mine, "failed").await, Guarded::Updated);
        assert_eq!(finish(bed, id, mine, "succeeded").await, Guarded::Stale);
        assert_eq!(live(bed, id).await, None);
        let mut reader = bed.store.reader().await.unwrap();
        let finished = executions::finished(&mut reader, id).await.unwrap().unwrap();
        assert_eq!(finished.state, "failed");
        assert_eq!(
            (finished.created_us, finished.started_us, finished.finished_us),
            (NOW, Some(NOW), NOW + SECOND)
        );
        let late = durably!(bed.store, id, |tx, id| executions::request_cancel(tx, *id, NOW)).unwrap();
        assert_eq!(late, Guarded::Stale, "too late to cancel");
    }

    pub(super) async fn a_cancel_comes_before_the_start(bed: &Bed) {
        let id = accept(bed, NOW).await;
        let mine = of(&claim(bed, bed.server_id, 1).await[0]);
        for at in [NOW + 1, NOW + 2] {
            let done =
                durably!(bed.store, (id, at), |tx, to| executions::request_cancel(tx, to.0, to.1)).unwrap();
            assert_eq!(done, Guarded::Updated);
        }
        assert_eq!(live(bed, id).await.unwrap().cancel_requested_us, Some(NOW + 1), "the first counts");
        assert_eq!(started(bed, id, mine).await, Guarded::Stale, "its code is not to run");
        assert_eq!(finish(bed, id, mine, "cancelled").await, Guarded::Updated);
    }

    pub(super) async fn the_running_are_taken_over_not_started(bed: &Bed) {
        let dying = enter(&bed.store, ALIVE_SINCE - 1).await;
        let id = accept_at(bed, dying, NOW).await;
        let theirs = of(&claim(bed, dying, 1).await[0]);
        assert_eq!(started(bed, id, theirs).await, Guarded::Updated);
        assert!(claim(bed, bed.server_id, 1).await.is_empty(), "what runs is not for starting");
        let sandbox_id = place_of(bed, id).await;
        let not_held = Claim { server_id: bed.server_id, token: 1 };
        assert!(take_over(bed, sandbox_id, not_held).await.is_empty(), "the sandbox is not ours");
        assert_eq!(adopt_sandboxes(bed, bed.server_id).await, 1);
        let held = Claim { server_id: bed.server_id, token: 2 };
        let mine = take_over(bed, sandbox_id, held).await;
        assert!(take_over(bed, sandbox_id, held).await.is_empty(), "ours already");
        assert_eq!((mine[0].id, mine[0].state.as_str(), mine[0].token), (id, "running", 2));
        assert_eq!(finish(bed, id, theirs, "succeeded").await, Guarded::Stale);
        assert_eq!(finish(bed, id, of(&mine[0]), "lost").await, Guarded::Updated);
    }

    pub(super) async fn two_who_take_over_at_once_share_nothing(bed: &Bed) {
        let dying = enter(&bed.store, ALIVE_SINCE - 1).await;
        for _ in 0..40 {
            sandbox(bed, dying).await;
        }
        // A second process, where the database allows one.
        let beside = match bed.options.place {
            sandkeep_store::Place::Directory(_) => bed.store.clone(),
            sandkeep_store::Place::Postgres(_) => {
                sandkeep_store::Store::open(&bed.options, NOW).await.unwrap()
            }
        };
        let other = enter(&beside, NOW).await;
        let take = |store: sandkeep_store::Store, server_id: ServerId| async move {
            let mut taken = Vec::new();
            loop {
                let got =
                    durably!(store, server_id, |tx, id| sandboxes::adopt(tx, *id, 3, ALIVE_SINCE)).unwrap();
                if got.is_empty() {
                    return taken;
                }
                taken.extend(got.into_iter().map(|sandbox| sandbox.id));
            }
        };
        let (mut mine, theirs) = tokio::join!(take(bed.store.clone(), bed.server_id), take(beside, other));
        mine.extend(theirs);
        mine.sort_unstable();
        mine.dedup();
        assert_eq!(mine.len(), 40);
    }

    pub(super) async fn what_was_cancelled_is_found(bed: &Bed) {
        let (queued, claimed, other) =
            (accept(bed, NOW).await, accept(bed, NOW + 1).await, accept(bed, NOW).await);
        assert_eq!(claim(bed, bed.server_id, 2).await.len(), 2);
        for id in [queued, claimed] {
            durably!(bed.store, id, |tx, id| executions::request_cancel(tx, *id, NOW)).unwrap();
        }
        let mut reader = bed.store.reader().await.unwrap();
        let found = executions::cancelled(&mut reader, bed.server_id, 10).await.unwrap();
        let found: Vec<_> = found.iter().map(|live| live.id).collect();
        assert_eq!(found, [queued, claimed]);
        assert!(!found.contains(&other));
        let elsewhere = executions::cancelled(&mut reader, enter(&bed.store, NOW).await, 10).await.unwrap();
        assert!(elsewhere.iter().all(|live| live.server_id.is_none()), "another's are for the other");
    }

    pub(super) async fn a_sandbox_that_goes_takes_its_executions(bed: &Bed) {
        let (id, other) = (accept(bed, NOW).await, accept(bed, NOW).await);
        let mine = claim(bed, bed.server_id, 10).await;
        let first = mine.iter().find(|live| live.id == id).unwrap();
        let taken = |by: Claim| {
            let input = (first.sandbox_id, by);
            bed.store.write(sandkeep_store::Durability::Durable, input, |tx, of| {
                Box::pin(executions::claim_of(tx, of.0, of.1))
            })
        };
        let holder = Claim { server_id: bed.server_id, token: 1 };
        assert!(taken(Claim { token: 9, ..holder }).await.unwrap().is_empty(), "not under another token");
        let all = taken(holder).await.unwrap();
        assert_eq!(all.iter().map(|live| (live.id, live.token)).collect::<Vec<_>>(), [(id, first.token + 1)]);
        assert_eq!(finish(bed, id, of(first), "succeeded").await, Guarded::Stale);
        assert_eq!(finish(bed, id, of(&all[0]), "lost").await, Guarded::Updated);
        assert!(live(bed, other).await.is_some());
    }

    pub(super) async fn a_voided_server_notices(bed: &Bed) {
        let seen = |id: ServerId| {
            bed.store.write(sandkeep_store::Durability::Relaxed, id, |tx, id| {
                Box::pin(servers::seen(tx, *id, NOW + SECOND))
            })
        };
        assert!(seen(bed.server_id).await.unwrap());
        let fresh = enter(&bed.store, NOW).await;
        durably!(bed.store, fresh, |tx, id| servers::void_others(tx, *id)).unwrap();
        assert!(!seen(bed.server_id).await.unwrap());
        assert!(seen(fresh).await.unwrap());
    }
}
