//! The whole server in this process, over real connections, with a real data directory.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it skips"
)]

#[path = "../support/bed.rs"]
mod bed;
#[path = "../support/driver.rs"]
mod driver;
#[path = "../support/http.rs"]
mod http;

mod authorization;
mod contract;
mod postgres;
mod routing;
mod running;
mod slow;
mod stopping;
mod tls;
