//! Drivers: what makes sandboxes real.
//!
//! A driver takes a specification and holds a sandbox; everything that happens in one goes through the handles defined
//! in [`driver`]. `local` is the only one so far: Linux namespaces on this host. Callers are the command `sandkeep run`
//! and, later, the reconcilers of a server.

pub mod driver;
pub mod local;
pub mod outcome;

pub use driver::{BoxFuture, Control, Driver, Event, Prepared, Running, Sandbox};
