//! Control groups on the trees of the machine that runs the tests: version 1, 2 or both.
//!
//! Needs root and writable trees. Elsewhere the tests say loudly that they did not run, and fail if `CI` is set.
#![expect(unsafe_code, reason = "children are made with clone3 and use bare system calls")]
#![expect(clippy::print_stdout, reason = "skips are told to whoever reads the test's output")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod counting;
mod entering;
mod killing;
mod machine;
