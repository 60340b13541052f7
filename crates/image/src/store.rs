//! Unpacked images on disk, one directory each, named by the image's id and never changed.
//!
//! ```text
//! STORE/locks/ID       held shared while a sandbox uses the image, exclusively while it is made or removed
//! STORE/unpacked/ID/   root/, config.json, image.json: complete, since it came here by one rename; runtimes.json later
//! STORE/layers/DIFF/   a layer taken apart: its files, which the images that have it share by hard links
//! STORE/partial/ID/    an image or layer being made or removed; what nobody holds the lock of is swept
//! STORE/incoming/N/    blobs of a pull, which holds a lock on the directory itself; else swept
//! STORE/names.json     names that `sandkeep image import` and pulls gave
//! ```
//!
//! The kernel drops a lock with its holder, so that a kill at any point needs no repair: what was not renamed yet is a
//! partial, and partials are swept by whoever next makes or removes one. A power loss is another matter: files that were
//! not written to disk yet are empty afterwards. Writing all of a disk's backlog can take long, so it is done for images
//! that are to be kept ([`Store::keep`]); others count only in the boot in which they were unpacked.
//!
//! The directories are ours alone (mode 0700): as root they hold files of any owner, and nobody may reach those by
//! another way than a sandbox.

mod incoming;
mod layers;
mod lock;
mod names;
mod record;
mod runtimes;
mod unpack;

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::config::{Config, Document};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::source::{Image, Source, short_name};
pub use incoming::Incoming;
use lock::Lock;
use names::Names;
use record::Record;
pub use record::Stored;
pub use runtimes::Runtime;

/// The store in a directory of ours.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    limits: Limits,
}

/// An image that is there and stays while this lives.
#[derive(Debug)]
pub struct Held {
    /// Which.
    pub id: Digest,
    /// Its root file system.
    pub root: PathBuf,
    /// How it wants to be run.
    pub config: Config,
    _lock: Lock,
}

impl Store {
    /// Where it is unless told otherwise: `/var/lib/sandkeep/images` for root, else below the user's cache directory.
    /// `None` when the environment has neither that nor a home.
    #[must_use]
    pub fn default_path() -> Option<PathBuf> {
        if rustix::process::geteuid().is_root() {
            return Some(PathBuf::from("/var/lib/sandkeep/images"));
        }
        let absolute =
            |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
        cache.map(|cache| cache.join("sandkeep/images"))
    }

    /// The store at `path`, which is made when the first image comes.
    ///
    /// # Errors
    /// It is there, and others own it or may enter it.
    pub fn open(path: &Path) -> Result<Self> {
        Self::with_limits(path, Limits::DEFAULT)
    }

    /// The same with other bounds.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn with_limits(path: &Path, limits: Limits) -> Result<Self> {
        let store = Self { path: path.to_owned(), limits };
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(store),
            _ => store.private().map(|()| store),
        }
    }

    fn private(&self) -> Result<()> {
        let shown = self.path.display();
        let meta =
            fs::symlink_metadata(&self.path).map_err(|error| Error::store(shown.to_string(), error))?;
        if !meta.is_dir() || meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o077 != 0 {
            let why = format!("it belongs to user {} with mode {:o}", meta.uid(), meta.mode() & 0o7777);
            return Err(Error::store(format!("{shown} is not ours alone"), io::Error::other(why)));
        }
        Ok(())
    }

    fn create(&self) -> Result<()> {
        for part in ["locks", "unpacked", "layers", "partial", "incoming"] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(self.path.join(part));
            made.map_err(|error| Error::store(format!("{} cannot be made", self.path.display()), error))?;
        }
        // Somebody may have been faster.
        self.private()
    }

    /// The image if it is there, held.
    ///
    /// # Errors
    /// The store's.
    pub fn hold(&self, id: Digest) -> Result<Option<Held>> {
        if !self.path.exists() {
            return Ok(None);
        }
        // Waits while somebody makes it.
        let lock = Lock::shared(&self.lock_file(id))?;
        self.held(id, lock)
    }

    /// The image held, unpacked from `source` if it is not there yet; `before` is called before that begins.
    ///
    /// # Errors
    /// What is wrong with the image, or the store's. Nothing of it is kept then.
    pub fn ready(&self, source: &Source, image: &Image, before: impl FnOnce()) -> Result<Held> {
        self.create()?;
        let mut before = Some(before);
        loop {
            if let Some(held) = self.hold(image.id)? {
                return Ok(held);
            }
            // Who is slower waits above for whoever was faster, and finds the image or tries next.
            let Some(lock) = Lock::try_exclusive(&self.lock_file(image.id))? else { continue };
            if self.record(image.id).is_none() {
                if let Some(before) = before.take() {
                    before();
                }
                self.sweep();
                let made = self.make(source, image);
                if made.is_err() {
                    self.collect_layers();
                }
                made?;
            }
            // Not in one step: the image may be gone again, and the next round makes it anew.
            if let Some(held) = self.held(image.id, lock.share()?)? {
                return Ok(held);
            }
        }
    }

    /// Makes sure that an image is there after a power loss, too.
    ///
    /// # Errors
    /// The disk's.
    pub fn keep(&self, held: &Held) -> Result<()> {
        let Some(record) = self.record(held.id).filter(|record| record.boot.is_some()) else { return Ok(()) };
        let failed = |error: io::Error| Error::store(format!("cannot keep image {}", held.id.short()), error);
        let unpacked = self.unpacked(held.id);
        let directory = fs::File::open(&unpacked).map_err(failed)?;
        rustix::fs::syncfs(&directory).map_err(|errno| failed(errno.into()))?;
        self.keep_layers(held.id)?;
        let kept = Record { boot: None, ..record };
        kept.replace(&unpacked.join(RECORD)).and_then(|()| directory.sync_all()).map_err(failed)
    }

    /// Where the root file system of an image is, if it is there.
    #[must_use]
    pub fn root_of(&self, id: Digest) -> PathBuf {
        self.unpacked(id).join(ROOT)
    }

    /// Gives the names that its source has to an image that is there. A name leads to one image, the newest.
    ///
    /// # Errors
    /// The store's.
    pub fn name(&self, id: Digest, names: &[String]) -> Result<()> {
        if names.is_empty() { Ok(()) } else { self.names()?.add(names, id) }
    }

    /// The image that `reference` means: a name, or the first digits of an id.
    ///
    /// # Errors
    /// There is none, or more than one; or the store's.
    pub fn find(&self, reference: &str) -> Result<Stored> {
        let (reference, names) = (short_name(reference), self.names()?);
        let named = names.get(reference).or_else(|| names.get(&format!("{reference}:latest")));
        // A name outlives an image that counted in its boot only.
        if let Some(stored) = named.and_then(|id| self.stored(id, &names)) {
            return Ok(stored);
        }
        let digits = reference.strip_prefix("sha256:").unwrap_or(reference);
        let plausible = digits.len() >= ID_DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let mut fitting =
            self.list()?.into_iter().filter(|stored| plausible && stored.id.hex().starts_with(digits));
        match (fitting.next(), fitting.next()) {
            (Some(stored), None) => Ok(stored),
            (None, _) => Err(names::unknown(reference, "is neither a file nor an image that is here")),
            (Some(_), Some(_)) => Err(names::unknown(reference, "means more than one image")),
        }
    }

    /// Everything that is there, by name and id.
    ///
    /// # Errors
    /// The store's.
    pub fn list(&self) -> Result<Vec<Stored>> {
        let names = self.names()?;
        let entries = match fs::read_dir(self.path.join("unpacked")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|error| Error::store("cannot list the images", error))?,
        };
        let ids = entries.flatten().filter_map(|entry| Digest::from_hex(entry.file_name().to_str()?));
        // What vanishes meanwhile is not there any more.
        let mut all: Vec<Stored> = ids.filter_map(|id| self.stored(id, &names)).collect();
        all.sort_by(|one, other| (&one.names, one.id).cmp(&(&other.names, other.id)));
        Ok(all)
    }

    /// Removes an image and the layers that no other has; the bytes that it came to.
    ///
    /// # Errors
    /// It is in use, or not there; or the store's.
    pub fn remove(&self, id: Digest) -> Result<u64> {
        self.sweep();
        let Some(_lock) = Lock::try_exclusive(&self.lock_file(id))? else {
            return Err(Error::InUse(id.short()));
        };
        let (unpacked, record) = (self.unpacked(id), self.record(id));
        self.names()?.forget(id)?;
        let partial = self.partial(id);
        discard(&partial)?;
        match fs::rename(&unpacked, &partial) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(names::unknown(&id.short(), "is not here any more"));
            }
            other => {
                other.map_err(|error| Error::store(format!("cannot remove image {}", id.short()), error))?
            }
        }
        discard(&partial)?;
        self.collect_layers();
        Ok(record.map_or(0, |record| record.size_bytes))
    }

    /// Removes what `wanted` says of the images that nobody uses, and what broken attempts left; what was removed.
    ///
    /// # Errors
    /// The store's.
    pub fn prune(&self, wanted: impl Fn(&Stored) -> bool) -> Result<Vec<Stored>> {
        self.sweep();
        let mut removed = Vec::new();
        for stored in self.list()?.into_iter().filter(wanted) {
            match self.remove(stored.id) {
                Ok(_) => removed.push(stored),
                // Somebody began to use it, or was faster.
                Err(Error::InUse(_) | Error::Unknown(_)) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(removed)
    }

    fn stored(&self, id: Digest, names: &Names) -> Option<Stored> {
        let (unpacked, record) = (self.unpacked(id), self.record(id)?);
        let modified = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
        let lock = self.lock_file(id);
        Some(Stored {
            id,
            names: names.of(id),
            size_bytes: record.size_bytes,
            entries: record.entries,
            left_out: record.left_out,
            clamped: record.clamped,
            unpacked_at: modified(&unpacked.join(RECORD))?,
            used_at: modified(&lock)?,
            in_use: Lock::is_held(&lock),
            runtimes: self.runtimes(id),
        })
    }

    fn held(&self, id: Digest, lock: Lock) -> Result<Option<Held>> {
        if self.record(id).is_none() {
            return Ok(None);
        }
        let document = fs::read(self.unpacked(id).join(CONFIG));
        let document =
            document.map_err(|error| Error::store(format!("cannot read image {}", id.short()), error))?;
        let config = Document::parse(&document)?.config;
        lock.touch(SystemTime::now());
        Ok(Some(Held { id, root: self.root_of(id), config, _lock: lock }))
    }

    /// What is known of an image; `None` unless all of it is there.
    fn record(&self, id: Digest) -> Option<Record> {
        Record::read(&self.unpacked(id).join(RECORD)).filter(Record::counts)
    }

    fn names(&self) -> Result<Names> {
        Names::open(&self.path)
    }

    fn lock_file(&self, id: Digest) -> PathBuf {
        self.path.join("locks").join(id.hex())
    }

    fn unpacked(&self, id: Digest) -> PathBuf {
        self.path.join("unpacked").join(id.hex())
    }

    fn partial(&self, id: Digest) -> PathBuf {
        self.path.join("partial").join(id.hex())
    }
}

const ROOT: &str = "root";
const CONFIG: &str = "config.json";
const RECORD: &str = "image.json";
/// Fewest digits of an id that are taken for one.
const ID_DIGITS: usize = 8;

fn discard(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|error| Error::store(format!("cannot remove {}", directory.display()), error)),
    }
}
