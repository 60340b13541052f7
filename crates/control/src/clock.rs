//! The one source of time. See `docs/decisions/0010-clocks.md`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Database time and monotonic time. Clones are the same clock.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// What is added to this machine's wall clock to get the database's.
    offset_us: Arc<AtomicI64>,
}

impl Clock {
    /// The machine's own clock, until an offset is set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Database time in microseconds since 1970: what is stored, and compared between processes.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        // A clock before 1970 or after 294,000 is a broken one; what it says then only has to be a number.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let own = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        own.saturating_add(self.offset_us.load(Ordering::Relaxed))
    }

    /// The same in milliseconds, as ids have it.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.now_us() / 1000).unwrap_or(0)
    }

    /// For durations within this process. Never compared with another's.
    #[must_use]
    pub fn monotonic(&self) -> Instant {
        Instant::now()
    }

    /// Sets the offset to the database's clock: it said `database_us` somewhere between asking and hearing, which took
    /// `round_trip`.
    pub fn measured(&self, database_us: i64, round_trip: Duration) {
        let half = i64::try_from(round_trip.as_micros() / 2).unwrap_or(0);
        let own = self.now_us() - self.offset_us.load(Ordering::Relaxed);
        self.offset_us.store(database_us + half - own, Ordering::Relaxed);
    }

    /// Moves the clock by `by_us`, for tests of what a jump does.
    pub fn shift(&self, by_us: i64) {
        self.offset_us.fetch_add(by_us, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_what_the_database_was_ahead() {
        let clock = Clock::new();
        let own = clock.now_us();
        clock.measured(own + 5_000_000, Duration::from_micros(200));
        let ahead = clock.now_us() - own;
        assert!((5_000_000..6_000_000).contains(&ahead), "{ahead}");
        // Measured again, not added up.
        let own = clock.now_us() - 5_000_000;
        clock.measured(own, Duration::ZERO);
        assert!((-1_000_000..1_000_000).contains(&(clock.now_us() - own)));
    }
}
