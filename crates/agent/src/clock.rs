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

fn read(clock: ClockId, per_second: u64) -> u64 {
    let time = clock_gettime(clock);
    let whole = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    whole * per_second + rest / (1_000_000_000 / per_second)
}
