//! What a creating request made, so that the same request, repeated, makes nothing more.

use sandkeep_core::id::ProjectId;

use crate::error::Result;
use crate::row::{record, values};
use crate::sql::statements;
use crate::writer::Tx;

/// Who asks for what, under which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// In which project.
    pub project_id: ProjectId,
    /// Id of the principal.
    pub principal: String,
    /// Method and route.
    pub route: String,
    /// What the client calls this request.
    pub key: String,
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Earlier {
    /// Nothing: it is this request's from now on.
    First,
    /// The same request made this.
    Same {
        /// Id of what was made.
        resource_id: String,
    },
    /// Another request had it: its body was another.
    Other,
}

record! {
    /// A remembered request.
    pub struct Remembered {
        /// SHA-256 of its body.
        pub body_hash: Vec<u8>,
        /// What it made.
        pub resource_id: String,
    }
}

statements! {
    REMEMBER = "INSERT INTO idempotency (project_id, principal, route, key, body_hash, resource_id, created_us)
        VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (project_id, principal, route, key) DO UPDATE
        SET body_hash = excluded.body_hash, resource_id = excluded.resource_id, created_us = excluded.created_us
        WHERE idempotency.created_us < $8";
    GET: Remembered = "SELECT body_hash, resource_id FROM idempotency
        WHERE project_id = $1 AND principal = $2 AND route = $3 AND key = $4";
    FORGET = "DELETE FROM idempotency WHERE (project_id, principal, route, key) IN
        (SELECT project_id, principal, route, key FROM idempotency WHERE created_us < $1 ORDER BY created_us LIMIT $2)";
}

/// How long a request is remembered: the longest that a client may take to repeat it.
pub const KEPT_US: i64 = 24 * 60 * 60 * 1_000_000;

/// Takes the key for what is being made in this transaction, or says what had it before, within [`KEPT_US`]. Of two at once
/// the later waits for the earlier's commit, here in the queue or in PostgreSQL for the row.
///
/// # Errors
/// The database's.
pub async fn take(
    tx: &mut Tx,
    scope: &Scope,
    body_hash: &[u8],
    resource_id: &str,
    now_us: i64,
) -> Result<Earlier> {
    let Scope { project_id, principal, route, key } = scope;
    let values =
        values![*project_id, principal, route, key, body_hash, resource_id, now_us, now_us - KEPT_US];
    if tx.execute(&REMEMBER, values).await? > 0 {
        return Ok(Earlier::First);
    }
    let found: Option<Remembered> = tx.one(&GET, values![*project_id, principal, route, key]).await?;
    Ok(match found {
        Some(remembered) if remembered.body_hash == body_hash => {
            Earlier::Same { resource_id: remembered.resource_id }
        }
        Some(_) | None => Earlier::Other,
    })
}

/// Forgets what is older than `before_us`, oldest first, `most` at once. How many there were.
///
/// # Errors
/// The database's.
pub async fn forget(tx: &mut Tx, before_us: i64, most: u32) -> Result<u64> {
    tx.execute(&FORGET, values![before_us, i64::from(most)]).await
}
