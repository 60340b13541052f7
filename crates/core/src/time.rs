//! Points in time, as they are written down.
//!
//! A [`Timestamp`] is milliseconds since 1970 in UTC and reads as RFC 3339 (`2026-01-31T08:00:00.000Z`).
//! Nobody here asks what time it is: whoever makes one has a clock.

use std::fmt;
use std::str::FromStr;

use crate::code::{ErrorCode, Problem, serde_as_text};

/// Milliseconds since 1970-01-01T00:00:00Z, up to the end of the year 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// 9999-12-31T23:59:59.999Z: RFC 3339 has four digits for the year.
const MAX_MS: u64 = 253_402_300_799_999;
const DAY_MS: u64 = 86_400_000;

const EXPECTED: &str = "RFC 3339 in UTC, like 2026-01-31T08:00:00.000Z or 2026-01-31T08:00:00Z";

impl Timestamp {
    /// `unix_ms` milliseconds after 1970 began; later than the year 9999 stays at its last millisecond.
    pub const fn from_unix_ms(unix_ms: u64) -> Self {
        if unix_ms > MAX_MS { Timestamp(MAX_MS) } else { Timestamp(unix_ms) }
    }

    /// Milliseconds since 1970 began.
    pub const fn unix_ms(self) -> u64 {
        self.0
    }
}

/// `unix_ms` as RFC 3339 in UTC with milliseconds.
pub fn rfc3339(unix_ms: u64) -> String {
    Timestamp::from_unix_ms(unix_ms).to_string()
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of_day(self.0 / DAY_MS);
        let ms = self.0 % DAY_MS;
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
    }
}

impl FromStr for Timestamp {
    type Err = Problem;

    /// Reads the form that `Display` writes, also with another number of digits behind the second, up to nine or none. What is
    /// less than a millisecond is cut off.
    ///
    /// # Errors
    /// `invalid_value`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let whole = with_ms(text);
        let at = whole.as_deref().and_then(parse).map(Timestamp::from_unix_ms);
        // Reading is generous about days past the end of a month; writing it again is not.
        at.filter(|at| Some(at.to_string()) == whole)
            .ok_or_else(|| Problem::refused(ErrorCode::InvalidValue, text, "is not a time", EXPECTED))
    }
}

serde_as_text!(Timestamp);

/// The same time with three digits behind the second.
fn with_ms(text: &str) -> Option<String> {
    let text = text.strip_suffix('Z')?;
    let (second, fraction) = match text.split_once('.') {
        Some((_, "")) => return None,
        Some((second, fraction)) => (second, fraction),
        None => (text, ""),
    };
    let fits = fraction.len() <= 9 && fraction.bytes().all(|digit| digit.is_ascii_digit());
    fits.then(|| format!("{second}.{fraction:0<3.3}Z"))
}

fn parse(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| -> Option<u64> { text.get(from..to)?.parse().ok() };
    let day = day_of_date(number(0, 4)?, number(5, 7)?, number(8, 10)?)?;
    let clock = number(11, 13)? * 3_600_000 + number(14, 16)? * 60_000 + number(17, 19)? * 1_000;
    Some(day * DAY_MS + clock + number(20, 23)?)
}

/// Days since 1970 to (year, month, day): Howard Hinnant's `civil_from_days`, for days at or after 1970.
fn date_of_day(day: u64) -> (u64, u64, u64) {
    // Counted from 0000-03-01, leap days fall at the end of a year, and 400 years are one era.
    let shifted = day + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, of_year - (153 * march_month + 2) / 5 + 1)
}

/// The inverse: Hinnant's `days_from_civil`. `None` before 1970 or for a month that is none.
fn day_of_date(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1..=12).contains(&month) {
        return None;
    }
    let year = year.checked_sub(u64::from(month <= 2))?;
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * march_month + 2) / 5 + day.checked_sub(1)?;
    let year_of_era = year % 400;
    let of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year;
    (year / 400 * 146_097 + of_era).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_and_reads() {
        // Checked with `date -u -d @SECONDS`.
        let cases = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (951_868_799_999, "2000-02-29T23:59:59.999Z"),
            (951_868_800_000, "2000-03-01T00:00:00.000Z"),
            (1_709_164_800_000, "2024-02-29T00:00:00.000Z"),
            (1_735_689_599_007, "2024-12-31T23:59:59.007Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (MAX_MS, "9999-12-31T23:59:59.999Z"),
        ];
        for (ms, text) in cases {
            assert_eq!(rfc3339(ms), text);
            assert_eq!(text.parse::<Timestamp>().unwrap().unix_ms(), ms);
        }
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn reads_what_others_write() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap().unix_ms();
        assert_eq!(at("2000-02-29T00:00:00Z"), 951_782_400_000);
        assert_eq!(at("2000-02-29T00:00:00.5Z"), 951_782_400_500);
        assert_eq!(at("2000-02-29T00:00:00.123456789Z"), 951_782_400_123);
    }

    #[test]
    fn refuses_other_forms() {
        let texts = [
            "",
            "2024-02-30T00:00:00.000Z",
            "2023-02-29T00:00:00.000Z",
            "2024-13-01T00:00:00.000Z",
            "2024-01-00T00:00:00.000Z",
            "2024-01-01T24:00:00.000Z",
            "2024-01-01T00:00:60.000Z",
            "2024-01-01 00:00:00.000Z",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00.0000000000Z",
            "2024-01-01T00:00:00.1xZ",
            "2024-01-01T00:00Z",
            "2024-01-01T00:00:00.000+00:00",
            "1969-12-31T23:59:59.999Z",
            "2024-01-01T00:00:00.000Zx",
            "+024-01-01T00:00:00.000Z",
        ];
        for text in texts {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }
}
