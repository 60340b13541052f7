//! A layer as it is kept: its files under numbers, and an index of what is to be done with them.
//!
//! ```text
//! DIRECTORY/files/N    contents, with mode, owner and time; never opened for writing again
//! DIRECTORY/index      entries in their order, each `KIND MODE UID GID MTIME NUMBER SIZE`, NUL, path, NUL, target, NUL
//! ```
//!
//! The index is ours, so that one which cannot be read is a damaged store and no image's fault.

use std::ffi::OsStr;
use std::fs::{DirBuilder, File};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags, futimens, openat};

use super::path::InRoot;
use crate::error::{Error, Result};
use crate::root::{Attributes, Owners, times};

/// One step from what lower layers show to what this one shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: InRoot,
    pub(crate) attributes: Attributes,
    pub(crate) change: Change,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    Directory,
    File {
        number: u64,
        size: u64,
    },
    Symlink(Vec<u8>),
    /// Another name of a file of this layer or of a lower one.
    Link(InRoot),
    /// A whiteout, as its path says.
    Marker,
    /// What is left out, and hides what was there.
    Nothing,
}

/// Bytes that are copied at a time.
const PIECE_BYTES: usize = 128 * 1024;
const FILES: &str = "files";
const INDEX: &str = "index";

impl Change {
    /// Bytes of content.
    pub(crate) fn size(&self) -> u64 {
        if let Self::File { size, .. } = self { *size } else { 0 }
    }

    fn kind(&self) -> char {
        match self {
            Self::Directory => 'd',
            Self::File { .. } => 'f',
            Self::Symlink(_) => 's',
            Self::Link(_) => 'l',
            Self::Marker => 'w',
            Self::Nothing => 'n',
        }
    }
}

/// A layer being taken apart.
pub(crate) struct Writer {
    files: OwnedFd,
    index: BufWriter<File>,
    next: u64,
    owners: Owners,
    /// Where content passes; to clear one for every file would take longer than most files.
    piece: Vec<u8>,
}

impl Writer {
    /// In `directory`, which is there and empty.
    pub(crate) fn create(directory: &Path, owners: Owners) -> Result<Self> {
        let made = DirBuilder::new()
            .mode(0o700)
            .create(directory.join(FILES))
            .and_then(|()| Ok((open(&directory.join(FILES))?, File::create_new(directory.join(INDEX))?)));
        let (files, index) = made.map_err(unwritten)?;
        Ok(Self { files, index: BufWriter::new(index), next: 0, owners, piece: vec![0; PIECE_BYTES] })
    }

    /// Keeps a file; its number.
    pub(super) fn file(
        &mut self,
        attributes: Attributes,
        size: u64,
        content: &mut impl Read,
        damaged: impl Fn(io::Error) -> Error,
    ) -> Result<u64> {
        let number = self.next;
        self.next += 1;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(&self.files, number.to_string(), flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(made.map_err(|errno| unwritten(errno.into()))?);
        pour(&mut self.piece, content, &mut file, size, damaged)?;
        let dressed = self.owners.dress(&file, attributes, 0o777);
        dressed
            .and_then(|()| futimens(&file, &times(attributes)))
            .map_err(|errno| unwritten(errno.into()))?;
        Ok(number)
    }

    pub(super) fn entry(&mut self, Entry { path, attributes, change }: &Entry) -> Result<()> {
        let Attributes { mode, uid, gid, mtime } = *attributes;
        let (number, size) =
            if let Change::File { number, size } = change { (*number, *size) } else { (0, 0) };
        let target: &[u8] = match change {
            Change::Symlink(target) => target,
            Change::Link(target) => target.as_bytes(),
            Change::Directory | Change::File { .. } | Change::Marker | Change::Nothing => b"",
        };
        let index = &mut self.index;
        write!(index, "{} {mode} {uid} {gid} {mtime} {number} {size}\0", change.kind())
            .and_then(|()| {
                [path.as_bytes(), b"\0", target, b"\0"].iter().try_for_each(|part| index.write_all(part))
            })
            .map_err(unwritten)
    }

    pub(super) fn finish(mut self) -> Result<()> {
        self.index.flush().map_err(unwritten)
    }
}

/// Copies `content`, which has to be `size` bytes, by way of `piece`. `damaged` says what a failed read means.
fn pour(
    piece: &mut [u8],
    content: &mut impl Read,
    file: &mut File,
    size: u64,
    damaged: impl Fn(io::Error) -> Error,
) -> Result<()> {
    let mut written = 0;
    loop {
        let got = content.read(piece).map_err(&damaged)?;
        if got == 0 {
            break;
        }
        file.write_all(&piece[..got]).map_err(unwritten)?;
        written += got as u64;
    }
    if written == size { Ok(()) } else { Err(damaged(io::ErrorKind::UnexpectedEof.into())) }
}

/// A layer that was taken apart.
pub(crate) struct Reader {
    files: OwnedFd,
    index: BufReader<File>,
}

impl Reader {
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        let opened =
            open(&directory.join(FILES)).and_then(|files| Ok((files, File::open(directory.join(INDEX))?)));
        let (files, index) = opened.map_err(unread)?;
        Ok(Self { files, index: BufReader::new(index) })
    }

    /// Where its files are.
    pub(crate) fn files(&self) -> BorrowedFd<'_> {
        self.files.as_fd()
    }

    /// The next entry; `None` after the last.
    pub(crate) fn next(&mut self, what: &str) -> Result<Option<Entry>> {
        let Some(head) = self.field()? else { return Ok(None) };
        let (path, target) = (self.field()?, self.field()?);
        let entry = path.zip(target).and_then(|(path, target)| entry(what, &head, &path, target));
        entry.map(Some).ok_or_else(|| unread(io::ErrorKind::InvalidData.into()))
    }

    fn field(&mut self) -> Result<Option<Vec<u8>>> {
        let mut field = Vec::new();
        self.index.read_until(0, &mut field).map_err(unread)?;
        match field.pop() {
            None => Ok(None),
            Some(0) => Ok(Some(field)),
            Some(_) => Err(unread(io::ErrorKind::UnexpectedEof.into())),
        }
    }
}

fn entry(what: &str, head: &[u8], path: &[u8], target: Vec<u8>) -> Option<Entry> {
    let (kind, numbers) = std::str::from_utf8(head).ok()?.split_once(' ')?;
    let mut numbers = numbers.split(' ');
    let mut number = || numbers.next()?.parse::<u64>().ok();
    let small = |number: u64| u32::try_from(number).ok();
    let attributes = Attributes {
        mode: small(number()?)?,
        uid: small(number()?)?,
        gid: small(number()?)?,
        mtime: i64::try_from(number()?).ok()?,
    };
    let change = match kind {
        "d" => Change::Directory,
        "f" => Change::File { number: number()?, size: number()? },
        "s" => Change::Symlink(target),
        "l" => Change::Link(InRoot::parse(what, &target).ok()?),
        "w" => Change::Marker,
        "n" => Change::Nothing,
        _ => return None,
    };
    Some(Entry { path: InRoot::parse(what, path).ok()?, attributes, change })
}

fn open(directory: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::open(directory, flags, Mode::empty())?)
}

/// Opens the file of that number.
pub(crate) fn file(files: BorrowedFd<'_>, number: u64) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let name = number.to_string();
    Ok(File::from(openat(files, OsStr::new(&name), flags, Mode::empty())?))
}

fn unwritten(error: io::Error) -> Error {
    Error::store("cannot keep a layer of the image", error)
}

fn unread(error: io::Error) -> Error {
    Error::store("cannot read a layer that is kept", error)
}
