//! Where a store is, and opening it.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, PgConnection};

use crate::connection::Connection;
use crate::error::{Cause, Error, Result};
use crate::lock::DirectoryLock;
use crate::migrate;
use crate::wake::{Bells, Channel, Wakeups};
use crate::writer::{Durability, Running, Tx, Writer};
use crate::{sqlite, time};

/// Which database.
#[derive(Debug, Clone)]
pub enum Place {
    /// SQLite in this directory, which is made (0700) where it is missing.
    Directory(PathBuf),
    /// PostgreSQL.
    Postgres(Box<PgConnectOptions>),
}

/// How to open a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which database.
    pub place: Place,
    /// Connections for reads, 1 or more.
    pub readers: u32,
}

/// Connections for reads unless asked otherwise: two processors do not read faster with more than a few.
pub const DEFAULT_READERS: u32 = 4;
/// How long a read waits for a connection before it is an error.
const ACQUIRE_WITHIN: Duration = Duration::from_secs(5);

impl Place {
    /// The place that a URL names: `postgres://…` or `postgresql://…`.
    ///
    /// # Errors
    /// [`Error::Database`]: it is not such a URL.
    pub fn postgres(url: &str) -> Result<Self> {
        let options = PgConnectOptions::from_str(url).map_err(Error::database("read the database URL"))?;
        Ok(Self::Postgres(Box::new(options.application_name("sandkeep"))))
    }

    /// The file of a data directory.
    #[must_use]
    pub fn file(directory: &Path) -> PathBuf {
        directory.join("sandkeep.db")
    }

    pub(crate) async fn connect_writer(&self) -> Result<Connection> {
        match self {
            Self::Directory(directory) => sqlite::Connection::writer(&Self::file(directory))
                .map(Connection::Sqlite)
                .map_err(Error::database("connect")),
            Self::Postgres(options) => PgConnection::connect_with(options)
                .await
                .map(Connection::Postgres)
                .map_err(Error::database("connect")),
        }
    }
}

#[derive(Debug)]
enum Readers {
    Sqlite(Arc<sqlite::Readers>),
    Postgres(PgPool),
}

impl Readers {
    async fn open(options: &Options) -> Result<Self> {
        let doing = "connect a reader";
        match &options.place {
            Place::Directory(directory) => {
                let readers = sqlite::Readers::open(&Place::file(directory), options.readers);
                readers.map(Self::Sqlite).map_err(Error::database(doing))
            }
            Place::Postgres(how) => {
                let pool =
                    PgPoolOptions::new().max_connections(options.readers).acquire_timeout(ACQUIRE_WITHIN);
                pool.connect_with(how.as_ref().clone())
                    .await
                    .map(Self::Postgres)
                    .map_err(Error::database(doing))
            }
        }
    }

    async fn take(&self) -> Result<Connection> {
        let doing = "take a reader";
        match self {
            Self::Sqlite(readers) => {
                let taken = tokio::time::timeout(ACQUIRE_WITHIN, readers.take()).await;
                let taken = taken.map_err(|_| Error::database(doing)(Cause::NoneFree))?;
                taken.map(Connection::SqliteReader).map_err(Error::database(doing))
            }
            Self::Postgres(pool) => {
                pool.acquire().await.map(Connection::PostgresReader).map_err(Error::database(doing))
            }
        }
    }
}

/// The store. Clones are the same store.
#[derive(Debug, Clone)]
pub struct Store {
    writer: Writer,
    readers: Arc<Readers>,
    bells: Arc<Bells>,
}

impl Store {
    /// Opens the store, made anew or migrated forward as needed. The time of a migration stands in the
    /// books; on SQLite it is `now_us`.
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::SchemaNewer`], [`Error::Directory`], [`Error::Database`].
    pub async fn open(options: &Options, now_us: i64) -> Result<Self> {
        let lock = match &options.place {
            Place::Directory(directory) => Some(DirectoryLock::take(directory).await?),
            Place::Postgres(_) => None,
        };
        let mut connection = options.place.connect_writer().await?;
        let now_us = time::now_us(&mut connection).await?.unwrap_or(now_us);
        migrate::forward(&mut connection, &options.place, now_us).await?;
        let readers = Arc::new(Readers::open(options).await?);
        let bells = Arc::new(Bells::default());
        let writer = Writer::start(connection, options.place.clone(), Arc::clone(&bells), lock);
        Ok(Self { writer, readers, bells })
    }

    /// Runs `operation` on `input` in the next group of writes; its answer comes after the commit. It may be called
    /// several times, each time from the start. A caller who leaves stops nothing.
    ///
    /// # Errors
    /// What the operation said; [`Error::Overloaded`], [`Error::NotCommitted`], [`Error::Closed`].
    pub async fn write<A, T>(
        &self,
        durability: Durability,
        input: A,
        operation: impl for<'t> Fn(&'t mut Tx, &'t A) -> Running<'t, T> + Send + Sync + 'static,
    ) -> Result<T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
    {
        self.writer.write(durability, input, operation).await
    }

    /// A connection for reading, which sees all that was answered as written.
    ///
    /// # Errors
    /// [`Error::Database`]: none was free within five seconds, or the database is gone.
    pub async fn reader(&self) -> Result<Connection> {
        self.readers.take().await
    }

    /// Wake-ups of `channel` from now on.
    #[must_use]
    pub fn wakeups(&self, channel: Channel) -> Wakeups {
        self.bells.listen(channel)
    }
}
