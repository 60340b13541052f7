//! Arbitrary text where a person would write a size.
#![no_main]

#[path = "../properties/size.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::holds(data));
