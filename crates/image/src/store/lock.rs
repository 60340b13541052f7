//! Locks on files: kept by the kernel, dropped with their holder, however it ends.

use std::fs::{File, FileTimes};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// A held lock.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Waits for a lock that others may have too.
    pub(super) fn shared(path: &Path) -> Result<Self> {
        let file = open(path)?;
        waiting(path, &file, FlockOperation::LockShared)?;
        Ok(Self(file))
    }

    /// Waits for a lock that nobody else has.
    pub(super) fn exclusive(path: &Path) -> Result<Self> {
        let file = open(path)?;
        waiting(path, &file, FlockOperation::LockExclusive)?;
        Ok(Self(file))
    }

    /// The same without waiting; `None` when somebody has it.
    pub(super) fn try_exclusive(path: &Path) -> Result<Option<Self>> {
        let file = open(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(failed(path, errno.into())),
        }
    }

    /// Lets others in. Between the one and the other the lock may be somebody else's for a moment.
    pub(super) fn share(self) -> Result<Self> {
        waiting(Path::new("the image's lock"), &self.0, FlockOperation::LockShared)?;
        Ok(self)
    }

    /// Whether anybody has it.
    pub(super) fn is_held(path: &Path) -> bool {
        matches!(Self::try_exclusive(path), Ok(None))
    }

    /// Remembers when it was last taken.
    pub(super) fn touch(&self, now: SystemTime) {
        // Of use for nothing but tidying.
        let _unkept = self.0.set_times(FileTimes::new().set_modified(now));
    }
}

impl Drop for Lock {
    /// Closing would do, were it not for a process that is being started at this moment: until it executes its program it has
    /// the same open file.
    fn drop(&mut self) {
        let _closed_in_any_case = flock(&self.0, FlockOperation::Unlock);
    }
}

fn open(path: &Path) -> Result<File> {
    let opened = File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    opened.map_err(|error| failed(path, error))
}

fn waiting(path: &Path, file: &File, operation: FlockOperation) -> Result<()> {
    rustix::io::retry_on_intr(|| flock(file, operation)).map_err(|errno| failed(path, errno.into()))
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::store(format!("cannot lock {}", path.display()), error)
}
