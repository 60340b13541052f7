//! The clock that file systems stamp changes with.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds since 1970, never after the time that a file is stamped with next: moves on with every timer tick, 1 to
/// 10 ms. (File systems stamp with this clock, or a finer one where somebody has looked at the last stamp.)
#[must_use]
pub fn next_ns() -> u64 {
    let time = clock_gettime(ClockId::RealtimeCoarse);
    let part = |n: i64| u64::try_from(n).unwrap_or(0);
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

/// Sleeps until files are stamped with a time later than `unix_ns`; at most a tick when that is the present.
pub fn wait_past(unix_ns: u64) {
    let nap = Timespec { tv_sec: 0, tv_nsec: 250_000 };
    // A clock that was set back must not hold anything up: a tick is never longer than this.
    for _ in 0..40 {
        if next_ns() > unix_ns {
            return;
        }
        let _woken = rustix::thread::nanosleep(&nap);
    }
}
