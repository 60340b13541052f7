//! The id of a request: the client's, or a fresh one.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use sandkeep_control::ids;

pub(super) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// The id, for whoever handles the request.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(pub(crate) String);

/// Longest id that is taken over; it stands in every line of the log.
const MOST: usize = 64;

/// The id in the header if it is one: letters, digits, `-`, `_`, `.`. Anything else could be made to look like more than
/// an id where the log is read.
pub(super) fn of(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(HEADER).filter(|given| is_id(given.as_bytes()));
    given.cloned().unwrap_or_else(fresh)
}

fn is_id(bytes: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    (1..=MOST).contains(&bytes.len()) && bytes.iter().all(allowed)
}

fn fresh() -> HeaderValue {
    let bytes: [u8; 16] = ids::random();
    let text = bytes.iter().fold("rq".to_owned(), |text, byte| format!("{text}{byte:02x}"));
    HeaderValue::from_str(&text).expect("letters and digits only")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_well_formed_id_is_kept_and_nothing_else_is() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(HEADER, HeaderValue::from_bytes(text.as_bytes()).unwrap());
            super::of(&headers).to_str().unwrap().to_owned()
        };
        let long = "a".repeat(64);
        for text in ["a", "trace-1_2.3", "0b8f", &long] {
            assert_eq!(of(text), text);
        }
        for text in ["", "a b", "a\"b", "a{b}", "é", &format!("{long}a")] {
            let made = of(text);
            assert!(made.starts_with("rq") && made.len() == 34, "{text}: {made}");
        }
        let none = HeaderMap::new();
        assert_ne!(super::of(&none), super::of(&none));
    }
}
