//! Sealing: what is kept encrypted, and bound to its place.
//!
//! ```text
//! master key ─HKDF(project)→ project key ─wraps→ data key, random for each value ─encrypts→ value
//! ```
//!
//! Both steps are XChaCha20-Poly1305, whose nonces are long enough to be random. Both authenticate the place that the value
//! belongs to: project, id and version. A row that is copied to another project, another id or an older version does not
//! open. A new master key means wrapping data keys anew; the values stay as they are.

use std::sync::Arc;

use chacha20poly1305::aead::{Aead as _, Payload};
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::id::ProjectId;
use secrecy::{ExposeSecret as _, SecretSlice};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::ids::random;
use crate::master_key::{KEY_BYTES, KeyId, MasterKey};

const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
/// Nonce, data key and tag.
const WRAPPED_BYTES: usize = NONCE_BYTES + KEY_BYTES + TAG_BYTES;
/// First byte of [`Sealed::to_bytes`].
const FORM: u8 = 1;

/// What a value belongs to. It opens nowhere else.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Whose.
    pub project_id: ProjectId,
    /// Id of what it is part of.
    pub id: &'a str,
    /// Which value of that; 1 where there is only one.
    pub version: i64,
}

impl Place<'_> {
    /// As authenticated: every part with its length or of fixed length, so that no two places read the same.
    fn bytes(&self, what: u8) -> Vec<u8> {
        let project = self.project_id.to_string();
        let mut bytes = vec![FORM, what];
        for part in [project.as_str(), self.id] {
            bytes.extend((part.len() as u64).to_be_bytes());
            bytes.extend(part.as_bytes());
        }
        bytes.extend(self.version.to_be_bytes());
        bytes
    }
}

/// What is authenticated is the data key, or the value.
const DATA_KEY: u8 = b'k';
const VALUE: u8 = b'v';

/// A sealed value. Nothing in it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Which master key.
    pub key_id: Vec<u8>,
    /// The data key, wrapped under the project's: nonce, ciphertext, tag.
    pub wrapped_key: Vec<u8>,
    /// Of the ciphertext.
    pub nonce: Vec<u8>,
    /// The value with its tag.
    pub ciphertext: Vec<u8>,
}

impl Sealed {
    /// As one piece, where it has no columns of its own.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [&[FORM], self.key_id.as_slice(), &self.wrapped_key, &self.nonce, &self.ciphertext].concat()
    }

    /// Reads [`to_bytes`](Self::to_bytes).
    ///
    /// # Errors
    /// `seal_broken`.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, Problem> {
        let (form, rest) = bytes.split_first().ok_or_else(|| broken("it is empty"))?;
        if *form != FORM {
            return Err(broken("it has a form that this release does not know"));
        }
        let cut = || broken("it is cut short");
        let (key_id, rest) = rest.split_at_checked(KeyId::BYTES).ok_or_else(cut)?;
        let (wrapped_key, rest) = rest.split_at_checked(WRAPPED_BYTES).ok_or_else(cut)?;
        let (nonce, ciphertext) = rest.split_at_checked(NONCE_BYTES).ok_or_else(cut)?;
        let [key_id, wrapped_key, nonce, ciphertext] =
            [key_id, wrapped_key, nonce, ciphertext].map(<[u8]>::to_vec);
        Ok(Self { key_id, wrapped_key, nonce, ciphertext })
    }
}

/// Seals and opens. Clones have the same key.
#[derive(Debug, Clone)]
pub struct Sealer {
    master: Arc<MasterKey>,
}

impl Sealer {
    /// With this master key.
    #[must_use]
    pub fn new(master: MasterKey) -> Self {
        Self { master: Arc::new(master) }
    }

    /// Seals `value` for its place.
    #[must_use]
    pub fn seal(&self, place: Place<'_>, value: &[u8]) -> Sealed {
        let data_key = Zeroizing::new(random::<KEY_BYTES>());
        let (wrap_nonce, nonce) = (random::<NONCE_BYTES>(), random::<NONCE_BYTES>());
        let wrapped = encrypt(
            &self.project_key(place.project_id),
            &wrap_nonce,
            data_key.as_slice(),
            &place.bytes(DATA_KEY),
        );
        Sealed {
            key_id: self.master.id().0.to_vec(),
            wrapped_key: [wrap_nonce.as_slice(), &wrapped].concat(),
            nonce: nonce.to_vec(),
            ciphertext: encrypt(&cipher(&data_key), &nonce, value, &place.bytes(VALUE)),
        }
    }

    /// Opens what was sealed for this place.
    ///
    /// # Errors
    /// `seal_broken`.
    pub fn open(&self, place: Place<'_>, sealed: &Sealed) -> Result<SecretSlice<u8>, Problem> {
        if sealed.key_id != self.master.id().0 {
            return Err(broken("it is sealed under another master key"));
        }
        let (wrap_nonce, wrapped) =
            sealed.wrapped_key.split_at_checked(NONCE_BYTES).ok_or_else(|| broken("it is cut short"))?;
        let data_key =
            decrypt(&self.project_key(place.project_id), wrap_nonce, wrapped, &place.bytes(DATA_KEY))?;
        let data_key = Zeroizing::new(data_key);
        let data_key = data_key.as_slice().try_into().map_err(|_| broken("its key has another length"))?;
        decrypt(&cipher(data_key), &sealed.nonce, &sealed.ciphertext, &place.bytes(VALUE)).map(Into::into)
    }

    /// Seals what `value` is as JSON, in one piece.
    ///
    /// # Errors
    /// `internal`: it has no JSON form.
    pub fn seal_json(&self, place: Place<'_>, value: &impl Serialize) -> Result<Vec<u8>, Problem> {
        let json = serde_json::to_vec(value).map(Zeroizing::new).map_err(|error| {
            Problem::new(ErrorCode::Internal, format!("it cannot be written down: {error}"))
        })?;
        Ok(self.seal(place, &json).to_bytes())
    }

    /// Opens what [`seal_json`](Self::seal_json) sealed.
    ///
    /// # Errors
    /// `seal_broken`.
    pub fn open_json<T: DeserializeOwned>(&self, place: Place<'_>, bytes: &[u8]) -> Result<T, Problem> {
        let json = self.open(place, &Sealed::of_bytes(bytes)?)?;
        // What is wrong in it is not told: it may be a secret.
        serde_json::from_slice(json.expose_secret()).map_err(|_| broken("it is not what was written"))
    }

    fn project_key(&self, project_id: ProjectId) -> XChaCha20Poly1305 {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        let project = project_id.to_string();
        self.master.derive(&[b"sandkeep project key v1 ", project.as_bytes()], &mut key);
        cipher(&key)
    }
}

fn cipher(key: &[u8; KEY_BYTES]) -> XChaCha20Poly1305 {
    XChaCha20Poly1305::new(key.into())
}

fn encrypt(with: &XChaCha20Poly1305, nonce: &[u8; NONCE_BYTES], value: &[u8], place: &[u8]) -> Vec<u8> {
    let payload = Payload { msg: value, aad: place };
    with.encrypt(nonce.into(), payload).expect("no value is longer than the 256 GiB that the cipher takes")
}

fn decrypt(with: &XChaCha20Poly1305, nonce: &[u8], text: &[u8], place: &[u8]) -> Result<Vec<u8>, Problem> {
    let nonce = nonce.try_into().map_err(|_| broken("it is cut short"))?;
    let opened = with.decrypt(nonce, Payload { msg: text, aad: place });
    opened.map_err(|_| broken("it was altered, or belongs elsewhere"))
}

fn broken(why: &str) -> Problem {
    Problem::new(ErrorCode::SealBroken, format!("a sealed value cannot be opened: {why}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::master_key::tests::key;

    fn place(id: &str) -> Place<'_> {
        Place { project_id: ProjectId::new(1, [1; 10]), id, version: 1 }
    }

    fn code(opened: Result<SecretSlice<u8>, Problem>) -> Option<ErrorCode> {
        opened.err().map(|problem| problem.code)
    }

    const BROKEN: Option<ErrorCode> = Some(ErrorCode::SealBroken);

    #[test]
    fn what_is_sealed_shows_nothing() {
        let sealer = Sealer::new(key('1'));
        let sealed = sealer.seal(place("se1"), b"hunter2 hunter2 hunter2");
        let again = sealer.seal(place("se1"), b"hunter2 hunter2 hunter2");
        assert!(!sealed.to_bytes().windows(7).any(|window| window == b"hunter2"));
        assert!(sealed.ciphertext != again.ciphertext && sealed.wrapped_key != again.wrapped_key);
        let opened = sealer.open(place("se1"), &sealed).unwrap();
        assert!(!format!("{opened:?} {sealer:?}").contains("104"), "{opened:?}");
    }

    #[test]
    fn it_opens_in_its_place_alone() {
        let sealer = Sealer::new(key('1'));
        let sealed = sealer.seal(place("se1"), b"value");
        let elsewhere = ProjectId::new(1, [2; 10]);
        assert_eq!(code(sealer.open(place("se1"), &sealed)), None);
        assert_eq!(code(sealer.open(place("se2"), &sealed)), BROKEN);
        assert_eq!(code(sealer.open(Place { version: 2, ..place("se1") }, &sealed)), BROKEN);
        assert_eq!(code(sealer.open(Place { project_id: elsewhere, ..place("se1") }, &sealed)), BROKEN);
        assert_eq!(code(Sealer::new(key('2')).open(place("se1"), &sealed)), BROKEN);
        // Neither does the key of one value fit another's.
        let other = sealer.seal(place("se1"), b"other");
        let mixed = Sealed { wrapped_key: other.wrapped_key, ..sealed };
        assert_eq!(code(sealer.open(place("se1"), &mixed)), BROKEN);
    }

    /// Sealed by an earlier build: what is in databases can be opened by every later one.
    #[test]
    fn what_was_sealed_earlier_opens() {
        let digits = include_str!("seal/earlier.hex").trim();
        let pairs =
            (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap());
        let sealed = Sealed::of_bytes(&pairs.collect::<Vec<_>>()).unwrap();
        let opened = Sealer::new(key('1')).open(place("se1"), &sealed).unwrap();
        assert_eq!(opened.expose_secret(), b"a value from before");
    }

    proptest! {
        #[test]
        fn what_was_sealed_comes_back(value in prop::collection::vec(any::<u8>(), 0..200), id in ".{0,30}") {
            let sealer = Sealer::new(key('1'));
            let sealed = Sealed::of_bytes(&sealer.seal(place(&id), &value).to_bytes()).unwrap();
            let opened = sealer.open(place(&id), &sealed).unwrap();
            prop_assert_eq!(opened.expose_secret(), value.as_slice());
        }

        /// One bit anywhere, or one byte less, and nothing comes out.
        #[test]
        fn what_was_altered_does_not_open(value in prop::collection::vec(any::<u8>(), 0..40), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let sealer = Sealer::new(key('1'));
            let bytes = sealer.seal(place("se1"), &value).to_bytes();
            let open = |bytes: &[u8]| code(Sealed::of_bytes(bytes).and_then(|sealed| sealer.open(place("se1"), &sealed)));
            let mut altered = bytes.clone();
            altered[at.index(bytes.len())] ^= 1 << bit;
            prop_assert_eq!(open(&altered), BROKEN);
            prop_assert_eq!(open(&bytes[..at.index(bytes.len())]), BROKEN);
        }

        /// What is authenticated is different for different places, however the parts are cut.
        #[test]
        fn places_are_told_apart(one in "[a-c]{0,3}", other in "[a-c]{0,3}", v in 0i64..3, w in 0i64..3) {
            let first = Place { version: v, ..place(&one) };
            let second = Place { version: w, ..place(&other) };
            prop_assert_eq!(first.bytes(VALUE) == second.bytes(VALUE), one == other && v == w);
            prop_assert_ne!(first.bytes(VALUE), first.bytes(DATA_KEY));
        }
    }
}
