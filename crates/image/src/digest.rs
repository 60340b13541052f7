//! Digests of content: read from manifests, compared with what was really read.

use std::fmt;
use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result, shown};

/// A SHA-256, the one algorithm that images use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads `sha256:` and 64 hexadecimal digits of lower case.
    ///
    /// # Errors
    /// Anything else; another algorithm is unsupported.
    pub fn parse(text: &str) -> Result<Self> {
        match text.split_once(':') {
            Some(("sha256", hex)) => {
                Self::from_hex(hex).ok_or_else(|| Error::invalid(shown(text.as_bytes()), "is not a digest"))
            }
            Some(("sha512", _)) => {
                Err(Error::unsupported(shown(text.as_bytes()), "only sha256 is understood"))
            }
            Some(_) | None => Err(Error::invalid(shown(text.as_bytes()), "is not a digest")),
        }
    }

    /// Reads 64 hexadecimal digits of lower case.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        if hex.len() != 64 || !hex.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }

    /// The 64 digits.
    #[must_use]
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Enough digits to tell images apart by eye, as container tools show them.
    #[must_use]
    pub fn short(&self) -> String {
        self.hex()[..12].to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.hex())
    }
}

/// Passes bytes on, counts them and, if somebody wants it, computes their digest.
pub(crate) struct Hashing<R> {
    inner: R,
    hasher: Option<Sha256>,
    count: u64,
}

impl<R: Read> Hashing<R> {
    pub(crate) fn new(inner: R, wanted: bool) -> Self {
        Self { inner, hasher: wanted.then(Sha256::new), count: 0 }
    }

    /// Bytes so far.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The digest of everything that passed, if it was wanted, and what it came from.
    pub(crate) fn finish(self) -> (Option<Digest>, R) {
        (self.hasher.map(|hasher| Digest(hasher.finalize().into())), self.inner)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(into)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&into[..got]);
        }
        self.count += got as u64;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandkeep_core::code::ErrorCode;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digests_are_read_and_shown() {
        assert_eq!(Digest::parse(EMPTY).unwrap(), Digest::of(b""));
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(Digest::of(b"").short(), "e3b0c44298fc");
        let refused = |text: &str| Digest::parse(text).unwrap_err().code();
        for text in ["", "sha256:", "md5:00", &EMPTY[..70], &EMPTY.to_uppercase(), "sha256:../../etc/passwd"]
        {
            assert_eq!(refused(text), ErrorCode::ImageInvalid, "{text}");
        }
        assert_eq!(refused(&EMPTY.replace("sha256", "sha512")), ErrorCode::ImageUnsupported);
    }

    #[test]
    fn what_passes_is_hashed() {
        for wanted in [true, false] {
            let mut hashing = Hashing::new(&b"some bytes"[..], wanted);
            io::copy(&mut hashing, &mut io::sink()).unwrap();
            assert_eq!(hashing.count(), 10);
            assert_eq!(hashing.finish().0, wanted.then(|| Digest::of(b"some bytes")));
        }
    }
}
