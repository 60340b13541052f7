//! The same rows without the queue: one connection, 100 rows in a transaction.

use std::time::Instant;

use sandkeep_store::Place;
use sandkeep_store::executions::Accepted;
use sqlx::{Connection as _, PgConnection};

use crate::{Bed, NOW, per_second};

const BATCH: usize = 100;
const INSERT: &str =
    "INSERT INTO executions (id, project_id, sandbox_id, state, kind, language, request, token, created_us)
        VALUES ($1, $2, $3, 'queued', $4, $5, $6, 0, $7)";

pub(crate) enum Floor {
    Sqlite(rusqlite::Connection),
    Postgres(PgConnection),
}

/// Writes a batch in a transaction of its own.
fn write_sqlite(connection: &mut rusqlite::Connection, rows: impl Iterator<Item = Accepted>) {
    let transaction = connection.transaction().unwrap();
    for row in rows {
        let (id, project_id, sandbox_id) =
            (row.id.to_string(), row.project_id.to_string(), row.sandbox_id.to_string());
        let values = rusqlite::params![id, project_id, sandbox_id, row.kind, row.language, row.request, NOW];
        transaction.prepare_cached(INSERT).unwrap().execute(values).unwrap();
    }
    transaction.commit().unwrap();
}

/// The same.
async fn write_postgres(connection: &mut PgConnection, rows: impl Iterator<Item = Accepted>) {
    let mut transaction = connection.begin().await.unwrap();
    for row in rows {
        sqlx::query(INSERT)
            .bind(row.id.to_string())
            .bind(row.project_id.to_string())
            .bind(row.sandbox_id.to_string())
            .bind(row.kind)
            .bind(row.language)
            .bind(row.request)
            .bind(NOW)
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    transaction.commit().await.unwrap();
}

impl Floor {
    pub(crate) async fn connect(place: &Place) -> Self {
        match place {
            Place::Directory(directory) => {
                let connection = rusqlite::Connection::open(Place::file(directory)).unwrap();
                let as_ours =
                    "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON";
                connection.execute_batch(as_ours).unwrap();
                Self::Sqlite(connection)
            }
            Place::Postgres(options) => Self::Postgres(PgConnection::connect_with(options).await.unwrap()),
        }
    }

    /// How many rows a second.
    pub(crate) async fn write(&mut self, bed: &Bed, from: usize, count: usize) -> f64 {
        let begun = Instant::now();
        for first in (from..from + count).step_by(BATCH) {
            let rows = (first..first + BATCH).map(|number| bed.accepted(number));
            match self {
                Self::Sqlite(connection) => write_sqlite(connection, rows),
                Self::Postgres(connection) => write_postgres(connection, rows).await,
            }
        }
        per_second(count, begun.elapsed())
    }
}
