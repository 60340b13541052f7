//! Principals, and what each is in which project.

use sandkeep_core::id::{PrincipalId, ProjectId};

use crate::connection::Connection;
use crate::error::Result;
use crate::row::{record, values};
use crate::sql::statements;
use crate::writer::Tx;

record! {
    /// Whoever acts.
    pub struct Principal {
        /// Its id.
        pub id: PrincipalId,
        /// Unique among all principals.
        pub name: String,
        /// Whether it is an administrator of the server, and so owner in every project.
        pub admin: bool,
        /// When it was made.
        pub created_us: i64,
    }
}

record! {
    /// What a principal is in a project.
    pub struct Membership {
        /// The project.
        pub project_id: ProjectId,
        /// `owner`, `editor`, `operator`, `viewer`. What a newer release writes there gives no role.
        pub role: String,
    }
}

statements! {
    CREATE = "INSERT INTO principals (id, name, admin, created_us) VALUES ($1, $2, $3, $4)";
    GET: Principal = "SELECT id, name, admin, created_us FROM principals WHERE id = $1";
    SET_MEMBER = "INSERT INTO members (project_id, principal_id, role) VALUES ($1, $2, $3)
        ON CONFLICT (project_id, principal_id) DO UPDATE SET role = excluded.role";
    MEMBERSHIPS: Membership = "SELECT project_id, role FROM members WHERE principal_id = $1 ORDER BY project_id LIMIT $2";
}

/// Most projects that one principal may be a member of and still have a role in each.
const MEMBERSHIPS_MOST: i64 = 10_000;

/// Makes a principal.
///
/// # Errors
/// [`Taken`](crate::Error::Taken); the database's.
pub async fn create(tx: &mut Tx, principal: &Principal) -> Result<()> {
    let Principal { id, name, admin, created_us } = principal;
    let created = tx.execute(&CREATE, values![*id, name, *admin, *created_us]).await;
    created.map(drop).map_err(|error| error.or_taken("principal"))
}

/// The principal of an id.
///
/// # Errors
/// The database's.
pub async fn get(from: &mut Connection, id: PrincipalId) -> Result<Option<Principal>> {
    from.one(&GET, values![id]).await
}

/// Gives a principal a role in a project, instead of the one it had there, if any.
///
/// # Errors
/// The database's.
pub async fn set_member(
    tx: &mut Tx,
    project_id: ProjectId,
    principal_id: PrincipalId,
    role: &str,
) -> Result<()> {
    tx.execute(&SET_MEMBER, values![project_id, principal_id, role]).await.map(drop)
}

/// What a principal is where.
///
/// # Errors
/// The database's.
pub async fn memberships(from: &mut Connection, id: PrincipalId) -> Result<Vec<Membership>> {
    from.all(&MEMBERSHIPS, values![id, MEMBERSHIPS_MOST]).await
}
