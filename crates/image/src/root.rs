//! A root file system on disk that layers are applied to: the one place of this crate that makes and removes files in it.
//!
//! Every operation names its place by a descriptor of the directory and one name in it, so that nothing an archive says
//! can lead anywhere else. Directories are opened by `openat2` from the root's descriptor: at first without following
//! any link; where a lower layer has a link for a directory (`/lib` to `usr/lib`), with the link resolved as if the
//! root were `/`, as container runtimes do. The last name is never followed. Nobody else writes here meanwhile: the
//! store's directories are private, and a lock keeps other processes of ours away.

mod hide;

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, chownat, fchmod, fchown,
    fstat, futimens, linkat, mkdirat, openat, openat2, statat, symlinkat, utimensat,
};
use rustix::io::Errno;

use crate::error::{Error, Result, shown};
use crate::layer::kept;
use crate::layer::path::InRoot;
use crate::limits::DEPTH;

/// The root, while layers are applied.
pub(crate) struct Root {
    dir: Rc<OwnedFd>,
    owners: Owners,
    /// The directory that was used last: archives list files of one directory one after another.
    last: Option<(Vec<u8>, Directory)>,
    /// What the layer that is being applied has made, as inode of the directory and name: whiteouts hide what lower
    /// layers have, and not these.
    made: HashSet<(u64, Box<[u8]>)>,
}

/// Whose the files on disk are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owners {
    /// The image's: root may give files away.
    Image,
    /// Ours alone. Everything has to be readable for us then, and directories writable.
    Us,
}

/// An open directory of the root.
#[derive(Debug, Clone)]
struct Directory {
    fd: Rc<OwnedFd>,
    inode: u64,
}

/// What a file, directory or link has besides its name and content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds since 1970.
    pub(crate) mtime: i64,
}

/// Directories that archives imply without having them.
const IMPLIED: Attributes = Attributes { mode: 0o755, uid: 0, gid: 0, mtime: 0 };

impl Root {
    /// The root in the directory `path`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub(crate) fn open(path: &Path, owners: Owners) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|errno| Error::store(format!("cannot open {}", path.display()), errno))?;
        Ok(Self { dir: Rc::new(dir), owners, last: None, made: HashSet::new() })
    }

    /// What is made from now on belongs to the next layer.
    pub(crate) fn next_layer(&mut self) {
        self.made.clear();
        self.last = None;
    }

    /// A directory, or what is there already if that is one.
    pub(crate) fn directory(&mut self, path: &InRoot, attributes: Attributes) -> Result<()> {
        let Some((parent, name)) = self.place(path)? else { return Ok(()) };
        let done = self.make(&parent, name, |fd, name| match mkdirat(fd, name, Mode::RWXU) {
            Err(Errno::EXIST) if is_directory(fd, name)? => Ok(()),
            other => other,
        });
        done.and_then(|()| self.dress_directory(&parent, name, attributes))
            .map_err(|errno| failed(path, errno))
    }

    /// A file that is kept as `number` in the directory `files`: another name of it, or a copy where there cannot be one.
    pub(crate) fn adopt(
        &mut self,
        path: &InRoot,
        attributes: Attributes,
        files: BorrowedFd<'_>,
        number: u64,
    ) -> Result<()> {
        let Some((parent, name)) = self.place(path)? else {
            return Err(Error::invalid("the image", "has a file for its root"));
        };
        let of = number.to_string();
        match self.make(&parent, name, |fd, name| linkat(files, &*of, fd, name, AtFlags::empty())) {
            // It has as many names as the file system allows, or lies on another one.
            Err(Errno::MLINK | Errno::XDEV | Errno::PERM) => {
                let from = kept::file(files, number).map_err(|error| failed_io(path, error))?;
                self.copy(path, (&parent, name), attributes, from)
            }
            other => other.map_err(|errno| failed(path, errno)),
        }
    }

    fn copy(
        &mut self,
        path: &InRoot,
        (parent, name): (&Directory, &[u8]),
        attributes: Attributes,
        mut from: File,
    ) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = self.make(parent, name, |fd, name| openat(fd, name, flags, Mode::RUSR | Mode::WUSR));
        let mut file = File::from(made.map_err(|errno| failed(path, errno))?);
        io::copy(&mut from, &mut file).map_err(|error| failed_io(path, error))?;
        let dressed = self.owners.dress(&file, attributes, 0o777);
        dressed.and_then(|()| futimens(&file, &times(attributes))).map_err(|errno| failed(path, errno))
    }

    /// A symbolic link to `target`, whatever that is.
    pub(crate) fn symlink(&mut self, path: &InRoot, attributes: Attributes, target: &[u8]) -> Result<()> {
        let Some((parent, name)) = self.place(path)? else {
            return Err(Error::invalid("the image", "has a link for its root"));
        };
        let made = self.make(&parent, name, |fd, name| symlinkat(OsStr::from_bytes(target), fd, name));
        let dressed = made.and_then(|()| {
            let name = OsStr::from_bytes(name);
            if self.owners == Owners::Image {
                let (uid, gid) = owner(attributes);
                chownat(&*parent.fd, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            }
            utimensat(&*parent.fd, name, &times(attributes), AtFlags::SYMLINK_NOFOLLOW)
        });
        dressed.map_err(|errno| failed(path, errno))
    }

    /// Another name for the file `target`, which has to be in the root.
    pub(crate) fn link(&mut self, path: &InRoot, target: &InRoot) -> Result<()> {
        let of = |why: &str| {
            let (path, target) = (shown(path.as_bytes()), shown(target.as_bytes()));
            Error::invalid("the image", format!("`{path}` is another name of `{target}`, {why}"))
        };
        let (Some((directory, of_name)), Some((parent, name))) = (target.split(), self.place(path)?) else {
            return Err(of("which is the root"));
        };
        let from = self.find(directory).map_err(|errno| failed(target, errno))?;
        let Some(from) = from else { return Err(of("which is not there")) };
        if is_directory(from.fd.as_fd(), OsStr::from_bytes(of_name)) == Ok(true) {
            return Err(of("which is a directory"));
        }
        let of_name = OsStr::from_bytes(of_name);
        let made = self.make(&parent, name, |fd, name| {
            match linkat(&*from.fd, of_name, fd, name, AtFlags::empty()) {
                Err(Errno::EXIST) if same_file(&from, of_name, fd, name)? => Ok(()),
                other => other,
            }
        });
        made.map_err(
            |errno| if errno == Errno::NOENT { of("which is not there") } else { failed(path, errno) },
        )
    }

    /// Takes away what is at `path`, whichever layer it is of.
    pub(crate) fn remove(&mut self, path: &InRoot) -> Result<()> {
        let Some((directory, name)) = path.split() else { return Ok(()) };
        let removed = match self.find(directory) {
            Ok(Some(parent)) => self.clear(&parent, name),
            Ok(None) => Ok(()),
            Err(errno) => Err(errno),
        };
        removed.map_err(|errno| failed(path, errno))
    }

    /// Makes something at a name that may be taken: what is there goes. `how` says `EXIST` when it is taken.
    fn make<T>(
        &mut self,
        parent: &Directory,
        name: &[u8],
        how: impl Fn(BorrowedFd<'_>, &OsStr) -> rustix::io::Result<T>,
    ) -> rustix::io::Result<T> {
        let at = || how(parent.fd.as_fd(), OsStr::from_bytes(name));
        let made = match at() {
            Err(Errno::EXIST) => {
                self.clear(parent, name)?;
                at()?
            }
            other => other?,
        };
        self.made.insert((parent.inode, name.into()));
        Ok(made)
    }

    /// The directory and the name that `path` means, the directory made if it is missing. `None` for the root itself.
    fn place<'p>(&mut self, path: &'p InRoot) -> Result<Option<(Directory, &'p [u8])>> {
        let Some((directory, name)) = path.split() else { return Ok(None) };
        let found = self.find(directory).map_err(|errno| failed(path, errno))?;
        let parent = match found {
            Some(parent) => parent,
            None => self.make_all(directory).map_err(|errno| failed(path, errno))?,
        };
        Ok(Some((parent, name)))
    }

    /// The directory at `path`; `None` when there is none.
    fn find(&mut self, path: &[u8]) -> rustix::io::Result<Option<Directory>> {
        if let Some((_, directory)) = self.last.as_ref().filter(|(last, _)| last == path) {
            return Ok(Some(directory.clone()));
        }
        let fd = match self.open_at(path) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let directory = Directory { inode: fstat(&fd)?.st_ino, fd: Rc::new(fd) };
        self.last = Some((path.to_owned(), directory.clone()));
        Ok(Some(directory))
    }

    fn open_at(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let open = |resolve| {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let resolve = resolve | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
            openat2(&*self.dir, OsStr::from_bytes(path), flags, Mode::empty(), resolve)
        };
        match open(ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS) {
            Err(Errno::LOOP) => {}
            other => return other,
        }
        let found = insist(|| open(ResolveFlags::IN_ROOT))?;
        // Links make deep places reachable by short paths, and so deeper ones.
        if self.depth(&found)? >= DEPTH { Err(Errno::NAMETOOLONG) } else { Ok(found) }
    }

    /// How many directories `found` is below the root.
    fn depth(&self, found: &OwnedFd) -> rustix::io::Result<usize> {
        let path =
            |fd: &OwnedFd| rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new());
        let (root, found) = (path(&self.dir)?, path(found)?);
        let below = found.as_bytes().get(root.as_bytes().len()..).unwrap_or_default();
        Ok(below.iter().filter(|byte| **byte == b'/').count())
    }

    /// Makes the directory at `path` with all above it.
    fn make_all(&mut self, path: &[u8]) -> rustix::io::Result<Directory> {
        let mut parent = Directory { inode: fstat(&*self.dir)?.st_ino, fd: Rc::clone(&self.dir) };
        for (start, end) in parts(path) {
            parent = match self.find(&path[..end])? {
                Some(directory) => directory,
                None => {
                    let name = &path[start..end];
                    // A link that leads nowhere is taken, and stays.
                    mkdirat(&*parent.fd, OsStr::from_bytes(name), Mode::RWXU)?;
                    self.made.insert((parent.inode, name.into()));
                    self.dress_directory(&parent, name, IMPLIED)?;
                    self.find(&path[..end])?.ok_or(Errno::NOENT)?
                }
            };
        }
        Ok(parent)
    }

    fn dress_directory(
        &self,
        parent: &Directory,
        name: &[u8],
        attributes: Attributes,
    ) -> rustix::io::Result<()> {
        // Sticky stays: it makes /tmp what it is. Times do not: what is made in a directory later would change them.
        self.owners.dress(&open_directory(parent.fd.as_fd(), OsStr::from_bytes(name))?, attributes, 0o1777)
    }
}

impl Owners {
    /// Gives attributes to what is open: of the mode those bits that are `allowed`. Set-id bits never are: no sandbox
    /// honours them, and outside of one they would be a way to become somebody.
    pub(crate) fn dress(self, fd: impl AsFd, attributes: Attributes, allowed: u32) -> rustix::io::Result<()> {
        let mut mode = attributes.mode & allowed;
        match self {
            Self::Image => {
                let (uid, gid) = owner(attributes);
                fchown(&fd, uid, gid)?;
            }
            Self::Us if allowed & 0o1000 != 0 => mode |= 0o700,
            Self::Us => mode |= 0o400,
        }
        fchmod(&fd, Mode::from_raw_mode(mode))
    }
}

/// Where each part of `path` begins and ends.
fn parts(path: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let ends =
        path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([path.len()]);
    let mut start = 0;
    ends.map(move |end| {
        let part = (start, end);
        start = end + 1;
        part
    })
}

fn owner(attributes: Attributes) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(attributes.uid)), Some(Gid::from_raw(attributes.gid)))
}

pub(crate) fn times(attributes: Attributes) -> Timestamps {
    let time = Timespec { tv_sec: attributes.mtime, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

fn open_directory(parent: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

fn is_directory(parent: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<bool> {
    let stat = statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn same_file(from: &Directory, of: &OsStr, to: BorrowedFd<'_>, name: &OsStr) -> rustix::io::Result<bool> {
    let (one, other) =
        (statat(&*from.fd, of, AtFlags::SYMLINK_NOFOLLOW)?, statat(to, name, AtFlags::SYMLINK_NOFOLLOW)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// Links with `..` make `openat2` answer `EAGAIN` when anybody renames anything meanwhile (openat2(2)).
fn insist<T>(open: impl Fn() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    const TRIES: u32 = 1_000;
    for _ in 0..TRIES {
        match open() {
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

fn failed(path: &InRoot, errno: Errno) -> Error {
    failed_io(path, errno.into())
}

/// The image's fault where its names or links are what the kernel refuses, else the store's.
fn failed_io(path: &InRoot, error: io::Error) -> Error {
    let name = shown(path.as_bytes());
    let why = match Errno::from_io_error(&error) {
        Some(Errno::NOTDIR) => "lies below something that is no directory",
        Some(Errno::LOOP) => "lies below a link that leads in circles",
        Some(Errno::EXIST | Errno::NOENT) => "lies below a link that leads nowhere",
        Some(Errno::NAMETOOLONG) => "is too deep",
        Some(Errno::INVAL | Errno::ILSEQ) => "cannot be stored on this file system",
        Some(Errno::MLINK) => "has too many names",
        _ => return Error::store(format!("cannot write `{name}` of the image"), error),
    };
    Error::invalid("the image", format!("`{name}` {why}"))
}
