//! Sandboxes: wishes and what is seen of them; lists.

use sandkeep_core::id::SandboxId;
use sandkeep_store::executions::{Before, Claim};
use sandkeep_store::sandboxes::{self, Accepted, Observed, Sandbox};
use sandkeep_store::{Durability, Error, Guarded};

use crate::{Bed, NOW, SECOND, both, durably, sandbox_id};

both! { a_wish_is_made_true_once_per_generation an_ended_one_is_history names_are_free_again_after_the_end
an_incarnation_never_goes_back what_failed_is_tried_again_when_due lists_are_newest_first_and_go_on what_is_unknown_is_left_alone
what_goes_takes_nothing_new a_life_that_is_over_is_wished_away_once what_is_said_of_one_changes_if_it_is_as_it_was }

async fn accept(bed: &Bed, name: Option<&str>, now_us: i64) -> sandkeep_store::Result<SandboxId> {
    let id = sandbox_id();
    let name = name.map(str::to_owned);
    let accepted = Accepted { id, project_id: bed.project_id, name, spec: "{}".to_owned(), expires_us: None };
    durably!(bed.store, (accepted, now_us), |tx, new| sandboxes::accept(tx, &new.0, new.1)).map(|()| id)
}

async fn claim(bed: &Bed) -> Vec<Sandbox> {
    durably!(bed.store, bed.server_id, |tx, id| sandboxes::claim(tx, *id, 10, NOW - SECOND, NOW)).unwrap()
}

async fn observe(bed: &Bed, id: SandboxId, by: Claim, generation: i64, incarnation: i64) -> Guarded {
    let place = Some("{\"pid\":1}".to_owned());
    let observed =
        Observed { generation, state: "running", detail: None, incarnation, place, next_try_us: None };
    let input = (id, by, observed);
    durably!(bed.store, input, |tx, of| sandboxes::observe(tx, of.0, of.1, &of.2, NOW)).unwrap()
}

fn of(sandbox: &Sandbox) -> Claim {
    Claim { server_id: sandbox.server_id.unwrap(), token: sandbox.token }
}

async fn get(bed: &Bed, id: SandboxId) -> Option<Sandbox> {
    sandboxes::get(&mut bed.store.reader().await.unwrap(), id).await.unwrap()
}

/// One whose life is over at a time.
async fn accept_until(bed: &Bed, expires_us: Option<i64>) -> SandboxId {
    let id = sandbox_id();
    let accepted = Accepted { id, project_id: bed.project_id, name: None, spec: "{}".to_owned(), expires_us };
    durably!(bed.store, accepted, |tx, new| sandboxes::accept(tx, new, NOW)).unwrap();
    id
}

async fn expire(bed: &Bed, now_us: i64, most: u32) -> u64 {
    durably!(bed.store, (now_us, most), |tx, of| sandboxes::expire(tx, of.0, of.1)).unwrap()
}

async fn next_due(bed: &Bed, now_us: i64) -> Option<i64> {
    sandboxes::next_due(&mut bed.store.reader().await.unwrap(), now_us).await.unwrap()
}

mod cases {
    use super::*;

    pub(super) async fn a_life_that_is_over_is_wished_away_once(bed: &Bed) {
        assert_eq!(next_due(bed, NOW).await, None);
        let (late, soon) = (accept_until(bed, Some(NOW + 9)).await, accept_until(bed, Some(NOW + 5)).await);
        let (deleted, endless) = (accept_until(bed, Some(NOW + 5)).await, accept_until(bed, None).await);
        durably!(bed.store, deleted, |tx, id| sandboxes::want(tx, *id, 1, "deleted", NOW)).unwrap();
        assert_eq!(next_due(bed, NOW).await, Some(NOW + 5));
        assert_eq!(expire(bed, NOW + 4, 10).await, 0);
        assert_eq!(expire(bed, NOW + 9, 1).await, 1, "those for longest first");
        assert_eq!(get(bed, late).await.unwrap().desired, "running");
        let expired = get(bed, soon).await.unwrap();
        assert_eq!((expired.desired.as_str(), expired.generation), ("expired", 2));
        assert_eq!([expire(bed, NOW + 9, 10).await, expire(bed, NOW + 9, 10).await], [1, 0]);
        assert_eq!(get(bed, deleted).await.unwrap().desired, "deleted", "what was wished before stays");
        assert_eq!(get(bed, endless).await.unwrap().desired, "running");
        assert_eq!(next_due(bed, NOW + 9).await, None);

        // It takes nothing new, and stays expired while it is being ended.
        let entered = durably!(bed.store, soon, |tx, id| sandboxes::enter(tx, *id, NOW + 9));
        assert!(matches!(entered, Err(Error::Ended { what: "sandbox" })), "{entered:?}");
        let mine = claim(bed).await;
        let mine = of(mine.iter().find(|sandbox| sandbox.id == soon).unwrap());
        durably!(bed.store, (soon, mine), |tx, of| sandboxes::close(tx, of.0, of.1)).unwrap();
        assert_eq!(get(bed, soon).await.unwrap().desired, "expired");
    }

    pub(super) async fn a_wish_is_made_true_once_per_generation(bed: &Bed) {
        let id = accept(bed, None, NOW).await.unwrap();
        let mine = claim(bed).await;
        assert_eq!((mine.len(), mine[0].id, mine[0].generation, mine[0].token), (1, id, 1, 1));
        assert!(claim(bed).await.is_empty());
        assert_eq!(observe(bed, id, of(&mine[0]), 1, 1).await, Guarded::Updated);
        let want = |generation, desired| {
            bed.store.write(Durability::Durable, (id, generation, desired), |tx, to| {
                Box::pin(sandboxes::want(tx, to.0, to.1, to.2, NOW + 1))
            })
        };
        assert_eq!(want(1, "stopped").await.unwrap(), Guarded::Updated);
        assert_eq!(
            want(1, "deleted").await.unwrap(),
            Guarded::Stale,
            "somebody wished for another thing first"
        );
        assert_eq!(want(2, "deleted").await.unwrap(), Guarded::Updated);
        let now = get(bed, id).await.unwrap();
        assert_eq!((now.desired.as_str(), now.generation, now.observed_generation), ("deleted", 3, 1));
    }

    pub(super) async fn an_ended_one_is_history(bed: &Bed) {
        let id = accept(bed, Some("x"), NOW).await.unwrap();
        let mine = of(&claim(bed).await[0]);
        let end = |by: Claim| {
            bed.store.write(Durability::Durable, (id, by), |tx, of| {
                Box::pin(sandboxes::end(tx, of.0, of.1, "deleted", NOW + 5))
            })
        };
        assert_eq!(end(Claim { token: 0, ..mine }).await.unwrap(), Guarded::Stale);
        assert_eq!(end(mine).await.unwrap(), Guarded::Updated);
        assert_eq!(end(mine).await.unwrap(), Guarded::Stale, "an end is written once");
        assert_eq!(get(bed, id).await, None);
        let mut reader = bed.store.reader().await.unwrap();
        let ended = sandboxes::ended(&mut reader, id).await.unwrap().unwrap();
        assert_eq!((ended.reason.as_str(), ended.created_us, ended.ended_us), ("deleted", NOW, NOW + 5));
        drop(reader);
        assert_eq!(observe(bed, id, mine, 1, 1).await, Guarded::Stale);
        assert_eq!(observe(bed, sandbox_id(), mine, 1, 1).await, Guarded::Absent);
        let forgotten = durably!(bed.store, (), |tx, _input| sandboxes::forget(tx, NOW + 6, 10)).unwrap();
        assert_eq!(forgotten, 1);
    }

    pub(super) async fn names_are_free_again_after_the_end(bed: &Bed) {
        let id = accept(bed, Some("x"), NOW).await.unwrap();
        assert!(matches!(accept(bed, Some("x"), NOW).await, Err(Error::Taken { what: "sandbox" })));
        accept(bed, None, NOW).await.unwrap();
        accept(bed, None, NOW).await.unwrap();
        let mine = claim(bed).await;
        let mine = of(mine.iter().find(|sandbox| sandbox.id == id).unwrap());
        durably!(bed.store, (id, mine), |tx, of| sandboxes::end(tx, of.0, of.1, "deleted", NOW)).unwrap();
        accept(bed, Some("x"), NOW).await.unwrap();
    }

    pub(super) async fn an_incarnation_never_goes_back(bed: &Bed) {
        let id = accept(bed, None, NOW).await.unwrap();
        let mine = of(&claim(bed).await[0]);
        assert_eq!(observe(bed, id, mine, 1, 2).await, Guarded::Updated);
        assert_eq!(observe(bed, id, mine, 1, 1).await, Guarded::Stale);
        assert_eq!(get(bed, id).await.unwrap().incarnation, 2);
    }

    pub(super) async fn what_failed_is_tried_again_when_due(bed: &Bed) {
        let id = accept(bed, None, NOW).await.unwrap();
        let mine = of(&claim(bed).await[0]);
        let observed = Observed {
            generation: 1,
            state: "error",
            detail: Some("{\"attempt\":1}".to_owned()),
            incarnation: 0,
            place: None,
            next_try_us: Some(NOW + SECOND),
        };
        let seen = (id, mine, observed);
        durably!(bed.store, seen, |tx, of| sandboxes::observe(tx, of.0, of.1, &of.2, NOW)).unwrap();
        let mut reader = bed.store.reader().await.unwrap();
        for (at, due) in [(NOW, 0), (NOW + SECOND - 1, 0), (NOW + SECOND, 1)] {
            let found = sandboxes::unsettled(&mut reader, bed.server_id, 10, at).await.unwrap();
            assert_eq!(found.len(), due, "{at}");
        }
        assert_eq!(next_due(bed, NOW).await, Some(NOW + SECOND));
        durably!(bed.store, id, |tx, id| sandboxes::want(tx, *id, 1, "deleted", NOW)).unwrap();
        let found = sandboxes::unsettled(&mut reader, bed.server_id, 10, NOW).await.unwrap();
        assert_eq!(found.len(), 1, "another wish does not wait for what failed");
        // Nor for what failed after the wish came.
        let observed = Observed {
            generation: 1,
            state: "error",
            detail: None,
            incarnation: 0,
            place: None,
            next_try_us: Some(NOW + SECOND),
        };
        durably!(bed.store, (id, mine, observed), |tx, of| sandboxes::observe(tx, of.0, of.1, &of.2, NOW))
            .unwrap();
        let found = sandboxes::unsettled(&mut reader, bed.server_id, 10, NOW).await.unwrap();
        assert_eq!(found.len(), 1);
    }

    pub(super) async fn lists_are_newest_first_and_go_on(bed: &Bed) {
        let mut made = Vec::new();
        for number in 0..7 {
            // Two of each time: the id decides.
            made.push(accept(bed, None, NOW + number / 2).await.unwrap());
        }
        let (mut before, mut seen) = (Before::nothing(), Vec::new());
        loop {
            let mut reader = bed.store.reader().await.unwrap();
            let page = sandboxes::list(&mut reader, bed.project_id, &before, 3).await.unwrap();
            let Some(last) = page.last() else { break };
            before = Before { created_us: last.created_us, id: last.id.to_string() };
            seen.extend(page.iter().map(|sandbox| sandbox.id));
        }
        made.reverse();
        assert_eq!(seen, made);
    }

    pub(super) async fn what_is_unknown_is_left_alone(bed: &Bed) {
        let id = accept(bed, None, NOW).await.unwrap();
        let mine = of(&claim(bed).await[0]);
        // A newer release, beside this one, has states that this one does not know.
        let observed = Observed {
            generation: 1,
            state: "hibernating",
            detail: None,
            incarnation: 1,
            place: None,
            next_try_us: None,
        };
        durably!(bed.store, (id, mine, observed), |tx, of| sandboxes::observe(tx, of.0, of.1, &of.2, NOW))
            .unwrap();
        let mut reader = bed.store.reader().await.unwrap();
        let page = sandboxes::list(&mut reader, bed.project_id, &Before::nothing(), 3).await.unwrap();
        assert_eq!(page[0].state, "hibernating");
    }

    pub(super) async fn what_goes_takes_nothing_new(bed: &Bed) {
        let (wished, lost) = (accept(bed, None, NOW).await.unwrap(), accept(bed, None, NOW).await.unwrap());
        let enter =
            |id| bed.store.write(Durability::Durable, id, |tx, id| Box::pin(sandboxes::enter(tx, *id, NOW)));
        enter(wished).await.unwrap();
        durably!(bed.store, wished, |tx, id| sandboxes::want(tx, *id, 1, "deleted", NOW)).unwrap();
        assert!(matches!(enter(wished).await, Err(Error::Ended { .. })));
        let mine = claim(bed).await.into_iter().find(|sandbox| sandbox.id == lost).unwrap();
        let close = |token| {
            let by = Claim { token, ..of(&mine) };
            bed.store
                .write(Durability::Durable, (lost, by), |tx, of| Box::pin(sandboxes::close(tx, of.0, of.1)))
        };
        close(mine.token - 1).await.unwrap();
        enter(lost).await.expect("an earlier claim closes nothing");
        close(mine.token).await.unwrap();
        assert!(matches!(enter(lost).await, Err(Error::Ended { .. })));
        let found = get(bed, lost).await.unwrap();
        assert_eq!(
            (found.desired.as_str(), found.generation),
            ("lost", mine.generation + 1),
            "to be ended still"
        );
        assert!(
            matches!(enter(sandbox_id()).await, Err(Error::Ended { .. })),
            "what never was takes nothing either"
        );
    }

    pub(super) async fn what_is_said_of_one_changes_if_it_is_as_it_was(bed: &Bed) {
        let id = accept(bed, Some("a"), NOW).await.unwrap();
        accept(bed, Some("taken"), NOW).await.unwrap();
        let describe = |before: &'static str, name: &'static str| {
            bed.store.write(Durability::Durable, (id, before, name), |tx, of| {
                Box::pin(sandboxes::describe(tx, of.0, of.1, Some(of.2), "{\"n\":1}"))
            })
        };
        assert_eq!(describe("{\"n\":0}", "b").await.unwrap(), Guarded::Stale);
        assert!(matches!(describe("{}", "taken").await, Err(Error::Taken { .. })));
        assert_eq!(describe("{}", "b").await.unwrap(), Guarded::Updated);
        let mut reader = bed.store.reader().await.unwrap();
        assert_eq!(sandboxes::named(&mut reader, bed.project_id, "a").await.unwrap(), None);
        let found = sandboxes::named(&mut reader, bed.project_id, "b").await.unwrap().unwrap();
        assert_eq!((found.id, found.spec.as_str()), (id, "{\"n\":1}"));
        let mine = of(&claim(bed).await.into_iter().find(|sandbox| sandbox.id == id).unwrap());
        durably!(bed.store, (id, mine), |tx, of| sandboxes::end(tx, of.0, of.1, "deleted", NOW)).unwrap();
        assert_eq!(sandboxes::named(&mut reader, bed.project_id, "b").await.unwrap(), None);
        let ended = sandboxes::list_ended(&mut reader, bed.project_id, &Before::nothing(), 9).await.unwrap();
        assert_eq!(ended.iter().map(|ended| ended.id).collect::<Vec<_>>(), [id]);
    }
}
