//! Files on behalf of the supervisor: written before a start, read for whoever asks.
//!
//! The agent may do more than the code, so no path that the code could have prepared is trusted: every
//! component is opened beneath a directory of known owner and never through a link.

use std::io::Write as _;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fchown, fstat, mkdirat, openat2};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use sandkeep_sandbox::process::FileIds;
use sandkeep_sandbox::root::AGENT_FILES;

use super::pipes::READ_BYTES;

/// Below these the code can prepare nothing but what it may have anyway.
const ROOTS: [&str; 3] = [AGENT_FILES, "/workspace", "/home/user"];

const NO_LINKS: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Writes a file below one of the known directories; it and new directories on the way belong to `owner`, if given.
///
/// # Errors
/// `EINVAL` for a path elsewhere, `ELOOP` for links on the way, and what the kernel says.
pub(crate) fn write(path: &str, mode: u32, data: &[u8], owner: Option<(u32, u32)>) -> rustix::io::Result<()> {
    let (root, below) = split(path)?;
    // As the owner, so that a host directory shown there, which may know no other, takes it too. Inside-root owns nothing of
    // the host's.
    let _as_owner = owner.filter(|(uid, _)| *uid != 0).map(|(uid, gid)| FileIds::assume(uid, gid));
    let owner = owner.filter(|(uid, _)| *uid == 0);
    let (directories, name) = below.rsplit_once('/').unwrap_or(("", below));
    let parent = directories
        .split('/')
        .filter(|part| !part.is_empty())
        .try_fold(open_root(root)?, |parent, part| enter_or_make(parent.as_fd(), part, owner))?;
    // Not waiting for a reader: what lies there already may be a pipe.
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(if mode == 0 { 0o644 } else { mode & 0o777 });
    let file = openat2(&parent, name, flags, mode, NO_LINKS)?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    if let Some(owner) = owner {
        give(&file, owner)?;
    }
    std::fs::File::from(file)
        .write_all(data)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// Opens a plain file for reading, its size with it.
///
/// # Errors
/// `EINVAL` for what is not a plain file or no absolute path, `ELOOP` for links, and what the kernel says.
pub(crate) fn open(path: &str) -> rustix::io::Result<(OwnedFd, u64)> {
    let below = path.strip_prefix('/').ok_or(Errno::INVAL)?;
    let root = open_root("/")?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = openat2(&root, below, flags, Mode::empty(), NO_LINKS)?;
    let stat = fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL);
    }
    Ok((file, u64::try_from(stat.st_size).unwrap_or(0)))
}

/// A file on its way to whoever asked for it.
#[derive(Debug)]
pub(crate) struct Reading {
    file: OwnedFd,
    left: u64,
}

impl Reading {
    /// Begins with the file at `path`, of at most `max_bytes`.
    ///
    /// # Errors
    /// As [`open`]; `EFBIG` for a larger file.
    pub(crate) fn start(path: &str, max_bytes: u64) -> rustix::io::Result<Self> {
        let (file, size) = open(path)?;
        if size > max_bytes {
            return Err(Errno::FBIG);
        }
        Ok(Self { file, left: size })
    }

    /// The next piece; `None` at the end: of the file, or of what it was when it was opened.
    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(READ_BYTES);
        let mut piece = vec![0; most];
        let got = rustix::io::read(&self.file, &mut piece).ok().filter(|got| *got > 0)?;
        piece.truncate(got);
        self.left -= got as u64;
        Some(piece)
    }
}

fn split(path: &str) -> rustix::io::Result<(&'static str, &str)> {
    let found = ROOTS.iter().find_map(|root| Some((*root, path.strip_prefix(root)?.strip_prefix('/')?)));
    let clean =
        |below: &str| !below.is_empty() && below.split('/').all(|part| !matches!(part, "" | "." | ".."));
    found.filter(|(_, below)| clean(below)).ok_or(Errno::INVAL)
}

fn open_root(root: &str) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, root, flags, Mode::empty())
}

fn enter_or_make(parent: impl AsFd, name: &str, owner: Option<(u32, u32)>) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) => true,
        Err(Errno::EXIST) => false,
        Err(errno) => return Err(errno),
    };
    let directory = openat2(&parent, name, flags, Mode::empty(), NO_LINKS)?;
    if let Some(owner) = owner.filter(|_| made) {
        give(&directory, owner)?;
    }
    Ok(directory)
}

fn give(file: impl AsFd, (uid, gid): (u32, u32)) -> rustix::io::Result<()> {
    fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_clean_paths_below_known_directories_are_taken() {
        let check = |path: &str, expect: Option<(&'static str, &str)>| {
            assert_eq!(split(path).ok(), expect, "{path}");
        };
        check("/workspace/a/b", Some(("/workspace", "a/b")));
        check("/run/sandkeep/ex1/code/main.py", Some(("/run/sandkeep", "ex1/code/main.py")));
        for refused in
            ["/workspace", "/workspace/", "/workspace/../etc/x", "/workspacex/a", "/etc/passwd", "a", ""]
        {
            check(refused, None);
        }
        check("/workspace/a//b", None);
        check("/workspace/./b", None);
    }
}
