//! What a token that is made with another may be good for: at most what that one is.

use super::principal::Principal;
use super::role::Role;
use super::scope::Scopes;
use crate::code::{ErrorCode, Problem};
use crate::id::ProjectId;

/// What is asked for; what is left out is as the token in hand has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Asked {
    /// The one project; `None`: all that the principal has.
    pub project: Option<ProjectId>,
    /// The most of a role.
    pub role: Option<Role>,
    /// For what.
    pub scopes: Option<Scopes>,
    /// Until when, in microseconds since 1970.
    pub expires_us: Option<i64>,
}

/// What a new token is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The one project.
    pub project: Option<ProjectId>,
    /// The most of a role.
    pub at_most: Role,
    /// For what.
    pub scopes: Scopes,
    /// Until when.
    pub expires_us: Option<i64>,
}

impl Principal {
    /// What a token may be good for that this principal makes for itself.
    ///
    /// # Errors
    /// `forbidden` for more than it has itself, `invalid_value` for an end in the past. (That it may make tokens at all is
    /// [`authorize`](super::authorize)'s to say.)
    pub fn grant(&self, asked: Asked, now_us: i64) -> Result<Grant, Problem> {
        let Asked { project, role, scopes, expires_us } = asked;
        if self.bound.is_some() && project != self.bound {
            return Err(more("is for another project", "the project of the token that makes it"));
        }
        let has = project.map_or(Some(self.at_most), |project| self.role_in(project));
        if role > has {
            return Err(more("has a larger role", "at most the role of who makes it"));
        }
        let scopes = scopes.unwrap_or_else(|| self.scopes.clone());
        if !scopes.are_within(&self.scopes) {
            return Err(more("has more scopes", "scopes of the token that makes it"));
        }
        let expires_us = expires_us.or(self.expires_us);
        if expires_us.is_some_and(|end_us| end_us <= now_us) {
            let problem = Problem::new(ErrorCode::InvalidValue, "the token would have ended already");
            return Err(problem.expecting("a time that is to come"));
        }
        if self.expires_us.is_some_and(|own_us| expires_us > Some(own_us)) {
            return Err(more("ends later", "an end no later than that of the token that makes it"));
        }
        Ok(Grant { project, at_most: role.unwrap_or(self.at_most), scopes, expires_us })
    }
}

fn more(what: &str, expected: &str) -> Problem {
    Problem::new(ErrorCode::Forbidden, format!("the new token {what} than the one it is made with"))
        .expecting(expected)
}
