//! Server processes and their one heartbeat. See `docs/decisions/0011-leases-and-tokens.md`.

use sandkeep_core::id::ServerId;

use crate::connection::Connection;
use crate::error::Result;
use crate::row::{record, values};
use crate::sql::statements;
use crate::writer::Tx;

record! {
    /// A server, as its row says.
    pub struct Server {
        /// Its session: fresh at every start.
        pub id: ServerId,
        /// Of the program.
        pub version: String,
        /// Name of the machine.
        pub host: String,
        /// Of the machine, fresh at every boot.
        pub boot_id: String,
        /// When it started.
        pub started_us: i64,
        /// When it was last heard of.
        pub seen_us: i64,
    }
}

statements! {
    ENTER = "INSERT INTO servers (id, version, host, boot_id, started_us, seen_us) VALUES ($1, $2, $3, $4, $5, $6)";
    SEEN = "UPDATE servers SET seen_us = $2 WHERE id = $1";
    LEAVE = "DELETE FROM servers WHERE id = $1";
    VOID_OTHERS = "DELETE FROM servers WHERE id <> $1";
    LIST: Server = "SELECT id, version, host, boot_id, started_us, seen_us FROM servers ORDER BY started_us, id LIMIT $1";
    FORGET = "DELETE FROM servers WHERE seen_us < $1 AND id <> $2";
}

/// Most servers that a list has.
const LIST_MOST: i64 = 1000;

/// Writes a server down at its start.
///
/// # Errors
/// The database's.
pub async fn enter(tx: &mut Tx, server: &Server) -> Result<()> {
    let Server { id, version, host, boot_id, started_us, seen_us } = server;
    tx.execute(&ENTER, values![*id, version, host, boot_id, *started_us, *seen_us]).await.map(drop)
}

/// The heartbeat. False when the server was voided, so that it has to enter anew under another session.
///
/// # Errors
/// The database's.
pub async fn seen(tx: &mut Tx, id: ServerId, now_us: i64) -> Result<bool> {
    Ok(tx.execute(&SEEN, values![id, now_us]).await? > 0)
}

/// Takes a server out that ends in order: what it had claimed is free at once.
///
/// # Errors
/// The database's.
pub async fn leave(tx: &mut Tx, id: ServerId) -> Result<()> {
    tx.execute(&LEAVE, values![id]).await.map(drop)
}

/// Voids every session but `id`: for whoever holds the lock of a data directory and so knows that there is no other.
///
/// # Errors
/// The database's.
pub async fn void_others(tx: &mut Tx, id: ServerId) -> Result<u64> {
    tx.execute(&VOID_OTHERS, values![id]).await
}

/// Takes out those not heard of since `before_us`, but never `id` itself: a clock that jumps makes everybody's last heartbeat
/// old. How many there were.
///
/// # Errors
/// The database's.
pub async fn forget(tx: &mut Tx, before_us: i64, id: ServerId) -> Result<u64> {
    tx.execute(&FORGET, values![before_us, id]).await
}

/// All servers, oldest first.
///
/// # Errors
/// The database's.
pub async fn list(from: &mut Connection) -> Result<Vec<Server>> {
    from.all(&LIST, values![LIST_MOST]).await
}
