//! Processors as people write them in JSON: `2`, `0.5` or `"500m"`.

use sandkeep_core::code::Problem;
use sandkeep_core::cpu::CpuMillis;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A share of processors. `core` itself counts thousandths; a request counts processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share(pub CpuMillis);

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(f64::from(self.0.millis()) / 1_000.0)
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a number of processors, like 2 or 0.5, or a text like \"500m\"")]
        enum Written {
            Number(serde_json::Number),
            Text(String),
        }
        let text = match Written::deserialize(from)? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map(Share).map_err(|problem: Problem| serde::de::Error::custom(problem))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_processors_however_they_are_written() {
        for (json, millis) in
            [("2", 2_000), ("0.5", 500), ("\"500m\"", 500), ("\"1.25\"", 1_250), ("1.0", 1_000)]
        {
            let share: Share = serde_json::from_str(json).unwrap();
            assert_eq!(share.0.millis(), millis, "{json}");
        }
        for json in ["0", "-1", "1e9", "null", "true", "\"1c\"", "0.0001", "[]"] {
            assert!(serde_json::from_str::<Share>(json).is_err(), "{json}");
        }
        assert_eq!(serde_json::to_string(&Share(CpuMillis::ONE)).unwrap(), "1.0");
    }
}
