//! What is tried again, and after how long. Pure.

use std::time::Duration;

/// Tries after the first.
const MOST_TRIES: u32 = 4;
/// Longest wait that a server may ask for; a longer one is the caller's to wait.
const LONGEST_S: u64 = 30;

/// What came of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server has too much to do, and says when to come back.
    Busy { after_s: u64 },
    /// Nobody listens there: nothing was sent.
    NobodyThere,
    /// The connection broke, or nothing came for too long: it may have arrived.
    Broken,
    /// It will be the same every time.
    Final,
}

/// How long to wait before the next try, the first being `tried == 1`; `None` when there is none.
///
/// Every request of ours may arrive twice: those that make something carry a name, and the others change nothing then.
pub(crate) fn wait(outcome: Outcome, tried: u32) -> Option<Duration> {
    if tried > MOST_TRIES {
        return None;
    }
    match outcome {
        Outcome::Busy { after_s } if after_s <= LONGEST_S => Some(Duration::from_secs(after_s)),
        Outcome::Broken => Some(backoff(tried)),
        // A server that is not there is told at once: it is mostly one that was never started.
        Outcome::Busy { .. } | Outcome::NobodyThere | Outcome::Final => None,
    }
}

/// 100 ms, doubling up to 3.2 s.
pub(crate) fn backoff(tried: u32) -> Duration {
    Duration::from_millis(100 << tried.saturating_sub(1).min(5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_safe_and_may_help_is_tried_again() {
        let busy = Outcome::Busy { after_s: 2 };
        assert_eq!(wait(busy, 1), Some(Duration::from_secs(2)));
        assert_eq!(wait(busy, 4), Some(Duration::from_secs(2)));
        assert_eq!(wait(busy, 5), None);
        assert_eq!(wait(Outcome::Busy { after_s: 31 }, 1), None);
        assert_eq!(wait(Outcome::Broken, 1), Some(Duration::from_millis(100)));
        assert_eq!(wait(Outcome::Broken, 4), Some(Duration::from_millis(800)));
        assert_eq!(wait(Outcome::Final, 1), None);
        assert_eq!(wait(Outcome::NobodyThere, 1), None);
        assert_eq!(backoff(100), Duration::from_millis(3200));
    }
}
