//! Events: in order, none missing, also when several write and some fail.

use sandkeep_store::events::{self, News};
use sandkeep_store::{Durability, Error, Store};

use crate::{Bed, NOW, both, durably};

both! { a_reader_who_follows_misses_nothing what_is_rolled_back_did_not_happen the_old_are_forgotten_in_small_batches
what_is_forgotten_is_the_beginning }

async fn tell(store: &Store, bed: &Bed, subject: String) {
    let project_id = bed.project_id;
    durably!(store, (project_id, subject), |tx, of| async move {
        let news = News { project_id: of.0, kind: "test.told", subject: &of.1, data: "{}" };
        events::add(tx, &news, NOW).await
    })
    .unwrap();
}

mod cases {
    use super::*;

    pub(super) async fn a_reader_who_follows_misses_nothing(bed: &Bed) {
        const EACH: usize = 60;
        let beside = match bed.options.place {
            sandkeep_store::Place::Directory(_) => bed.store.clone(),
            sandkeep_store::Place::Postgres(_) => Store::open(&bed.options, NOW).await.unwrap(),
        };
        let write = async {
            let many = |store: Store, name: &'static str| async move {
                for number in 0..EACH {
                    tell(&store, bed, format!("{name}{number}")).await;
                }
            };
            tokio::join!(many(bed.store.clone(), "a"), many(beside.clone(), "b"), many(beside.clone(), "c"));
        };
        let read = async {
            let (mut position, mut seen) = (0, Vec::new());
            while seen.len() < 3 * EACH {
                let mut reader = bed.store.reader().await.unwrap();
                for event in events::after(&mut reader, bed.project_id, position, 7).await.unwrap() {
                    assert_eq!(event.position, position + 1, "nothing is passed by");
                    position = event.position;
                    seen.push(event.subject);
                }
                tokio::task::yield_now().await;
            }
            seen
        };
        let (seen, ()) = tokio::join!(read, write);
        for name in ["a", "b", "c"] {
            let of_one: Vec<_> = seen.iter().filter(|subject| subject.starts_with(name)).cloned().collect();
            let wanted: Vec<_> = (0..EACH).map(|number| format!("{name}{number}")).collect();
            assert_eq!(of_one, wanted);
        }
    }

    pub(super) async fn what_is_rolled_back_did_not_happen(bed: &Bed) {
        let project_id = bed.project_id;
        let broken = bed.store.write(Durability::Durable, project_id, |tx, id| {
            Box::pin(async move {
                let news = News { project_id: *id, kind: "test.told", subject: "never", data: "{}" };
                events::add(tx, &news, NOW).await?;
                Err::<(), _>(Error::Taken { what: "test" })
            })
        });
        broken.await.unwrap_err();
        tell(&bed.store, bed, "first".to_owned()).await;
        let mut reader = bed.store.reader().await.unwrap();
        let all = events::after(&mut reader, project_id, 0, 10).await.unwrap();
        assert_eq!(
            all.iter().map(|event| (event.position, event.subject.as_str())).collect::<Vec<_>>(),
            [(1, "first")]
        );
    }

    pub(super) async fn the_old_are_forgotten_in_small_batches(bed: &Bed) {
        for number in 0..10 {
            tell(&bed.store, bed, number.to_string()).await;
        }
        let forgotten = async || {
            let reach = events::reach(&mut bed.store.reader().await.unwrap()).await.unwrap();
            (reach.forgotten, reach.last)
        };
        assert_eq!(forgotten().await, (0, 10));
        let mut deleted = Vec::new();
        for _ in 0..4 {
            deleted.push(durably!(bed.store, (), |tx, _input| events::forget(tx, NOW + 1, 4)).unwrap());
            deleted.push(forgotten().await.0.unsigned_abs());
        }
        assert_eq!(deleted, [4, 4, 4, 8, 2, 10, 0, 10]);
        tell(&bed.store, bed, "after".to_owned()).await;
        let mut reader = bed.store.reader().await.unwrap();
        let left = events::after(&mut reader, bed.project_id, 0, 10).await.unwrap();
        assert_eq!(left[0].position, 11, "positions are not given twice");
    }

    pub(super) async fn what_is_forgotten_is_the_beginning(bed: &Bed) {
        // A clock that jumped: the second is older than the first.
        for happened_us in [NOW + 5, NOW] {
            let new = (bed.project_id, happened_us);
            durably!(bed.store, new, |tx, of| async move {
                let news = News { project_id: of.0, kind: "test.told", subject: "x", data: "{}" };
                events::add(tx, &news, of.1).await
            })
            .unwrap();
        }
        let forget = async |before_us: i64| {
            durably!(bed.store, before_us, |tx, before_us| events::forget(tx, *before_us, 10)).unwrap()
        };
        assert_eq!(forget(NOW + 1).await, 0, "the second waits for the first");
        assert_eq!([forget(NOW + 6).await, forget(NOW + 6).await], [2, 0]);
    }
}
