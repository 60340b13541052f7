//! Words and decisions of Sandkeep, with no IO.
//!
//! Everything here is a plain value or a pure function: sizes, durations and ids that are checked
//! where they enter, limits and what a host can enforce of them, the state machines of sandboxes and
//! executions, the end that facts add up to, who may do what, and the log that keeps a program's output.
//!
//! It is not the place for system calls, clocks, randomness, async or logging: whoever needs the time or a
//! random number passes it in. That fence is what lets the same code run in the command, in a server
//! and in a simulator.
//!
//! Start reading at [`execution`] for what a result is, at [`limits`] for what is bounded, and at
//! [`code`] for how errors are named.

pub mod base64;
pub mod code;
pub mod cpu;
mod decimal;
pub mod defaults;
pub mod duration;
pub mod enforcement;
pub mod execution;
pub mod id;
pub mod identity;
pub mod limits;
pub mod nearest;
pub mod output;
pub mod sandbox;
pub mod size;
pub mod time;
