//! The gate.

use super::action::Action;
use super::principal::Principal;
use super::role::Role;
use super::scope::Scope;
use crate::code::{ErrorCode, Problem};
use crate::id::{PrincipalId, ProjectId};

/// What an action is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// The server as a whole.
    Server,
    /// A project, or whatever belongs to it.
    Project(ProjectId),
    /// A token.
    Token {
        /// The project that it is bound to.
        project: Option<ProjectId>,
        /// Whom it is a token of.
        owner: PrincipalId,
    },
}

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// Whether it exists is not this principal's to know.
    Hidden,
    /// It takes at least this role.
    Role {
        /// The action.
        action: Action,
        /// The least role.
        needs: Role,
        /// The principal's.
        has: Role,
    },
    /// The token is not good for it.
    Scope {
        /// The action.
        action: Action,
        /// What would be.
        needs: Scope,
    },
}

/// Whether `principal` may do `action` to `resource`.
///
/// # Errors
/// [`Denied`]. [`Denied::Hidden`] always when it has no role where the resource is, whatever the action: so that one
/// cannot find out what exists elsewhere by trying.
pub fn authorize(principal: &Principal, action: Action, resource: Resource) -> Result<(), Denied> {
    let (has, needs) = match resource {
        Resource::Server => (principal.role_in_server(), action.least_role()),
        Resource::Project(project) => (principal.role_in(project), action.least_role()),
        Resource::Token { project, owner } => {
            let own = owner == principal.id;
            let needs = if own { action.least_role() } else { action.least_role().max(Role::Owner) };
            (role_over_tokens(principal, project, own), needs)
        }
    };
    let has = has.ok_or(Denied::Hidden)?;
    if has < needs {
        return Err(Denied::Role { action, needs, has });
    }
    if !principal.scopes.has(action.scope()) {
        return Err(Denied::Scope { action, needs: action.scope() });
    }
    Ok(())
}

/// A token that is bound to no project is its owner's, or else the server's.
fn role_over_tokens(principal: &Principal, project: Option<ProjectId>, own: bool) -> Option<Role> {
    match project {
        Some(project) => principal.role_in(project),
        None if own && principal.bound.is_none() => Some(principal.at_most),
        None => principal.role_in_server(),
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Hidden => Self::new(ErrorCode::NotFound, "there is no such resource"),
            Denied::Role { action, needs, has } => {
                Self::new(ErrorCode::Forbidden, format!("{action} takes the role {needs}, and this is {has}"))
                    .expecting(format!("a token of somebody who is {needs} there"))
            }
            Denied::Scope { action, needs } => {
                Self::new(ErrorCode::Forbidden, format!("the token is not good for {action}"))
                    .expecting(format!("a token with the scope {needs}"))
            }
        }
    }
}
