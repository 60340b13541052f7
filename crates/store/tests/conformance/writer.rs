//! The queue: groups, savepoints, answers after the commit.

use sandkeep_store::{Durability, Error, Guarded, projects, wake::Channel};

use crate::{Bed, NOW, both, durably, project_id};

both! { a_failing_write_takes_no_other_with_it what_is_answered_is_read at_once a_panic_is_one_writes_affair
whoever_leaves_stops_nothing wakeups_come_after_the_commit relaxed_writes_are_writes guards_say_what_they_found }

mod cases {
    use super::*;

    pub(super) async fn a_failing_write_takes_no_other_with_it(bed: &Bed) {
        let names = ["a", "b", "a", "c", "b", "d"];
        let writes = names.map(|name| {
            bed.store.write(Durability::Durable, (project_id(), name), |tx, (id, name)| {
                Box::pin(projects::create(tx, *id, name, NOW))
            })
        });
        let answers = futures_util::future::join_all(writes).await;
        let taken: Vec<_> =
            answers.iter().map(|answer| matches!(answer, Err(Error::Taken { what: "project" }))).collect();
        assert_eq!(taken, [false, false, true, false, true, false], "{answers:?}");
        let mut reader = bed.store.reader().await.unwrap();
        let listed = projects::list(&mut reader, "", 10).await.unwrap();
        let listed: Vec<_> = listed.iter().map(|project| project.name.as_str()).collect();
        assert_eq!(listed, ["a", "b", "c", "d", "default"]);
    }

    pub(super) async fn what_is_answered_is_read(bed: &Bed) {
        for round in 0..50 {
            let (id, name) = (project_id(), format!("p{round}"));
            durably!(bed.store, (id, name), |tx, new| projects::create(tx, new.0, &new.1, NOW)).unwrap();
            let mut reader = bed.store.reader().await.unwrap();
            assert!(projects::get(&mut reader, id).await.unwrap().is_some(), "round {round}");
        }
    }

    pub(super) async fn at_once(bed: &Bed) {
        let writes = (0..1000).map(|number| {
            let new = (project_id(), format!("p{number:04}"));
            bed.store
                .write(Durability::Durable, new, |tx, new| Box::pin(projects::create(tx, new.0, &new.1, NOW)))
        });
        for answer in futures_util::future::join_all(writes).await {
            answer.unwrap();
        }
        let mut reader = bed.store.reader().await.unwrap();
        assert_eq!(projects::list(&mut reader, "", 2000).await.unwrap().len(), 1001);
    }

    pub(super) async fn a_panic_is_one_writes_affair(bed: &Bed) {
        let id = project_id();
        let (broken, fine) = tokio::join!(
            bed.store.write(Durability::Durable, project_id(), |tx, id| Box::pin(async move {
                projects::create(tx, *id, "half", NOW).await?;
                panic!("for the test")
            })),
            bed.store
                .write(Durability::Durable, id, |tx, id| Box::pin(projects::create(tx, *id, "whole", NOW))),
        );
        let broken: sandkeep_store::Result<()> = broken;
        assert!(matches!(broken, Err(Error::Panicked)), "{broken:?}");
        fine.unwrap();
        let mut reader = bed.store.reader().await.unwrap();
        assert!(projects::named(&mut reader, "half").await.unwrap().is_none());
        assert!(projects::named(&mut reader, "whole").await.unwrap().is_some());
    }

    pub(super) async fn whoever_leaves_stops_nothing(bed: &Bed) {
        let id = project_id();
        {
            let write = bed
                .store
                .write(Durability::Durable, id, |tx, id| Box::pin(projects::create(tx, *id, "left", NOW)));
            let mut write = std::pin::pin!(write);
            // Polled once: it is in the queue. Then dropped.
            let polled = futures_util::poll!(write.as_mut());
            assert!(polled.is_pending(), "a write is not answered before it could be committed");
        }
        // A later write is answered after it, since there is one queue.
        durably!(bed.store, project_id(), |tx, id| projects::create(tx, *id, "later", NOW)).unwrap();
        let mut reader = bed.store.reader().await.unwrap();
        assert!(projects::get(&mut reader, id).await.unwrap().is_some());
    }

    pub(super) async fn wakeups_come_after_the_commit(bed: &Bed) {
        let mut wakeups = bed.store.wakeups(Channel::Events);
        let (ok, failed) = tokio::join!(
            bed.store.write(Durability::Durable, project_id(), |tx, id| Box::pin(async move {
                tx.wake(Channel::Events);
                projects::create(tx, *id, "woken", NOW).await
            })),
            bed.store.write(Durability::Durable, project_id(), |tx, id| Box::pin(async move {
                tx.wake(Channel::Sandboxes);
                projects::create(tx, *id, projects::DEFAULT, NOW).await
            })),
        );
        ok.unwrap();
        failed.unwrap_err();
        assert!(wakeups.next().await);
        let mut reader = bed.store.reader().await.unwrap();
        assert!(projects::named(&mut reader, "woken").await.unwrap().is_some());
    }

    pub(super) async fn relaxed_writes_are_writes(bed: &Bed) {
        for (durability, name) in
            [(Durability::Relaxed, "r1"), (Durability::Durable, "d"), (Durability::Relaxed, "r2")]
        {
            let new = (project_id(), name);
            let answer =
                bed.store.write(durability, new, |tx, new| Box::pin(projects::create(tx, new.0, new.1, NOW)));
            answer.await.unwrap();
        }
        let mut reader = bed.store.reader().await.unwrap();
        assert_eq!(projects::list(&mut reader, "", 10).await.unwrap().len(), 4);
    }

    pub(super) async fn guards_say_what_they_found(bed: &Bed) {
        let id = project_id();
        durably!(bed.store, id, |tx, id| projects::create(tx, *id, "old", NOW)).unwrap();
        let rename = |id, generation, name| {
            bed.store.write(Durability::Durable, (id, generation, name), |tx, to| {
                Box::pin(projects::rename(tx, to.0, to.1, to.2))
            })
        };
        assert_eq!(rename(id, 1, "new").await.unwrap(), Guarded::Updated);
        assert_eq!(rename(id, 1, "newer").await.unwrap(), Guarded::Stale);
        assert_eq!(rename(project_id(), 1, "newest").await.unwrap(), Guarded::Absent);
        assert!(matches!(rename(id, 2, projects::DEFAULT).await, Err(Error::Taken { .. })));
        let mut reader = bed.store.reader().await.unwrap();
        let found = projects::get(&mut reader, id).await.unwrap().unwrap();
        assert_eq!((found.name.as_str(), found.generation), ("new", 2));
    }
}
