//! Everything that Sandkeep writes down, and the only place with SQL.
//!
//! One text for both databases: SQLite, the embedded default, where the lock on the data directory proves a single
//! server, and PostgreSQL for many. A [`Store`] takes writes through one queue ([`writer`]) and answers reads from
//! connections of their own. Statements stand with the aggregate they belong to ([`projects`], [`sandboxes`],
//! [`executions`], …); [`sql`] lists all of them for the test that prepares each against both databases.
//!
//! It is not for decisions: what may follow what is in `sandkeep_core`. Functions here are named by intent
//! (`claim`, `finish`), guard what they change, and say what they found. They take the time from their caller,
//! who asks for it beforehand ([`time`], `docs/decisions/0010-clocks.md`).

pub mod audit;
pub mod connection;
#[cfg(feature = "crash-points")]
pub mod crash;
pub mod error;
pub mod events;
pub mod executions;
pub mod guard;
pub mod idempotency;
mod lock;
mod migrate;
pub mod open;
pub mod output;
pub mod principals;
pub mod projects;
pub mod row;
pub mod sandboxes;
pub mod secrets;
pub mod servers;
pub mod settings;
pub mod sql;
pub mod sqlite;
pub mod time;
pub mod tokens;
pub mod wake;
pub mod writer;

pub use connection::Connection;
pub use error::{Error, Result};
pub use guard::Guarded;
pub use open::{Options, Place, Store};
pub use writer::{Durability, Tx};
