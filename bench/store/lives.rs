//! Whole lives of executions, accepted to ended, on an empty store and on one with a long history.

use std::time::Instant;

use sandkeep_core::id::SandboxId;
use sandkeep_store::executions::{self, Accepted, Claim, Ending};
use sandkeep_store::{Durability, Place};
use sqlx::Connection as _;

use crate::{AT_ONCE, Bed, NOW, REQUEST, ROUNDS, execution_id, median, per_second};

/// Lives of a round.
const LIVES: usize = 2_000;

/// Lives of a round before and after the history is there; how they compare.
pub(crate) async fn compare(name: &str, bed: &Bed, history: usize) {
    clear(bed).await;
    let empty = rounds(bed, 1 << 40).await;
    let begun = Instant::now();
    fill(bed, history).await;
    let filled = begun.elapsed().as_secs();
    let full = rounds(bed, 1 << 41).await;
    println!(
        "{name}: {full:.0} lives a second after {history} finished ones (written in {filled} s), empty {empty:.0}: {:.2} of it",
        full / empty
    );
}

async fn rounds(bed: &Bed, from: usize) -> f64 {
    let mut figures = Vec::new();
    for round in 0..ROUNDS {
        figures.push(lives(bed, from + round * LIVES).await);
    }
    median(figures)
}

async fn lives(bed: &Bed, from: usize) -> f64 {
    let begun = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for lane in 0..AT_ONCE {
        let numbers: Vec<usize> = (from + lane..from + LIVES).step_by(AT_ONCE).collect();
        let (store, project_id, server_id) = (bed.store.clone(), bed.project_id, bed.server_id);
        tasks.spawn(async move {
            for number in numbers {
                let id = execution_id(number);
                let sandbox_id = SandboxId::new(1, [3; 10]);
                let request = REQUEST.to_vec();
                let accepted =
                    Accepted { id, project_id, sandbox_id, kind: "command", language: None, request };
                store
                    .write(Durability::Durable, accepted, |tx, accepted| {
                        Box::pin(executions::accept(tx, accepted, NOW))
                    })
                    .await
                    .unwrap();
                let claim = Claim { server_id, token: 1 };
                let taken = store.write(Durability::Durable, (id, claim), |tx, (id, claim)| {
                    Box::pin(async move { executions::take_queued(tx, *id, claim.server_id, 0).await })
                });
                assert!(taken.await.unwrap().is_updated());
                let ending = Ending { state: "succeeded", result: "{}".repeat(200), finished_us: NOW };
                let ended =
                    store.write(Durability::Durable, (id, claim, ending), |tx, (id, claim, ending)| {
                        Box::pin(executions::finish(tx, *id, *claim, ending))
                    });
                assert!(ended.await.unwrap().is_updated());
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    per_second(LIVES, begun.elapsed())
}

async fn clear(bed: &Bed) {
    run(bed, ["DELETE FROM executions".to_owned(), "DELETE FROM executions".to_owned()]).await;
}

/// Finished executions, written by the database itself.
async fn fill(bed: &Bed, history: usize) {
    const PART: usize = 100_000;
    for from in (0..history).step_by(PART) {
        let (project, to) = (bed.project_id, (from + PART).min(history) - 1);
        let columns = "id, project_id, sandbox_id, state, kind, result, created_us, started_us, finished_us";
        let values = |id: &str| {
            format!(
                "{id}, '{project}', 'sb' || (n / 20), 'succeeded', 'command', '{{\"exit_code\":0}}', n, n, n"
            )
        };
        let sqlite = format!(
            "INSERT INTO finished_executions ({columns})
             WITH RECURSIVE numbers (n) AS (SELECT {from} UNION ALL SELECT n + 1 FROM numbers WHERE n < {to})
             SELECT {} FROM numbers",
            values("printf('ex%026d', n)")
        );
        let postgres = format!(
            "INSERT INTO finished_executions ({columns}) SELECT {} FROM generate_series({from}::bigint, {to}) AS n",
            values("'ex' || lpad(n::text, 26, '0')")
        );
        run(bed, [sqlite, postgres]).await;
    }
    // A history of months has been swept and flushed long ago.
    run(bed, ["PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM (ANALYZE) finished_executions"].map(str::to_owned))
        .await;
    run(bed, ["PRAGMA optimize", "CHECKPOINT"].map(str::to_owned)).await;
}

/// Runs the text of whichever database it is.
async fn run(bed: &Bed, [sqlite, postgres]: [String; 2]) {
    match &bed.place {
        Place::Directory(directory) => {
            let connection = rusqlite::Connection::open(Place::file(directory)).unwrap();
            connection.execute_batch(&sqlite).unwrap();
        }
        Place::Postgres(options) => {
            let mut connection = sqlx::PgConnection::connect_with(options).await.unwrap();
            sqlx::raw_sql(sqlx::AssertSqlSafe(postgres)).execute(&mut connection).await.unwrap();
        }
    }
}
