//! Letting go of what forks do not take over: pages of files, which lie in the machine's cache and are mapped again when they
//! are needed. What was read on the way to being warm is two thirds of an interpreter's memory.

#![expect(unsafe_code, reason = "madvise(2) has no safe form")]

use std::fs;

/// Unmaps every page of a file that is only read and was never written to: such a page has no other content than the file's.
pub(crate) fn drop_file_pages() {
    // Where nothing can be known, nothing is let go of.
    let maps = fs::read_to_string("/proc/self/smaps").unwrap_or_default();
    let mut candidate = None;
    for line in maps.lines() {
        if let Some(range) = of_a_file(line) {
            candidate = range;
        } else if line.starts_with("Anonymous:")
            && let Some((start, end)) = candidate.take()
            && line.split_whitespace().nth(1) == Some("0")
        {
            // SAFETY: a mapping of a file, not writable and without a page of its own: what is read there next is what
            // was read there before.
            unsafe { libc::madvise(start as *mut _, end - start, libc::MADV_DONTNEED) };
        }
    }
}

/// If `line` begins a mapping: its range where it is one of a file that is only read, else nothing.
fn of_a_file(line: &str) -> Option<Option<(usize, usize)>> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    let range = (number(start)?, number(end)?);
    let is_only_read = !fields.next()?.contains('w');
    let inode = fields.nth(2)?;
    Some((is_only_read && inode != "0").then_some(range))
}
