//! Shares of processors.
//!
//! People write `1`, `0.5` or `500m` (a thousandth of a processor is one `m`, as in Kubernetes).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::code::{ErrorCode, Problem};
use crate::decimal::Decimal;

/// Thousandths of one processor, [`CpuMillis::MIN`]`..=`[`CpuMillis::MAX`].
///
/// Serialised as integer thousandths; read from that or a text. Whether the host has so many processors
/// is for the caller to check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuMillis(u32);

const EXPECTED: &str = "a number of processors from 0.01 to 1024, like 2, 0.5 or 500m";

impl CpuMillis {
    /// 10 thousandths: the kernel refuses a quota under 1 ms, and a period is at most 100 ms here.
    pub const MIN: CpuMillis = CpuMillis(10);
    /// 1,024 whole processors.
    pub const MAX: CpuMillis = CpuMillis(1_024_000);
    /// One whole processor.
    pub const ONE: CpuMillis = CpuMillis(1_000);

    /// `count` thousandths of a processor, if in range.
    pub const fn from_millis(count: u32) -> Option<Self> {
        if count < Self::MIN.0 || count > Self::MAX.0 { None } else { Some(CpuMillis(count)) }
    }

    /// Thousandths of a processor.
    pub const fn millis(self) -> u32 {
        self.0
    }

    /// Microseconds of processor time allowed in each period of `period_us` microseconds.
    pub const fn quota_us(self, period_us: u32) -> u64 {
        // Both factors are u32, so their product fits; the casts only widen.
        (self.0 as u64) * (period_us as u64) / 1_000
    }
}

impl fmt::Display for CpuMillis {
    /// In processors: `1`, `0.5`, `1.25`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 1_000, self.0 % 1_000) {
            (whole, 0) => write!(f, "{whole}"),
            (whole, part) => write!(f, "{whole}.{}", format!("{part:03}").trim_end_matches('0')),
        }
    }
}

impl FromStr for CpuMillis {
    type Err = Problem;

    /// Reads `2`, `0.5`, `500m`.
    ///
    /// # Errors
    /// `invalid_cpu` for anything else, for more than three digits after the point, and out of range.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let refuse = |why: &str| Problem::refused(ErrorCode::InvalidCpu, text, why, EXPECTED);
        let (number, unit) = Decimal::split(text).ok_or_else(|| refuse("is not a CPU share"))?;
        let unit = match unit {
            "" => 1_000,
            "m" => 1,
            _ => return Err(refuse("is not a CPU share")),
        };
        let (millis, exact) = number.times(unit).ok_or_else(|| refuse("is out of range"))?;
        if !exact {
            return Err(refuse("is finer than a thousandth of a processor"));
        }
        let millis = u32::try_from(millis).map_err(|_| refuse("is out of range"))?;
        CpuMillis::from_millis(millis).ok_or_else(|| refuse("is out of range"))
    }
}

impl Serialize for CpuMillis {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u32(self.0)
    }
}

impl<'de> Deserialize<'de> for CpuMillis {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        crate::code::integer_or_text(from, "thousandths of a processor or a share like 0.5", |n| {
            u32::try_from(n).ok().and_then(CpuMillis::from_millis).ok_or_else(|| {
                let text = n.to_string();
                Problem::refused(ErrorCode::InvalidCpu, &text, "is out of range", "10 to 1024000 thousandths")
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_shares() {
        let cases = [
            ("1", 1_000, "1"),
            ("0.5", 500, "0.5"),
            ("500m", 500, "0.5"),
            ("1.25", 1_250, "1.25"),
            ("0.01", 10, "0.01"),
            ("10m", 10, "0.01"),
            ("1024", 1_024_000, "1024"),
            ("0.5000", 500, "0.5"),
        ];
        for (text, millis, shown) in cases {
            let cpu: CpuMillis = text.parse().unwrap();
            assert_eq!((cpu.millis(), cpu.to_string().as_str()), (millis, shown), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        let texts =
            ["", "0", "9m", "0.009", "0.0005", "1024.001", "1 ", "-1", "50%", "1c", "0.5m", "99999999999"];
        for text in texts {
            let problem = text.parse::<CpuMillis>().expect_err(text);
            assert_eq!(problem.code, ErrorCode::InvalidCpu, "{text}");
        }
    }

    #[test]
    fn is_a_quota_per_period() {
        assert_eq!(CpuMillis::ONE.quota_us(100_000), 100_000);
        assert_eq!(CpuMillis::MIN.quota_us(100_000), 1_000);
        assert_eq!(CpuMillis::MAX.quota_us(100_000), 102_400_000);
    }

    #[test]
    fn is_thousandths_in_json() {
        assert_eq!(serde_json::to_string(&CpuMillis::ONE).unwrap(), "1000");
        assert_eq!(serde_json::from_str::<CpuMillis>("\"0.5\"").unwrap().millis(), 500);
        assert!(serde_json::from_str::<CpuMillis>("5").is_err());
    }
}
