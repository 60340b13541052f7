//! Bringing a database forward to this release's schema.
//!
//! Migrations only go forward, each in a transaction of its own together with the note that it was made. Within a release
//! they only expand, so that the release before can run beside this one. SQLite's file is copied before the first of
//! them; PostgreSQL is locked against another server that starts at the same moment. A database that a newer release has
//! migrated is refused.

use std::path::Path;

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::open::Place;
use crate::row::{record, values};
use crate::sql::statements;

/// Every migration, oldest first. The version of one is its place, from 1.
const MIGRATIONS: &[Migration] = &[
    Migration::of_both("begin", include_str!("../migrations/0001_begin.sql")),
    Migration::of_both("identity", include_str!("../migrations/0002_identity.sql")),
    Migration::of_both("ends", include_str!("../migrations/0003_ends.sql")),
    Migration::of_both("waiting", include_str!("../migrations/0004_waiting.sql")),
    Migration {
        name: "by order",
        sqlite: include_str!("../migrations/0005_by_order.sqlite.sql"),
        postgres: include_str!("../migrations/0005_by_order.postgres.sql"),
    },
];

/// One step forward. The text is the same for both databases but where they lay tables out differently.
struct Migration {
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

impl Migration {
    const fn of_both(name: &'static str, text: &'static str) -> Self {
        Self { name, sqlite: text, postgres: text }
    }
}

statements! {
    VERSION: Version = "SELECT coalesce(max(version), 0) AS version FROM schema_versions";
    NOTE = "INSERT INTO schema_versions (version, name, made_us) VALUES ($1, $2, $3)";
    /// Takes the path of the copy. Only SQLite's file is ours to copy.
    COPY = { sqlite: "VACUUM INTO $1", postgres: "SELECT $1::text" };
}

const BOOKS: &str = "CREATE TABLE IF NOT EXISTS schema_versions (
    version BIGINT PRIMARY KEY,
    name TEXT NOT NULL,
    made_us BIGINT NOT NULL
)";

/// Number of the lock that servers on one PostgreSQL database take turns with: "sandkeep" in ASCII.
const LOCK: &str = "SELECT pg_advisory_lock(8313480870829516144)";
const UNLOCK: &str = "SELECT pg_advisory_unlock(8313480870829516144)";

/// Makes all migrations that are missing.
///
/// # Errors
/// [`Error::SchemaNewer`]; [`Error::Database`], after which the database is as it was before the failed migration.
pub(crate) async fn forward(connection: &mut Connection, place: &Place, now_us: i64) -> Result<()> {
    if connection.is_postgres() {
        connection.run("lock the schema", LOCK).await?;
    }
    let made = make_missing(connection, place, now_us).await;
    if connection.is_postgres() {
        connection.run("unlock the schema", UNLOCK).await?;
    }
    made
}

async fn make_missing(connection: &mut Connection, place: &Place, now_us: i64) -> Result<()> {
    connection.run("make the books of the schema", BOOKS).await?;
    let found = connection.one::<Version>(&VERSION, values![]).await?.map_or(0, |version| version.version);
    let known = i64::try_from(MIGRATIONS.len()).expect("few");
    if found > known {
        return Err(Error::SchemaNewer { found, known });
    }
    if let (1.., Place::Directory(directory)) = (found, place)
        && found < known
    {
        copy(connection, directory, found).await?;
    }
    for (version, migration) in (1..).zip(MIGRATIONS).filter(|(version, _)| *version > found) {
        connection.run("begin a migration", "BEGIN").await?;
        let made = make(connection, version, migration, now_us).await;
        let end = if made.is_ok() { "COMMIT" } else { "ROLLBACK" };
        connection.run("end a migration", end).await?;
        made?;
    }
    Ok(())
}

async fn make(connection: &mut Connection, version: i64, migration: &Migration, now_us: i64) -> Result<()> {
    let text = if connection.is_postgres() { migration.postgres } else { migration.sqlite };
    connection.run(migration.name, text).await?;
    connection.execute(&NOTE, values![version, migration.name, now_us]).await.map(drop)
}

/// Keeps the database as it is beside itself.
async fn copy(connection: &mut Connection, directory: &Path, version: i64) -> Result<()> {
    let path = directory.join(format!("sandkeep-schema-{version}.db"));
    // What is there is of an earlier try, which may have been broken off in the middle.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::Directory { path, source: error });
        }
        _ => {}
    }
    connection.execute(&COPY, values![path.to_string_lossy().into_owned()]).await.map(drop)
}

record! {
    /// How far a database has come.
    pub(crate) struct Version {
        /// Of the newest migration made; 0 before the first.
        pub version: i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest() -> i64 {
        i64::try_from(MIGRATIONS.len()).unwrap()
    }

    /// A copy is made, and a newer schema refused, on the same file.
    #[tokio::test]
    async fn a_newer_schema_is_refused_and_nothing_is_changed() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::Directory(directory.path().to_owned());
        let mut connection = place.connect_writer().await.unwrap();
        forward(&mut connection, &place, 1).await.unwrap();
        connection.execute(&NOTE, values![99, "of the future", 2]).await.unwrap();
        let refused = forward(&mut connection, &place, 3).await.unwrap_err();
        assert!(matches!(refused, Error::SchemaNewer { found: 99, known } if known == newest()), "{refused}");
    }

    /// What an earlier release made is brought forward with its rows, after a copy.
    #[tokio::test]
    async fn an_earlier_schema_is_copied_and_brought_forward() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::Directory(directory.path().to_owned());
        let mut connection = place.connect_writer().await.unwrap();
        connection.run("make the books of the schema", BOOKS).await.unwrap();
        make(&mut connection, 1, &MIGRATIONS[0], 1).await.unwrap();
        let row = "INSERT INTO projects (id, name, generation, created_us) VALUES ('pr1', 'kept', 1, 1)";
        connection.run("write a row", row).await.unwrap();
        forward(&mut connection, &place, 2).await.unwrap();
        let version = connection.one::<Version>(&VERSION, values![]).await.unwrap().unwrap();
        assert_eq!(version.version, newest());
        let copy = directory.path().join("sandkeep-schema-1.db");
        let kept = |bytes: Vec<u8>| bytes.windows(4).any(|window| window == b"kept");
        assert!(kept(std::fs::read(copy).unwrap()));
        let mut rows = connection.rows(&NAMES, values![]).await.unwrap();
        assert_eq!(rows.pop().unwrap().get::<String>("name").unwrap(), "kept");
    }

    const NAMES: crate::sql::Statement = crate::sql::Statement {
        name: "NAMES",
        sqlite: "SELECT name FROM projects",
        postgres: "SELECT name FROM projects",
        columns: None,
    };

    #[tokio::test]
    async fn what_is_there_is_not_made_again() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::Directory(directory.path().to_owned());
        let mut connection = place.connect_writer().await.unwrap();
        for now_us in [1, 2] {
            forward(&mut connection, &place, now_us).await.unwrap();
        }
        let version = connection.one::<Version>(&VERSION, values![]).await.unwrap().unwrap();
        assert_eq!(version.version, newest());
    }

    #[tokio::test]
    async fn a_copy_is_the_database_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::Directory(directory.path().to_owned());
        let mut connection = place.connect_writer().await.unwrap();
        forward(&mut connection, &place, 1).await.unwrap();
        for _ in 0..2 {
            copy(&mut connection, directory.path(), 1).await.unwrap();
        }
        assert!(directory.path().join("sandkeep-schema-1.db").metadata().unwrap().len() > 0);
    }
}
