//! Amounts of bytes: memory, disk, output.
//!
//! People write `512Mi`, `512MB` or `1.5Gi`; everything past the edge works with whole bytes. Binary
//! units end in `i` (`Ki Mi Gi Ti`), decimal ones do not (`KB MB GB TB`, or `K M G T`). A lone lower-case
//! `m` is refused because it means MiB to some tools and a thousandth to others.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::code::{ErrorCode, Problem};
use crate::decimal::Decimal;

/// A number of bytes, `0..=u64::MAX`. Serialised as an integer; read from an integer or a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// Units as they are shown, larger first.
const BINARY: [(&str, u64); 4] = [("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];
const DECIMAL: [(&str, u64); 4] =
    [("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("KB", 1_000)];

const EXPECTED: &str = "512Mi, 1.5Gi, 512MB or a number of bytes";

impl ByteSize {
    /// `count` bytes.
    pub const fn from_bytes(count: u64) -> Self {
        ByteSize(count)
    }

    /// `count` KiB; beyond `u64` it stays at the largest size.
    pub const fn from_kib(count: u64) -> Self {
        ByteSize(count.saturating_mul(KIB))
    }

    /// `count` MiB; beyond `u64` it stays at the largest size.
    pub const fn from_mib(count: u64) -> Self {
        ByteSize(count.saturating_mul(MIB))
    }

    /// `count` GiB; beyond `u64` it stays at the largest size.
    pub const fn from_gib(count: u64) -> Self {
        ByteSize(count.saturating_mul(GIB))
    }

    /// The size in bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// For people: at most three digits, rounded to the nearest (`8.4 MiB`, `512 MiB`).
    ///
    /// [`Display`](fmt::Display) is exact instead, and can be read back.
    pub fn rounded(self) -> String {
        let Some((name, unit)) = BINARY.into_iter().find(|&(_, unit)| self.0 >= unit) else {
            return format!("{} B", self.0);
        };
        let tenths = (u128::from(self.0) * 10 + u128::from(unit) / 2) / u128::from(unit);
        if tenths >= 100 || tenths.is_multiple_of(10) {
            format!("{} {name}", (tenths + 5) / 10)
        } else {
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        }
    }
}

impl fmt::Display for ByteSize {
    /// An exact form with at most one digit after the point, in binary units where they fit, else in
    /// decimal ones, else in bytes: `512 MiB`, `1.5 GiB`, `512 MB`, `1025 B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, unit) in BINARY.into_iter().chain(DECIMAL) {
            let tenths = u128::from(self.0) * 10;
            if self.0 >= unit && tenths.is_multiple_of(u128::from(unit)) {
                let tenths = tenths / u128::from(unit);
                // 500000 KiB is exact, and nobody reads it as the 512 MB that it is.
                match (tenths / 10, tenths % 10) {
                    (whole, _) if whole >= 1024 && unit != TIB => {}
                    (whole, 0) => return write!(f, "{whole} {name}"),
                    (whole, part) => return write!(f, "{whole}.{part} {name}"),
                }
            }
        }
        write!(f, "{} B", self.0)
    }
}

impl FromStr for ByteSize {
    type Err = Problem;

    /// Reads `512Mi`, `512 MiB`, `512MB`, `1.5Gi`, `1024`. A fraction of a byte is rounded down.
    ///
    /// # Errors
    /// `invalid_size` for anything else, and for sizes past 16 EiB.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let refuse = |why: &str| Problem::refused(ErrorCode::InvalidSize, text, why, EXPECTED);
        let (number, unit) = Decimal::split(text).ok_or_else(|| refuse("is not a size"))?;
        let unit = unit_bytes(unit.trim_start_matches(' ')).map_err(refuse)?;
        if unit == 1 && number.has_point() {
            return Err(refuse("is not a whole number of bytes"));
        }
        let (bytes, _exact) = number.times(unit).ok_or_else(|| refuse("is larger than 16 EiB"))?;
        Ok(ByteSize(bytes))
    }
}

/// Bytes in one of the unit written as `unit`, or what is wrong with it.
fn unit_bytes(unit: &str) -> Result<u64, &'static str> {
    if matches!(unit, "k" | "m" | "g" | "t") {
        return Err("has a unit that tools read differently");
    }
    match unit.to_ascii_lowercase().as_str() {
        "" | "b" => Ok(1),
        "ki" | "kib" => Ok(KIB),
        "mi" | "mib" => Ok(MIB),
        "gi" | "gib" => Ok(GIB),
        "ti" | "tib" => Ok(TIB),
        "k" | "kb" => Ok(1_000),
        "m" | "mb" => Ok(1_000_000),
        "g" | "gb" => Ok(1_000_000_000),
        "t" | "tb" => Ok(1_000_000_000_000),
        _ => Err("is not a size"),
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        crate::code::integer_or_text(from, "a number of bytes or a size like 512Mi", |n| Ok(ByteSize(n)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, bytes: u64, shown: &str) {
        let size: ByteSize = text.parse().unwrap();
        assert_eq!(size.bytes(), bytes, "{text}");
        assert_eq!(size.to_string(), shown, "{text}");
    }

    #[test]
    fn reads_every_unit() {
        check("0", 0, "0 B");
        check("1024", 1024, "1 KiB");
        check("1000", 1000, "1 KB");
        check("7B", 7, "7 B");
        check("512Mi", 512 << 20, "512 MiB");
        check("512MiB", 512 << 20, "512 MiB");
        check("512 MiB", 512 << 20, "512 MiB");
        check("512mib", 512 << 20, "512 MiB");
        check("512MB", 512_000_000, "512 MB");
        check("2K", 2_000, "2 KB");
        check("3G", 3_000_000_000, "3 GB");
        check("1T", 1_000_000_000_000, "1 TB");
        check("1.5Gi", 3 << 29, "1.5 GiB");
        check("1.1Gi", 1_181_116_006, "1181116006 B");
        check("2Ti", 2 << 40, "2 TiB");
        check("18446744073709551615", u64::MAX, "18446744073709551615 B");
    }

    #[test]
    fn refuses_what_is_no_size() {
        let none =
            ["", " ", "Mi", "-1", "+1", "1 2", "0x10", "1e9", "1.", ".5Mi", "1.5", "1.5B", "12q", "1Mi "];
        let ambiguous = ["512m", "1k", "1g", "1t"];
        let huge = ["18446744073709551616", "16777216Ti", "99999999999999999999"];
        for text in none.into_iter().chain(ambiguous).chain(huge) {
            let problem = text.parse::<ByteSize>().expect_err(text);
            assert_eq!(problem.code, ErrorCode::InvalidSize, "{text}");
        }
        let problem = "12q".parse::<ByteSize>().unwrap_err();
        assert_eq!(
            problem.to_string(),
            "invalid_size: `12q` is not a size; write 512Mi, 1.5Gi, 512MB or a number of bytes"
        );
    }

    #[test]
    fn rounds_for_people() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (8 << 20, "8 MiB"),
            ((8 << 20) + (400 << 10), "8.4 MiB"),
            ((99 << 20) + (600 << 10), "100 MiB"),
            (u64::MAX, "16777216 TiB"),
        ];
        for (bytes, shown) in cases {
            assert_eq!(ByteSize::from_bytes(bytes).rounded(), shown);
        }
    }

    #[test]
    fn is_an_integer_in_json() {
        let size = ByteSize::from_mib(1);
        assert_eq!(serde_json::to_string(&size).unwrap(), "1048576");
        for text in ["1048576", "\"1Mi\"", "\"1048576\""] {
            assert_eq!(serde_json::from_str::<ByteSize>(text).unwrap(), size);
        }
        for text in ["-1", "1.5", "\"12q\"", "null", "[]"] {
            assert!(serde_json::from_str::<ByteSize>(text).is_err(), "{text}");
        }
    }
}
