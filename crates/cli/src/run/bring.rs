//! `--out`: what the code left, copied into a directory of the host.
//!
//! Names and bytes come from the code and are hostile. Every directory on the way is opened by itself, below the one
//! before, and never through a link; a file is written under a name of ours and then renamed into its place, so that
//! no link that stands there, hard or symbolic, is ever written through.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, mkdirat, open, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::execution::Artifact;
use sandkeep_runtime::Sandbox;

use crate::interrupt::Interrupts;
use crate::out;

/// Where artifacts' paths start.
const WORKSPACE: &str = "/workspace";
/// The name of a file until all of it is there. Runs that share a directory differ in the number of their process.
const PART: &str = ".sandkeep-part";

/// A directory for results: exists, and can be written.
#[derive(Debug)]
pub(super) struct Destination {
    path: PathBuf,
    directory: OwnedFd,
    part: String,
}

impl Destination {
    /// Opens `path`, making it where it is missing.
    ///
    /// # Errors
    /// `output_dir_unusable`.
    pub(super) fn open(path: &Path) -> Result<Self, Problem> {
        let shown = path.to_string_lossy();
        let refuse = |why: &dyn std::fmt::Display| {
            let why = format!("cannot be used ({why})");
            let expected = "a directory that you may write";
            Problem::refused(ErrorCode::OutputDirUnusable, &shown, &why, expected).within("--out")
        };
        fs::create_dir_all(path).map_err(|error| refuse(&error))?;
        let directory = open(path, DIRECTORY, Mode::empty()).map_err(|errno| refuse(&errno))?;
        let part = format!("{PART}-{}", std::process::id());
        let destination = Self { path: path.to_owned(), directory, part };
        // Only writing shows whether it can be written (a read-only mount, a full disk, root's own rules).
        drop(destination.part_in(&destination.directory).map_err(|errno| refuse(&errno))?);
        unlinkat(&destination.directory, &*destination.part, AtFlags::empty())
            .map_err(|errno| refuse(&errno))?;
        Ok(destination)
    }

    /// Writes one file at `path`, in which every name but the last becomes a directory.
    fn write(&self, path: &str, bytes: &[u8]) -> Result<(), String> {
        let mut names: Vec<&str> = path.split('/').collect();
        if names.iter().any(|name| matches!(*name, "" | "." | "..") || name.contains('\0')) {
            return Err("its path is none".to_owned());
        }
        let last = names.pop().expect("a split has at least one part");
        let mut directory = self.directory.try_clone().map_err(|error| error.to_string())?;
        for name in names {
            directory = below(&directory, name)?;
        }
        self.replace(&directory, last, bytes)
    }

    fn replace(&self, directory: &OwnedFd, name: &str, bytes: &[u8]) -> Result<(), String> {
        match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) if FileType::from_raw_mode(there.st_mode) == FileType::RegularFile => {}
            Ok(_) => return Err("something else than a file has its name already".to_owned()),
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.to_string()),
        }
        let part = self.part_in(directory).map_err(|errno| errno.to_string())?;
        let written = File::from(part).write_all(bytes).map_err(|error| error.to_string());
        let placed = written.and_then(|()| {
            renameat(directory, &*self.part, directory, name).map_err(|errno| errno.to_string())
        });
        if placed.is_err() {
            let _absent = unlinkat(directory, &*self.part, AtFlags::empty());
        }
        placed
    }

    fn part_in(&self, directory: &OwnedFd) -> Result<OwnedFd, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(directory, &*self.part, flags, Mode::from_raw_mode(0o666))
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn below(directory: &OwnedFd, name: &str) -> Result<OwnedFd, String> {
    match mkdirat(directory.as_fd(), name, Mode::from_raw_mode(0o777)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.to_string()),
    }
    openat(directory, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()).map_err(|errno| match errno {
        Errno::LOOP | Errno::NOTDIR => "a link or file has the name of its directory already".to_owned(),
        errno => errno.to_string(),
    })
}

/// Copies what is listed, telling what cannot be. True when everything came.
pub(super) async fn bring(
    sandbox: &dyn Sandbox,
    artifacts: &[Artifact],
    truncated: bool,
    to: &Destination,
    interrupts: &mut Interrupts,
) -> bool {
    let mut complete = !truncated;
    if truncated {
        out::note("there are more files than one result lists; the rest is not copied");
    }
    for artifact in artifacts {
        let path = format!("{WORKSPACE}/{}", artifact.path);
        let read = tokio::select! {
            read = sandbox.read_file(&path, artifact.size_bytes) => read.map_err(|problem| problem.message),
            () = interrupts.next() => {
                out::note("interrupted: not all files were copied");
                return false;
            }
        };
        if let Err(why) = read.and_then(|bytes| to.write(&artifact.path, &bytes)) {
            out::note(&format!("{:?} is not copied to {}: {why}", artifact.path, to.path.display()));
            complete = false;
        }
    }
    complete
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn here() -> (tempfile::TempDir, Destination) {
        let parent = tempfile::tempdir().unwrap();
        let destination = Destination::open(&parent.path().join("a/results")).unwrap();
        (parent, destination)
    }

    #[test]
    fn files_come_with_their_names() {
        let (_parent, to) = here();
        for name in ["a", "b/c/d", "b/c/e", " ", "-rf", "é\n", "...", "b/..c"] {
            to.write(name, name.as_bytes()).unwrap();
            assert_eq!(fs::read(to.path.join(name)).unwrap(), name.as_bytes());
        }
        to.write("a", b"again").unwrap();
        assert_eq!(fs::read(to.path.join("a")).unwrap(), b"again");
        let left: Vec<_> = fs::read_dir(&to.path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 6, "{left:?}");
    }

    #[test]
    fn paths_that_lead_out_are_refused() {
        let (parent, to) = here();
        for name in ["", "/", "/etc/x", "..", "../x", "a/../../x", "a//b", "./a", "a/", "a\0b"] {
            assert!(to.write(name, b"x").is_err(), "{name:?}");
        }
        assert!(!parent.path().join("x").exists());
    }

    #[test]
    fn no_link_is_written_through() {
        let (parent, to) = here();
        let (secret, elsewhere) = (parent.path().join("secret"), parent.path().join("elsewhere"));
        fs::write(&secret, "kept").unwrap();
        fs::create_dir(&elsewhere).unwrap();
        symlink(&secret, to.path.join("link")).unwrap();
        symlink(&elsewhere, to.path.join("dir")).unwrap();
        symlink(parent.path().join("new"), to.path.join("dangling")).unwrap();
        fs::hard_link(&secret, to.path.join("hard")).unwrap();
        fs::create_dir(to.path.join("taken")).unwrap();
        for name in ["link", "dir/x", "dangling", "taken", "hard/x"] {
            assert!(to.write(name, b"changed").is_err(), "{name}");
        }
        to.write("hard", b"changed").unwrap();
        assert_eq!(fs::read(&secret).unwrap(), b"kept");
        assert_eq!(fs::read(to.path.join("hard")).unwrap(), b"changed");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
        assert!(!parent.path().join("new").exists());
    }

    #[test]
    fn a_place_that_is_no_directory_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below"), PathBuf::from("/proc/results")] {
            assert_eq!(Destination::open(&path).unwrap_err().code, ErrorCode::OutputDirUnusable);
        }
    }
}
