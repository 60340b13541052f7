//! What the driver `local` promises beyond what every driver does: bounds of this host.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail like tests, and skips are told"
)]
#![allow(unreachable_pub, dead_code, reason = "the support is shared with other suites")]

mod ceiling;
mod numbers;
#[path = "../support/mod.rs"]
mod support;
