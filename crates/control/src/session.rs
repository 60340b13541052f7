//! One start of a server: its store, its clock, its row among the servers.

use std::path::{Path, PathBuf};

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::id::ServerId;
use sandkeep_store::{Durability, Options, Place, Store, open, projects, servers};

use crate::clock::Clock;
use crate::fault;
use crate::ids::fresh;
use crate::offset;

/// Where a server keeps its books.
#[derive(Clone)]
pub enum Books {
    /// SQLite in this directory.
    Directory(PathBuf),
    /// PostgreSQL at this URL, which holds a password.
    Postgres(String),
}

impl Books {
    /// Opens them, made anew or migrated as needed.
    ///
    /// # Errors
    /// `config_invalid`, `data_dir_in_use`, `data_dir_unusable`, `schema_newer`, `store_unavailable`.
    pub async fn open(&self, clock: &Clock) -> Result<Store, Problem> {
        let place = match self {
            Books::Directory(directory) => Place::Directory(directory.clone()),
            Books::Postgres(url) => Place::postgres(url).map_err(|_| url_invalid())?,
        };
        let options = Options { place, readers: open::DEFAULT_READERS };
        Store::open(&options, clock.now_us()).await.map_err(|error| told(&error))
    }

    /// Whether they are known not to be there yet: to be asked before [`open`](Self::open) makes them.
    #[must_use]
    pub fn are_missing(&self) -> bool {
        match self {
            Books::Directory(directory) => !Place::file(directory).exists(),
            Books::Postgres(_) => false,
        }
    }
}

/// A server that has entered itself.
#[derive(Debug, Clone)]
pub struct Session {
    /// The store.
    pub store: Store,
    /// The clock.
    pub clock: Clock,
    /// Fresh at every start.
    pub id: ServerId,
}

impl Session {
    /// Opens the store, migrated as needed, hears its clock, and enters a server of `version` under a fresh id.
    ///
    /// # Errors
    /// `data_dir_in_use`, `data_dir_unusable`, `schema_newer`, `store_unavailable`.
    pub async fn open(books: &Books, clock: Clock, version: &str) -> Result<Self, Problem> {
        let store = books.open(&clock).await?;
        // The lock on a data directory proves that there is no other server; a database shared by many proves nothing.
        let alone = matches!(books, Books::Directory(_));
        offset::measure(&store, &clock).await?;
        let session = Session { id: fresh(&clock), store, clock };
        session.enter(version, alone).await?;
        Ok(session)
    }

    async fn enter(&self, version: &str, alone: bool) -> Result<(), Problem> {
        let now = self.clock.now_us();
        let server = servers::Server {
            id: self.id,
            version: version.to_owned(),
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
            boot_id: boot_id(Path::new("/proc/sys/kernel/random/boot_id")),
            started_us: now,
            seen_us: now,
        };
        let entered = self.store.write(Durability::Durable, (server, alone), |tx, (server, alone)| {
            Box::pin(async move {
                servers::enter(tx, server).await?;
                if *alone {
                    servers::void_others(tx, server.id).await?;
                }
                Ok(())
            })
        });
        entered.await.map_err(|error| fault::problem(&error))
    }

    /// Writes something that survives power loss, as every accepted request does.
    ///
    /// # Errors
    /// What an accepted request would be told.
    pub async fn probe_write(&self) -> Result<(), Problem> {
        let input = (self.id, self.clock.now_us());
        let seen = self.store.write(Durability::Durable, input, |tx, (id, now)| {
            Box::pin(async move { servers::seen(tx, *id, *now).await })
        });
        match seen.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Problem::new(ErrorCode::StoreUnavailable, "this server was taken for dead")),
            Err(error) => Err(fault::problem(&error)),
        }
    }

    /// Reads something.
    ///
    /// # Errors
    /// What a reading request would be told.
    pub async fn probe_read(&self) -> Result<(), Problem> {
        let read = async {
            let mut reader = self.store.reader().await?;
            projects::named(&mut reader, projects::DEFAULT).await
        };
        read.await.map(drop).map_err(|error| fault::problem(&error))
    }

    /// Takes the server out of the books, so that nobody waits for its claims to run out.
    ///
    /// # Errors
    /// The store's.
    pub async fn leave(&self) -> Result<(), Problem> {
        let left = self.store.write(Durability::Durable, self.id, |tx, id| {
            Box::pin(async move { servers::leave(tx, *id).await })
        });
        left.await.map_err(|error| fault::problem(&error))
    }
}

/// A failure at the start, with its causes: whoever starts a server has no log to look into yet.
fn told(error: &sandkeep_store::Error) -> Problem {
    let mut problem = fault::problem(error);
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        problem.message = format!("{}: {error}", problem.message);
        cause = error.source();
    }
    problem
}

/// What was given is not repeated: it may be a password with a slip in front of it.
fn url_invalid() -> Problem {
    Problem::new(ErrorCode::ConfigInvalid, "database_url: is not the URL of a PostgreSQL database")
        .expecting("postgres://USER:PASSWORD@HOST:PORT/DATABASE, or nothing for SQLite")
}

/// Empty where the kernel does not say.
fn boot_id(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

impl std::fmt::Debug for Books {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Books::Directory(directory) => f.debug_tuple("Directory").field(directory).finish(),
            Books::Postgres(_) => f.write_str("Postgres(secret)"),
        }
    }
}
