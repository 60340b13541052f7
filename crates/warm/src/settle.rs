//! Closing the gaps in the interpreter's memory before it is forked.
//!
//! What was freed on the way to being warm lies scattered between what was not. An allocator gives such gaps away first, and in
//! a fork the first touch of each is the copy of a page: a hundred pages for a program of one line. With the gaps taken, a fork
//! allocates from fresh memory, side by side.

#![expect(unsafe_code, reason = "allocators are asked directly")]

use std::ffi::c_void;

use crate::python;

/// A bound, should an allocator not be what it is taken for.
const MOST_TAKEN: usize = 20_000;
/// Largest request that Python's own allocator serves (Objects/obmalloc.c), and the step between its sizes.
const SMALL: usize = 512;
const STEP: usize = 16;
/// Where the first block of a fresh pool of that allocator lies in its page.
const POOL_HEAD: usize = 48;
/// What glibc looks for gaps of, after these; below, every size has a list of its own.
const LARGE: [usize; 7] = [65_536, 32_768, 16_384, 8_192, 4_096, 2_048, 1_536];
const LISTED: usize = 1_040;

/// Takes all gaps, for good: they are part of memory that is there anyway.
pub(crate) fn take_gaps() {
    for size in (STEP..=SMALL).step_by(STEP) {
        take(size, python::allocate, python::free, |block| block % 4_096 == POOL_HEAD);
    }
    let Some(end) = end_of_used() else { return };
    for size in LARGE.into_iter().chain((STEP..=LISTED).rev().step_by(STEP)) {
        // SAFETY: plain allocations.
        let allocate = |size| unsafe { libc::malloc(size) };
        // SAFETY: only what the above has allocated, once.
        let free = |block| unsafe { libc::free(block) };
        take(size, allocate, free, |block| block >= end);
    }
}

/// Takes blocks of `size` until one is no gap, which is given back.
fn take(
    size: usize,
    allocate: impl Fn(usize) -> *mut c_void,
    free: impl Fn(*mut c_void),
    is_fresh: impl Fn(usize) -> bool,
) {
    for _ in 0..MOST_TAKEN {
        let block = allocate(size);
        if block.is_null() || is_fresh(block as usize) {
            return free(block);
        }
    }
}

/// Where the part of the heap begins that was never given away (mallinfo(3): `keepcost` is how much that is).
fn end_of_used() -> Option<usize> {
    // SAFETY: both only tell.
    let (info, end) = unsafe { (libc::mallinfo2(), libc::sbrk(0) as usize) };
    end.checked_sub(info.keepcost)
}
