//! The clocks of this program.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Milliseconds since 1970 UTC.
pub(crate) fn unix_ms() -> u64 {
    read(ClockId::Realtime, 1_000)
}

/// Microseconds since boot, also while the machine sleeps: for deadlines.
pub(crate) fn boot_us() -> u64 {
    read(ClockId::Boottime, 1_000_000)
}

/// How long it is from now to a moment of [`boot_us`].
pub(crate) fn until(moment_us: u64) -> Timespec {
    let micros = moment_us.saturating_sub(boot_us());
    let seconds = i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX);
    let nanos = i64::try_from(micros % 1_000_000 * 1_000).expect("below a second");
    Timespec { tv_sec: seconds, tv_nsec: nanos }
}

/// Nanoseconds since 1970: never before any time that a file has been stamped with.
pub(crate) fn unix_ns() -> u64 {
    read(ClockId::Realtime, 1_000_000_000)
}

/// Nanoseconds since 1970, never after the time that a file is stamped with next: moves on with every timer tick, 1 to
/// 10 ms. (File systems stamp with this clock, or a finer one where somebody has looked at the last stamp.)
pub(crate) fn file_time_ns() -> u64 {
    read(ClockId::RealtimeCoarse, 1_000_000_000)
}

/// Sleeps until files are stamped with a time later than `unix_ns`; at most a tick when that is the present.
pub(crate) fn wait_past_file_time(unix_ns: u64) {
    let nap = Timespec { tv_sec: 0, tv_nsec: 250_000 };
    // A clock that was set back must not hold anything up: a tick is never longer than this.
    for _ in 0..40 {
        if file_time_ns() > unix_ns {
            return;
        }
        let _woken = rustix::thread::nanosleep(&nap);
    }
}

fn read(clock: ClockId, per_second: u64) -> u64 {
    let time = clock_gettime(clock);
    let whole = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    whole * per_second + rest / (1_000_000_000 / per_second)
}
