//! Idempotency: the same request makes one thing, another under its key is refused.

use sandkeep_store::idempotency::{self, Earlier, Scope};
use sandkeep_store::{Durability, Error, projects};

use crate::{Bed, NOW, both, durably, project_id};

both! { the_same_request_is_made_once a_key_is_free_again_after_its_time repeats_at_once_make_one what_failed_takes_no_key }

fn scope(bed: &Bed, key: &str) -> Scope {
    let text = str::to_owned;
    Scope {
        project_id: bed.project_id,
        principal: text("pc1"),
        route: text("POST /executions"),
        key: text(key),
    }
}

mod cases {
    use super::*;

    pub(super) async fn the_same_request_is_made_once(bed: &Bed) {
        let take = |scope: Scope, body: &'static [u8], id: &'static str| {
            bed.store.write(Durability::Durable, (scope, body, id), |tx, by| {
                Box::pin(idempotency::take(tx, &by.0, by.1, by.2, NOW))
            })
        };
        let same = Earlier::Same { resource_id: "ex1".to_owned() };
        assert_eq!(take(scope(bed, "k"), b"body", "ex1").await.unwrap(), Earlier::First);
        assert_eq!(take(scope(bed, "k"), b"body", "ex2").await.unwrap(), same);
        assert_eq!(take(scope(bed, "k"), b"another", "ex3").await.unwrap(), Earlier::Other);
        assert_eq!(take(scope(bed, "K"), b"body", "ex4").await.unwrap(), Earlier::First);
        let someone_else = Scope { principal: "pc2".to_owned(), ..scope(bed, "k") };
        assert_eq!(take(someone_else, b"body", "ex5").await.unwrap(), Earlier::First);
        let elsewhere = Scope { route: "POST /sandboxes".to_owned(), ..scope(bed, "k") };
        assert_eq!(take(elsewhere, b"body", "sb1").await.unwrap(), Earlier::First);
        let forgotten = durably!(bed.store, (), |tx, _input| idempotency::forget(tx, NOW + 1, 3)).unwrap();
        assert_eq!(forgotten, 3);
        let forgotten = durably!(bed.store, (), |tx, _input| idempotency::forget(tx, NOW + 1, 3)).unwrap();
        assert_eq!(forgotten, 1, "in batches");
        assert_eq!(take(scope(bed, "k"), b"body", "ex6").await.unwrap(), Earlier::First);
    }

    /// Also where nobody has swept yet: that a day has passed does not depend on when the old ones are deleted.
    pub(super) async fn a_key_is_free_again_after_its_time(bed: &Bed) {
        let take = |now_us: i64, id: &'static str| {
            bed.store.write(Durability::Durable, (scope(bed, "k"), now_us, id), |tx, by| {
                Box::pin(idempotency::take(tx, &by.0, by.2.as_bytes(), by.2, by.1))
            })
        };
        assert_eq!(take(NOW, "ex1").await.unwrap(), Earlier::First);
        let last = NOW + idempotency::KEPT_US;
        assert_eq!(take(last, "ex2").await.unwrap(), Earlier::Other, "to the end of the day");
        assert_eq!(take(last + 1, "ex2").await.unwrap(), Earlier::First);
        let same = Earlier::Same { resource_id: "ex2".to_owned() };
        assert_eq!(take(last + 2, "ex2").await.unwrap(), same, "another day for the one who has it now");
    }

    pub(super) async fn repeats_at_once_make_one(bed: &Bed) {
        let beside = match bed.options.place {
            sandkeep_store::Place::Directory(_) => bed.store.clone(),
            sandkeep_store::Place::Postgres(_) => {
                sandkeep_store::Store::open(&bed.options, NOW).await.unwrap()
            }
        };
        let writes = (0..20).map(|number| {
            let store = if number % 2 == 0 { bed.store.clone() } else { beside.clone() };
            let asked = (scope(bed, "k"), format!("ex{number}"));
            async move {
                let write = store.write(Durability::Durable, asked, |tx, by| {
                    Box::pin(idempotency::take(tx, &by.0, b"body", &by.1, NOW))
                });
                write.await.unwrap()
            }
        });
        let answers = futures_util::future::join_all(writes).await;
        let first = answers.iter().filter(|answer| **answer == Earlier::First).count();
        assert_eq!(first, 1, "{answers:?}");
        let mut others: Vec<_> = answers.iter().filter(|answer| **answer != Earlier::First).collect();
        others.dedup();
        assert!(matches!(others[..], [Earlier::Same { .. }]), "all the others find the first: {others:?}");
    }

    pub(super) async fn what_failed_takes_no_key(bed: &Bed) {
        let asked = (scope(bed, "k"), project_id());
        let failed = durably!(bed.store, asked, |tx, by| async move {
            idempotency::take(tx, &by.0, b"body", "pr1", NOW).await?;
            projects::create(tx, by.1, projects::DEFAULT, NOW).await
        });
        assert!(matches!(failed, Err(Error::Taken { .. })), "{failed:?}");
        let again =
            durably!(bed.store, scope(bed, "k"), |tx, by| idempotency::take(tx, by, b"body", "pr2", NOW));
        assert_eq!(again.unwrap(), Earlier::First);
    }
}
