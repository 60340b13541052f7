//! The HTTP contract: what a client sends and what it is told.
//!
//! Requests, answers, the error envelope and paging, with their descriptions for the OpenAPI document. Clients build on this
//! without the server. Values are those of `sandkeep_core`, so a size is read the same way here and on a command line; what
//! the document says about a type of `core` stands in [`schema`].
//!
//! Names are in snake case and carry their unit; times are RFC 3339 in UTC. A request refuses fields that it does not know. An
//! answer has every field, `null` where there is nothing to say; a client ignores those that it does not know.

pub mod audit;
pub mod events;
pub mod executions;
pub mod health;
pub mod object;
pub mod page;
pub mod problem;
pub mod projects;
pub mod sandboxes;
pub mod schema;
pub mod share;
pub mod tokens;

pub use page::{Cursor, Page};
pub use problem::{Document, Told, told};
