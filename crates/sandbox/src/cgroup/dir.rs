//! One directory of a control group tree, held open: its files are read and written by name.
//!
//! A cgroup directory is opened once with `O_PATH` and its files are reached with `openat`, so that the
//! path is walked once and a directory that was replaced meanwhile is noticed instead of followed. A file that
//! was read stays open: reading it again costs a sixth (0.7 against 4.6 µs on Linux 6.18), and what an execution
//! used is read from eight of them before its end is told.

use std::{
    cell::RefCell,
    collections::{BTreeMap, btree_map::Entry},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::fs::{AtFlags, Mode, OFlags};

use super::Error;

/// Longest control file read; `memory.stat` is near 2 KiB, `cgroup.procs` has its own reader.
const READ_BYTES: usize = 8192;

/// An open cgroup directory.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    /// Files that were read before. A group has about ten kinds, so this stays small.
    readers: RefCell<BTreeMap<&'static str, OwnedFd>>,
}

impl Dir {
    /// Opens an existing directory.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(fd) => Ok(Self::at(fd, path.to_owned())),
            Err(e) => Err(file_error("open", path.to_owned(), e)),
        }
    }

    fn at(fd: OwnedFd, path: PathBuf) -> Self {
        Self { fd, path, readers: RefCell::default() }
    }

    /// Opens the child group `name`.
    pub(super) fn child(&self, name: &str) -> Result<Self, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::openat(&self.fd, name, flags, Mode::empty()) {
            Ok(fd) => Ok(Self::at(fd, self.path.join(name))),
            Err(e) => Err(file_error("open", self.path.join(name), e)),
        }
    }

    /// Opens the child group `name`, making it first if it is not there. The flag says whether it was made here.
    ///
    /// Another process may make or remove the same group at the same moment: both are retried a few times.
    pub(super) fn child_or_make(&self, name: &str) -> Result<(Self, bool), Error> {
        const ATTEMPTS: u32 = 4;
        let mut made = false;
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match self.child(name) {
                Ok(dir) => return Ok((dir, made)),
                Err(e) if e.errno() == Some(libc::ENOENT) => last = Some(e),
                Err(e) => return Err(e),
            }
            match rustix::fs::mkdirat(&self.fd, name, Mode::from_raw_mode(0o755)) {
                Ok(()) => made = true,
                Err(rustix::io::Errno::EXIST) => {}
                Err(e) => return Err(file_error("make", self.path.join(name), e)),
            }
        }
        Err(last.expect("the loop ends early unless the group was missing"))
    }

    /// Removes the empty child group `name`; one that is already gone counts as removed.
    pub(super) fn remove_child(&self, name: &str) -> Result<(), Error> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(e) => Err(file_error("remove", self.path.join(name), e)),
        }
    }

    /// The whole of a small control file.
    pub(super) fn read(&self, file: &'static str) -> Result<String, Error> {
        let mut buffer = [0u8; READ_BYTES];
        let length = self.read_start(file, &mut buffer)?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    /// Fills `buffer` from the start of `file`, which is opened once and kept.
    fn read_start(&self, file: &'static str, buffer: &mut [u8]) -> Result<usize, Error> {
        let mut readers = self.readers.borrow_mut();
        let fd = match readers.entry(file) {
            Entry::Occupied(open) => open.into_mut(),
            Entry::Vacant(place) => place.insert(self.open_file(file, OFlags::RDONLY)?),
        };
        rustix::io::pread(fd, buffer, 0).map_err(|e| self.error("read", file, e))
    }

    /// A control file that holds one number; `max` and `-1` read as `None`.
    pub(super) fn read_number(&self, file: &'static str) -> Result<Option<u64>, Error> {
        let text = self.read(file)?;
        parse_number(text.trim()).map_err(|()| Error::Content {
            path: self.path.join(file),
            found: text.trim().to_owned(),
            expected: "a number",
        })
    }

    /// The value of `key` in a file of `key value` lines; 0 where the key is missing.
    pub(super) fn read_keyed(&self, file: &'static str, key: &str) -> Result<u64, Error> {
        Ok(keyed(&self.read(file)?, key).unwrap_or(0))
    }

    /// Process ids in `cgroup.procs`, which may be far longer than other files. Ids of processes that this
    /// process cannot name (another pid namespace) read as 0 and are left out.
    pub(super) fn read_pids(&self) -> Result<Vec<i32>, Error> {
        let fd = self.open_file("cgroup.procs", OFlags::RDONLY)?;
        let mut bytes = Vec::new();
        let mut buffer = [0u8; READ_BYTES];
        loop {
            match rustix::io::read(&fd, &mut buffer).map_err(|e| self.error("read", "cgroup.procs", e))? {
                0 => break,
                length => bytes.extend_from_slice(&buffer[..length]),
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid > 0).collect())
    }

    /// Writes `value` in one call, as control files want it.
    pub(super) fn write(&self, file: &str, value: &str) -> Result<(), Error> {
        let fd = self.open_file(file, OFlags::WRONLY | OFlags::TRUNC)?;
        rustix::io::write(&fd, value.as_bytes()).map_err(|e| self.error("write", file, e))?;
        Ok(())
    }

    /// Like [`Dir::write`], but a missing file is no error. Returns whether the file was there.
    pub(super) fn write_if_there(&self, file: &str, value: &str) -> Result<bool, Error> {
        match self.write(file, value) {
            Ok(()) => Ok(true),
            Err(e) if e.errno() == Some(libc::ENOENT) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Opens one control file.
    pub(super) fn open_file(&self, file: &str, flags: OFlags) -> Result<OwnedFd, Error> {
        rustix::fs::openat(&self.fd, file, flags | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| self.error("open", file, e))
    }

    /// Gives `file` to `uid`, so that a process with that id may enter the group.
    pub(super) fn give(&self, file: &str, uid: u32) -> Result<(), Error> {
        let owner = Some(rustix::fs::Uid::from_raw(uid));
        rustix::fs::chownat(&self.fd, file, owner, None, AtFlags::empty())
            .map_err(|e| self.error("chown", file, e))
    }

    /// Names of the child groups.
    pub(super) fn children(&self) -> Result<Vec<String>, Error> {
        let entries = std::fs::read_dir(&self.path).map_err(|source| Error::File {
            doing: "list",
            path: self.path.clone(),
            source,
        })?;
        Ok(entries
            .filter_map(Result::ok)
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    pub(super) fn error(&self, doing: &'static str, file: &str, source: rustix::io::Errno) -> Error {
        file_error(doing, self.path.join(file), source)
    }
}

fn file_error(doing: &'static str, path: PathBuf, source: rustix::io::Errno) -> Error {
    Error::File { doing, path, source: io::Error::from(source) }
}

/// `max` and `-1` mean no limit.
pub(super) fn parse_number(text: &str) -> Result<Option<u64>, ()> {
    match text {
        "max" | "-1" => Ok(None),
        number => number.parse().map(Some).map_err(|_| ()),
    }
}

/// The value of `key` in a text of `key value` lines.
pub(super) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}
