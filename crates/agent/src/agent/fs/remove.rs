//! Removing a thing with all that is in it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, statat, unlinkat};
use rustix::io::Errno;
use sandkeep_protocol::envelope::{Code, ConnectError};

use super::list::DIRECTORY;
use super::{path, refused};

/// Levels of a tree; each is an open descriptor. (A path that can be written has room for some more, one made step by
/// step for any number.)
const MOST_LEVELS: usize = 900;

/// Removes what lies at `at`; what is not there is removed already. A link goes, not what it leads to.
///
/// # Errors
/// `permission_denied`, `failed_precondition` for a mount, `resource_exhausted` for a tree too deep.
pub(super) fn remove(at: &str) -> Result<(), ConnectError> {
    let Some((directory, name)) = path::split(at) else {
        return Err(ConnectError::new(Code::InvalidArgument, "the root directory is not removed"));
    };
    let parent =
        match openat(CWD, directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(parent) => parent,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(errno) => return Err(refused(at, errno)),
        };
    let name = CString::new(name).map_err(|_| refused(at, Errno::INVAL))?;
    // Asked first: on a read-only file system the kernel refuses also what would be nothing.
    if matches!(statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW), Err(Errno::NOENT)) {
        return Ok(());
    }
    tree(parent.as_fd(), &name).map_err(|errno| refused(at, errno))
}

/// A directory that is being emptied.
struct Level {
    directory: OwnedFd,
    name: CString,
}

/// # Errors
/// The kernel's; `EMFILE` for a tree too deep.
pub(super) fn tree(parent: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
    let Some(first) = unlink(parent, name)? else { return Ok(()) };
    let mut levels = vec![first];
    while let Some(level) = levels.last() {
        match empty(level.directory.as_fd())? {
            Some(below) if levels.len() < MOST_LEVELS => levels.push(below),
            Some(_) => return Err(Errno::MFILE),
            None => {
                let done = levels.pop().expect("just looked at");
                let above = levels.last().map_or(parent, |level| level.directory.as_fd());
                match unlinkat(above, &done.name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    // Something came in meanwhile: once more, until time is over.
                    Err(Errno::NOTEMPTY) => levels.push(done),
                    Err(errno) => return Err(errno),
                }
            }
        }
    }
    Ok(())
}

/// Removes all but directories, up to the first of these that is not empty.
fn empty(directory: BorrowedFd<'_>) -> Result<Option<Level>, Errno> {
    for entry in Dir::read_from(directory)? {
        let name = entry?.file_name().to_owned();
        if name.as_bytes() != b"." && name.as_bytes() != b".." {
            let below = unlink(directory, &name)?;
            if below.is_some() {
                return Ok(below);
            }
        }
    }
    Ok(None)
}

/// Removes `name`, or opens the directory that it is, to be emptied first.
fn unlink(directory: BorrowedFd<'_>, name: &CStr) -> Result<Option<Level>, Errno> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(None),
        Err(Errno::ISDIR) => {}
        Err(errno) => return Err(errno),
    }
    match unlinkat(directory, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => return Ok(None),
        Err(Errno::NOTEMPTY) => {}
        // Also what something is mounted on: nothing in it is touched then.
        Err(errno) => return Err(errno),
    }
    let opened = openat(directory, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    Ok(Some(Level { directory: opened, name: name.to_owned() }))
}
