//! The table of what executions promise, through the real command and, where a live sandbox is needed, its driver.
//!
//! One file per part of the promise. Runs as root and as ordinary users; see `docs/TESTING.md`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail like tests, and skips are told"
)]

mod artifacts;
mod bounds;
mod cancels;
mod exits;
#[path = "../../../image/tests/support/mod.rs"]
mod image;
mod images;
mod input;
mod many;
mod odd_places;
mod output;
mod places;
mod pulls;
#[path = "../../../registry/tests/support/server.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is shared with the tests of its crate")]
mod registry;
mod returns;
mod runtimes;
mod sizes;
mod standstill;
#[path = "../support/mod.rs"]
mod support;
mod times;
