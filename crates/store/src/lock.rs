//! The lock that proves a single server on a data directory.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use crate::error::{Error, Result};

/// For what holds it only for a moment: the writer of a store that was dropped, until it has seen that; a child of a server that
/// was killed just now, which has its descriptors until it has begun the program that it is to become.
const PATIENCE: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Held while the store is open. The descriptor is close-on-exec (Rust opens every file so), so no child inherits the
/// lock; the kernel takes it away with the process, however that ends.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Makes the directory (0700) where it is missing, and locks it, if need be within [`PATIENCE`].
    ///
    /// # Errors
    /// [`Error::InUse`], [`Error::Directory`].
    pub(crate) async fn take(directory: &Path) -> Result<Self> {
        let failed = |source| Error::Directory { path: directory.to_owned(), source };
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        let path = directory.join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(failed)?;
        let begun = tokio::time::Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < PATIENCE => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(Error::InUse { path: directory.to_owned() });
                }
                Err(errno) => return Err(failed(errno.into())),
            }
        }
    }
}
