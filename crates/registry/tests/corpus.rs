//! Replays the fuzz corpus on stable: everything the fuzzer was started from or ever found.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail like tests, and skips are told"
)]

#[path = "../../../fuzz/properties/registry.rs"]
mod property;

use std::fs;

#[test]
fn every_file_of_the_corpus_holds() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus/registry");
    let Ok(entries) = fs::read_dir(corpus) else {
        assert!(std::env::var_os("CI").is_none(), "the corpus is in the repository");
        println!(
            "SKIPPED every_file_of_the_corpus_holds: this user cannot read the checkout; root replays it"
        );
        return;
    };
    let mut files = 0;
    for entry in entries {
        property::holds(&fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert!(files >= 20, "only {files} files in {corpus}");
}
