//! Servers whose machines have wrong clocks, on one PostgreSQL: its time counts.

use sandkeep_control::idempotency::{Idempotent, begin};
use sandkeep_control::offset;
use sandkeep_store::idempotency::Earlier;
use sandkeep_store::servers;

use super::*;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

fn wrong(by_us: i64) -> Clock {
    let clock = Clock::new();
    clock.shift(by_us);
    clock
}

#[track_caller]
fn assert_near(found: i64, expected: i64, what: &str) {
    assert!((found - expected).abs() < 10 * SECOND, "{what}: {found} is not {expected}");
}

async fn session(url: &str, by_us: i64) -> Session {
    Session::open(&Books::Postgres(url.to_owned()), wrong(by_us), "0.1.0").await.unwrap()
}

/// What both do, in turn: some short executions in a sandbox each. None is anybody else's.
async fn work(beds: &[&Bed; 2], right: &Clock) {
    for bed in beds {
        let sandbox_id = bed.sandbox(false).await;
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(bed.execution(sandbox_id, &["sh", "-c", "sleep 0.1; echo x"]).await);
        }
        for id in ids {
            let result = bed.ended(id).await;
            assert_eq!(result.status, ExecutionState::Succeeded);
            let [created, started, finished] =
                [Some(result.created_at), result.started_at, result.finished_at].map(|at| at.unwrap());
            assert!(created <= started && started <= finished, "{result:?}");
            for at in [created, started, finished] {
                assert_near(
                    i64::try_from(at.unix_ms()).unwrap() * 1000,
                    right.now_us(),
                    "a time of a result",
                );
            }
        }
        let mut reader = bed.parts.store.reader().await.unwrap();
        let sandbox = sandboxes::get(&mut reader, sandbox_id).await.unwrap().unwrap();
        assert_eq!(sandbox.token, 1, "nobody took it from whoever claimed it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_with_wrong_clocks_leave_each_other_what_they_have() {
    let Some(url) = postgres::fresh_database("wrong_clocks").await else { return };
    let right = Clock::new();
    let mut beds = Vec::new();
    for by_us in [10 * MINUTE, -10 * MINUTE] {
        beds.push(Bed::on(session(&url, by_us).await, tempfile::tempdir().unwrap()).await);
    }
    let [early, late] = [&beds[0], &beds[1]];
    work(&[early, late], &right).await;
    // Their clocks jump while they are at work.
    early.parts.clock.shift(-30 * MINUTE);
    late.parts.clock.shift(30 * MINUTE);
    work(&[early, late], &right).await;
    let mut reader = early.parts.store.reader().await.unwrap();
    let known = servers::list(&mut reader).await.unwrap();
    assert_eq!(known.len(), 2, "neither was taken for dead");
    for server in known {
        assert_near(server.seen_us, right.now_us(), "a heartbeat");
    }
    drop(reader);
    for bed in &beds {
        bed.engine.stop(Duration::ZERO).await;
    }
}

#[tokio::test]
async fn a_key_is_kept_for_a_day_of_the_database() {
    let Some(url) = postgres::fresh_database("a_day_of_the_database").await else { return };
    let first = session(&url, 0).await;
    let project_id: ProjectId = ids::fresh(&first.clock);
    let made = first
        .store
        .write(Durability::Durable, project_id, |tx, id| Box::pin(projects::ensure_default(tx, *id, 1)));
    let project_id = made.await.unwrap().id;
    let principal = sandkeep_core::identity::Principal {
        id: ids::fresh(&first.clock),
        admin: true,
        roles: BTreeMap::new(),
        token_id: ids::fresh(&first.clock),
        bound: None,
        at_most: sandkeep_core::identity::Role::Owner,
        scopes: sandkeep_core::identity::Scopes::All,
        expires_us: None,
    };
    let take = async |session: &Session, resource: &str| {
        let key = Idempotent::new(&principal, project_id, "POST /api/v1/executions", "k", b"{}").unwrap();
        let input = (key, resource.to_owned(), session.clock.now_us());
        let taken = session.store.write(Durability::Durable, input, |tx, of| {
            Box::pin(async move { begin(tx, Some(&of.0), &of.1, of.2).await })
        });
        taken.await.unwrap()
    };
    assert_eq!(take(&first, "ex1").await, Earlier::First);
    for by_us in [25 * HOUR, -25 * HOUR] {
        let other = session(&url, by_us).await;
        assert_eq!(take(&other, "ex2").await, Earlier::Same { resource_id: "ex1".to_owned() }, "{by_us}");
        assert_near(other.clock.offset_us(), -by_us, "the offset");
    }
}

#[tokio::test]
async fn an_offset_is_measured_again_and_on_sqlite_there_is_none() {
    let right = Clock::new();
    let directory = tempfile::tempdir().unwrap();
    let books = Books::Directory(directory.path().join("data"));
    let session = Session::open(&books, wrong(10 * MINUTE), "0.1.0").await.unwrap();
    offset::measure(&session.store, &session.clock).await.unwrap();
    assert_eq!(session.clock.offset_us(), 0);
    assert_near(
        session.clock.now_us(),
        right.now_us() + 10 * MINUTE,
        "this machine's clock is the database's",
    );

    let Some(url) = postgres::fresh_database("measured_again").await else { return };
    let session = self::session(&url, 10 * MINUTE).await;
    assert_near(session.clock.offset_us(), -10 * MINUTE, "the offset");
    session.clock.shift(-20 * MINUTE);
    offset::measure(&session.store, &session.clock).await.unwrap();
    assert_near(session.clock.offset_us(), 10 * MINUTE, "the offset after a jump");
    // A database that does not answer leaves the clock as it was.
    let mut taken = Vec::new();
    for _ in 0..sandkeep_store::open::DEFAULT_READERS {
        taken.push(session.store.reader().await.unwrap());
    }
    let silent = offset::measure(&session.store, &session.clock).await.unwrap_err();
    assert_eq!(silent.code, sandkeep_core::code::ErrorCode::StoreUnavailable);
    assert_near(session.clock.now_us(), right.now_us(), "the database's time");
}
