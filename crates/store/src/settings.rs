//! What an installation has once: which master key it uses, which token was its first.

use crate::connection::Connection;
use crate::error::{Cause, Error, Result};
use crate::row::{record, values};
use crate::sql::statements;
use crate::writer::Tx;

record! {
    /// The value of a setting.
    pub(crate) struct Setting {
        /// Its value.
        pub value: String,
    }
}

statements! {
    GET: Setting = "SELECT value FROM settings WHERE key = $1";
    ENSURE = "INSERT INTO settings (key, value, set_us) VALUES ($1, $2, $3) ON CONFLICT (key) DO NOTHING";
    PUT = "INSERT INTO settings (key, value, set_us) VALUES ($1, $2, $3)
        ON CONFLICT (key) DO UPDATE SET value = excluded.value, set_us = excluded.set_us";
}

/// The value of `key`.
///
/// # Errors
/// The database's.
pub async fn get(from: &mut Connection, key: &str) -> Result<Option<String>> {
    Ok(from.one::<Setting>(&GET, values![key]).await?.map(|setting| setting.value))
}

/// Sets `key` unless it is set. Its value now: of two servers that start at once, both get that of the first.
///
/// # Errors
/// The database's.
pub async fn ensure(tx: &mut Tx, key: &str, value: &str, now_us: i64) -> Result<String> {
    tx.execute(&ENSURE, values![key, value, now_us]).await?;
    let found = get(tx, key).await?;
    found.ok_or(Error::Database { doing: ENSURE.name, source: Cause::NoRow })
}

/// Sets `key`.
///
/// # Errors
/// The database's.
pub async fn put(tx: &mut Tx, key: &str, value: &str, now_us: i64) -> Result<()> {
    tx.execute(&PUT, values![key, value, now_us]).await.map(drop)
}
