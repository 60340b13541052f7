//! Taking things out of a root: for whiteouts, and to make room for what replaces them.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::rc::Rc;

use rustix::fs::{AtFlags, Dir, fstat, unlinkat};
use rustix::io::Errno;

use super::{Directory, Root, failed, is_directory, open_directory};
use crate::error::Result;
use crate::layer::path::InRoot;

impl Root {
    /// A whiteout: hides what lower layers have as `name` beside `marker`. What this layer has made there stays,
    /// wherever in the archive the whiteout stands.
    pub(crate) fn hide(&mut self, marker: &InRoot, name: &[u8]) -> Result<()> {
        self.hide_with(marker, |root, parent| root.hide_one(parent, OsStr::from_bytes(name)))
    }

    /// An opaque whiteout: hides what lower layers have in the directory of `marker`.
    pub(crate) fn hide_all(&mut self, marker: &InRoot) -> Result<()> {
        self.hide_with(marker, Self::hide_below)
    }

    fn hide_with(
        &mut self,
        marker: &InRoot,
        how: impl FnOnce(&Self, &Directory) -> rustix::io::Result<()>,
    ) -> Result<()> {
        let Some((directory, _)) = marker.split() else { return Ok(()) };
        let hidden = match self.find(directory) {
            // Nothing to be hidden in what is no directory, or not there.
            Ok(None) | Err(Errno::NOTDIR) => Ok(()),
            Ok(Some(parent)) => how(self, &parent),
            Err(errno) => Err(errno),
        };
        self.last = None;
        hidden.map_err(|errno| failed(marker, errno))
    }

    fn hide_one(&self, parent: &Directory, name: &OsStr) -> rustix::io::Result<()> {
        let made = self.made.contains(&(parent.inode, name.as_bytes().into()));
        match is_directory(parent.fd.as_fd(), name) {
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
            Ok(false) if made => Ok(()),
            Ok(false) => unlinkat(&*parent.fd, name, AtFlags::empty()),
            Ok(true) => {
                let fd = open_directory(parent.fd.as_fd(), name)?;
                self.hide_below(&Directory { inode: fstat(&fd)?.st_ino, fd: Rc::new(fd) })?;
                if made {
                    return Ok(());
                }
                match unlinkat(&*parent.fd, name, AtFlags::REMOVEDIR) {
                    // It holds something of this layer, so it is of this layer too.
                    Err(Errno::NOTEMPTY) => Ok(()),
                    other => other,
                }
            }
        }
    }

    fn hide_below(&self, directory: &Directory) -> rustix::io::Result<()> {
        for name in names(directory.fd.as_fd())? {
            self.hide_one(directory, OsStr::from_bytes(name.as_bytes()))?;
        }
        Ok(())
    }

    /// Removes whatever is at `name`, if anything is.
    pub(super) fn clear(&mut self, parent: &Directory, name: &[u8]) -> rustix::io::Result<()> {
        self.last = None;
        match remove(parent.fd.as_fd(), OsStr::from_bytes(name)) {
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }
}

/// Removes a file, or a directory with all in it. Trees are not deeper than `limits::DEPTH`.
fn remove(parent: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<()> {
    match unlinkat(parent, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        other => return other,
    }
    let directory = open_directory(parent, name)?;
    for below in names(directory.as_fd())? {
        remove(directory.as_fd(), OsStr::from_bytes(below.as_bytes()))?;
    }
    unlinkat(parent, name, AtFlags::REMOVEDIR)
}

/// What a directory holds. All names at once, since some are removed meanwhile.
fn names(directory: BorrowedFd<'_>) -> rustix::io::Result<Vec<CString>> {
    let readable = open_directory(directory, OsStr::new("."))?;
    let mut names = Vec::new();
    for entry in Dir::new(readable)? {
        let name = entry?.file_name().to_owned();
        if name.as_bytes() != b"." && name.as_bytes() != b".." {
            names.push(name);
        }
    }
    Ok(names)
}
