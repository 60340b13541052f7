//! Whether what one server holds stays what it is, from round to round.

use crate::support::server::Usage;

/// What a server held at the end of a round, when nothing was left to do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) usage: Usage,
    pub(crate) tasks: u64,
}

/// The first third of the rounds is warm-up: pools fill, the allocator and the database's cache find their size.
const WARM_UP: usize = 3;
/// Memory may grow over the rest of the rounds, along the line that fits them best, by this part of its mean …
const PERCENT: f64 = 5.0;
/// … and this much more: a few arenas of the allocator (64 KiB to some MiB each), whatever the number of rounds.
const SLACK_KIB: f64 = 4.0 * 1024.0;
/// Threads for blocking work come and go, and a timer's task may be between two lives.
const FEW: u64 = 2;

/// What is counted, and where it stands.
type Count = (&'static str, fn(&Sample) -> u64);

/// What is not flat, in words.
pub(crate) fn complaints(samples: &[Sample]) -> Vec<String> {
    let warm = &samples[samples.len() / WARM_UP..];
    let mut all = Vec::new();
    let memory: Vec<f64> =
        warm.iter().map(|sample| f64::from(u32::try_from(sample.usage.rss_kib).unwrap())).collect();
    let (mean, growth) = line(&memory);
    if growth > mean * PERCENT / 100.0 + SLACK_KIB {
        all.push(format!(
            "memory grew by {growth:.0} KiB over {} rounds, from a mean of {mean:.0}: {memory:?}",
            memory.len()
        ));
    }
    let counts: [Count; 3] = [
        ("descriptors", |sample| sample.usage.descriptors),
        ("threads", |sample| sample.usage.threads),
        ("tasks", |sample| sample.tasks),
    ];
    for (what, of) in counts {
        let counts: Vec<u64> = warm.iter().map(of).collect();
        let (first, second) = counts.split_at(counts.len() / 2);
        let least = |half: &[u64]| half.iter().min().copied().unwrap_or_default();
        if least(second) > least(first) + FEW {
            all.push(format!("{what} grew: {counts:?}"));
        }
    }
    all
}

/// The mean, and how far the line of least squares rises from the first to the last.
fn line(values: &[f64]) -> (f64, f64) {
    let count = f64::from(u32::try_from(values.len()).unwrap());
    let mean = values.iter().sum::<f64>() / count;
    let middle = (count - 1.0) / 2.0;
    let (mut with, mut square) = (0.0, 0.0);
    for (at, value) in (0_u32..).zip(values) {
        with += (f64::from(at) - middle) * (value - mean);
        square += (f64::from(at) - middle).powi(2);
    }
    (mean, if square > 0.0 { with / square * (count - 1.0) } else { 0.0 })
}

#[test]
fn growth_is_noticed_and_noise_is_not() {
    let sample = |rss_kib, descriptors| Sample {
        usage: Usage { rss_kib, peak_kib: 0, threads: 4, descriptors },
        tasks: 10,
    };
    let check = |memory: fn(u64) -> u64, descriptors: fn(u64) -> u64| {
        complaints(&(0..30).map(|n| sample(memory(n), descriptors(n))).collect::<Vec<_>>()).len()
    };
    assert_eq!(check(|n| 40_000 + n % 7 * 500, |n| 30 + n % 3), 0);
    assert_eq!(check(|n| 20_000 + n.min(9) * 2_000, |_| 30), 0, "warm-up");
    assert_eq!(check(|n| 40_000 + n * 500, |_| 30), 1, "half a megabyte a round");
    assert_eq!(check(|_| 40_000, |n| 30 + n / 4), 1, "a descriptor every fourth round");
    let (mean, growth) = line(&[1.0, 2.0, 3.0]);
    assert!((mean - 2.0).abs() < 1e-9 && (growth - 2.0).abs() < 1e-9);
}
