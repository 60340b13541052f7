//! Opening: one process per directory, what was answered is there again.

use sandkeep_store::{Error, Store, projects};

use crate::{Bed, NOW, durably, project_id};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_store_on_a_directory_is_refused_until_the_first_is_gone() {
    let bed = Bed::sqlite().await;
    let refused = Store::open(&bed.options, NOW).await.unwrap_err();
    assert!(matches!(refused, Error::InUse { .. }), "{refused}");
    durably!(bed.store, project_id(), |tx, id| projects::create(tx, *id, "kept", NOW)).unwrap();
    let Bed { store, options, _directory, .. } = bed;
    drop(store);
    // The writer lets go when it sees that nobody can write any more, which is waited for.
    let again = Store::open(&options, NOW).await.unwrap();
    let mut reader = again.reader().await.unwrap();
    assert!(projects::named(&mut reader, "kept").await.unwrap().is_some());
}

/// As a child of a server that was killed holds it until it has become another program.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_the_directory_for_a_moment_refuses_nobody() {
    let Bed { store, options, _directory, .. } = Bed::sqlite().await;
    let again = Store::open(&options, NOW);
    tokio::pin!(again);
    assert!(futures_util::poll!(again.as_mut()).is_pending(), "somebody has it");
    drop(store);
    again.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_down_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let bed = Bed::sqlite().await;
    let sandkeep_store::Place::Directory(directory) = &bed.options.place else {
        unreachable!("it is SQLite")
    };
    let mode = directory.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_cannot_be_made_is_named() {
    let place = sandkeep_store::Place::Directory("/proc/no/such/place".into());
    let refused = Store::open(&sandkeep_store::Options { place, readers: 1 }, NOW).await.unwrap_err();
    assert!(refused.to_string().contains("/proc/no/such/place"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_start_at_once_migrate_once() {
    let Some(bed) = Bed::postgres("servers_that_start_at_once_migrate_once").await else { return };
    let Some(url) = crate::postgres::fresh_database("empty").await else { return };
    let place = sandkeep_store::Place::postgres(&url).unwrap();
    let options = sandkeep_store::Options { place, ..bed.options };
    let opened = futures_util::future::join_all((0..8).map(|_| Store::open(&options, NOW))).await;
    for store in opened {
        store.unwrap();
    }
}
