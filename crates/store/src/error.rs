//! What can go wrong with what is written down.

use std::path::PathBuf;

use rusqlite::ffi::{SQLITE_CONSTRAINT_PRIMARYKEY, SQLITE_CONSTRAINT_UNIQUE};

/// A failure of the store. `Display` leaves the source to whoever prints the chain.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The writer's queue is full: try again later. Nothing was changed.
    #[error("the store has {waiting} writes waiting and takes no more")]
    Overloaded {
        /// How many wait.
        waiting: usize,
    },
    /// Something of that name is there already. Nothing was changed.
    #[error("there is another {what} of that name")]
    Taken {
        /// Of which kind.
        what: &'static str,
    },
    /// The database was written by a newer release.
    #[error("the database has schema {found}, and this release knows {known} at most")]
    SchemaNewer {
        /// The version found.
        found: i64,
        /// The newest version that this program can use.
        known: i64,
    },
    /// Another process has the data directory.
    #[error("another process uses the data directory {}", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The data directory cannot be made or opened.
    #[error("the data directory {} cannot be used", path.display())]
    Directory {
        /// The directory or the file in it.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A row holds what no release of ours writes.
    #[error("column {column} of {statement} holds `{found}`, which is not {expected}")]
    Content {
        /// Which statement read it.
        statement: &'static str,
        /// Which column.
        column: &'static str,
        /// What was there, shortened.
        found: String,
        /// What should have been.
        expected: &'static str,
    },
    /// The database refused a statement or is not there.
    #[error("the database failed at {doing}")]
    Database {
        /// A statement's name or a step.
        doing: &'static str,
        #[source]
        source: Cause,
    },
    /// Nothing new may be added to what has ended.
    #[error("the {what} has ended")]
    Ended {
        /// A word for it, as a user knows it.
        what: &'static str,
    },
    /// The commit that an operation waited for did not happen; whether it is there is known when the database is back.
    #[error("the group of writes could not be committed: {why}")]
    NotCommitted {
        /// What the database said.
        why: String,
    },
    /// An operation of ours panicked; it was rolled back.
    #[error("an operation broke off")]
    Panicked,
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// What a database said.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// SQLite.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL, or the way to it.
    #[error(transparent)]
    Postgres(#[from] sqlx::Error),
    /// Every reader was in use for too long.
    #[error("no connection was free in time")]
    NoneFree,
    /// A statement that always has an answer had none.
    #[error("there is no row")]
    NoRow,
}

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn database<E: Into<Cause>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Database { doing, source: source.into() }
    }

    /// Whether the same operation, run again from its start, may well succeed: two servers met on PostgreSQL.
    /// Codes of PostgreSQL's appendix A: `serialization_failure`, `deadlock_detected`.
    pub(crate) fn may_be_repeated(&self) -> bool {
        matches!(self.sqlstate().as_deref(), Some("40001" | "40P01"))
    }

    /// Whether a unique index refused it.
    pub(crate) fn is_taken(&self) -> bool {
        let Self::Database { source, .. } = self else { return false };
        match source {
            Cause::Sqlite(error) => error
                .sqlite_extended_error_code()
                .is_some_and(|code| [SQLITE_CONSTRAINT_UNIQUE, SQLITE_CONSTRAINT_PRIMARYKEY].contains(&code)),
            Cause::Postgres(sqlx::Error::Database(error)) => error.is_unique_violation(),
            Cause::Postgres(_) | Cause::NoneFree | Cause::NoRow => false,
        }
    }

    /// [`Error::Taken`] where a unique index refused it.
    pub(crate) fn or_taken(self, what: &'static str) -> Self {
        if self.is_taken() { Self::Taken { what } } else { self }
    }

    fn sqlstate(&self) -> Option<String> {
        let Self::Database { source: Cause::Postgres(sqlx::Error::Database(error)), .. } = self else {
            return None;
        };
        error.code().map(std::borrow::Cow::into_owned)
    }

    /// Whether the connection is of no more use. One to SQLite is a file that is open: what fails with it fails with another.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "another crate's errors, of which these few matter here"
    )]
    pub(crate) fn is_of_connection(&self) -> bool {
        let Self::Database { source: Cause::Postgres(source), .. } = self else { return false };
        match source {
            sqlx::Error::Database(error) => {
                // Class 57P0x: the server is shutting down or was told to drop us; 08xxx: connection exceptions.
                error.code().is_some_and(|code| code.starts_with("57P0") || code.starts_with("08"))
            }
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
            _ => false,
        }
    }
}
