//! The process that serves Sandkeep over HTTP.
//!
//! It reads its settings ([`config`]), listens ([`listener`]), and for every request parses, authenticates, calls one
//! service of `sandkeep_control` and shapes the answer. It has no policy and no SQL. A request goes through
//! [`middleware`] from the outside in, then to one file of [`routes`]; errors are made in one place
//! ([`refusal`]) and written in one ([`middleware::shape`]).
//!
//! Whoever leaves cancels nothing: what changes something runs in a task of its own ([`state::App::complete`]), of which
//! the shutdown knows.

mod admin;
pub mod config;
mod extract;
mod listener;
mod metrics;
mod middleware;
mod ready;
mod refusal;
mod routes;
mod serve;
mod state;
mod stream;
pub mod telemetry;

pub use admin::reset_admin_key;
pub use config::Config;
pub use serve::{Drained, Server, openapi_json};

#[cfg(test)]
mod tests;
