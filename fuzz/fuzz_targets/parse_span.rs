//! Arbitrary text where a person would write a span.
#![no_main]

#[path = "../properties/span.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::holds(data));
