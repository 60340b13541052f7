//! Secrets, sealed by whoever writes them: nothing here can be read without the master key.

use sandkeep_core::id::{ProjectId, SecretId};

use crate::connection::Connection;
use crate::error::Result;
use crate::guard::Guarded;
use crate::row::{record, values};
use crate::sql::statements;
use crate::writer::Tx;

record! {
    /// A secret with its sealed value.
    pub struct Secret {
        /// Its id, which the seal is bound to.
        pub id: SecretId,
        /// Whose.
        pub project_id: ProjectId,
        /// Unique in its project.
        pub name: String,
        /// Rises with every value, from 1. The seal is bound to it.
        pub version: i64,
        /// Which master key.
        pub key_id: Vec<u8>,
        /// The key of this value, wrapped.
        pub wrapped_key: Vec<u8>,
        /// Of the ciphertext.
        pub nonce: Vec<u8>,
        /// The value.
        pub ciphertext: Vec<u8>,
        /// When it was first set.
        pub created_us: i64,
        /// When its value was set.
        pub updated_us: i64,
    }
}

record! {
    /// A secret without its value.
    pub struct Label {
        /// Its id.
        pub id: SecretId,
        /// Its name.
        pub name: String,
        /// Rises with every value, from 1.
        pub version: i64,
        /// When it was first set.
        pub created_us: i64,
        /// When its value was set.
        pub updated_us: i64,
    }
}

statements! {
    CREATE = "INSERT INTO secrets (id, project_id, name, version, key_id, wrapped_key, nonce, ciphertext, created_us,
        updated_us) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    REPLACE = "UPDATE secrets SET version = $2, key_id = $3, wrapped_key = $4, nonce = $5, ciphertext = $6, updated_us = $7
        WHERE id = $1 AND version = $2 - 1";
    NAMED: Secret = "SELECT id, project_id, name, version, key_id, wrapped_key, nonce, ciphertext, created_us, updated_us
        FROM secrets WHERE project_id = $1 AND name = $2";
    LIST: Label = "SELECT id, name, version, created_us, updated_us FROM secrets WHERE project_id = $1 AND name > $2
        ORDER BY name LIMIT $3";
    THERE = "SELECT 1 AS found FROM secrets WHERE id = $1";
    DELETE = "DELETE FROM secrets WHERE project_id = $1 AND name = $2";
}

/// Writes a secret that was not there.
///
/// # Errors
/// [`Taken`](crate::Error::Taken); the database's.
pub async fn create(tx: &mut Tx, secret: &Secret) -> Result<()> {
    let values = values![
        secret.id,
        secret.project_id,
        &secret.name,
        secret.version,
        secret.key_id.clone(),
        secret.wrapped_key.clone(),
        secret.nonce.clone(),
        secret.ciphertext.clone(),
        secret.created_us,
        secret.updated_us
    ];
    tx.execute(&CREATE, values).await.map(drop).map_err(|error| error.or_taken("secret"))
}

/// Gives a secret its next value, if its version is one less than that of `secret`.
///
/// # Errors
/// The database's.
pub async fn replace(tx: &mut Tx, secret: &Secret) -> Result<Guarded> {
    let values = values![
        secret.id,
        secret.version,
        secret.key_id.clone(),
        secret.wrapped_key.clone(),
        secret.nonce.clone(),
        secret.ciphertext.clone(),
        secret.updated_us
    ];
    let changed = tx.execute(&REPLACE, values).await?;
    let there = changed > 0 || tx.any(&THERE, values![secret.id]).await?;
    Ok(Guarded::of(changed, there))
}

/// The secret of a name.
///
/// # Errors
/// The database's.
pub async fn named(from: &mut Connection, project_id: ProjectId, name: &str) -> Result<Option<Secret>> {
    from.one(&NAMED, values![project_id, name]).await
}

/// Names of a project's secrets after `after` (empty: all), `limit` at most.
///
/// # Errors
/// The database's.
pub async fn list(
    from: &mut Connection,
    project_id: ProjectId,
    after: &str,
    limit: u32,
) -> Result<Vec<Label>> {
    from.all(&LIST, values![project_id, after, i64::from(limit)]).await
}

/// Deletes a secret; whether it was there.
///
/// # Errors
/// The database's.
pub async fn delete(tx: &mut Tx, project_id: ProjectId, name: &str) -> Result<bool> {
    Ok(tx.execute(&DELETE, values![project_id, name]).await? > 0)
}
