//! Whoever a request is made for.

use std::collections::BTreeMap;

use super::role::Role;
use super::scope::Scopes;
use crate::id::{PrincipalId, ProjectId, TokenId};

/// A principal as it came with a token that is neither expired nor revoked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Who.
    pub id: PrincipalId,
    /// An administrator of the server: owner in every project, and makes new ones.
    pub admin: bool,
    /// Its role in each project that it is a member of.
    pub roles: BTreeMap<ProjectId, Role>,
    /// Which token it came with.
    pub token_id: TokenId,
    /// The one project that the token is good for; `None`: all that the principal has.
    pub bound: Option<ProjectId>,
    /// The most that the token makes of the principal's role.
    pub at_most: Role,
    /// What the token is good for.
    pub scopes: Scopes,
    /// When the token ends, in microseconds since 1970.
    pub expires_us: Option<i64>,
}

impl Principal {
    /// Its role in a project, as far as its token lets it have it.
    pub fn role_in(&self, project: ProjectId) -> Option<Role> {
        if self.bound.is_some_and(|bound| bound != project) {
            return None;
        }
        let own = if self.admin { Some(Role::Owner) } else { self.roles.get(&project).copied() };
        own.map(|role| role.min(self.at_most))
    }

    /// Its role in matters of the whole server. A token that is bound to a project has none there.
    pub fn role_in_server(&self) -> Option<Role> {
        (self.admin && self.bound.is_none()).then_some(self.at_most)
    }
}
