//! The same rows without the queue: one connection, 100 rows in a transaction.

use std::time::Instant;

use sandkeep_store::Place;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection as _, PgConnection};

use crate::{Bed, NOW, per_second};

const BATCH: usize = 100;
const INSERT: &str =
    "INSERT INTO executions (id, project_id, sandbox_id, state, kind, language, request, token, created_us)
        VALUES ($1, $2, $3, 'queued', $4, $5, $6, 0, $7)";

pub(crate) enum Floor {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// Writes a batch in a transaction of its own.
macro_rules! batch {
    ($connection:expr, $rows:expr) => {{
        let mut transaction = $connection.begin().await.unwrap();
        for row in $rows {
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
    }};
}

impl Floor {
    pub(crate) async fn connect(place: &Place) -> Self {
        match place {
            Place::Directory(directory) => {
                let options = SqliteConnectOptions::new()
                    .filename(Place::file(directory))
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true);
                Self::Sqlite(SqliteConnection::connect_with(&options).await.unwrap())
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
                Self::Sqlite(connection) => batch!(connection, rows),
                Self::Postgres(connection) => batch!(connection, rows),
            }
        }
        per_second(count, begun.elapsed())
    }
}
