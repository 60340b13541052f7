//! Sandboxes: their security profile and their life.

pub mod place;
pub mod state;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::code::{ErrorCode, Problem};

pub use place::MountTarget;
pub use state::{Doing, Event, Failure, Illegal, Reason, SandboxState, transition};

/// How much a sandbox allows inside itself. Neither lets anything out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    /// One user, read-only root, no capabilities, no new privileges.
    Strict,
    /// Writable overlay, users `root` and `user`, a limited root in the sandbox's own user namespace.
    Dev,
}

impl Profile {
    /// Every profile.
    pub const ALL: [Profile; 2] = [Profile::Strict, Profile::Dev];

    /// The name used in JSON and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Profile::Strict => "strict",
            Profile::Dev => "dev",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Profile {
    type Err = Problem;

    /// # Errors
    /// `invalid_value`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        match text {
            "strict" => Ok(Profile::Strict),
            "dev" => Ok(Profile::Dev),
            _ => Err(Problem::refused(
                ErrorCode::InvalidValue,
                text,
                "is not a security profile",
                "strict or dev",
            )),
        }
    }
}
