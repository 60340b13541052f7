//! What must not be seen in output is replaced before output gets its positions.
//!
//! So a masked byte has no position, no log holds it, and live and stored output are the same. A secret may come in several
//! reads: what could be the beginning of one is held back until it is known, and until then nothing after it is told either.

use std::borrow::Cow;
use std::fmt;

/// What stands in the place of each.
pub const MASKED: &[u8] = b"***";

/// Byte strings that are not to be seen. The longest that fits is the one that is replaced, from the left.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Mask(Vec<Vec<u8>>);

impl Mask {
    /// Those of `secrets` that are not empty.
    pub fn new(secrets: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self(secrets.into_iter().filter(|secret| !secret.is_empty()).collect())
    }

    /// For whoever passes them on.
    pub fn secrets(&self) -> &[Vec<u8>] {
        &self.0
    }

    /// What is to be done at the start of `rest`.
    fn at(&self, rest: &[u8]) -> Here {
        // Most bytes begin none.
        let could_be = |secret: &&Vec<u8>| secret[0] == rest[0];
        let candidates = || self.0.iter().filter(could_be);
        let longest = candidates().filter(|secret| rest.starts_with(secret)).map(Vec::len).max();
        let may_be_longer = candidates().any(|secret| secret.len() > rest.len() && secret.starts_with(rest));
        match longest {
            _ if may_be_longer => Here::Unknown,
            Some(length) => Here::Secret(length),
            None => Here::Plain,
        }
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} secrets", self.0.len())
    }
}

enum Here {
    Plain,
    /// One of this length.
    Secret(usize),
    /// It depends on what comes.
    Unknown,
}

/// One stream on its way through a mask.
#[derive(Default)]
pub struct Masking {
    mask: Mask,
    held: Vec<u8>,
}

impl Masking {
    /// From the beginning of a stream.
    pub fn new(mask: Mask) -> Self {
        Self { mask, held: Vec::new() }
    }

    /// What can be told after these bytes.
    pub fn pass<'b>(&mut self, bytes: &'b [u8]) -> Cow<'b, [u8]> {
        if self.mask.0.is_empty() {
            return Cow::Borrowed(bytes);
        }
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let (told, known) = self.told(&all);
        self.held = all.split_off(known);
        Cow::Owned(told)
    }

    /// What can be told of `all`, and how much of it that is.
    fn told(&self, all: &[u8]) -> (Vec<u8>, usize) {
        let (mut told, mut at) = (Vec::with_capacity(all.len()), 0);
        while at < all.len() {
            match self.mask.at(&all[at..]) {
                Here::Plain => {
                    told.push(all[at]);
                    at += 1;
                }
                Here::Secret(length) => {
                    told.extend_from_slice(MASKED);
                    at += length;
                }
                Here::Unknown => break,
            }
        }
        (told, at)
    }

    /// What was held back, once nothing more comes. Nothing after the first call.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut told = Vec::new();
        let mut held = std::mem::take(&mut self.held);
        while let Some(first) = held.first().copied() {
            // Whatever is longer than the rest will not come any more.
            let longest = self.mask.0.iter().filter(|secret| held.starts_with(secret)).map(Vec::len).max();
            match longest {
                Some(_) => told.extend_from_slice(MASKED),
                None => told.push(first),
            }
            held.drain(..longest.unwrap_or(1));
        }
        told
    }
}

impl fmt::Debug for Masking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "masking of {:?}", self.mask)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mask(secrets: &[&str]) -> Mask {
        Mask::new(secrets.iter().map(|secret| secret.as_bytes().to_vec()))
    }

    /// The pieces one after another, and the rest.
    #[track_caller]
    fn check(secrets: &[&str], pieces: &[&str], told: &[&str]) {
        let mut masking = Masking::new(mask(secrets));
        let mut found: Vec<Vec<u8>> =
            pieces.iter().map(|piece| masking.pass(piece.as_bytes()).into_owned()).collect();
        found.push(masking.rest());
        let found: Vec<_> = found.iter().map(|piece| String::from_utf8_lossy(piece).into_owned()).collect();
        assert_eq!(found, told, "{secrets:?} {pieces:?}");
    }

    #[test]
    fn secrets_are_replaced_wherever_reads_are_cut() {
        check(&[], &["hunter2", "\n"], &["hunter2", "\n", ""]);
        check(&["", "hunter2"], &["a hunter2 b"], &["a *** b", ""]);
        check(&["hunter2"], &["a hun", "ter", "2 b"], &["a ", "", "*** b", ""]);
        check(&["hunter2"], &["a hun", "gry"], &["a ", "hungry", ""]);
        check(&["hunter2"], &["a hunt"], &["a ", "hunt"]);
        check(&["hunter2"], &["hunthunter2"], &["hunt***", ""]);
        check(&["ab", "abcd"], &["abc"], &["", "***c"]);
        check(&["ab", "abcd"], &["abc", "d", "abx"], &["", "***", "***x", ""]);
        check(&["aa"], &["aaa"], &["***", "a"]);
        check(&["bc", "abd"], &["ab", "c"], &["", "a***", ""]);
    }

    #[test]
    fn a_secret_is_not_shown_by_its_mask() {
        let masking = Masking::new(mask(&["hunter2"]));
        assert_eq!(format!("{masking:?} {:?}", mask(&["x"])), "masking of 1 secrets 1 secrets");
    }

    /// The whole at once, by the definition: from the left, the longest that fits.
    fn plainly(secrets: &Mask, mut text: &[u8]) -> Vec<u8> {
        let mut told = Vec::new();
        while !text.is_empty() {
            let longest = secrets.0.iter().filter(|secret| text.starts_with(secret)).map(Vec::len).max();
            match longest {
                Some(_) => told.extend_from_slice(MASKED),
                None => told.push(text[0]),
            }
            text = &text[longest.unwrap_or(1)..];
        }
        told
    }

    proptest! {
        #[test]
        fn it_is_the_same_however_it_is_cut(
            secrets in prop::collection::vec("[ab]{0,5}", 0..4),
            pieces in prop::collection::vec("[abc]{0,6}", 0..8),
        ) {
            let mask = Mask::new(secrets.into_iter().map(String::into_bytes));
            let mut masking = Masking::new(mask.clone());
            let mut told: Vec<u8> =
                pieces.iter().flat_map(|piece| masking.pass(piece.as_bytes()).into_owned()).collect();
            told.extend(masking.rest());
            prop_assert_eq!(told, plainly(&mask, pieces.concat().as_bytes()));
        }
    }
}
