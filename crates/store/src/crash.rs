//! For tests: aborts the process at a chosen commit, right before it or right after.
//!
//! What a server does between two commits is lost then, as by a kill -9 at that moment; what is committed stays.

use std::sync::atomic::{AtomicU64, Ordering};

/// Points that are still passed; 0: all of them.
static LEFT: AtomicU64 = AtomicU64::new(0);

/// The process aborts at the `n`-th point from now on. There are two per commit.
pub fn at(n: u64) {
    LEFT.store(n, Ordering::SeqCst);
}

/// Whether it has not come to that point.
#[must_use]
pub fn is_ahead() -> bool {
    LEFT.load(Ordering::SeqCst) > 0
}

pub(crate) fn point() {
    let passed = LEFT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
    if passed == Ok(1) {
        std::process::abort();
    }
}
