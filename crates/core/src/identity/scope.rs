//! What a token is good for.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::code::{ErrorCode, Problem, serde_as_text};

macro_rules! scopes {
    ($($variant:ident = $text:literal,)+) => {
        /// A kind of thing, to be read or changed.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Scope {
            $(#[doc = concat!("`", $text, "`")] $variant,)+
        }

        impl Scope {
            /// Every scope.
            pub const ALL: &'static [Scope] = &[$(Scope::$variant),+];

            /// The name used in JSON and messages.
            pub const fn as_str(self) -> &'static str {
                match self { $(Scope::$variant => $text),+ }
            }
        }
    };
}

scopes! {
    SandboxesRead = "sandboxes:read",
    SandboxesWrite = "sandboxes:write",
    ExecutionsRead = "executions:read",
    ExecutionsWrite = "executions:write",
    EventsRead = "events:read",
    ProjectsRead = "projects:read",
    ProjectsWrite = "projects:write",
    TokensRead = "tokens:read",
    TokensWrite = "tokens:write",
    AuditRead = "audit:read",
    SecretsRead = "secrets:read",
    SecretsWrite = "secrets:write",
    SecretsUse = "secrets:use",
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = Problem;

    /// # Errors
    /// `invalid_value`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        Self::ALL.iter().copied().find(|scope| scope.as_str() == text).ok_or_else(|| {
            let expected = Self::ALL.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ");
            Problem::refused(ErrorCode::InvalidValue, text, "is not a scope", &format!("one of {expected}"))
        })
    }
}

serde_as_text!(Scope);

/// The scopes of a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scopes {
    /// All there are, and those that later releases add.
    All,
    /// These. None is possible, and good for nothing.
    Only(BTreeSet<Scope>),
}

/// How [`Scopes::All`] is written.
const ALL: &str = "*";

impl Scopes {
    /// Whether `scope` is among them.
    pub fn has(&self, scope: Scope) -> bool {
        match self {
            Self::All => true,
            Self::Only(some) => some.contains(&scope),
        }
    }

    /// Whether every one of them is among `other`.
    pub fn are_within(&self, other: &Scopes) -> bool {
        match (self, other) {
            (_, Self::All) => true,
            (Self::All, Self::Only(_)) => false,
            (Self::Only(these), Self::Only(those)) => these.is_subset(those),
        }
    }

    /// Reads what [`Display`](fmt::Display) wrote, into a row: `*`, or names with spaces between. What a newer release
    /// wrote there and this one does not know grants nothing.
    pub fn stored(text: &str) -> Self {
        match text {
            ALL => Self::All,
            names => Self::Only(names.split(' ').filter_map(|name| name.parse().ok()).collect()),
        }
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str(ALL),
            Self::Only(some) => {
                let names: Vec<_> = some.iter().map(|scope| scope.as_str()).collect();
                f.write_str(&names.join(" "))
            }
        }
    }
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<I: IntoIterator<Item = Scope>>(scopes: I) -> Self {
        Self::Only(scopes.into_iter().collect())
    }
}

impl From<Scope> for Scopes {
    fn from(scope: Scope) -> Self {
        std::iter::once(scope).collect()
    }
}
