//! One connection to either database.

use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::{Arguments as _, Postgres};
use tokio::task::consume_budget;

use crate::error::{Error, Result};
use crate::row::{Record, Row, Value};
use crate::sql::Statement;
use crate::sqlite;

/// A connection. Cancelling a call may leave one to PostgreSQL in the middle of an answer, so it is then not used again.
#[derive(Debug)]
pub enum Connection {
    /// The writer's of SQLite.
    Sqlite(sqlite::Connection),
    /// A reader's of SQLite; goes back to the others.
    SqliteReader(sqlite::Reader),
    /// The writer's of PostgreSQL.
    Postgres(PgConnection),
    /// A reader's of PostgreSQL; goes back to its pool.
    PostgresReader(PoolConnection<Postgres>),
}

/// Does the same with a connection of either kind.
macro_rules! on {
    ($connection:expr, sqlite($s:ident) => $sqlite:expr, postgres($p:ident) => $postgres:expr) => {
        match $connection {
            Connection::Sqlite($s) => $sqlite,
            Connection::SqliteReader(pooled) => {
                // Reads are done on the spot: many in a row are not to keep everything else waiting.
                consume_budget().await;
                let $s = &mut **pooled;
                $sqlite
            }
            Connection::Postgres($p) => $postgres,
            Connection::PostgresReader(pooled) => {
                let $p = &mut **pooled;
                $postgres
            }
        }
    };
}

impl Connection {
    /// Whether the other end is PostgreSQL.
    #[must_use]
    pub fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_) | Self::PostgresReader(_))
    }

    /// Runs `statement`; how many rows it changed.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn execute(&mut self, statement: &Statement, values: Vec<Value>) -> Result<u64> {
        on!(self,
            sqlite(to) => to.execute(statement.sqlite, &values).map_err(Error::database(statement.name)),
            postgres(to) => sqlx::query_with(statement.postgres, postgres_arguments(values))
                .execute(to).await.map(|done| done.rows_affected()).map_err(Error::database(statement.name)))
    }

    /// Every row of the answer. Callers bound it with `LIMIT`.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Content`].
    pub async fn all<R: Record>(&mut self, statement: &Statement, values: Vec<Value>) -> Result<Vec<R>> {
        self.rows(statement, values).await?.iter().map(R::of).collect()
    }

    /// The row of the answer, if there is one.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Content`].
    pub async fn one<R: Record>(&mut self, statement: &Statement, values: Vec<Value>) -> Result<Option<R>> {
        self.rows(statement, values).await?.first().map(R::of).transpose()
    }

    /// Whether the answer has a row.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn any(&mut self, statement: &Statement, values: Vec<Value>) -> Result<bool> {
        Ok(!self.rows(statement, values).await?.is_empty())
    }

    /// The rows of the answer.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn rows(&mut self, statement: &Statement, values: Vec<Value>) -> Result<Vec<Row>> {
        on!(self,
            sqlite(to) => to.rows(statement.sqlite, &values)
                .map(|rows| rows.into_iter().map(|row| Row::sqlite(statement.name, row)).collect())
                .map_err(Error::database(statement.name)),
            postgres(to) => sqlx::query_with(statement.postgres, postgres_arguments(values)).fetch_all(to).await
                .map(|rows| rows.into_iter().map(|row| Row::postgres(statement.name, row)).collect())
                .map_err(Error::database(statement.name)))
    }

    /// Runs `text` as it is, without preparing it: transaction control, settings, migrations.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub(crate) async fn run(&mut self, doing: &'static str, text: &'static str) -> Result<()> {
        on!(self,
            sqlite(to) => to.run(text).map_err(Error::database(doing)),
            postgres(to) => sqlx::raw_sql(text).execute(to).await.map(drop).map_err(Error::database(doing)))
    }

    /// Names of the columns that `statement` returns.
    ///
    /// # Errors
    /// [`Error::Database`]: this database does not take the statement.
    pub async fn describe(&mut self, statement: &Statement) -> Result<Vec<String>> {
        use sqlx::{Column as _, Executor as _, SqlSafeStr as _, Statement as _};
        on!(self,
            sqlite(to) => to.describe(statement.sqlite).map_err(Error::database(statement.name)),
            postgres(to) => to.prepare(statement.postgres.into_sql_str()).await
                .map(|ready| ready.columns().iter().map(|column| column.name().to_owned()).collect())
                .map_err(Error::database(statement.name)))
    }
}

fn postgres_arguments(values: Vec<Value>) -> PgArguments {
    let mut arguments = PgArguments::default();
    for value in values {
        let added = match value {
            Value::Text(text) => arguments.add(text),
            Value::Number(number) => arguments.add(number),
            Value::Flag(flag) => arguments.add(flag),
            Value::Bytes(bytes) => arguments.add(bytes),
        };
        added.expect("text, numbers, flags and bytes can be encoded");
    }
    arguments
}
