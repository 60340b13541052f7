//! What the store promises, the same on SQLite and on a real PostgreSQL.
//!
//! PostgreSQL is started once for the whole program (`postgres.rs`), each case gets a database of its own. Where there is
//! no PostgreSQL to start, a case says `SKIPPED`, and under `CI` it fails.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it skips"
)]

#[path = "../support/postgres.rs"]
mod postgres;

mod claims;
mod feed;
mod idempotency;
mod identity;
mod opening;
mod output;
mod rows;
mod statements;
mod writer;

use std::sync::atomic::{AtomicU64, Ordering};

use sandkeep_core::id::{ExecutionId, ProjectId, SandboxId, ServerId};
use sandkeep_store::{Options, Place, Store, projects, servers};

/// Both databases, for cases that are the same on each: `both!(name, async |bed| { … })`.
macro_rules! both {
    ($($(#[$doc:meta])* $name:ident)+) => {
        $(
            mod $name {
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sqlite() {
                    super::cases::$name(&crate::Bed::sqlite().await).await;
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
pub(crate) use both;

/// An open store with one project and one server in it.
pub(crate) struct Bed {
    pub(crate) store: Store,
    pub(crate) options: Options,
    pub(crate) project_id: ProjectId,
    pub(crate) server_id: ServerId,
    _directory: Option<tempfile::TempDir>,
}

/// The time of all cases, in microseconds; they move on from here by hand.
pub(crate) const NOW: i64 = 1_800_000_000_000_000;
pub(crate) const SECOND: i64 = 1_000_000;

impl Bed {
    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::Directory(directory.path().join("data"));
        Self::open(place, Some(directory)).await
    }

    pub(crate) async fn postgres(name: &str) -> Option<Self> {
        let url = postgres::fresh_database(name).await?;
        Some(Self::open(Place::postgres(&url).unwrap(), None).await)
    }

    async fn open(place: Place, directory: Option<tempfile::TempDir>) -> Self {
        let options = Options { place, readers: 2 };
        let store = Store::open(&options, NOW).await.unwrap();
        let project_id = project_id();
        let found = durably!(store, project_id, |tx, id| projects::ensure_default(tx, *id, NOW)).unwrap();
        let server_id = enter(&store, NOW).await;
        Self { store, options, project_id: found.id, server_id, _directory: directory }
    }
}

/// A durable write: `durably!(store, input, |tx, input| call)`.
macro_rules! durably {
    ($store:expr, $input:expr, |$tx:ident, $name:ident| $call:expr) => {
        $store
            .write(sandkeep_store::Durability::Durable, $input, |$tx, $name| {
                Box::pin(async move { $call.await })
            })
            .await
    };
}
pub(crate) use durably;

/// A server that was heard of at `seen_us`.
pub(crate) async fn enter(store: &Store, seen_us: i64) -> ServerId {
    let server = servers::Server {
        id: server_id(),
        version: "0.1.0".to_owned(),
        host: "here".to_owned(),
        boot_id: "a-boot".to_owned(),
        started_us: seen_us,
        seen_us,
    };
    let id = server.id;
    durably!(store, server, |tx, server| servers::enter(tx, server)).unwrap();
    id
}

pub(crate) fn next() -> (u64, [u8; 10]) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let mut random = [0; 10];
    random[2..].copy_from_slice(&count.to_be_bytes());
    (1_800_000_000_000, random)
}

pub(crate) fn project_id() -> ProjectId {
    let (now, random) = next();
    ProjectId::new(now, random)
}

pub(crate) fn server_id() -> ServerId {
    let (now, random) = next();
    ServerId::new(now, random)
}

pub(crate) fn sandbox_id() -> SandboxId {
    let (now, random) = next();
    SandboxId::new(now, random)
}

pub(crate) fn execution_id() -> ExecutionId {
    let (now, random) = next();
    ExecutionId::new(now, random)
}
