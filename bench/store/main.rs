//! What the writer queue costs beside the same rows written without it, and whether five million finished executions make
//! anything slower. On SQLite, and on a PostgreSQL that is started here with its flushes on.
//!
//! `cargo bench -p sandkeep-store` (what `./dev bench` calls); `-- --history 5000000` for the second part.
//!
//! Floor: one connection that writes the same rows, 100 in a transaction, flushed at each commit. Rounds of both alternate,
//! and the median is told: these machines are noisy.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails like a test and tells")]

mod floor;
mod lives;
#[path = "../../crates/store/tests/support/postgres.rs"]
mod postgres;

use std::time::{Duration, Instant};

use sandkeep_core::id::{ExecutionId, ProjectId, SandboxId, ServerId};
use sandkeep_store::executions::{self, Accepted};
use sandkeep_store::{Durability, Options, Place, Store, projects, servers};

const ROUNDS: usize = 9;
/// Writes of a round, and how many of them are under way at once.
const WRITES: usize = 4_000;
const AT_ONCE: usize = 512;
/// Now, in microseconds: nothing here depends on the time.
const NOW: i64 = 1_800_000_000_000_000;

/// An open store with a project and a server.
struct Bed {
    store: Store,
    place: Place,
    project_id: ProjectId,
    server_id: ServerId,
}

impl Bed {
    async fn open(place: Place) -> Self {
        let store = Store::open(&Options { place: place.clone(), readers: 2 }, NOW).await.unwrap();
        let (project_id, server_id) = (ProjectId::new(1, [1; 10]), ServerId::new(1, [2; 10]));
        let server = servers::Server {
            id: server_id,
            version: "0".to_owned(),
            host: "here".to_owned(),
            boot_id: "boot".to_owned(),
            started_us: NOW,
            seen_us: NOW,
        };
        store
            .write(Durability::Durable, (project_id, server), |tx, (project_id, server)| {
                Box::pin(async move {
                    projects::create(tx, *project_id, "bench", NOW).await?;
                    servers::enter(tx, server).await
                })
            })
            .await
            .unwrap();
        Self { store, place, project_id, server_id }
    }

    fn accepted(&self, number: usize) -> Accepted {
        Accepted {
            id: execution_id(number),
            project_id: self.project_id,
            sandbox_id: SandboxId::new(1, [3; 10]),
            kind: "command",
            language: None,
            request: REQUEST.to_vec(),
        }
    }
}

/// About what a sealed request takes.
const REQUEST: &[u8] = &[7; 300];

fn execution_id(number: usize) -> ExecutionId {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&(number as u64).to_be_bytes());
    ExecutionId::new(1_800_000_000_000, random)
}

/// A round of writes through the queue; how many a second.
async fn through_the_queue(bed: &Bed, from: usize) -> f64 {
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..AT_ONCE {
        let numbers: Vec<usize> = (from + lane..from + WRITES).step_by(AT_ONCE).collect();
        let (store, all) = (bed.store.clone(), numbers.iter().map(|n| bed.accepted(*n)).collect::<Vec<_>>());
        tasks.spawn(async move {
            for accepted in all {
                store
                    .write(Durability::Durable, accepted, |tx, accepted| {
                        Box::pin(executions::accept(tx, accepted, NOW))
                    })
                    .await
                    .unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    per_second(WRITES, begun.elapsed())
}

fn per_second(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

async fn compare(name: &str, place: Place) -> Bed {
    let bed = Bed::open(place).await;
    let mut floor = floor::Floor::connect(&bed.place).await;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let from = round * 2 * WRITES;
        theirs.push(floor.write(&bed, from, WRITES).await);
        ours.push(through_the_queue(&bed, from + WRITES).await);
    }
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "{name}: {ours:.0} durable writes a second through the queue, floor {theirs:.0}: {:.2} of it",
        ours / theirs
    );
    bed
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let history =
        arguments.iter().position(|a| a == "--history").map_or(0, |at| arguments[at + 1].parse().unwrap());
    println!("load {}", std::fs::read_to_string("/proc/loadavg").unwrap().trim());
    let directory =
        tempfile::Builder::new().prefix("sandkeep-bench").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let bed = compare("SQLite", Place::Directory(directory.path().join("data"))).await;
    if history > 0 {
        lives::compare("SQLite", &bed, history).await;
    }
    let Some(url) = postgres::durable_database("bench").await else { return };
    let bed = compare("PostgreSQL", Place::postgres(&url).unwrap()).await;
    if history > 0 {
        lives::compare("PostgreSQL", &bed, history).await;
    }
}
