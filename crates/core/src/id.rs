//! Typed ids.
//!
//! An id is a letter prefix per kind and 26 digits of base 32 (`0-9a-v`): 48 bits of time in milliseconds
//! and 80 random bits. So ids are lower-case letters and digits only, sort by the time they were made,
//! and fit where a path, a host name or a cgroup name is wanted. The clock and the random bits come from
//! the caller.

use std::fmt;
use std::str::FromStr;

use crate::code::{ErrorCode, Problem, serde_as_text};

const DIGITS: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";
/// 26 × 5 = 130 bits hold the 128; the first digit is therefore at most `7`.
const LENGTH: usize = 26;
const RANDOM_BITS: u32 = 80;

/// Random bytes that make one id.
pub const RANDOM_BYTES: usize = 10;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u128);

        impl $name {
            /// What every id of this kind starts with.
            pub const PREFIX: &'static str = $prefix;

            /// An id made at `now_ms` (milliseconds since 1970, its low 48 bits) of 80 random bits.
            pub fn new(now_ms: u64, random: [u8; RANDOM_BYTES]) -> Self {
                $name(compose(now_ms, random))
            }

            /// When it was made, in milliseconds since 1970.
            pub fn created_ms(self) -> u64 {
                made_at(self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // `pad` so that a column width works.
                f.pad(&format!("{}{}", $prefix, digits(self.0)))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = Problem;

            /// # Errors
            /// `invalid_id` for everything but the one form that `Display` writes.
            fn from_str(text: &str) -> Result<Self, Problem> {
                text.strip_prefix($prefix).and_then(value_of).map($name).ok_or_else(|| {
                    let expected = concat!("`", $prefix, "` and 26 of 0-9a-v");
                    Problem::refused(ErrorCode::InvalidId, text, "is not an id of this kind", expected)
                })
            }
        }

        serde_as_text!($name);
    };
}

id! {
    /// Names one sandbox: `sb…`.
    SandboxId, "sb"
}
id! {
    /// Names one execution: `ex…`.
    ExecutionId, "ex"
}

id! {
    /// Names one project: `pr…`.
    ProjectId, "pr"
}
id! {
    /// Names one start of a server process: `sv…`.
    ServerId, "sv"
}
id! {
    /// Names one principal: `pc…`.
    PrincipalId, "pc"
}
id! {
    /// Names one token: `tk…`. It is no secret.
    TokenId, "tk"
}
id! {
    /// Names one secret: `se…`.
    SecretId, "se"
}
id! {
    /// Names one row of the audit log: `au…`.
    AuditId, "au"
}

fn compose(now_ms: u64, random: [u8; RANDOM_BYTES]) -> u128 {
    let random = random.iter().fold(0u128, |all, &byte| all << 8 | u128::from(byte));
    u128::from(now_ms & 0xffff_ffff_ffff) << RANDOM_BITS | random
}

fn made_at(value: u128) -> u64 {
    u64::try_from(value >> RANDOM_BITS).expect("48 of 128 bits are left")
}

fn digits(value: u128) -> String {
    let digit = |place: usize| (value >> (5 * (LENGTH - 1 - place)) & 31) as usize;
    (0..LENGTH).map(|place| char::from(DIGITS[digit(place)])).collect()
}

fn value_of(text: &str) -> Option<u128> {
    if text.len() != LENGTH || text.as_bytes()[0] > b'7' {
        return None;
    }
    text.bytes().try_fold(0u128, |all, byte| {
        let digit = DIGITS.iter().position(|&digit| digit == byte)?;
        Some(all << 5 | u128::try_from(digit).ok()?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_one_form() {
        let id = SandboxId::new(1_700_000_000_000, [0xff; 10]);
        assert_eq!(id.to_string(), "sb01hf7uaq00vvvvvvvvvvvvvvvv");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.created_ms(), 1_700_000_000_000);
        assert_eq!(ExecutionId::new(0, [0; 10]).to_string(), format!("ex{}", "0".repeat(26)));
    }

    #[test]
    fn refuses_every_other() {
        let zeros = "0".repeat(25);
        let texts = [
            String::new(),
            "sb".to_owned(),
            format!("sb{zeros}"),
            format!("sb{zeros}00"),
            format!("ex{zeros}0"),
            format!("SB{zeros}0"),
            format!("sb{zeros}V"),
            format!("sb{zeros}w"),
            format!("sb{zeros}é"),
            format!("sb8{zeros}"),
            format!(" sb{zeros}0"),
        ];
        for text in texts {
            let problem = text.parse::<SandboxId>().expect_err(&text);
            assert_eq!(problem.code, ErrorCode::InvalidId, "{text}");
        }
    }

    #[test]
    fn is_text_in_json() {
        let id = ExecutionId::new(5, [1; 10]);
        let json = serde_json::to_string(&id).unwrap();
        assert_eq!(json, format!("\"{id}\""));
        assert_eq!(serde_json::from_str::<ExecutionId>(&json).unwrap(), id);
        assert!(serde_json::from_str::<SandboxId>(&json).is_err());
    }
}
