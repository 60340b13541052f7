//! What a sandbox shows of the host besides its root (`--mount`).
//!
//! Each tree is cloned while the host can still be seen and put in place when it no longer can, so that a link in the root
//! leads to another place of the root. They are placed before there is a /proc, whose links lead to whatever we hold open,
//! and those above before those below, whatever order they were given in.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::FileType;

use super::{Error, Result};
use crate::mount::{self, Access};

/// A host tree shown inside.
#[derive(Debug)]
pub struct Mount {
    /// Absolute host path.
    pub source: String,
    /// Absolute path inside, without `.`, `..` and doubled slashes.
    pub target: String,
    /// Read-only unless granted.
    pub access: Access,
    /// The same tree with ids translated, where root prepared it.
    pub tree: Option<OwnedFd>,
    /// A file of ours: whatever file or link the root has at its place gives way.
    pub replaces: bool,
}

/// A tree in hand, to be placed.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    mount: &'a Mount,
    tree: OwnedFd,
    is_dir: bool,
}

/// Takes all trees, in the order in which they are to be placed.
///
/// # Errors
/// [`Error::Source`].
pub(super) fn take(mounts: &[Mount]) -> Result<Vec<Taken<'_>>> {
    let mut taken = mounts.iter().map(Taken::from_host).collect::<Result<Vec<_>>>()?;
    taken.sort_by(|one, other| one.mount.target.cmp(&other.mount.target));
    Ok(taken)
}

/// Puts all of them in place.
///
/// # Errors
/// [`Error::Target`].
pub(super) fn place(taken: &[Taken<'_>]) -> Result<()> {
    for (number, shown) in taken.iter().enumerate() {
        let inside_another = taken[..number].iter().any(|above| shown.is_below(above));
        shown.place(inside_another)?;
    }
    Ok(())
}

impl<'a> Taken<'a> {
    fn from_host(mount: &'a Mount) -> Result<Self> {
        let refused = |why: String| Error::Source { path: mount.source.clone(), why };
        let tree = match &mount.tree {
            Some(tree) => tree.try_clone().map_err(|error| refused(error.to_string()))?,
            None => mount::clone_tree(&mount.source).map_err(|error| refused(error.errno().to_string()))?,
        };
        // Asked of the tree: its path may lead through directories that we cannot enter as who we are now, and elsewhere
        // than when it was taken.
        let stat = rustix::fs::fstat(&tree).map_err(|errno| refused(errno.to_string()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => Ok(Self { mount, tree, is_dir: true }),
            FileType::RegularFile => Ok(Self { mount, tree, is_dir: false }),
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Err(refused("it is neither a file nor a directory".to_owned())),
        }
    }

    fn is_below(&self, above: &Self) -> bool {
        let rest = self.mount.target.strip_prefix(&above.mount.target);
        rest.is_some_and(|rest| rest.starts_with('/'))
    }

    fn place(&self, inside_another: bool) -> Result<()> {
        let target = self.mount.target.as_str();
        let refused = |why: String| {
            let path = target.to_owned();
            if self.mount.replaces {
                return Error::Make { path, source: io::Error::other(why) };
            }
            Error::Target { path, why }
        };
        self.make_place(inside_another).map_err(refused)?;
        mount::attach(&self.tree, target, self.mount.access)
            .map_err(|error| refused(error.errno().to_string()))
    }

    /// Sees to it that there is something of our kind to mount on.
    fn make_place(&self, inside_another: bool) -> std::result::Result<(), String> {
        let target = Path::new(&self.mount.target);
        if self.mount.replaces {
            // Where nothing is there, or it cannot be removed, the rest says what that means.
            let _absent = fs::remove_file(target);
        }
        match fs::symlink_metadata(target) {
            Ok(there) if there.is_symlink() => Err("it is a link there; name where it leads".to_owned()),
            Ok(there) if there.is_dir() && !self.is_dir => {
                Err("it is a directory there, and what is shown is a file".to_owned())
            }
            Ok(there) if !there.is_dir() && self.is_dir => {
                Err("it is no directory there, and what is shown is one".to_owned())
            }
            Ok(_) => Ok(()),
            // What is made in a mount is made on the host, which nobody asked for.
            Err(error) if error.kind() == io::ErrorKind::NotFound && inside_another => {
                Err("it lies in another mount, whose source does not have it".to_owned())
            }
            Err(_) => self.make(target).map_err(|error| {
                if error.kind() == io::ErrorKind::ReadOnlyFilesystem {
                    return "it is not there, and cannot be made in a place that is read-only".to_owned();
                }
                format!("it cannot be made there: {error}")
            }),
        }
    }

    fn make(&self, target: &Path) -> io::Result<()> {
        let directory = if self.is_dir { Some(target) } else { target.parent() };
        if let Some(directory) = directory {
            fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
        }
        if !self.is_dir {
            fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(target)?;
        }
        Ok(())
    }
}
