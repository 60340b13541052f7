//! Names that people give.

use std::fmt;
use std::str::FromStr;

use crate::code::{ErrorCode, Problem, serde_as_text};

/// The longest name, in characters.
const MOST_CHARS: usize = 64;

/// A name of a project, a token, a secret: 1 to 64 characters that can be seen, spaces only between them. It is shown and
/// looked up, and never part of a path, a host name or a prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Name {
    type Err = Problem;

    /// # Errors
    /// `invalid_value`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let count = text.chars().take(MOST_CHARS + 1).count();
        let visible = text.chars().all(|char| char == ' ' || !(char.is_control() || char.is_whitespace()));
        if count == 0 || count > MOST_CHARS || !visible || text.trim() != text {
            let expected = "1 to 64 visible characters, with spaces only between them";
            return Err(Problem::refused(ErrorCode::InvalidValue, text, "is not a name", expected));
        }
        Ok(Self(text.to_owned()))
    }
}

serde_as_text!(Name);
