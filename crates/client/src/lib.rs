//! A thin client of the HTTP API.
//!
//! It knows how to reach a server, how long to wait for it, what may be sent twice and how a stream is read on. It knows
//! nothing of single routes: paths and bodies are the caller's, in the types of [`api`]. Every error is a [`Problem`]: the
//! server's own where it answered, `server_unreachable` where nobody did, `protocol_error` where what answered is no server
//! of ours.

mod address;
mod answer;
mod client;
mod key;
mod retry;
pub mod sse;
mod stream;

pub use address::Address;
pub use answer::Answer;
pub use client::{Client, Query};
pub use key::IdempotencyKey;
pub use sandkeep_api as api;
pub use sandkeep_core::code::Problem;
pub use stream::Stream;
