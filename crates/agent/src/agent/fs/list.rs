//! Listing a directory and what is below it.
//!
//! Directories are entered by descriptor and never through a link, so what code does to the tree meanwhile leads
//! nowhere else. How much there may be is bounded, and who asks for more hears so: half a list would be a wrong one.

use std::ffi::CString;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{CWD, Dir, Mode, OFlags, openat};
use rustix::io::Errno;
use sandkeep_protocol::envelope::{Code, ConnectError};
use sandkeep_protocol::filesystem as envd;

use super::entry::{Names, entry};
use super::refused;

/// Entries of one list.
const MOST_ENTRIES: usize = 10_000;
/// Bytes of all paths of a list together.
const MOST_TEXT_BYTES: usize = 4 << 20;
/// Levels; each is an open descriptor.
const MOST_LEVELS: usize = 64;

/// For whoever wants to read a directory and nothing else.
pub(super) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// A directory that is being listed.
struct Level {
    directory: OwnedFd,
    path: String,
    names: std::vec::IntoIter<CString>,
}

/// What is in the directory at `path`, and in those below it down to `depth` levels.
///
/// # Errors
/// `not_found`, `invalid_argument` for what is no directory, `permission_denied`, `resource_exhausted`.
pub(super) fn list(path: &str, depth: u32) -> Result<envd::ListDirResponse, ConnectError> {
    let depth = usize::try_from(depth.max(1)).unwrap_or(usize::MAX);
    let directory = openat(CWD, path, DIRECTORY, Mode::empty()).map_err(|errno| refused(path, errno))?;
    let users = Names::read();
    let mut left = MOST_ENTRIES;
    let mut text = 0;
    let mut entries = Vec::new();
    let first = read(directory, path.trim_end_matches('/').to_owned(), &mut left)?;
    let mut levels = vec![first.map_err(|errno| refused(path, errno))?];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.next() else {
            levels.pop();
            continue;
        };
        let path = format!("{}/{}", level.path, name.to_string_lossy());
        text += path.len();
        if text > MOST_TEXT_BYTES {
            return Err(too_much());
        }
        // What is gone by now, or may not be looked at, is not there for the caller.
        let Ok(info) = entry(level.directory.as_fd(), &name, path.clone(), &users) else { continue };
        let enter = info.r#type == envd::FileType::FILE_TYPE_DIRECTORY && info.symlink_target.is_none();
        entries.push(info);
        if !enter || levels.len() >= depth {
            continue;
        }
        if levels.len() >= MOST_LEVELS {
            return Err(too_much());
        }
        let above = levels.last().expect("just used").directory.as_fd();
        let Ok(below) = openat(above, &name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) else { continue };
        // One that cannot be read is listed, with nothing in it.
        levels.extend(read(below, path, &mut left)?.ok());
    }
    Ok(envd::ListDirResponse { entries })
}

/// The names in a directory, in order.
fn read(directory: OwnedFd, path: String, left: &mut usize) -> Result<Result<Level, Errno>, ConnectError> {
    let mut names = Vec::new();
    let read = match Dir::read_from(&directory) {
        Ok(read) => read,
        Err(errno) => return Ok(Err(errno)),
    };
    for entry in read {
        let name = match entry {
            Ok(entry) => entry.file_name().to_owned(),
            Err(errno) => return Ok(Err(errno)),
        };
        if name.as_bytes() == b"." || name.as_bytes() == b".." {
            continue;
        }
        *left = left.checked_sub(1).ok_or_else(too_much)?;
        names.push(name);
    }
    names.sort_unstable();
    Ok(Ok(Level { directory, path, names: names.into_iter() }))
}

fn too_much() -> ConnectError {
    let text = format!("there is more than one list holds: {MOST_ENTRIES} entries, {MOST_LEVELS} levels");
    ConnectError::new(Code::ResourceExhausted, text)
}
