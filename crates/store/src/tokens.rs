//! Tokens, found by the hash of their text.

use sandkeep_core::id::{PrincipalId, ProjectId, TokenId};

use crate::connection::Connection;
use crate::error::Result;
use crate::executions::Before;
use crate::guard::Guarded;
use crate::row::{record, values};
use crate::sql::statements;
use crate::writer::Tx;

record! {
    /// A token, without its hash.
    pub struct Token {
        /// Its id, which is no secret.
        pub id: TokenId,
        /// The one project that it is good for.
        pub project_id: Option<ProjectId>,
        /// Whose it is.
        pub principal_id: PrincipalId,
        /// For people; need not be unique.
        pub name: String,
        /// `sandkeep` or `e2b`.
        pub format: String,
        /// The most that it makes of its principal's role.
        pub role: String,
        /// `*`, or names with spaces between.
        pub scopes: String,
        /// When it was made.
        pub created_us: i64,
        /// When it ends.
        pub expires_us: Option<i64>,
        /// When it was last seen, give or take a minute.
        pub used_us: Option<i64>,
        /// When it was revoked.
        pub revoked_us: Option<i64>,
    }
}

statements! {
    CREATE = "INSERT INTO tokens (id, project_id, principal_id, name, hash, format, role, scopes, created_us, expires_us)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    GET: Token = "SELECT id, project_id, principal_id, name, format, role, scopes, created_us, expires_us, used_us,
        revoked_us FROM tokens WHERE id = $1";
    OF_HASH: Token = "SELECT id, project_id, principal_id, name, format, role, scopes, created_us, expires_us, used_us,
        revoked_us FROM tokens WHERE hash = $1";
    LIST: Token = "SELECT id, project_id, principal_id, name, format, role, scopes, created_us, expires_us, used_us,
        revoked_us FROM tokens WHERE project_id = $1 AND revoked_us IS NULL AND ($2 = '' OR principal_id = $2)
        AND (created_us, id) < ($3, $4) ORDER BY created_us DESC, id DESC LIMIT $5";
    LIST_UNBOUND: Token = "SELECT id, project_id, principal_id, name, format, role, scopes, created_us, expires_us, used_us,
        revoked_us FROM tokens WHERE project_id IS NULL AND revoked_us IS NULL AND ($1 = '' OR principal_id = $1)
        AND (created_us, id) < ($2, $3) ORDER BY created_us DESC, id DESC LIMIT $4";
    REVOKE = "UPDATE tokens SET revoked_us = $2 WHERE id = $1 AND revoked_us IS NULL";
    USED = "UPDATE tokens SET used_us = $2 WHERE id = $1 AND (used_us IS NULL OR used_us < $2)";
    FORGET = "DELETE FROM tokens WHERE id IN
        (SELECT id FROM tokens WHERE revoked_us < $1 OR expires_us < $1 LIMIT $2)";
}

/// Makes a token of which only the SHA-256 of its text is kept.
///
/// # Errors
/// The database's; [`Taken`](crate::Error::Taken) when the text is that of another token.
pub async fn create(tx: &mut Tx, token: &Token, hash: &[u8]) -> Result<()> {
    let values = values![
        token.id,
        token.project_id,
        token.principal_id,
        &token.name,
        hash,
        &token.format,
        &token.role,
        &token.scopes,
        token.created_us,
        token.expires_us
    ];
    tx.execute(&CREATE, values).await.map(drop).map_err(|error| error.or_taken("token"))
}

/// The token of an id, revoked or not.
///
/// # Errors
/// The database's.
pub async fn get(from: &mut Connection, id: TokenId) -> Result<Option<Token>> {
    from.one(&GET, values![id]).await
}

/// The token whose text has this SHA-256, revoked or not.
///
/// # Errors
/// The database's.
pub async fn of_hash(from: &mut Connection, hash: &[u8]) -> Result<Option<Token>> {
    from.one(&OF_HASH, values![hash]).await
}

/// Tokens that are good for `project_id`, or for no particular one, and not revoked, newest first: those of one principal,
/// or everybody's.
///
/// # Errors
/// The database's.
pub async fn list(
    from: &mut Connection,
    project_id: Option<ProjectId>,
    of: Option<PrincipalId>,
    before: &Before,
    limit: u32,
) -> Result<Vec<Token>> {
    let of = of.map_or_else(String::new, |id| id.to_string());
    let (created_us, id, limit) = (before.created_us, &before.id, i64::from(limit));
    match project_id {
        Some(project_id) => from.all(&LIST, values![project_id, of, created_us, id, limit]).await,
        None => from.all(&LIST_UNBOUND, values![of, created_us, id, limit]).await,
    }
}

/// Revokes a token, once: [`Guarded::Stale`] when it already was.
///
/// # Errors
/// The database's.
pub async fn revoke(tx: &mut Tx, id: TokenId, now_us: i64) -> Result<Guarded> {
    let changed = tx.execute(&REVOKE, values![id, now_us]).await?;
    let there = changed > 0 || get(tx, id).await?.is_some();
    Ok(Guarded::of(changed, there))
}

/// Notes that a token was seen. Never goes back.
///
/// # Errors
/// The database's.
pub async fn used(tx: &mut Tx, id: TokenId, used_us: i64) -> Result<()> {
    tx.execute(&USED, values![id, used_us]).await.map(drop)
}

/// Deletes those that were revoked or ended before `before_us`, `most` at once. How many there were.
///
/// # Errors
/// The database's.
pub async fn forget(tx: &mut Tx, before_us: i64, most: u32) -> Result<u64> {
    tx.execute(&FORGET, values![before_us, i64::from(most)]).await
}
