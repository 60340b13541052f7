//! Arbitrary bytes from the other end of the socket pair.
#![no_main]

#[path = "../properties/frame.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::holds(data));
