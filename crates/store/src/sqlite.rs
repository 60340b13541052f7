//! SQLite, called where it is needed.
//!
//! A statement takes some microseconds, a hop to another thread and back takes more: so the writer has a thread of its own
//! ([`crate::writer`]) and calls SQLite from there, and a read is done by whoever asks. Reads are bounded by `LIMIT`, never
//! wait for a writer (WAL), and give way to other tasks between two statements.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::types::{ToSqlOutput, Value as Stored, ValueRef};
use rusqlite::{CachedStatement, OpenFlags, Result, ToSql};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::row::Value;

/// How long SQLite waits for another process that has the file, such as a backup.
const BUSY_FOR: Duration = Duration::from_secs(5);
/// Statements that stay prepared: more than there are.
const PREPARED_MOST: usize = 256;

/// A connection.
#[derive(Debug)]
pub struct Connection(rusqlite::Connection);

/// A row, with the names of its columns.
#[derive(Debug)]
pub(crate) struct Row {
    columns: Arc<[String]>,
    values: Vec<Stored>,
}

impl Connection {
    /// Of the one who writes. Makes the file where there is none.
    pub(crate) fn writer(file: &Path) -> Result<Self> {
        Self::open(file, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)
    }

    /// Of one who reads, and can do nothing else.
    fn reader(file: &Path) -> Result<Self> {
        Self::open(file, OpenFlags::SQLITE_OPEN_READ_ONLY)
    }

    fn open(file: &Path, how: OpenFlags) -> Result<Self> {
        // A connection is used by one thread at a time: `&mut` says so.
        let connection = rusqlite::Connection::open_with_flags(file, how | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
        connection.busy_timeout(BUSY_FOR)?;
        connection.set_prepared_statement_cache_capacity(PREPARED_MOST);
        connection.execute_batch("PRAGMA foreign_keys = ON")?;
        if how.contains(OpenFlags::SQLITE_OPEN_READ_WRITE) {
            connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")?;
        }
        Ok(Self(connection))
    }

    /// Runs a statement; how many rows it changed.
    pub(crate) fn execute(&mut self, text: &str, values: &[Value]) -> Result<u64> {
        self.bound(text, values)?.raw_execute().map(|changed| changed as u64)
    }

    /// The rows of the answer.
    pub(crate) fn rows(&mut self, text: &str, values: &[Value]) -> Result<Vec<Row>> {
        let mut statement = self.bound(text, values)?;
        let columns: Arc<[String]> = statement.column_names().map(str::to_owned).collect();
        let (mut rows, mut all) = (statement.raw_query(), Vec::new());
        while let Some(row) = rows.next()? {
            let values = (0..columns.len()).map(|at| row.get(at)).collect::<Result<_>>()?;
            all.push(Row { columns: Arc::clone(&columns), values });
        }
        Ok(all)
    }

    /// Runs `text`, one statement or several, without values.
    pub(crate) fn run(&mut self, text: &str) -> Result<()> {
        self.0.execute_batch(text)
    }

    /// Names of the columns that a statement returns.
    pub(crate) fn describe(&mut self, text: &str) -> Result<Vec<String>> {
        Ok(self.0.prepare(text)?.column_names().map(str::to_owned).collect())
    }

    /// `text`, prepared, with its values. `$1` is the name of the first value and not its place, which SQLite gives by order of
    /// appearance.
    fn bound(&mut self, text: &str, values: &[Value]) -> Result<CachedStatement<'_>> {
        let mut statement = self.0.prepare_cached(text)?;
        for place in 1..=statement.parameter_count() {
            let name = statement.parameter_name(place).unwrap_or_default();
            let number = name.strip_prefix('$').and_then(|number| number.parse::<usize>().ok());
            let value = number.and_then(|number| values.get(number.checked_sub(1)?));
            let value = value.ok_or_else(|| rusqlite::Error::InvalidParameterName(name.to_owned()))?;
            statement.raw_bind_parameter(place, value)?;
        }
        Ok(statement)
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>> {
        let value = match self {
            Self::Text(Some(text)) => ValueRef::Text(text.as_bytes()),
            Self::Number(Some(number)) => ValueRef::Integer(*number),
            Self::Flag(Some(flag)) => ValueRef::Integer(i64::from(*flag)),
            Self::Bytes(Some(bytes)) => ValueRef::Blob(bytes),
            Self::Text(None) | Self::Number(None) | Self::Flag(None) | Self::Bytes(None) => ValueRef::Null,
        };
        Ok(ToSqlOutput::Borrowed(value))
    }
}

impl Row {
    /// The value of a column.
    pub(crate) fn get<T: rusqlite::types::FromSql>(&self, column: &str) -> Result<T> {
        let at = self.columns.iter().position(|name| name == column);
        let at = at.ok_or_else(|| rusqlite::Error::InvalidColumnName(column.to_owned()))?;
        let value = &self.values[at];
        T::column_result(value.into())
            .map_err(|_| rusqlite::Error::InvalidColumnType(at, column.to_owned(), value.data_type()))
    }
}

/// Connections for reading: made when they are needed, and kept.
#[derive(Debug)]
pub(crate) struct Readers {
    file: std::path::PathBuf,
    idle: Mutex<Vec<Connection>>,
    places: Arc<Semaphore>,
}

/// A connection for reading, which goes back to the others.
#[derive(Debug)]
pub struct Reader {
    /// Always there until it goes.
    connection: Option<Connection>,
    of: Arc<Readers>,
    _place: OwnedSemaphorePermit,
}

impl Readers {
    /// At most so many connections. The first is opened now, so that what keeps them from being opened is known.
    pub(crate) fn open(file: &Path, most: u32) -> Result<Arc<Self>> {
        let idle = Mutex::new(vec![Connection::reader(file)?]);
        let places = Arc::new(Semaphore::new(most.max(1) as usize));
        Ok(Arc::new(Self { file: file.to_owned(), idle, places }))
    }

    /// One of them; waits for it where all are in use.
    pub(crate) async fn take(self: &Arc<Self>) -> Result<Reader> {
        let place = Arc::clone(&self.places).acquire_owned().await.expect("places are never closed");
        let idle = self.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => Connection::reader(&self.file)?,
        };
        Ok(Reader { connection: Some(connection), of: Arc::clone(self), _place: place })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::ops::Deref for Reader {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection.as_ref().expect("it is there until it goes")
    }
}

impl std::ops::DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut Connection {
        self.connection.as_mut().expect("it is there until it goes")
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.of.lock().extend(self.connection.take());
    }
}
