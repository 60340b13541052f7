//! Any JSON value, kept as the text it came in.
//!
//! Events go to foreign code and return values come from it: reading them into a tree and writing them
//! again would round integers past 64 bits and refuse deep nesting, so that what arrives is not what was
//! sent. A [`Json`] is checked once and then only carried.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// One valid JSON value, `null` included, byte for byte as it was written (less surrounding blanks).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json(Box<str>);

impl Json {
    /// Checks that `bytes` are exactly one JSON value in UTF-8.
    ///
    /// # Errors
    /// The parser's message with line and column; `NaN` and `Infinity` are not JSON.
    pub fn parse(bytes: &[u8]) -> Result<Json, serde_json::Error> {
        let raw: &RawValue = serde_json::from_slice(bytes)?;
        Ok(Json(raw.get().into()))
    }

    /// The text of the value.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// How deep its arrays and objects are nested: 0 for a text, a number or a word.
    pub fn depth(&self) -> usize {
        let (mut deepest, mut now) = (0, 0_usize);
        for (byte, in_text) in outside_of_texts(&self.0) {
            match byte {
                b'[' | b'{' if !in_text => {
                    now += 1;
                    deepest = deepest.max(now);
                }
                b']' | b'}' if !in_text => now -= 1,
                _ => {}
            }
        }
        deepest
    }

    /// The text without blanks between its tokens; numbers and texts stay as they were written.
    pub fn compact(&self) -> String {
        let kept =
            outside_of_texts(&self.0).filter(|(byte, in_text)| *in_text || !byte.is_ascii_whitespace());
        let bytes = kept.map(|(byte, _)| byte).collect();
        String::from_utf8(bytes).expect("only blanks were left out")
    }

    /// The value as a tree. Integers past 64 bits become floats here.
    ///
    /// # Errors
    /// Nesting deeper than 128 levels.
    pub fn to_value(&self) -> Result<serde_json::Value, serde_json::Error> {
        serde_json::from_str(&self.0)
    }
}

/// The bytes of valid JSON, each with whether it belongs to a text.
fn outside_of_texts(json: &str) -> impl Iterator<Item = (u8, bool)> {
    let (mut in_text, mut escaped) = (false, false);
    json.bytes().map(move |byte| {
        let was_in_text = in_text;
        if escaped {
            escaped = false;
        } else if in_text && byte == b'\\' {
            escaped = true;
        } else if byte == b'"' {
            in_text = !in_text;
        }
        (byte, was_in_text)
    })
}

impl From<serde_json::Value> for Json {
    fn from(value: serde_json::Value) -> Json {
        Json(value.to_string().into())
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(from)?;
        Ok(Json(Box::<str>::from(raw)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_a_tree_would_lose() {
        let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
        let texts =
            ["null", "false", "0", "-0.0", "\"\"", "[]", "{}", "123456789012345678901234567890", "1e400"];
        for text in texts.into_iter().chain(["\"\\ud800\"", "{\"a\":1,\"a\":2}", "\"é🦀\"", &deep]) {
            let json = Json::parse(text.as_bytes()).unwrap();
            assert_eq!(json.as_str(), text);
            assert_eq!(serde_json::to_string(&json).unwrap(), text);
            // Read back alone: inside an Option, null is absent.
            assert_eq!(serde_json::from_str::<Json>(text).unwrap(), json);
        }
    }

    #[test]
    fn takes_exactly_one_value() {
        assert_eq!(Json::parse(b" \n[1, 2]\t\r\n").unwrap().as_str(), "[1, 2]");
        let not: [&[u8]; 10] =
            [b"", b" ", b"1 2", b"NaN", b"Infinity", b"{'a':1}", b"[1,]", b"\"\xff\"", b"nul", b"\"a\nb\""];
        for bytes in not {
            assert!(Json::parse(bytes).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn depth_and_blanks_are_those_outside_of_texts() {
        let cases = [
            ("null", 0, "null"),
            ("\"[[\\\"[\"", 0, "\"[[\\\"[\""),
            ("[]", 1, "[]"),
            ("{\"a b\": [1, 2.50,  {}]}", 3, "{\"a b\":[1,2.50,{}]}"),
            ("[[], [ [ ] ], 1]", 3, "[[],[[]],1]"),
            ("\"a \\\" b\\\\\"", 0, "\"a \\\" b\\\\\""),
            ("[\n  \"\\u0020 é\"\t]", 1, "[\"\\u0020 é\"]"),
        ];
        for (text, depth, compact) in cases {
            let json = Json::parse(text.as_bytes()).unwrap();
            assert_eq!((json.depth(), json.compact().as_str()), (depth, compact), "{text}");
        }
    }

    #[test]
    fn is_a_tree_when_asked() {
        let value = serde_json::json!({"n": [1, null, false]});
        assert_eq!(Json::from(value.clone()).to_value().unwrap(), value);
    }
}
