//! The text of a token: what a client sends.
//!
//! ```text
//! sk_ 52 digits of 0-9a-v: 256 random bits · 7 digits: CRC-32 of what is before them
//! e2b_ 40 digits of 0-9a-f: 160 random bits, the form that E2B's clients know; no room for a checksum
//! ```
//!
//! It names nobody: who it stands for is found by its hash. The checksum is against typing and cutting, so that such an
//! error is told apart from a token that is revoked; it proves nothing. The prefix lets scanners find a token that got
//! into a repository.

use std::fmt;
use std::str::FromStr;

use crate::code::{ErrorCode, Problem, serde_as_text};

/// Random bytes that a token is made of, at most.
pub const RANDOM_BYTES: usize = 32;

const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
const OWN_PREFIX: &str = "sk_";
/// 256 bits in fives.
const OWN_DIGITS: usize = 52;
/// 32 bits in fives.
const CHECK_DIGITS: usize = 7;
const E2B_PREFIX: &str = "e2b_";
const E2B_BYTES: usize = 20;

/// The form of a token's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Format {
    /// Our own.
    #[default]
    Sandkeep,
    /// As E2B's clients want it.
    E2b,
}

impl Format {
    /// The name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sandkeep => "sandkeep",
            Self::E2b => "e2b",
        }
    }

    /// The text of a new token, of random bytes.
    pub fn compose(self, random: &[u8; RANDOM_BYTES]) -> String {
        match self {
            Self::Sandkeep => {
                let body = format!("{OWN_PREFIX}{}", digits(random, OWN_DIGITS));
                let check = digits(&crc32(body.as_bytes()).to_be_bytes(), CHECK_DIGITS);
                body + &check
            }
            Self::E2b => {
                let hex = random[..E2B_BYTES].iter().map(|byte| format!("{byte:02x}"));
                hex.fold(E2B_PREFIX.to_owned(), |text, byte| text + &byte)
            }
        }
    }

    /// The form of `text`, which a client sent.
    ///
    /// # Errors
    /// `unauthenticated`. What was sent may be a secret with a slip in it, so no message repeats it.
    pub fn of(text: &str) -> Result<Self, Problem> {
        if let Some(body) = text.strip_prefix(OWN_PREFIX) {
            return own(text, body);
        }
        match text.strip_prefix(E2B_PREFIX) {
            Some(hex) if hex.len() == 2 * E2B_BYTES && hex.bytes().all(is_hex) => Ok(Self::E2b),
            Some(_) => Err(refused("the token begins with `e2b_` and has another length or other digits")),
            None => Err(refused("what was sent is not a token")),
        }
    }
}

fn own(text: &str, body: &str) -> Result<Format, Problem> {
    if body.len() != OWN_DIGITS + CHECK_DIGITS || !body.bytes().all(|byte| DIGITS.contains(&byte)) {
        return Err(refused("the token is not complete, or more than complete"));
    }
    let (before, check) = text.split_at(OWN_PREFIX.len() + OWN_DIGITS);
    if digits(&crc32(before.as_bytes()).to_be_bytes(), CHECK_DIGITS) != check {
        return Err(refused("the token is mistyped: its last digits do not fit the others"));
    }
    Ok(Format::Sandkeep)
}

fn refused(why: &str) -> Problem {
    let expected =
        "a token as it was shown when it was made: `sk_` and 59 of 0-9a-v, or `e2b_` and 40 of 0-9a-f";
    Problem::new(ErrorCode::Unauthenticated, why).expecting(expected)
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// The first `count` digits of base 32 of `bytes`, bits from the left, zeros behind the last.
fn digits(bytes: &[u8], count: usize) -> String {
    let bit = |at: usize| bytes.get(at / 8).map_or(0, |byte| byte >> (7 - at % 8) & 1);
    let digit = |place: usize| (0..5).fold(0, |value, at| value << 1 | usize::from(bit(place * 5 + at)));
    (0..count).map(|place| char::from(DIGITS[digit(place)])).collect()
}

/// CRC-32 as in ISO 3309 and zlib.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    })
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Format {
    type Err = Problem;

    /// # Errors
    /// `invalid_value`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        [Self::Sandkeep, Self::E2b].into_iter().find(|format| format.as_str() == text).ok_or_else(|| {
            Problem::refused(ErrorCode::InvalidValue, text, "is not a form of token", "sandkeep or e2b")
        })
    }
}

serde_as_text!(Format);

/// Whether a token that was found still stands at `now_us`.
///
/// # Errors
/// `unauthenticated` when it was revoked, `token_expired`.
pub fn standing(revoked: bool, expires_us: Option<i64>, now_us: i64) -> Result<(), Problem> {
    if revoked {
        return Err(
            Problem::new(ErrorCode::Unauthenticated, "the token was revoked").expecting("another token")
        );
    }
    if expires_us.is_some_and(|expires_us| expires_us <= now_us) {
        return Err(Problem::new(ErrorCode::TokenExpired, "the token has expired").expecting("another token"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_one_of_zlib() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn has_one_form_each() {
        let zero = Format::Sandkeep.compose(&[0; RANDOM_BYTES]);
        assert_eq!(zero.len(), 62);
        assert!(zero.starts_with(&format!("sk_{}", "0".repeat(52))), "{zero}");
        let ones = Format::Sandkeep.compose(&[0xff; RANDOM_BYTES]);
        assert!(ones.starts_with(&format!("sk_{}g", "v".repeat(51))), "256 bits, then zeros: {ones}");
        let e2b = Format::E2b.compose(&[0xab; RANDOM_BYTES]);
        assert_eq!(e2b, format!("e2b_{}", "ab".repeat(20)));
        assert_eq!(Format::of(&zero), Ok(Format::Sandkeep));
        assert_eq!(Format::of(&e2b), Ok(Format::E2b));
    }

    #[test]
    fn no_message_repeats_what_was_sent() {
        let good = Format::Sandkeep.compose(&[7; RANDOM_BYTES]);
        let cut = &good[..40];
        let swapped = good.replacen("0", "1", 1);
        for text in
            ["", "hunter2", cut, &swapped, &good.to_uppercase(), "e2b_0123", "sk_é", &format!("{good} ")]
        {
            let problem = Format::of(text).expect_err(text);
            assert_eq!((problem.code, &problem.value), (ErrorCode::Unauthenticated, &None), "{text}");
            assert!(text.is_empty() || !problem.to_string().contains(text), "{problem}");
        }
    }

    #[test]
    fn a_token_stands_until_its_time_or_its_revocation() {
        assert_eq!(standing(false, None, i64::MAX), Ok(()));
        assert_eq!(standing(false, Some(11), 10), Ok(()));
        assert_eq!(standing(false, Some(10), 10).unwrap_err().code, ErrorCode::TokenExpired);
        assert_eq!(standing(true, Some(11), 10).unwrap_err().code, ErrorCode::Unauthenticated);
    }
}
