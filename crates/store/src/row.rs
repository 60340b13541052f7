//! From values to columns and back, the same for both databases.

use sqlx::{Row as _, postgres::PgRow};

use crate::error::{Error, Result};
use crate::sqlite;

/// A value for a placeholder. The four kinds that both databases have; `None` is `NULL` of that kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// `TEXT`.
    Text(Option<String>),
    /// `BIGINT`.
    Number(Option<i64>),
    /// `BOOLEAN`.
    Flag(Option<bool>),
    /// `BYTEA`.
    Bytes(Option<Vec<u8>>),
}

macro_rules! value_of {
    ($($type:ty => $variant:ident: $own:expr;)+) => {
        $(
            impl From<$type> for Value {
                fn from(value: $type) -> Self {
                    Self::$variant(Some($own(value)))
                }
            }

            impl From<Option<$type>> for Value {
                fn from(value: Option<$type>) -> Self {
                    Self::$variant(value.map($own))
                }
            }
        )+
    };
}

value_of! {
    &str => Text: str::to_owned;
    String => Text: std::convert::identity;
    &String => Text: String::clone;
    i64 => Number: std::convert::identity;
    bool => Flag: std::convert::identity;
    &[u8] => Bytes: <[u8]>::to_vec;
    Vec<u8> => Bytes: std::convert::identity;
}

/// Values for the placeholders `$1`, `$2`, … in this order.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::row::Value::from($value)),*] };
}
pub(crate) use values;

/// A row of either database.
#[derive(Debug)]
pub struct Row {
    statement: &'static str,
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Sqlite(sqlite::Row),
    Postgres(PgRow),
}

impl Row {
    pub(crate) fn sqlite(statement: &'static str, row: sqlite::Row) -> Self {
        Self { statement, inner: Inner::Sqlite(row) }
    }

    pub(crate) fn postgres(statement: &'static str, row: PgRow) -> Self {
        Self { statement, inner: Inner::Postgres(row) }
    }

    /// The value of `column`.
    ///
    /// # Errors
    /// [`Error::Database`]: there is no such column, or it holds another type.
    pub fn get<C: Cell>(&self, column: &'static str) -> Result<C> {
        C::of(self, column)
    }

    /// An error that names the place of `found`.
    pub(crate) fn odd(&self, column: &'static str, found: &str, expected: &'static str) -> Error {
        let found = found.chars().take(80).collect();
        Error::Content { statement: self.statement, column, found, expected }
    }
}

/// A type that a column can be read as.
pub trait Cell: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// As [`Row::get`].
    fn of(row: &Row, column: &'static str) -> Result<Self>;
}

macro_rules! cells {
    ($($type:ty),+) => {
        $(impl Cell for $type {
            fn of(row: &Row, column: &'static str) -> Result<Self> {
                match &row.inner {
                    Inner::Sqlite(of) => of.get(column).map_err(Error::database(row.statement)),
                    Inner::Postgres(of) => of.try_get(column).map_err(Error::database(row.statement)),
                }
            }
        })+
    };
}
cells!(String, Option<String>, i64, Option<i64>, bool, Vec<u8>, Option<Vec<u8>>);

/// What is made of a row.
pub trait Record: Sized {
    /// The columns it is made of.
    const COLUMNS: &'static [&'static str];

    /// Makes it.
    ///
    /// # Errors
    /// A column is missing or holds what it should not.
    fn of(row: &Row) -> Result<Self>;
}

/// Declares a record: a struct whose fields are the columns of the same names.
macro_rules! record {
    ($(#[$doc:meta])* $visibility:vis struct $name:ident { $($(#[$field_doc:meta])* pub $field:ident: $type:ty,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        $visibility struct $name {
            $($(#[$field_doc])* pub $field: $type,)+
        }

        impl $crate::row::Record for $name {
            const COLUMNS: &'static [&'static str] = &[$(stringify!($field)),+];

            fn of(row: &$crate::row::Row) -> $crate::error::Result<Self> {
                Ok(Self { $($field: row.get(stringify!($field))?),+ })
            }
        }
    };
}
pub(crate) use record;

/// Reads an id of `sandkeep_core` from its text.
macro_rules! id_cells {
    ($($id:ident),+) => {
        $(
            impl Cell for sandkeep_core::id::$id {
                fn of(row: &Row, column: &'static str) -> Result<Self> {
                    let text: String = row.get(column)?;
                    text.parse().map_err(|_| row.odd(column, &text, concat!("a ", stringify!($id))))
                }
            }

            impl Cell for Option<sandkeep_core::id::$id> {
                fn of(row: &Row, column: &'static str) -> Result<Self> {
                    let text: Option<String> = row.get(column)?;
                    let parsed = text.as_deref().map(str::parse).transpose();
                    parsed.map_err(|_| {
                        row.odd(column, &text.unwrap_or_default(), concat!("a ", stringify!($id)))
                    })
                }
            }

            impl From<sandkeep_core::id::$id> for Value {
                fn from(id: sandkeep_core::id::$id) -> Self {
                    Self::Text(Some(id.to_string()))
                }
            }

            impl From<Option<sandkeep_core::id::$id>> for Value {
                fn from(id: Option<sandkeep_core::id::$id>) -> Self {
                    Self::Text(id.map(|id| id.to_string()))
                }
            }
        )+
    };
}
id_cells!(AuditId, ExecutionId, PrincipalId, ProjectId, SandboxId, SecretId, ServerId, TokenId);
