//! Looking for files that an execution made or changed: a child of ours walks and hashes, so that a large
//! workspace never keeps the agent from other executions' bytes.
//!
//! A file counts when its change time is later than the start: that time is set by the kernel at every write,
//! rename and change of attributes, and code cannot set it. Directories are entered by descriptor and without
//! following links, so races of the code against the walk lead nowhere.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, openat, statat};
use sandkeep_protocol::agent as proto;
use sandkeep_protocol::envelope::{self, Code, ConnectError};
use sandkeep_protocol::mux::StreamId;
use sandkeep_sandbox::process::{self, Fork, Namespaces};
use sha2::{Digest as _, Sha256};

use super::pipes::{self, READ_BYTES, Read};
use crate::link::Link;

/// A child at work. Its messages come over a pipe, already in envelopes.
#[derive(Debug)]
pub(crate) struct Looker {
    child: process::Child,
    pipe: OwnedFd,
}

impl Looker {
    /// Starts one.
    ///
    /// # Errors
    /// `resource_exhausted` when the kernel gives no pipe or process.
    pub(crate) fn start(request: proto::ListChangedRequest) -> Result<Self, ConnectError> {
        let failed =
            |errno| ConnectError::new(Code::ResourceExhausted, format!("cannot look for changes: {errno}"));
        let (pipe, theirs) = pipes::to_us().map_err(failed)?;
        match process::fork(Namespaces::NONE, None).map_err(failed)? {
            Fork::Child => {
                // Others wait for the end of pipes that we hold copies of.
                process::close_all_but(0, &[theirs.as_fd()]);
                work(&request, &theirs);
                process::exit_now(0)
            }
            Fork::Parent(child) => Ok(Self { child, pipe }),
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Passes on what is there; false when it is done.
    pub(crate) fn relay(&mut self, link: &mut Link, id: StreamId) -> bool {
        let mut buffer = vec![0; READ_BYTES];
        match pipes::read(&self.pipe, &mut buffer) {
            Read::Bytes(got) => {
                link.send(id, &buffer[..got]);
                true
            }
            Read::Later => true,
            Read::End => false,
        }
    }
}

impl Drop for Looker {
    fn drop(&mut self) {
        let _gone = process::signal(&self.child.pidfd, rustix::process::Signal::KILL);
    }
}

/// Deeper than any tree that people make; a bound for those that attackers make.
const MOST_DEPTH: usize = 64;
/// Longer ones cannot be opened by anyone (`PATH_MAX`).
const LONGEST_PATH: usize = 4096;
/// Bytes of all paths together, well below what one message may have.
const MOST_TEXT: usize = 8 << 20;
/// Entries looked at, changed or not.
const MOST_ENTRIES: usize = 200_000;

struct Walk<'a> {
    request: &'a proto::ListChangedRequest,
    files: Vec<proto::ChangedFile>,
    bytes: u64,
    entries: usize,
    text: usize,
    truncated: bool,
}

fn work(request: &proto::ListChangedRequest, out: &OwnedFd) {
    let mut walk = Walk { request, files: Vec::new(), bytes: 0, entries: 0, text: 0, truncated: false };
    for root in &request.roots {
        walk.tree(root);
    }
    let event = proto::ListChangedEvent { files: walk.files, truncated: walk.truncated };
    let mut bytes = Vec::new();
    envelope::encode_message(&mut bytes, &buffa::Message::encode_to_vec(&event));
    let mut rest = bytes.as_slice();
    while !rest.is_empty() {
        match rustix::io::write(out, rest) {
            Ok(written) => rest = &rest[written..],
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

impl Walk<'_> {
    fn tree(&mut self, root: &str) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let Ok(directory) = openat(CWD, root, flags, Mode::empty()) else { return };
        // Breadth first, so that a deep trap cannot hide the files beside it from the bound.
        let mut waiting = VecDeque::from([(directory, root.trim_end_matches('/').to_owned(), 0)]);
        while let Some((directory, path, depth)) = waiting.pop_front() {
            let Ok(entries) = Dir::read_from(&directory) else { continue };
            for entry in entries.flatten() {
                let name = entry.file_name();
                if name == c"." || name == c".." {
                    continue;
                }
                self.entries += 1;
                if self.entries > MOST_ENTRIES || self.is_full() {
                    self.truncated = true;
                    return;
                }
                let path = format!("{path}/{}", name.to_string_lossy());
                self.text += path.len();
                if path.len() > LONGEST_PATH || self.text > MOST_TEXT {
                    self.truncated = true;
                    continue;
                }
                if let Some(below) = self.entry(directory.as_fd(), name, &path) {
                    // Each waiting directory is an open descriptor.
                    if depth < MOST_DEPTH && waiting.len() < MOST_WAITING {
                        waiting.push_back((below, path, depth + 1));
                    } else {
                        self.truncated = true;
                    }
                }
            }
        }
    }

    fn is_full(&self) -> bool {
        self.files.len() >= self.request.max_files as usize || self.bytes >= self.request.max_bytes
    }

    /// Looks at one entry; gives the directory back that it is.
    fn entry(&mut self, directory: BorrowedFd<'_>, name: &CStr, path: &str) -> Option<OwnedFd> {
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => openat(directory, name, flags | OFlags::DIRECTORY, Mode::empty()).ok(),
            FileType::RegularFile => {
                let file = openat(directory, name, flags, Mode::empty()).ok()?;
                self.file(&file, path);
                None
            }
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => None,
        }
    }

    fn file(&mut self, file: &OwnedFd, path: &str) {
        let Ok(stat) = fstat(file) else { return };
        let changed = nanos(stat.st_ctime, stat.st_ctime_nsec.cast_signed());
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile
            || changed <= self.request.since_unix_ns
        {
            return;
        }
        if self.bytes.saturating_add(size) > self.request.max_bytes {
            self.truncated = true;
            return;
        }
        self.bytes += size;
        let sha256 = if self.request.hash { hash(file, size) } else { Vec::new() };
        self.files.push(proto::ChangedFile {
            path: path.to_owned(),
            size_bytes: size,
            mode: stat.st_mode & 0o7777,
            modified_at_unix_ns: changed,
            sha256,
        });
    }
}

/// Directories waiting to be read, each an open descriptor.
const MOST_WAITING: usize = 512;

fn nanos(seconds: i64, nanos: i64) -> u64 {
    u64::try_from(seconds.saturating_mul(1_000_000_000).saturating_add(nanos)).unwrap_or(0)
}

/// Of the first `size` bytes: a file that still grows is cut where it was when it was found.
fn hash(file: &OwnedFd, size: u64) -> Vec<u8> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut left = size;
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        match rustix::io::read(file, &mut buffer[..most]) {
            Ok(0) | Err(_) => break,
            Ok(got) => {
                hasher.update(&buffer[..got]);
                left -= got as u64;
            }
        }
    }
    hasher.finalize().to_vec()
}
