//! Who may do what: one gate, [`authorize`], and the words it is asked in.
//!
//! A [`Principal`] is whoever a request is made for: its roles, and what the token it came with leaves of them. An
//! [`Action`] is what it wants to do, a [`Resource`] to what. The answer is yes, "there is no such thing" where the project
//! is not its to know of, or "not with this role or token".
//!
//! Nothing here knows how a token is checked or where roles are kept; see `docs/decisions/0013-identity-and-keys.md`.

mod action;
mod authorize;
mod grant;
mod name;
mod principal;
mod role;
mod scope;
pub mod token;

pub use action::Action;
pub use authorize::{Denied, Resource, authorize};
pub use grant::{Asked, Grant};
pub use name::Name;
pub use principal::Principal;
pub use role::Role;
pub use scope::{Scope, Scopes};
