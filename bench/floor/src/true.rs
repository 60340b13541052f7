//! The smallest static program that does nothing and succeeds.
#![no_main]

/// Called by the C library's start-up.
#[unsafe(no_mangle)]
pub extern "C" fn main() -> i32 {
    0
}
