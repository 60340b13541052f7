//! Arbitrary text where a reference, a registry's challenge, or a file of credentials would stand.
#![no_main]

#[path = "../properties/registry.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::holds(data));
