//! A writable layer that outlives its sandbox: kept in a directory of the host, for the next incarnation.
//!
//! ```text
//! DIRECTORY/sandkeep-layer   what it is: an image or files, for which ids; making, made, removing
//!           disk.ext4        root: a file system of the disk limit's size, mounted in the sandbox alone
//!           files/           everybody else: what the code wrote, watched
//!           holder           process 1 of the last sandbox
//! ```
//!
//! Two never have it at once: the directory is locked by the supervisor, by process 1 and by any program that works on
//! the image, and the image by the kernel for as long as it is mounted. Nothing in it needs the last one to have ended
//! well. What is in `files` was made by hostile code, so nothing here opens anything below it.

mod image;
mod place;
mod record;
mod remove;

use std::fs::{self, DirBuilder, File};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, chown};
use std::path::{Path, PathBuf};

use rustix::fs::fstatvfs;
use rustix::process::{Pid, getegid};
use sandkeep_protocol::supervisor as proto;
use sandkeep_sandbox::idmap::{IdMap, Writer};

use super::boot::{Problem, problem};
use super::disk::{free_bytes, least_free_bytes};
use place::{FILES, Place};
use record::{Kind, Record, State};

pub(super) use remove::remove;

/// A layer that a sandbox is about to have, or has.
#[derive(Debug)]
pub(crate) struct Layer {
    place: Place,
    pub(crate) kept: Kept,
}

/// As what it is kept.
#[derive(Debug)]
pub(crate) enum Kept {
    /// A mount of its own; `None` once process 1 has it.
    Image(Option<OwnedFd>),
    /// A directory, which is watched.
    Files(Files),
}

/// A directory below which the code writes.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) path: PathBuf,
    pub(crate) open: File,
}

impl Layer {
    /// Takes the layer at `directory`, for a sandbox with `ids`, making it if there is none.
    ///
    /// # Errors
    /// A problem with its code; what was not there before is not there then.
    pub(crate) fn open(directory: &str, limits: &proto::SandboxLimits, ids: &IdMap) -> Result<Self, Problem> {
        let path = Path::new(directory);
        if ids.writer == Writer::Direct {
            image::check(limits)?;
        }
        let made = Place::make(path)?;
        let opened = Self::enter(path, limits, ids);
        if made && opened.is_err() {
            // Unless somebody has put something in meanwhile.
            let _not_empty = fs::remove_dir(path);
        }
        opened
    }

    fn enter(path: &Path, limits: &proto::SandboxLimits, ids: &IdMap) -> Result<Self, Problem> {
        let place = Place::enter(path)?.ok_or_else(|| unusable(path, &"it was removed"))?;
        let record = match place.record()? {
            Some(record) if record.state == State::Removing => {
                return Err(unusable(path, &"it is being removed: finish that"));
            }
            Some(record) if record.state == State::Made => record,
            // Nothing of a sandbox's is in it yet, so whatever is there may go.
            Some(_) | None => begin(&place, limits, ids)?,
        };
        let kept = match (&record.kind, ids.writer) {
            (Kind::Image { .. }, Writer::Direct) => {
                Kept::Image(Some(image::mount(&place, limits, &record.kind)?))
            }
            (Kind::Files(of), Writer::Helpers | Writer::Single) => Kept::Files(files(&place, of, ids)?),
            (Kind::Image { .. }, _) => return Err(unusable(path, &"it was made by root's sandboxes")),
            (Kind::Files(_), Writer::Direct) => {
                return Err(unusable(path, &"it was made by an ordinary user's sandboxes"));
            }
        };
        Ok(Self { place, kept })
    }

    /// The directory that the code writes below, where it is one.
    pub(crate) fn directory(&self) -> Option<PathBuf> {
        match &self.kept {
            Kept::Files(files) => Some(files.path.clone()),
            Kept::Image(_) => None,
        }
    }

    /// A copy of what keeps others out, for process 1.
    ///
    /// # Errors
    /// `sandbox_failed`: too many open files.
    pub(crate) fn lock(&self) -> Result<OwnedFd, Problem> {
        let copied = self.place.lock.try_clone().map(OwnedFd::from);
        copied.map_err(|error| problem("sandbox_failed", format!("cannot keep a lock: {error}")))
    }

    /// Remembers process 1.
    ///
    /// # Errors
    /// `layer_unusable`.
    pub(crate) fn held_by(&self, process: Pid) -> Result<(), Problem> {
        self.place.held_by(process)
    }
}

/// Makes a layer where there is none; if that fails, nothing of it stays.
fn begin(place: &Place, limits: &proto::SandboxLimits, ids: &IdMap) -> Result<Record, Problem> {
    let kind = match ids.writer {
        Writer::Direct => Kind::Image { disk_bytes: limits.disk_bytes, inodes: limits.inodes },
        Writer::Helpers | Writer::Single => Kind::Files(ids.clone()),
    };
    let making = Record { state: State::Making, kind };
    place.write(&making)?;
    let made = match &making.kind {
        Kind::Image { .. } => image::make(place, limits),
        Kind::Files(_) => make_files(place),
    };
    let made = made.and_then(|()| {
        let record = Record { state: State::Made, ..making };
        place.write(&record).map(|()| record)
    });
    made.inspect_err(|_| {
        let _empty = fs::remove_dir(place.at(FILES));
        let _gone = place.empty();
    })
}

/// Nobody but us can enter it: there may be set-uid programs of the code's in it.
fn make_files(place: &Place) -> Result<(), Problem> {
    let path = place.at(FILES);
    let _empty = fs::remove_dir(&path);
    let made = DirBuilder::new().mode(0o700).create(&path);
    // Of a group that is mapped, whatever the directory around hands down: the root inside is to write in it.
    let made = made.and_then(|()| chown(&path, None, Some(getegid().as_raw())));
    made.map_err(|error| unusable(&place.path, &error))
}

fn files(place: &Place, of: &IdMap, ids: &IdMap) -> Result<Files, Problem> {
    if (&of.uids, &of.gids) != (&ids.uids, &ids.gids) {
        let text = "its files belong to other ids than this sandbox would have, which go by profile, mounts, \
                    root directory and the ranges that are lent";
        return Err(unusable(&place.path, &text));
    }
    let path = place.at(FILES);
    let open = File::open(&path).map_err(|error| {
        let mut problem = problem("layer_damaged", format!("{}: {error}", path.display()));
        problem.expected = Some("remove the layer".to_owned());
        problem
    })?;
    let room = fstatvfs(&open).map_err(|errno| unusable(&place.path, &errno))?;
    let (free, least) = (free_bytes(&room), least_free_bytes(&room));
    if free < least {
        let why = format!("its file system has {free} bytes free, and layers leave it {least}");
        return Err(unusable(&place.path, &why));
    }
    Ok(Files { path, open })
}

fn unusable(path: &Path, why: &dyn std::fmt::Display) -> Problem {
    problem("layer_unusable", format!("{}: {why}", path.display()))
}

fn in_use(path: &Path) -> Problem {
    problem("layer_in_use", format!("{}: another sandbox has this layer", path.display()))
}
