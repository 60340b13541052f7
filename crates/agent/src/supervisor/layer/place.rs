//! A layer's directory, locked: who has it, what it says of itself, and who had it before.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open};

use super::record::Record;
use super::{in_use, unusable};
use crate::supervisor::boot::Problem;
use crate::supervisor::watch;

/// Names of ours in it.
pub(super) const IMAGE: &str = "disk.ext4";
pub(super) const UNDO: &str = "grow.undo";
pub(super) const FILES: &str = "files";
const RECORD: &str = "sandkeep-layer";
const RECORD_NEW: &str = "sandkeep-layer.new";
const HOLDER: &str = "holder";

/// A directory that is ours alone for as long as anyone has `lock`: we, process 1, a program that works on it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) lock: File,
}

impl Place {
    /// Makes an empty directory at `path`, unless something is there.
    ///
    /// # Errors
    /// `layer_unusable`.
    pub(super) fn make(path: &Path) -> Result<bool, Problem> {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(unusable(path, &error)),
        }
    }

    /// Takes the directory at `path`; `None` when nothing is there.
    ///
    /// # Errors
    /// `layer_in_use`; `layer_unusable` when it is not ours, or others may write there.
    pub(super) fn enter(path: &Path) -> Result<Option<Self>, Problem> {
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW;
        let flags = i32::try_from(flags.bits()).expect("flags of open(2)");
        let lock = match File::options().read(true).custom_flags(flags).open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| unusable(path, &error))?,
        };
        let meta = lock.metadata().map_err(|error| unusable(path, &error))?;
        if meta.uid() != geteuid().as_raw() || meta.mode() & 0o022 != 0 {
            let what = format!("belongs to user {} with mode {:o}", meta.uid(), meta.mode() & 0o7777);
            return Err(unusable(path, &what));
        }
        match wait_for_lock(&lock, DYING_LOOKS) {
            Ok(true) => {}
            Ok(false) => return Err(in_use(path)),
            Err(errno) => return Err(unusable(path, &errno)),
        }
        // It may have been removed, and another made, before we had the lock.
        if fs::symlink_metadata(path).is_ok_and(|now| (now.dev(), now.ino()) == (meta.dev(), meta.ino())) {
            let place = Self { path: path.to_owned(), lock };
            place.wait_for_last_holder()?;
            Ok(Some(place))
        } else {
            Err(in_use(path))
        }
    }

    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// What it says of itself; `None` for an empty directory.
    ///
    /// # Errors
    /// `layer_unusable` for a directory that is no layer's, or a later version's.
    pub(super) fn record(&self) -> Result<Option<Record>, Problem> {
        match fs::read_to_string(self.at(RECORD)) {
            Ok(text) => Record::parse(&text).map(Some).ok_or_else(|| {
                unusable(&self.path, &"its file sandkeep-layer is none that this version can read")
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let entries = fs::read_dir(&self.path).map_err(|error| unusable(&self.path, &error))?;
                let others = entries.flatten().filter(|entry| entry.file_name() != RECORD_NEW).count();
                if others > 0 {
                    return Err(unusable(&self.path, &"it is neither empty nor a layer's"));
                }
                Ok(None)
            }
            Err(error) => Err(unusable(&self.path, &error)),
        }
    }

    /// Whole or not at all, and on the disk before anything that follows.
    ///
    /// # Errors
    /// `layer_unusable`.
    pub(super) fn write(&self, record: &Record) -> Result<(), Problem> {
        let new = self.at(RECORD_NEW);
        let written =
            File::options().write(true).create(true).truncate(true).mode(0o600).open(&new).and_then(
                |mut file| {
                    file.write_all(record.text().as_bytes())?;
                    file.sync_all()?;
                    fs::rename(&new, self.at(RECORD))?;
                    self.lock.sync_all()
                },
            );
        written.map_err(|error| {
            let _never_there = fs::remove_file(&new);
            unusable(&self.path, &error)
        })
    }

    /// Remembers process 1, so that the next one waits for the last of its processes.
    ///
    /// # Errors
    /// `layer_unusable`.
    pub(super) fn held_by(&self, process: Pid) -> Result<(), Problem> {
        let pid = process.as_raw_nonzero();
        let text = format!("{} {pid} {}\n", watch::boot_id(), watch::start_time(&pid.to_string()));
        fs::write(self.at(HOLDER), text).map_err(|error| unusable(&self.path, &error))
    }

    /// The lock is free as soon as process 1 has begun to end, but what it started may still write until the kernel is
    /// done with it: only then is its process id free.
    fn wait_for_last_holder(&self) -> Result<(), Problem> {
        /// The kernel kills a tree within milliseconds.
        const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };
        let text = fs::read_to_string(self.at(HOLDER)).unwrap_or_default();
        let mut words = text.split_whitespace();
        let (Some(boot), Some(pid), Some(start)) = (words.next(), words.next(), words.next()) else {
            return Ok(());
        };
        let Some(number) = pid.parse().ok().and_then(Pid::from_raw) else { return Ok(()) };
        let Ok(pidfd) = pidfd_open(number, PidfdFlags::empty()) else { return Ok(()) };
        // Looked at after it was opened: the number may be another's by now.
        if boot != watch::boot_id() || start != watch::start_time(pid).to_string() {
            return Ok(());
        }
        let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
        match poll(&mut ended, Some(&PATIENCE)) {
            Ok(1..) => Ok(()),
            Ok(0) | Err(_) => Err(in_use(&self.path)),
        }
    }

    /// Takes away all that is ours but what the code wrote; the record last.
    ///
    /// # Errors
    /// `layer_unusable`: the kernel refused.
    pub(super) fn empty(&self) -> Result<(), Problem> {
        for name in [IMAGE, UNDO, HOLDER, RECORD_NEW, RECORD] {
            absent(fs::remove_file(self.at(name))).map_err(|error| unusable(&self.path, &error))?;
        }
        Ok(())
    }

    /// [`Place::empty`], and the directory.
    ///
    /// # Errors
    /// `layer_unusable`: there was something in it that is not ours, or the kernel refused.
    pub(super) fn remove(&self) -> Result<(), Problem> {
        self.empty()?;
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                Err(unusable(&self.path, &"the layer is removed, but there is more in its directory"))
            }
            // A directory that we may empty but not remove is the caller's to remove.
            _done => Ok(()),
        }
    }
}

/// Pauses between two looks at a lock.
const PAUSE: rustix::time::Timespec = rustix::time::Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
/// One second: so long a sandbox that is coming to its end may still have it.
const DYING_LOOKS: u32 = 500;

/// Whether the lock was to be had within so many looks.
///
/// # Errors
/// The file system has no locks.
pub(super) fn wait_for_lock(file: &File, looks: u32) -> rustix::io::Result<bool> {
    for _ in 0..looks {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(rustix::io::Errno::WOULDBLOCK) => drop(rustix::thread::nanosleep(&PAUSE)),
            Err(errno) => return Err(errno),
        }
    }
    Ok(false)
}

/// What is gone already is as good as removed.
pub(super) fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
