//! The commands that talk to a server, against a real one.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod commands;
mod executions;
mod refusals;
mod served;
