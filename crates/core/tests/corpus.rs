//! Replays the fuzz corpus on stable: everything the fuzzers were started from or ever found.

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/properties/size.rs"]
mod size;
#[path = "../../../fuzz/properties/span.rs"]
mod span;

fn replay(target: &str, at_least: usize, holds: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
    let entries: Vec<_> = fs::read_dir(&dir).expect("the corpus is in the repository").collect();
    assert!(entries.len() >= at_least, "only {} inputs in {}", entries.len(), dir.display());
    for entry in entries {
        let path = entry.expect("the corpus can be listed").path();
        holds(&fs::read(path).expect("an input can be read"));
    }
}

#[test]
fn sizes() {
    replay("parse_size", 30, size::holds);
}

#[test]
fn spans() {
    replay("parse_span", 30, span::holds);
}
