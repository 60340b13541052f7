//! Arbitrary bytes as a layer of an image, and as an archive of images.
#![no_main]

#[path = "../properties/image.rs"]
mod property;

libfuzzer_sys::fuzz_target!(|data: &[u8]| property::holds(data));
