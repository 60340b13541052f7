//! Making directories, and moving things.

use std::ffi::CString;
use std::os::fd::AsFd as _;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, mkdir, openat, rename, stat, statat};
use rustix::io::Errno;
use sandkeep_protocol::envelope::{Code, ConnectError};
use sandkeep_protocol::filesystem as envd;

use super::entry::{self, Names};
use super::{across, path, refused};

/// What lies at `at`; of a link, the link.
///
/// # Errors
/// `not_found`, `permission_denied`, `invalid_argument`.
pub(super) fn look(at: &str) -> Result<envd::EntryInfo, ConnectError> {
    let failed = |errno| refused(at, errno);
    let Some((directory, name)) = path::split(at) else {
        let root = openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let info = entry::entry(root.map_err(failed)?.as_fd(), c".", at.to_owned(), &Names::read());
        return Ok(envd::EntryInfo { name: "/".to_owned(), ..info.map_err(failed)? });
    };
    let parent = openat(CWD, directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let name = CString::new(name).map_err(|_| failed(Errno::INVAL))?;
    entry::entry(parent.map_err(failed)?.as_fd(), &name, at.to_owned(), &Names::read()).map_err(failed)
}

/// Makes the directory `at`, and those above it that are not there.
///
/// # Errors
/// `already_exists` for a directory, `invalid_argument` for anything else that is there, `permission_denied`.
pub(super) fn make_directory(at: &str) -> Result<envd::EntryInfo, ConnectError> {
    match stat(at) {
        Ok(there) if entry::is(&there, FileType::Directory) => return Err(is_there(at)),
        Ok(_) => {
            let text = format!("{at}: something is there that is no directory");
            return Err(ConnectError::new(Code::InvalidArgument, text));
        }
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(refused(at, errno)),
    }
    // The root is there, so there is a place to make it in.
    let (above, name) = path::split(at).ok_or_else(|| is_there(at))?;
    if name.len() > NAME_MAX {
        return Err(refused(at, Errno::NAMETOOLONG));
    }
    make_all(above)?;
    match mkdir(at, Mode::from_raw_mode(0o755)) {
        Ok(()) => look(at),
        // Somebody was faster.
        Err(Errno::EXIST) => Err(is_there(at)),
        Err(errno) => Err(refused(at, errno)),
    }
}

fn is_there(at: &str) -> ConnectError {
    ConnectError::new(Code::AlreadyExists, format!("{at}: it is there already"))
}

/// Longest name of one thing.
const NAME_MAX: usize = 255;

/// Makes the directory `at`, if it is missing, and what is missing above it.
fn make_all(at: &str) -> Result<(), ConnectError> {
    if at == "/" {
        return Ok(());
    }
    // Before anything is made: everything else that can fail, fails at the first that is.
    if at.split('/').any(|name| name.len() > NAME_MAX) {
        return Err(refused(at, Errno::NAMETOOLONG));
    }
    for (end, _) in at.match_indices('/').skip(1).chain([(at.len(), "")]) {
        match mkdir(&at[..end], Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(refused(&at[..end], errno)),
        }
    }
    Ok(())
}

/// Moves what lies at `from` to `to`, in place of what is there; the directories on the way are made.
///
/// # Errors
/// `not_found`, `permission_denied`, `failed_precondition` for a directory that is not empty, or for what cannot be taken
/// to another file system.
pub(super) fn shift(from: &str, to: &str) -> Result<envd::EntryInfo, ConnectError> {
    statat(CWD, from, AtFlags::SYMLINK_NOFOLLOW).map_err(|errno| refused(from, errno))?;
    let (Some(_), Some((directory, _))) = (path::split(from), path::split(to)) else {
        return Err(ConnectError::new(Code::InvalidArgument, "the root directory is not moved"));
    };
    make_all(directory)?;
    let moved = match rename(from, to) {
        // To the code the places that it can write look like one disk, and are several mounts.
        Err(Errno::XDEV) => across::shift(from, to),
        other => other,
    };
    moved.map_err(|errno| ConnectError::new(super::code(errno), format!("{from} to {to}: {errno}")))?;
    look(to)
}
