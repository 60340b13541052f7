//! Lengths of time: time-outs, ages, intervals.
//!
//! People write `30s`, `1m30s` or `250ms`; everything past the edge works with whole milliseconds. A
//! bare number is refused: half of all tools read it as seconds and the other half as milliseconds.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::code::{ErrorCode, Problem};
use crate::decimal::Decimal;

/// A length of time in milliseconds, `0..=u64::MAX`. Serialised as integer milliseconds (name such
/// fields `*_ms`); read from integer milliseconds or a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(u64);

/// Units, larger first: the order in which they may follow each other.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const EXPECTED: &str = "30s, 250ms, 5m, 2h, 1d or a sum like 1m30s";

impl Span {
    /// `count` milliseconds.
    pub const fn from_millis(count: u64) -> Self {
        Span(count)
    }

    /// `count` seconds; beyond `u64` it stays at the longest span.
    pub const fn from_secs(count: u64) -> Self {
        Span(count.saturating_mul(1_000))
    }

    /// The span in milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The span as the standard library counts it.
    pub const fn to_duration(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Duration {
        span.to_duration()
    }
}

impl fmt::Display for Span {
    /// Exact and readable back: `1m30s`, `1.5s`, `250ms`, `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        if self.0 < 1_000 {
            return write!(f, "{}ms", self.0);
        }
        let mut rest = self.0;
        for (name, unit) in &UNITS[..3] {
            if rest >= *unit {
                write!(f, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        match (rest / 1_000, rest % 1_000) {
            (0, 0) => Ok(()),
            (s, 0) => write!(f, "{s}s"),
            (s, ms) => write!(f, "{s}.{}s", format!("{ms:03}").trim_end_matches('0')),
        }
    }
}

impl FromStr for Span {
    type Err = Problem;

    /// Reads `30s`, `250ms`, `5m`, `2h`, `1d`, `1m30s`; the last part may have a fraction (`1.5h`).
    ///
    /// # Errors
    /// `invalid_duration` for a bare number, an unknown unit, parts that do not go from large to small,
    /// anything finer than a millisecond, and spans past `u64` milliseconds.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let refuse = |why: &str| Problem::refused(ErrorCode::InvalidDuration, text, why, EXPECTED);
        if let Ok(number) = text.parse::<u64>() {
            let hint = format!("{number}s or {number}ms");
            return Err(Problem::refused(ErrorCode::InvalidDuration, text, "has no unit", &hint));
        }
        let mut rest = text;
        let mut total: u64 = 0;
        let mut smaller = &UNITS[..];
        loop {
            let (number, after) = Decimal::split(rest).ok_or_else(|| refuse("is not a duration"))?;
            let end = after.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(after.len());
            let (unit, after) = after.split_at(end);
            let at = smaller
                .iter()
                .position(|(name, _)| *name == unit)
                .ok_or_else(|| refuse("is not a duration"))?;
            if number.has_point() && !after.is_empty() {
                return Err(refuse("has a fraction before its last part"));
            }
            let (ms, exact) = number.times(smaller[at].1).ok_or_else(|| refuse("is too long"))?;
            if !exact {
                return Err(refuse("is finer than a millisecond"));
            }
            total = total.checked_add(ms).ok_or_else(|| refuse("is too long"))?;
            smaller = &smaller[at + 1..];
            if after.is_empty() {
                return Ok(Span(total));
            }
            rest = after;
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        crate::code::integer_or_text(from, "milliseconds or a duration like 30s", |n| Ok(Span(n)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, ms: u64, shown: &str) {
        let span: Span = text.parse().unwrap();
        assert_eq!(span.as_millis(), ms, "{text}");
        assert_eq!(span.to_string(), shown, "{text}");
    }

    #[test]
    fn reads_every_unit() {
        check("0s", 0, "0s");
        check("250ms", 250, "250ms");
        check("30s", 30_000, "30s");
        check("90s", 90_000, "1m30s");
        check("1m30s", 90_000, "1m30s");
        check("1.5h", 5_400_000, "1h30m");
        check("1.5s", 1_500, "1.5s");
        check("1m1.005s", 61_005, "1m1.005s");
        check("1500ms", 1_500, "1.5s");
        check("1d2h3m4s5ms", 93_784_005, "1d2h3m4.005s");
        check("25h", 90_000_000, "1d1h");
        check("18446744073709551615ms", u64::MAX, "213503982334d14h25m51.615s");
    }

    #[test]
    fn refuses_what_is_no_duration() {
        let none =
            ["", "s", " 1s", "1s ", "1 s", "-1s", "1S", "30sec", "30s1m", "1s1s", "1.5m30s", "1.s", ".5s"];
        let fine = ["0.5ms", "1.0005s"];
        let long = ["18446744073709551616ms", "213503982335d", "18446744073709551615ms1s"];
        for text in none.into_iter().chain(fine).chain(long) {
            let problem = text.parse::<Span>().expect_err(text);
            assert_eq!(problem.code, ErrorCode::InvalidDuration, "{text}");
        }
    }

    #[test]
    fn a_bare_number_is_refused_with_a_hint() {
        let problem = "30".parse::<Span>().unwrap_err();
        assert_eq!(problem.to_string(), "invalid_duration: `30` has no unit; write 30s or 30ms");
    }

    #[test]
    fn is_milliseconds_in_json() {
        assert_eq!(serde_json::to_string(&Span::from_secs(2)).unwrap(), "2000");
        for text in ["2000", "\"2s\""] {
            assert_eq!(serde_json::from_str::<Span>(text).unwrap(), Span::from_secs(2));
        }
        assert!(serde_json::from_str::<Span>("\"2000\"").is_err());
    }
}
