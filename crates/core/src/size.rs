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

/// Units by the lower-case form of what may be written, larger first within each family.
const BINARY: [(&str, u64); 4] = [("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)];

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
    /// The shortest exact form with at most one digit after the point: `512 MiB`, `1.5 GiB`, `1000 B`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, unit) in BINARY {
            let tenths = u128::from(self.0) * 10;
            if self.0 >= unit && tenths.is_multiple_of(u128::from(unit)) {
                let tenths = tenths / u128::from(unit);
                return match tenths % 10 {
                    0 => write!(f, "{} {name}", tenths / 10),
                    rest => write!(f, "{}.{rest} {name}", tenths / 10),
                };
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
