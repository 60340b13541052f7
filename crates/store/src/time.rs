//! The database's clock. See `docs/decisions/0010-clocks.md`: it is asked for on its own, and never in a statement that does
//! something.

use crate::connection::Connection;
use crate::error::Result;
use crate::row::{record, values};
use crate::sql::statements;

record! {
    pub(crate) struct Told {
        /// Microseconds since 1970.
        pub now_us: i64,
    }
}

statements! {
    /// Not `now()`, which is when the transaction began.
    NOW: Told = {
        sqlite: "SELECT 0 AS now_us",
        postgres: "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT) AS now_us"
    };
}

/// What the database's clock says, in microseconds since 1970. `None` on SQLite: its clock is this machine's.
///
/// # Errors
/// The database's.
pub async fn now_us(from: &mut Connection) -> Result<Option<i64>> {
    if !from.is_postgres() {
        return Ok(None);
    }
    Ok(from.one::<Told>(&NOW, values![]).await?.map(|told| told.now_us))
}
