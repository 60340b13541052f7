//! Order statistics of times.

use std::time::Duration;

use serde::Serialize;

/// What is kept of a row of times; milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Summary {
    /// How many there were.
    pub(crate) count: usize,
    pub(crate) min_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) max_ms: f64,
}

/// Summarises `times`; `None` when there are none.
pub(crate) fn summary(times: &[Duration]) -> Option<Summary> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let at = |percent| percentile(&sorted, percent).map(millis);
    Some(Summary {
        count: sorted.len(),
        min_ms: at(0)?,
        p50_ms: at(50)?,
        p95_ms: at(95)?,
        p99_ms: at(99)?,
        max_ms: at(100)?,
    })
}

/// The middle of `times` in milliseconds; `None` when there are none.
pub(crate) fn median(times: &[Duration]) -> Option<f64> {
    summary(times).map(|summary| summary.p50_ms)
}

/// Without the fastest and the slowest `percent` (0..50) of all, rounded down.
pub(crate) fn trimmed(times: &[Duration], percent: usize) -> Vec<Duration> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let cut = sorted.len() * percent / 100;
    sorted[cut..sorted.len() - cut].to_vec()
}

/// Nearest rank: the smallest value with at least `percent` (0..=100) of all at or below it.
fn percentile(sorted: &[Duration], percent: usize) -> Option<Duration> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

/// Milliseconds, to the microsecond.
pub(crate) fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(millis: impl IntoIterator<Item = u64>) -> Vec<Duration> {
        millis.into_iter().map(Duration::from_millis).collect()
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        let hundred = times((1..=100).rev());
        for (percent, expect) in [(0, 1), (1, 1), (50, 50), (95, 95), (99, 99), (100, 100)] {
            let mut sorted = hundred.clone();
            sorted.sort_unstable();
            assert_eq!(percentile(&sorted, percent), Some(Duration::from_millis(expect)), "{percent}");
        }
        // The table of the definition: Wikipedia, Percentile, nearest-rank method.
        let few = times([15, 20, 35, 40, 50]);
        for (percent, expect) in [(5, 15), (30, 20), (40, 20), (50, 35), (100, 50)] {
            assert_eq!(percentile(&few, percent), Some(Duration::from_millis(expect)), "{percent}");
        }
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn trimming_takes_both_ends() {
        assert_eq!(trimmed(&times(0..100), 5), times(5..95));
        assert_eq!(trimmed(&times([9, 1, 5]), 5), times([1, 5, 9]));
        assert!(trimmed(&[], 5).is_empty());
    }

    #[test]
    fn a_summary_is_in_milliseconds() {
        let one = summary(&[Duration::from_nanos(1_234_567)]).unwrap();
        assert_eq!((one.count, one.min_ms, one.p50_ms, one.max_ms), (1, 1.235, 1.235, 1.235));
        assert_eq!(summary(&[]), None);
        assert_eq!(median(&times([3, 1, 2])), Some(2.0));
    }
}
