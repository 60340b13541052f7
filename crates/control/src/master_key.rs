//! The master key, under which everything is sealed that is kept encrypted.
//!
//! It comes from the environment, from a file that the operator names, or from `master.key` in the data directory, which is
//! made at the first start. The database keeps its id, so that a server with another key does not start. See
//! `docs/decisions/0013-identity-and-keys.md`.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use hkdf::Hkdf;
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_store::{Durability, Store, settings};
use secrecy::{ExposeSecret as _, SecretBox, SecretString};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::fault;
use crate::ids::random;
use crate::key_file::{self, MadeBy};

/// Bytes of a key.
pub(crate) const KEY_BYTES: usize = 32;
/// Name of the file in the data directory.
pub const FILE: &str = "master.key";
/// Variable with the key itself.
pub const VARIABLE: &str = "SANDKEEP_MASTER_KEY";
/// Variable with the path of a file that has it.
pub const FILE_VARIABLE: &str = "SANDKEEP_MASTER_KEY_FILE";
/// Under which its id stands in the store.
const SETTING: &str = "master_key_id";

/// Says which key something is sealed under, and nothing about the key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyId(pub(crate) [u8; KeyId::BYTES]);

impl KeyId {
    pub(crate) const BYTES: usize = 16;
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The key.
#[derive(Debug)]
pub struct MasterKey {
    key: SecretBox<[u8; KEY_BYTES]>,
    id: KeyId,
}

impl MasterKey {
    fn new(key: SecretBox<[u8; KEY_BYTES]>) -> Self {
        let mut id = [0; KeyId::BYTES];
        derive(&key, &[b"sandkeep master key id v1"], &mut id);
        Self { key, id: KeyId(id) }
    }

    /// Reads 64 hexadecimal digits.
    fn parse(text: &SecretString) -> Option<Self> {
        let text = text.expose_secret();
        if text.len() != 2 * KEY_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let key = SecretBox::init_with_mut(|key: &mut [u8; KEY_BYTES]| {
            for (byte, at) in key.iter_mut().zip((0..).step_by(2)) {
                *byte = u8::from_str_radix(&text[at..at + 2], 16).expect("two hexadecimal digits");
            }
        });
        Some(Self::new(key))
    }

    /// Which key it is.
    #[must_use]
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Fills `out` with a key for one purpose, which `info` names.
    pub(crate) fn derive(&self, info: &[&[u8]], out: &mut [u8; KEY_BYTES]) {
        derive(&self.key, info, out);
    }
}

fn derive(key: &SecretBox<[u8; KEY_BYTES]>, info: &[&[u8]], out: &mut [u8]) {
    let expanded = Hkdf::<Sha256>::new(None, key.expose_secret()).expand_multi_info(info, out);
    expanded.expect("far less than 255 hashes are asked for");
}

/// A key that the operator gives, instead of the one in the data directory.
#[derive(Debug, Clone)]
pub enum Given {
    /// The key.
    Text(SecretString),
    /// The path of a file with it.
    File(PathBuf),
}

impl Given {
    /// What the environment gives: `get` is `std::env::var_os`.
    ///
    /// # Errors
    /// `key_file_unusable` when it gives two, or something that is not text.
    pub fn of_environment(get: impl Fn(&str) -> Option<OsString>) -> Result<Option<Self>, Problem> {
        match (get(VARIABLE), get(FILE_VARIABLE)) {
            (None, None) => Ok(None),
            (None, Some(path)) => Ok(Some(Self::File(path.into()))),
            (Some(text), None) => {
                let text = text.into_string().map_err(|_| malformed(VARIABLE))?;
                Ok(Some(Self::Text(Zeroizing::new(text).trim().into())))
            }
            (Some(_), Some(_)) => {
                let message = format!("{VARIABLE} and {FILE_VARIABLE} are both set");
                Err(Problem::new(ErrorCode::KeyFileUnusable, message).expecting("one of them"))
            }
        }
    }

    fn read(&self) -> Result<MasterKey, Problem> {
        match self {
            Self::Text(text) => MasterKey::parse(text).ok_or_else(|| malformed(VARIABLE)),
            Self::File(path) => {
                let text = key_file::read(path, MadeBy::Operator)?;
                let text = text.ok_or_else(|| key_file::unusable(path, "is not there"))?;
                MasterKey::parse(&text).ok_or_else(|| malformed(&path.display().to_string()))
            }
        }
    }
}

fn malformed(place: &str) -> Problem {
    Problem::new(ErrorCode::KeyFileUnusable, format!("{place} does not hold a master key"))
        .expecting("64 hexadecimal digits, as `openssl rand -hex 32` prints them")
}

/// The key of an installation.
#[derive(Debug)]
pub struct Settled {
    /// The key.
    pub key: MasterKey,
    /// The file that was made for it just now; the operator should be told to keep a copy elsewhere.
    pub made: Option<PathBuf>,
}

/// Finds the master key and makes sure that it is the database's. At the very first start the one found, or a new one in
/// `directory`, becomes that.
///
/// # Errors
/// `master_key_mismatch`, `key_file_unusable`; the store's.
pub async fn settle(
    store: &Store,
    clock: &Clock,
    directory: &Path,
    given: Option<&Given>,
) -> Result<Settled, Problem> {
    let mut reader = store.reader().await.map_err(|error| fault::problem(&error))?;
    let known = settings::get(&mut reader, SETTING).await.map_err(|error| fault::problem(&error))?;
    drop(reader);
    let settled = match given {
        Some(given) => Settled { key: given.read()?, made: None },
        None => in_directory(directory, known.as_deref())?,
    };
    let own = settled.key.id().to_string();
    let known = match known {
        Some(known) => known,
        None => remember(store, clock, &own).await?,
    };
    if known == own {
        return Ok(settled);
    }
    // Another server started first, in this very moment. Nothing was ever sealed under ours.
    let _gone = settled.made.as_deref().map(key_file::remove);
    Err(mismatch(&format!("this server has {own}"), &known))
}

async fn remember(store: &Store, clock: &Clock, own: &str) -> Result<String, Problem> {
    let input = (own.to_owned(), clock.now_us());
    let write = store.write(Durability::Durable, input, |tx, (own, now_us)| {
        Box::pin(settings::ensure(tx, SETTING, own, *now_us))
    });
    write.await.map_err(|error| fault::problem(&error))
}

/// The key in the data directory; made there only when the database knows of none.
fn in_directory(directory: &Path, known: Option<&str>) -> Result<Settled, Problem> {
    let path = directory.join(FILE);
    let mut made = None;
    let text = match (key_file::read(&path, MadeBy::Server)?, known) {
        (Some(text), _) => text,
        (None, Some(known)) => return Err(mismatch(&format!("{} is not there", path.display()), known)),
        (None, None) => {
            let fresh = fresh();
            if key_file::stage(&path, &fresh)?.publish_new()? {
                made = Some(path.clone());
            }
            // Read back, also where another was faster: what counts is what the next start will find.
            key_file::read(&path, MadeBy::Server)?
                .ok_or_else(|| key_file::unusable(&path, "is gone again"))?
        }
    };
    let key = MasterKey::parse(&text).ok_or_else(|| malformed(&path.display().to_string()))?;
    Ok(Settled { key, made })
}

fn fresh() -> SecretString {
    let key = Zeroizing::new(random::<KEY_BYTES>());
    let mut text = String::with_capacity(2 * KEY_BYTES);
    for byte in key.iter() {
        text.push_str(&format!("{byte:02x}"));
    }
    text.into()
}

fn mismatch(what: &str, known: &str) -> Problem {
    let message = format!("the database needs the master key with the id {known}, and {what}");
    Problem::new(ErrorCode::MasterKeyMismatch, message)
        .expecting(format!("that key to {FILE} in the data directory, or to {FILE_VARIABLE}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A key for tests.
    pub(crate) fn key(digit: char) -> MasterKey {
        MasterKey::parse(&digit.to_string().repeat(64).into()).unwrap()
    }

    #[test]
    fn has_one_form() {
        let digits = "0123456789abcdef".repeat(4);
        let key = MasterKey::parse(&digits.clone().into()).unwrap();
        assert_eq!(key.key.expose_secret()[..3], [0x01, 0x23, 0x45]);
        assert_eq!(MasterKey::parse(&digits.to_uppercase().into()).unwrap().id(), key.id());
        for bad in
            ["", &digits[1..], &format!("{digits}0"), &"g".repeat(64), &"+1".repeat(32), &"é".repeat(32)]
        {
            assert!(MasterKey::parse(&bad.into()).is_none(), "{bad}");
        }
    }

    /// The id is written into databases: it stays what it is.
    #[test]
    fn the_id_says_which_and_no_more() {
        assert_eq!(key('0').id().to_string().len(), 32);
        assert_ne!(key('0').id(), key('1').id());
        assert!(!format!("{:?}", key('7')).contains("777"), "{:?}", key('7'));
    }

    #[test]
    fn the_environment_gives_one_at_most() {
        let of = |text: Option<&str>, file: Option<&str>| {
            Given::of_environment(|name| match name {
                VARIABLE => text.map(OsString::from),
                FILE_VARIABLE => file.map(OsString::from),
                other => unreachable!("{other}"),
            })
        };
        assert!(of(None, None).unwrap().is_none());
        assert!(matches!(of(None, Some("/run/key")).unwrap(), Some(Given::File(_))));
        let given = of(Some(&format!("{}\n", "0".repeat(64))), None).unwrap().unwrap();
        assert_eq!(given.read().unwrap().id(), key('0').id());
        assert_eq!(of(Some("x"), Some("y")).unwrap_err().code, ErrorCode::KeyFileUnusable);
        let problem = of(Some("hunter2"), None).unwrap().unwrap().read().unwrap_err();
        assert_eq!(problem.code, ErrorCode::KeyFileUnusable);
        assert!(!problem.to_string().contains("hunter2"), "{problem}");
    }
}
