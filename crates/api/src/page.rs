//! Lists, a page at a time.
//!
//! A cursor is opaque: it stands for where the page before ended, and only the server that gave it out reads it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sandkeep_core::code::{ErrorCode, Problem};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Items of a page unless asked otherwise.
pub const DEFAULT_LIMIT: u32 = 100;
/// Most items of a page.
pub const MOST: u32 = 1_000;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Give this as `cursor` for the next page; `null` when there is none.
    #[schema(required, value_type = Option<String>)]
    pub next_cursor: Option<Cursor>,
}

impl<T> Page<T> {
    /// A page of `limit` items out of the `limit + 1` that were looked for: one more says that there is another page.
    /// `key` is what the list is ordered by.
    #[must_use]
    pub fn of(mut found: Vec<T>, limit: u32, key: impl Fn(&T) -> String) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = found.last().filter(|_| more).map(|last| Cursor::after(key(last)));
        Page { items: found, next_cursor }
    }
}

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(String);

/// What every cursor begins with; another release may have another.
const VERSION: &str = "1";

impl Cursor {
    /// The cursor of a page that ended with `key`.
    #[must_use]
    pub fn after(key: impl Into<String>) -> Self {
        Cursor(key.into())
    }

    /// What the page ended with.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(format!("{VERSION}{}", self.0)))
    }
}

impl FromStr for Cursor {
    type Err = Problem;

    /// # Errors
    /// `invalid_query`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let key = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let key = key.as_deref().and_then(|key| key.strip_prefix(VERSION));
        key.map(Cursor::after).ok_or_else(|| {
            let expected = "the `next_cursor` of the page before, unchanged";
            Problem::refused(ErrorCode::InvalidQuery, text, "is not a cursor", expected).within("cursor")
        })
    }
}

impl Serialize for Cursor {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cursor {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How many items a page is to have.
///
/// # Errors
/// `invalid_query` outside of `1..=`[`MOST`].
pub fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    let limit = asked.unwrap_or(DEFAULT_LIMIT);
    if (1..=MOST).contains(&limit) {
        return Ok(limit);
    }
    let expected = format!("1 to {MOST}");
    Err(Problem::refused(ErrorCode::InvalidQuery, &limit.to_string(), "is out of range", &expected)
        .within("limit"))
}

/// Longest that a request waits for something, in milliseconds.
pub const WAIT_MOST_MS: u64 = 300_000;
/// How long it waits unless asked otherwise.
pub const DEFAULT_WAIT_MS: u64 = 60_000;

/// How long a request is to wait.
///
/// # Errors
/// `invalid_query` above [`WAIT_MOST_MS`].
pub fn wait(asked_ms: Option<u64>) -> Result<Duration, Problem> {
    let wait_ms = asked_ms.unwrap_or(DEFAULT_WAIT_MS);
    if wait_ms <= WAIT_MOST_MS {
        return Ok(Duration::from_millis(wait_ms));
    }
    let expected = format!("at most {WAIT_MOST_MS}");
    Err(Problem::refused(ErrorCode::InvalidQuery, &wait_ms.to_string(), "is too long", &expected)
        .within("timeout_ms"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back_and_nothing_else_is() {
        for key in ["", "sb01", "name with blanks/ü", "1"] {
            let cursor = Cursor::after(key);
            let text = cursor.to_string();
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
            assert_eq!(text.parse::<Cursor>().unwrap(), cursor);
        }
        for text in ["", "x", "MQ==", "Mg", "////", "_w"] {
            assert_eq!(text.parse::<Cursor>().unwrap_err().code, ErrorCode::InvalidQuery, "{text}");
        }
    }

    #[test]
    fn one_more_than_asked_for_makes_another_page() {
        let page = |found: Vec<u32>| Page::of(found, 2, u32::to_string);
        assert_eq!(page(vec![]).next_cursor, None);
        assert_eq!(page(vec![1, 2]).next_cursor, None);
        let full = page(vec![1, 2, 3]);
        assert_eq!((full.items, full.next_cursor), (vec![1, 2], Some(Cursor::after("2"))));
    }

    #[test]
    fn waits_have_an_end() {
        assert_eq!(wait(None), Ok(Duration::from_secs(60)));
        assert_eq!(wait(Some(300_000)), Ok(Duration::from_secs(300)));
        assert_eq!(wait(Some(300_001)).unwrap_err().code, ErrorCode::InvalidQuery);
    }

    #[test]
    fn limits_have_a_range() {
        assert_eq!(limit(None), Ok(100));
        assert_eq!(limit(Some(1)), Ok(1));
        assert_eq!(limit(Some(1000)), Ok(1000));
        for asked in [0, 1001] {
            assert_eq!(limit(Some(asked)).unwrap_err().code, ErrorCode::InvalidQuery);
        }
    }
}
