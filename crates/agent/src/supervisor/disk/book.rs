//! What follows from measures of a watched layer: no IO, no clock.

use sandkeep_protocol::supervisor as proto;
use sandkeep_sandbox::tree::Usage;

/// What is to be done after a measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Fine,
    /// Too much, as it seems: a file that was deleted during the walk may be in it, and another that came in its place. To be
    /// measured again at once.
    Doubtful,
    /// What runs has passed this limit.
    Over(proto::LimitKind),
}

/// What is known of how full it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Book {
    bytes: Level,
    entries: Level,
    /// It cannot be known any more.
    lost: bool,
}

impl Book {
    /// Nothing is known yet of what may hold `most`.
    pub(super) fn new(most: Usage) -> Self {
        Self { bytes: Level::new(most.bytes), entries: Level::new(most.entries), lost: false }
    }

    /// Takes what was measured, `settled` if those who were ended before were gone when that began.
    pub(super) fn take(&mut self, now: Usage, settled: bool) -> Verdict {
        self.lost = false;
        let (bytes, entries) = (self.bytes.take(now.bytes, settled), self.entries.take(now.entries, settled));
        match (bytes, entries) {
            (Seen::Over, _) => Verdict::Over(proto::LimitKind::LIMIT_KIND_DISK),
            (_, Seen::Over) => Verdict::Over(proto::LimitKind::LIMIT_KIND_INODES),
            (Seen::OverOnce, _) | (_, Seen::OverOnce) => Verdict::Doubtful,
            (Seen::Within, Seen::Within) => Verdict::Fine,
        }
    }

    /// It cannot be measured any more.
    pub(super) fn lose(&mut self) {
        self.lost = true;
    }

    /// Whether nothing may be started.
    pub(super) fn is_full(&self) -> bool {
        self.lost || self.bytes.is_full() || self.entries.is_full()
    }

    /// Whether there was too much when it was last measured.
    pub(super) fn is_over(&self) -> bool {
        self.bytes.now > self.bytes.most || self.entries.now > self.entries.most
    }

    pub(super) fn most_entries(&self) -> u64 {
        self.entries.most
    }

    /// What may still be written.
    pub(super) fn room_bytes(&self) -> u64 {
        self.bytes.most.saturating_sub(self.bytes.now)
    }
}

/// How often it may go over without being seen below the limit in between: until then what is left is forgiven, so that
/// it can be cleaned up.
const MOST_TIMES_OVER: u32 = 3;

/// One of the two things that are bounded.
///
/// Code that went over is ended, and would be ended again before it could delete anything: so what is found when it is
/// gone is allowed, until it is below the limit again. A few times; then nothing is started any more.
#[derive(Debug, Clone, Copy)]
struct Level {
    most: u64,
    now: u64,
    /// Above `most`: what is allowed after it went over.
    grace: Option<u64>,
    /// Somebody went over, and what they left is not known yet; nor is what there was in the beginning.
    owed: bool,
    times_over: u32,
    /// The last measure was too much.
    over_once: bool,
}

/// How a measure is to the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Within,
    OverOnce,
    /// Twice in a row.
    Over,
}

impl Level {
    fn new(most: u64) -> Self {
        Self { most, now: 0, grace: None, owed: true, times_over: 0, over_once: false }
    }

    fn take(&mut self, now: u64, settled: bool) -> Seen {
        self.now = now;
        let over_before = std::mem::take(&mut self.over_once);
        if now <= self.most {
            (self.grace, self.owed, self.times_over) = (None, false, 0);
        }
        if now <= self.grace.unwrap_or(self.most) {
            return Seen::Within;
        }
        if self.owed {
            // Those who were to be ended are, and whoever came since has done nothing.
            if settled {
                (self.grace, self.owed) = (Some(now), false);
            }
            return Seen::Within;
        }
        if !over_before {
            self.over_once = true;
            return Seen::OverOnce;
        }
        (self.owed, self.times_over) = (true, self.times_over + 1);
        Seen::Over
    }

    fn is_full(&self) -> bool {
        self.times_over > MOST_TIMES_OVER
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::LimitKind::{LIMIT_KIND_DISK as DISK, LIMIT_KIND_INODES as INODES};

    fn book() -> Book {
        Book::new(Usage { bytes: 100, entries: 10 })
    }

    /// Measures, one after another: bytes, whether those who were ended are gone, and whether what runs is to be ended.
    fn check(steps: &[(u64, bool, bool)], full: bool) {
        let mut book = book();
        for (bytes, settled, ends) in steps {
            let mut verdict = book.take(Usage { bytes: *bytes, entries: 1 }, *settled);
            if *ends {
                assert_eq!(verdict, Verdict::Doubtful, "{bytes} in {steps:?}");
                verdict = book.take(Usage { bytes: *bytes, entries: 1 }, *settled);
            }
            let expected = if *ends { Verdict::Over(DISK) } else { Verdict::Fine };
            assert_eq!(verdict, expected, "{bytes} in {steps:?}");
        }
        assert_eq!(book.is_full(), full, "{steps:?}");
    }

    #[test]
    fn code_that_goes_over_is_ended_and_may_clean_up() {
        check(&[(0, true, false), (100, true, false)], false);
        // Ended; what is found when it is gone may stay, but not grow.
        let over = [(0, true, false), (150, true, true), (155, false, false), (160, true, false)];
        check(&over, false);
        let then = |steps: &[(u64, bool, bool)], full| check(&[&over, steps].concat(), full);
        then(&[(160, true, false), (120, true, false), (155, true, false), (161, true, true)], false);
        // Below the limit all is forgotten.
        then(&[(90, true, false), (110, true, true), (110, true, false)], false);
        // What was there before may stay as well.
        check(&[(300, true, false), (300, true, false), (301, true, true)], false);
    }

    #[test]
    fn whoever_goes_over_again_and_again_has_no_grace() {
        let time = |n: u64| [(100 + 2 * n, true, true), (101 + 2 * n, true, false)];
        let times =
            |most| std::iter::once((0, true, false)).chain((1..=most).flat_map(time)).collect::<Vec<_>>();
        check(&times(3), false);
        check(&times(4), true);
        check(&[times(4), vec![(100, true, false)]].concat(), false);
    }

    #[test]
    fn files_are_counted_too() {
        let mut book = book();
        assert_eq!(book.take(Usage { bytes: 1, entries: 1 }, true), Verdict::Fine);
        assert_eq!(book.take(Usage { bytes: 1, entries: 11 }, true), Verdict::Doubtful);
        assert_eq!(book.take(Usage { bytes: 1, entries: 11 }, true), Verdict::Over(INODES));
        assert_eq!(book.take(Usage { bytes: 101, entries: 11 }, false), Verdict::Doubtful);
        assert_eq!(book.take(Usage { bytes: 101, entries: 11 }, false), Verdict::Over(DISK));
        assert_eq!(book.take(Usage { bytes: 1, entries: 1 }, true), Verdict::Fine);
        assert!(!book.is_full());
    }

    #[test]
    fn what_is_seen_once_ends_nobody() {
        let mut book = book();
        for _ in 0..10 {
            assert_eq!(book.take(Usage { bytes: 90, entries: 1 }, true), Verdict::Fine);
            // A file that was deleted during the walk, and the one that came after it.
            assert_eq!(book.take(Usage { bytes: 170, entries: 1 }, true), Verdict::Doubtful);
        }
        assert!(!book.is_full());
    }
}
