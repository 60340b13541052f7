//! A bound on the process ids of a PID namespace: since Linux 6.14 each has a `pid_max` of its own.
//!
//! Every process of the namespace and of those below it takes a number in it, whoever it belongs to. So this bounds all
//! of them together, where [`crate::rlimit`] counts by user; but coarsely, since numbers that the kernel keeps
//! from being used again have to be left over.

use std::fs;
use std::io;

use crate::idmap;

/// The kernel gives the numbers below this once, at the beginning (`RESERVED_PIDS` in `kernel/pid.c`).
const RESERVED: u64 = 300;
/// Ours beside the code: the agent, and what it forks to look for files or to prepare.
const OURS: u64 = 64;
/// `PID_MAX_LIMIT` of `include/linux/threads.h` on 64 bits.
const LIMIT: u64 = 4_194_304;
const FILE: &str = "/proc/sys/kernel/pid_max";

/// A `pid_max` that leaves `processes` of the code all numbers they need, each with a first process of its own PID
/// namespace beside it.
#[must_use]
pub fn room_for(processes: u32) -> u64 {
    (RESERVED + 2 * u64::from(processes) + OURS).min(LIMIT)
}

/// Bounds our own PID namespace and all below it to numbers under `most`, or under the least that this machine takes
/// above it; says what it is.
///
/// # Errors
/// The kernel's refusal. Before 6.14 there is one number for the whole machine, which its root may change: that root is
/// refused here.
pub fn bound(most: u64) -> io::Result<u64> {
    if idmap::is_real_root(&idmap::parse_map(&fs::read_to_string("/proc/self/uid_map")?)) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    let mut most = most;
    loop {
        match fs::write(FILE, most.to_string()) {
            // The least is 301, or 8 for each processor.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput && most < LIMIT => {
                most = (most * 2).min(LIMIT);
            }
            done => return done.map(|()| most),
        }
    }
}
