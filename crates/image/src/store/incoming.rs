//! Blobs on their way from a registry into the store.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::lock::Lock;
use super::unpack::owners;
use super::{Store, discard};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::root::Owners;

/// A directory in the store for one pull, gone when this is. While it lives no layer that is there is collected.
#[derive(Debug)]
pub struct Incoming {
    store: Store,
    path: PathBuf,
    owners: Owners,
    _lock: File,
    /// Until the end.
    layers: Option<Lock>,
}

impl Store {
    /// Room for a pull.
    ///
    /// # Errors
    /// The store's.
    pub fn incoming(&self) -> Result<Incoming> {
        self.create()?;
        self.sweep();
        let layers = self.layers_lock()?;
        let failed = |error: io::Error| Error::store("cannot make room for blobs", error);
        let mut number = u64::from(std::process::id()) << 16;
        loop {
            number += 1;
            let path = self.path.join("incoming").join(number.to_string());
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other.map_err(failed)?,
            }
            // Between the two somebody may have swept it.
            let Some(lock) = claim(&path) else { continue };
            let inner = path.join("owners");
            DirBuilder::new().mode(0o700).create(&inner).map_err(failed)?;
            let owners = owners(&inner);
            let store = Store { path: self.path.clone(), limits: self.limits };
            return Ok(Incoming { store, path, owners, _lock: lock, layers: Some(layers) });
        }
    }

    /// Removes what pulls left that were killed.
    pub(super) fn sweep_incoming(&self) {
        for entry in fs::read_dir(self.path.join("incoming")).into_iter().flatten().flatten() {
            if let Some(_lock) = claim(&entry.path()) {
                let _later = discard(&entry.path());
            }
        }
    }
}

/// Takes the lock of a directory that is still there, unless somebody has it.
fn claim(path: &Path) -> Option<File> {
    let directory = File::open(path).ok()?;
    flock(&directory, FlockOperation::NonBlockingLockExclusive).ok()?;
    let (ours, there) = (directory.metadata().ok()?, fs::symlink_metadata(path).ok()?);
    (ours.ino() == there.ino()).then_some(directory)
}

impl Incoming {
    /// Where the files of a layout belong.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a layer is there, by the digest of its plain archive, and need not be fetched.
    #[must_use]
    pub fn has_layer(&self, diff_id: Digest) -> bool {
        self.store.has_layer(diff_id, self.owners)
    }

    /// Bytes that blobs may come to.
    ///
    /// # Errors
    /// The store's.
    pub fn room(&self) -> Result<u64> {
        Ok(self.store.affordable()?.bytes)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // If this fails, it is swept later.
        let _left = discard(&self.path);
        // Layers of an image that could not be unpacked in the end.
        drop(self.layers.take());
        self.store.collect_layers();
    }
}
