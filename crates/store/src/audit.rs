//! Who changed what: rows that are written with the change and never changed themselves.

use sandkeep_core::id::{AuditId, PrincipalId, ProjectId, TokenId};

use crate::connection::Connection;
use crate::error::Result;
use crate::executions::Before;
use crate::row::{record, values};
use crate::sql::statements;
use crate::writer::Tx;

record! {
    /// A change, and who made it.
    pub struct Entry {
        /// Its id.
        pub id: AuditId,
        /// When.
        pub at_us: i64,
        /// In which project; none: in the whole server.
        pub project_id: Option<ProjectId>,
        /// Who.
        pub principal_id: PrincipalId,
        /// With which token; none: at the machine itself.
        pub token_id: Option<TokenId>,
        /// `token.create`, …
        pub action: String,
        /// Id of what was changed; of a secret its name.
        pub resource: String,
        /// Of the request that asked for it.
        pub request_id: String,
        /// More, as a JSON object. Holds no secret.
        pub detail: String,
    }
}

statements! {
    ADD = "INSERT INTO audit (id, at_us, project_id, principal_id, token_id, action, resource, request_id, detail)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    LIST: Entry = "SELECT id, at_us, project_id, principal_id, token_id, action, resource, request_id, detail FROM audit
        WHERE project_id = $1 AND (at_us, id) < ($2, $3) ORDER BY at_us DESC, id DESC LIMIT $4";
    LIST_ALL: Entry = "SELECT id, at_us, project_id, principal_id, token_id, action, resource, request_id, detail FROM audit
        WHERE (at_us, id) < ($1, $2) ORDER BY at_us DESC, id DESC LIMIT $3";
    FORGET = "DELETE FROM audit
        WHERE (at_us, id) IN (SELECT at_us, id FROM audit WHERE at_us < $1 ORDER BY at_us, id LIMIT $2)";
}

/// Writes an entry, as part of the change that it tells of.
///
/// # Errors
/// The database's.
pub async fn add(tx: &mut Tx, entry: &Entry) -> Result<()> {
    let Entry { id, at_us, project_id, principal_id, token_id, action, resource, request_id, detail } = entry;
    let values =
        values![*id, *at_us, *project_id, *principal_id, *token_id, action, resource, request_id, detail];
    tx.execute(&ADD, values).await.map(drop)
}

/// Entries of a project, or all there are, newest first.
///
/// # Errors
/// The database's.
pub async fn list(
    from: &mut Connection,
    project_id: Option<ProjectId>,
    before: &Before,
    limit: u32,
) -> Result<Vec<Entry>> {
    let (at_us, id, limit) = (before.created_us, &before.id, i64::from(limit));
    match project_id {
        Some(project_id) => from.all(&LIST, values![project_id, at_us, id, limit]).await,
        None => from.all(&LIST_ALL, values![at_us, id, limit]).await,
    }
}

/// Deletes entries older than `before_us`, oldest first, `most` at once. How many there were.
///
/// # Errors
/// The database's.
pub async fn forget(tx: &mut Tx, before_us: i64, most: u32) -> Result<u64> {
    tx.execute(&FORGET, values![before_us, i64::from(most)]).await
}

#[cfg(test)]
mod tests {
    use super::STATEMENTS;

    /// What stands in the log is not changed, by nobody: there is no statement that could.
    #[test]
    fn it_is_only_appended_to() {
        for text in STATEMENTS.iter().flat_map(|statement| [statement.sqlite, statement.postgres]) {
            let text = text.to_lowercase();
            assert!(!text.contains("update"), "{text}");
            assert!(!text.starts_with("delete") || text.contains("at_us < $1"), "{text}");
        }
    }
}
