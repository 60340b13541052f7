//! Roles in a project.

use std::fmt;
use std::str::FromStr;

use crate::code::{ErrorCode, Problem, serde_as_text};

/// What somebody may do in a project. Each may all that the one before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Sees sandboxes, executions and their output. Changes nothing.
    Viewer,
    /// Runs code, too. Neither sees a secret nor chooses what code gets one.
    Operator,
    /// Changes what the project is made of, too: secrets.
    Editor,
    /// Everything in the project, and who else may do what.
    Owner,
}

impl Role {
    /// Every role, the least first.
    pub const ALL: [Role; 4] = [Role::Viewer, Role::Operator, Role::Editor, Role::Owner];

    /// The name used in JSON and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Editor => "editor",
            Role::Owner => "owner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Role {
    type Err = Problem;

    /// # Errors
    /// `invalid_value`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or_else(|| {
            let expected = "viewer, operator, editor or owner";
            Problem::refused(ErrorCode::InvalidValue, text, "is not a role", expected)
        })
    }
}

serde_as_text!(Role);
