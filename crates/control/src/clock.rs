//! The one source of time. See `docs/decisions/0010-clocks.md`.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Database time and monotonic time. Clones are the same clock.
///
/// Until the database was heard, its clock is taken to be this machine's, which is so with SQLite. Afterwards its time goes on
/// by this machine's boot time: a jump of this machine's wall clock is none of the database's, and sleep is counted.
#[derive(Debug, Clone, Default)]
pub struct Clock(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// How wrong this machine's wall clock is made, in tests.
    shift_us: AtomicI64,
    heard: Mutex<Option<Heard>>,
}

#[derive(Debug, Clone, Copy)]
struct Heard {
    sample: Sample,
    /// [`Clock::offset_us`] when the database was heard last.
    offset_us: i64,
}

/// What one answer of the database says of its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// From this machine's boot time to the database's.
    ahead_us: i64,
    /// At most this wrong: half of the round trip.
    pub within_us: i64,
}

/// The offset to the database's clock, now and when it was measured before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offsets {
    /// What is added to this machine's wall clock to get the database's.
    pub now_us: i64,
    /// The same at the measurement before this one, if there was one.
    pub before_us: Option<i64>,
}

impl Clock {
    /// The machine's own clock, until the database is heard.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Database time in microseconds since 1970: what is stored, and compared between processes.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        let heard = *self.heard();
        heard.map_or_else(|| self.wall_us(), |heard| boot_us().saturating_add(heard.sample.ahead_us))
    }

    /// The same in milliseconds, as ids have it.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.now_us() / 1000).unwrap_or(0)
    }

    /// Database time of a moment for which this machine's wall clock said `wall_ms`, not long ago.
    #[must_use]
    pub fn at_wall_ms(&self, wall_ms: u64) -> u64 {
        wall_ms.saturating_add_signed(self.offset_us() / 1000)
    }

    /// For durations within this process. Never compared with another's.
    #[must_use]
    pub fn monotonic(&self) -> Instant {
        Instant::now()
    }

    /// What is added to this machine's wall clock to get the database's: 0 until the database was heard.
    #[must_use]
    pub fn offset_us(&self) -> i64 {
        let heard = *self.heard();
        heard.map_or(0, |heard| self.offset_by(heard.sample))
    }

    /// Of what the database has just said: `database_us`, somewhere between asking and hearing, which took `round_trip`.
    #[must_use]
    pub fn sample(&self, database_us: i64, round_trip: Duration) -> Sample {
        let within_us = i64::try_from(round_trip.as_micros().div_ceil(2)).unwrap_or(i64::MAX);
        Sample { ahead_us: database_us.saturating_add(within_us).saturating_sub(boot_us()), within_us }
    }

    /// Goes by `sample` from now on, unless what was heard before is nearer and this does not contradict it.
    pub fn hear(&self, sample: Sample) -> Offsets {
        let mut heard = self.heard();
        let kept = match *heard {
            Some(before) if !is_better(sample, before.sample) => before.sample,
            Some(_) | None => sample,
        };
        let before_us = heard.map(|heard| heard.offset_us);
        let offset_us = self.offset_by(kept);
        *heard = Some(Heard { sample: kept, offset_us });
        Offsets { now_us: offset_us, before_us }
    }

    /// Makes this machine's wall clock wrong by `by_us` more, for tests of what that does.
    pub fn shift(&self, by_us: i64) {
        self.0.shift_us.fetch_add(by_us, Ordering::Relaxed);
    }

    fn offset_by(&self, sample: Sample) -> i64 {
        boot_us().saturating_add(sample.ahead_us).saturating_sub(self.wall_us())
    }

    fn wall_us(&self) -> i64 {
        // A clock before 1970 or after 294,000 is a broken one; what it says then only has to be a number.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let own = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        own.saturating_add(self.0.shift_us.load(Ordering::Relaxed))
    }

    fn heard(&self) -> MutexGuard<'_, Option<Heard>> {
        self.0.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `new` says more than `kept`: it is nearer, or both cannot be true.
fn is_better(new: Sample, kept: Sample) -> bool {
    let apart_us = new.ahead_us.abs_diff(kept.ahead_us);
    new.within_us <= kept.within_us || apart_us > (new.within_us + kept.within_us).unsigned_abs()
}

fn boot_us() -> i64 {
    let since = clock_gettime(ClockId::Boottime);
    since.tv_sec * 1_000_000 + since.tv_nsec / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTES_10: i64 = 600_000_000;

    #[track_caller]
    fn assert_near(found: i64, expected: i64) {
        assert!((found - expected).abs() < 1_000_000, "{found} is not {expected}");
    }

    #[test]
    fn the_databases_time_is_what_it_said_whatever_this_machine_thinks() {
        for wrong in [-MINUTES_10, MINUTES_10] {
            let (right, clock) = (Clock::new(), Clock::new());
            clock.shift(wrong);
            assert_near(clock.now_us() - right.now_us(), wrong);
            let heard = clock.hear(clock.sample(right.now_us(), Duration::from_micros(200)));
            assert_near(clock.now_us(), right.now_us());
            assert_near(heard.now_us, -wrong);
            assert_eq!(heard.before_us, None);
            // What other processes of this machine wrote down by its wall clock.
            let wall_ms = right.now_ms().saturating_add_signed(wrong / 1000);
            assert!(clock.at_wall_ms(wall_ms).abs_diff(right.now_ms()) < 1000);
            // Measured again, not added up; and a jump of the wall clock alone is told, and changes nothing.
            clock.shift(wrong);
            assert_near(clock.now_us(), right.now_us());
            let again = clock.hear(clock.sample(right.now_us(), Duration::ZERO));
            assert_near(again.now_us, -2 * wrong);
            assert_near(again.before_us.unwrap(), -wrong);
        }
    }

    #[test]
    fn of_two_answers_the_nearer_counts_unless_they_contradict() {
        let sample = |ahead_us, within_us| Sample { ahead_us, within_us };
        assert!(is_better(sample(1_100, 10), sample(1_000, 100)), "nearer");
        assert!(!is_better(sample(1_100, 100), sample(1_000, 10)), "further, and both may be true");
        assert!(is_better(sample(1_200, 100), sample(1_000, 10)), "further, but the clock went on");
        assert!(is_better(sample(-MINUTES_10, 100), sample(0, 10)), "it jumped");
    }

    #[test]
    fn an_unheard_database_has_this_machines_clock() {
        let clock = Clock::new();
        assert_eq!((clock.offset_us(), clock.at_wall_ms(17)), (0, 17));
        clock.shift(MINUTES_10);
        assert_eq!(clock.offset_us(), 0, "a jump is seen by everyone at once");
    }
}
