//! Projects, which own everything else.

use sandkeep_core::id::{PrincipalId, ProjectId};

use crate::connection::Connection;
use crate::error::{Cause, Error, Result};
use crate::guard::Guarded;
use crate::row::{record, values};
use crate::sql::statements;
use crate::writer::Tx;

record! {
    /// A project.
    pub struct Project {
        /// Its id.
        pub id: ProjectId,
        /// Unique among all projects.
        pub name: String,
        /// Rises with every change.
        pub generation: i64,
        /// When it was made.
        pub created_us: i64,
    }
}

/// The project that is there from the first start.
pub const DEFAULT: &str = "default";

statements! {
    CREATE = "INSERT INTO projects (id, name, generation, created_us) VALUES ($1, $2, 1, $3)";
    ENSURE = "INSERT INTO projects (id, name, generation, created_us) VALUES ($1, $2, 1, $3) ON CONFLICT (name) DO NOTHING";
    RENAME = "UPDATE projects SET name = $3, generation = generation + 1 WHERE id = $1 AND generation = $2";
    GET: Project = "SELECT id, name, generation, created_us FROM projects WHERE id = $1";
    NAMED: Project = "SELECT id, name, generation, created_us FROM projects WHERE name = $1";
    LIST_OF: Project = "SELECT p.id, p.name, p.generation, p.created_us FROM projects p
        JOIN members m ON m.project_id = p.id WHERE m.principal_id = $1 AND p.name > $2 ORDER BY p.name LIMIT $3";
    LIST: Project = "SELECT id, name, generation, created_us FROM projects WHERE name > $1 ORDER BY name LIMIT $2";
}

/// Makes a project.
///
/// # Errors
/// [`Error::Taken`]; the database's.
pub async fn create(tx: &mut Tx, id: ProjectId, name: &str, now_us: i64) -> Result<()> {
    tx.execute(&CREATE, values![id, name, now_us]).await.map(drop).map_err(|error| error.or_taken("project"))
}

/// The project [`DEFAULT`], made with `id` where it is missing.
///
/// # Errors
/// The database's.
pub async fn ensure_default(tx: &mut Tx, id: ProjectId, now_us: i64) -> Result<Project> {
    tx.execute(&ENSURE, values![id, DEFAULT, now_us]).await?;
    let found = named(tx, DEFAULT).await?;
    found.ok_or(Error::Database { doing: ENSURE.name, source: Cause::NoRow })
}

/// Gives a project another name, if it still is of `generation`.
///
/// # Errors
/// [`Error::Taken`]; the database's.
pub async fn rename(tx: &mut Tx, id: ProjectId, generation: i64, name: &str) -> Result<Guarded> {
    let changed = tx.execute(&RENAME, values![id, generation, name]).await;
    let changed = changed.map_err(|error| error.or_taken("project"))?;
    let there = changed > 0 || get(tx, id).await?.is_some();
    Ok(Guarded::of(changed, there))
}

/// The project of an id.
///
/// # Errors
/// The database's.
pub async fn get(from: &mut Connection, id: ProjectId) -> Result<Option<Project>> {
    from.one(&GET, values![id]).await
}

/// The project of a name.
///
/// # Errors
/// The database's.
pub async fn named(from: &mut Connection, name: &str) -> Result<Option<Project>> {
    from.one(&NAMED, values![name]).await
}

/// Projects by name, those after `after` (empty: all), `limit` at most.
///
/// # Errors
/// The database's.
pub async fn list(from: &mut Connection, after: &str, limit: u32) -> Result<Vec<Project>> {
    from.all(&LIST, values![after, i64::from(limit)]).await
}

/// The same, of those that a principal is a member of.
///
/// # Errors
/// The database's.
pub async fn list_of(
    from: &mut Connection,
    principal_id: PrincipalId,
    after: &str,
    limit: u32,
) -> Result<Vec<Project>> {
    from.all(&LIST_OF, values![principal_id, after, i64::from(limit)]).await
}
