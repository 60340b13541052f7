//! Moving a thing to where it cannot be renamed to: the places that can be written are mounts of their own.
//!
//! It is copied beside its new place first, put there in one step, and only then removed from the old. So whoever looks
//! finds it at the one place or at both, and never a part of it.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, fchmod, futimens, mkdirat, openat,
    readlinkat, renameat, statat, symlinkat,
};
use rustix::io::Errno;

use super::entry::is;
use super::list::DIRECTORY;
use super::{path, remove};

/// Levels of a tree; each is two open descriptors.
const MOST_LEVELS: usize = 300;
const PIECE_BYTES: usize = 1 << 20;

/// # Errors
/// `XDEV` for what is no file, directory or link, and the kernel's.
pub(super) fn shift(from: &str, to: &str) -> Result<(), Errno> {
    let (source, name) = place(from)?;
    let (target, new_name) = place(to)?;
    let temporary = CString::new(format!(".sandkeep-moving-{}", std::process::id())).expect("no NUL");
    let done = copy(source.as_fd(), &name, target.as_fd(), &temporary, 1)
        .and_then(|()| renameat(&target, &temporary, &target, &new_name));
    if let Err(errno) = done {
        // What cannot be removed again either is seen by whoever looks there.
        let _left = remove::tree(target.as_fd(), &temporary);
        return Err(errno);
    }
    remove::tree(source.as_fd(), &name)
}

fn place(at: &str) -> Result<(OwnedFd, CString), Errno> {
    let (directory, name) = path::split(at).ok_or(Errno::INVAL)?;
    let directory =
        openat(CWD, directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    Ok((directory, CString::new(name).map_err(|_| Errno::INVAL)?))
}

fn copy(
    source: BorrowedFd<'_>,
    name: &CStr,
    target: BorrowedFd<'_>,
    new_name: &CStr,
    level: usize,
) -> Result<(), Errno> {
    let stat = statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => copy_file(source, name, target, new_name),
        FileType::Symlink => symlinkat(readlinkat(source, name, Vec::new())?, target, new_name),
        FileType::Directory if level < MOST_LEVELS => {
            copy_directory((source, name), (target, new_name), level)
        }
        FileType::Directory => Err(Errno::MFILE),
        FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => Err(Errno::XDEV),
    }
}

fn copy_file(
    source: BorrowedFd<'_>,
    name: &CStr,
    target: BorrowedFd<'_>,
    new_name: &CStr,
) -> Result<(), Errno> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let from = openat(source, name, OFlags::RDONLY | flags, Mode::empty())?;
    let stat = rustix::fs::fstat(&from)?;
    if !is(&stat, FileType::RegularFile) {
        return Err(Errno::XDEV);
    }
    let made = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | flags;
    let to = openat(target, new_name, made, Mode::from_raw_mode(0o600))?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let got = rustix::io::read(&from, &mut piece)?;
        if got == 0 {
            break;
        }
        let mut rest = &piece[..got];
        while !rest.is_empty() {
            let written = rustix::io::write(&to, rest)?;
            rest = &rest[written..];
        }
    }
    dress(&to, &stat)
}

fn copy_directory(
    (source, name): (BorrowedFd<'_>, &CStr),
    (target, new_name): (BorrowedFd<'_>, &CStr),
    level: usize,
) -> Result<(), Errno> {
    let from = openat(source, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    let stat = rustix::fs::fstat(&from)?;
    mkdirat(target, new_name, Mode::from_raw_mode(0o700))?;
    let to = openat(target, new_name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
    for entry in Dir::read_from(&from)? {
        let name = entry?.file_name().to_owned();
        if name.as_bytes() != b"." && name.as_bytes() != b".." {
            copy(from.as_fd(), &name, to.as_fd(), &name, level + 1)?;
        }
    }
    dress(&to, &stat)
}

/// Gives the copy the mode and the times of what it was copied from; set-id bits do not travel.
fn dress(copy: impl AsFd, of: &Stat) -> Result<(), Errno> {
    fchmod(&copy, Mode::from_raw_mode(of.st_mode & 0o1777))?;
    let time = |tv_sec, nanos: u64| Timespec { tv_sec, tv_nsec: nanos.cast_signed() };
    let times = Timestamps {
        last_access: time(of.st_atime, of.st_atime_nsec),
        last_modification: time(of.st_mtime, of.st_mtime_nsec),
    };
    futimens(copy, &times)
}
