//! Files with a key in them: mode 0600, whole or not there, never another's.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use sandkeep_core::code::{ErrorCode, Problem};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

/// Longer than any key; what is longer is something else.
const MOST_BYTES: u64 = 4096;

/// Who made a file, which decides what is asked of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MadeBy {
    /// The server, in its data directory: a plain file, its own, for nobody else.
    Server,
    /// The operator, or an orchestrator that mounts it: may be a link, belong to root, and be read by its group.
    Operator,
}

/// The text of a key file without white space around it; `None` when there is no such file.
///
/// # Errors
/// `key_file_unusable`.
pub(crate) fn read(path: &Path, made_by: MadeBy) -> Result<Option<SecretString>, Problem> {
    // Not blocking: opening a FIFO would wait for whoever writes into it.
    let mut flags = OFlags::NONBLOCK;
    if made_by == MadeBy::Server {
        flags |= OFlags::NOFOLLOW;
    }
    let flags = i32::try_from(flags.bits()).expect("flags of open(2) are an int");
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| unusable(path, &format!("cannot be opened: {error}")))?,
    };
    check(path, &file, made_by)?;
    let mut text = Zeroizing::new(String::new());
    let read = file.take(MOST_BYTES).read_to_string(&mut text);
    read.map_err(|error| unusable(path, &format!("cannot be read: {error}")))?;
    Ok(Some(SecretString::from(text.trim())))
}

fn check(path: &Path, file: &File, made_by: MadeBy) -> Result<(), Problem> {
    let about = file.metadata().map_err(|error| unusable(path, &format!("cannot be examined: {error}")))?;
    let own = rustix::process::geteuid().as_raw();
    let (owners, forbidden): (&[u32], u32) = match made_by {
        MadeBy::Server => (&[own], 0o077),
        MadeBy::Operator => (&[own, 0], 0o027),
    };
    if !about.is_file() {
        return Err(unusable(path, "is not a plain file"));
    }
    if !owners.contains(&about.uid()) {
        return Err(unusable(path, &format!("belongs to uid {}, and the server is {own}", about.uid())));
    }
    if about.mode() & forbidden != 0 {
        return Err(unusable(path, &format!("has mode {:04o}, so others may use it", about.mode() & 0o7777))
            .expecting(format!("chmod 600 {}", path.display())));
    }
    Ok(())
}

/// A file written in full and flushed, under a name that nobody reads. Gone when dropped.
#[derive(Debug)]
pub(crate) struct Staged {
    target: PathBuf,
    staged: PathBuf,
}

/// Writes `text` and a line's end beside `path`.
///
/// # Errors
/// `key_file_unusable`.
pub(crate) fn stage(path: &Path, text: &SecretString) -> Result<Staged, Problem> {
    let failed = |error| unusable(path, &format!("cannot be written: {error}"));
    let mut staged = path.as_os_str().to_owned();
    staged.push(".new");
    let staged = Staged { target: path.to_owned(), staged: staged.into() };
    remove(&staged.staged).map_err(failed)?;
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&staged.staged);
    let mut file = opened.map_err(failed)?;
    let line = Zeroizing::new(format!("{}\n", text.expose_secret()));
    file.write_all(line.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    Ok(staged)
}

impl Staged {
    /// Gives it its name, unless something has that already. Whether it did.
    ///
    /// # Errors
    /// `key_file_unusable`.
    pub(crate) fn publish_new(self) -> Result<bool, Problem> {
        match std::fs::hard_link(&self.staged, &self.target) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            linked => self.named(linked).map(|()| true),
        }
    }

    /// Gives it its name, in place of whatever had that.
    ///
    /// # Errors
    /// `key_file_unusable`.
    pub(crate) fn replace(self) -> Result<(), Problem> {
        let renamed = std::fs::rename(&self.staged, &self.target);
        self.named(renamed)
    }

    /// A name survives power loss once its directory is flushed.
    fn named(&self, done: std::io::Result<()>) -> Result<(), Problem> {
        let directory = self.target.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or_else(|| Path::new("."));
        let flushed = done.and_then(|()| File::open(directory)?.sync_all());
        flushed.map_err(|error| unusable(&self.target, &format!("cannot be written: {error}")))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Renamed, it is not there; else whoever stages next removes it.
        let _gone = remove(&self.staged);
    }
}

/// Removes a file that may not be there.
pub(crate) fn remove(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

pub(crate) fn unusable(path: &Path, why: &str) -> Problem {
    Problem::new(ErrorCode::KeyFileUnusable, format!("{} {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn write(path: &Path, text: &str, mode: u32) {
        std::fs::write(path, text).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_file_is_there_whole_or_not_and_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.key");
        assert!(read(&path, MadeBy::Server).unwrap().is_none());
        // What a broken-off start left does not stand in the way.
        write(&directory.path().join("a.key.new"), "half", 0o600);
        drop(stage(&path, &"first".into()).unwrap());
        assert!(!path.exists());
        assert!(stage(&path, &"first".into()).unwrap().publish_new().unwrap());
        assert!(!stage(&path, &"second".into()).unwrap().publish_new().unwrap());
        let text = || read(&path, MadeBy::Server).unwrap().unwrap().expose_secret().to_owned();
        assert_eq!(text(), "first");
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o600);
        stage(&path, &"third".into()).unwrap().replace().unwrap();
        assert_eq!(text(), "third");
        let names: Vec<_> =
            directory.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["a.key"], "nothing with a key in it lies about");
    }

    #[test]
    fn a_file_that_others_may_read_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.key");
        let check = |mode, made_by, expected: bool| {
            write(&path, "text", mode);
            let read = read(&path, made_by);
            assert_eq!(read.is_ok(), expected, "{mode:o} {made_by:?}");
            assert!(read.err().is_none_or(|problem| problem.code == ErrorCode::KeyFileUnusable));
        };
        for (mode, server, operator) in [
            (0o600, true, true),
            (0o400, true, true),
            (0o440, false, true),
            (0o660, false, false),
            (0o644, false, false),
            (0o602, false, false),
        ] {
            check(mode, MadeBy::Server, server);
            check(mode, MadeBy::Operator, operator);
        }
    }

    #[test]
    fn anothers_file_is_not_used() {
        if !rustix::process::geteuid().is_root() {
            println!("SKIPPED anothers_file_is_not_used: only root can give a file away");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.key");
        write(&path, "text", 0o600);
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        for made_by in [MadeBy::Server, MadeBy::Operator] {
            let refused = read(&path, made_by).unwrap_err();
            assert!(refused.message.contains("belongs to uid 65534"), "{refused}");
        }
    }

    #[test]
    fn what_is_no_plain_file_is_not_used() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("a.key"), directory.path().join("link"));
        write(&path, " text\n", 0o600);
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(read(&link, MadeBy::Server).is_err());
        assert_eq!(read(&link, MadeBy::Operator).unwrap().unwrap().expose_secret(), "text");
        assert!(read(directory.path(), MadeBy::Operator).is_err());
        let fifo = directory.path().join("fifo");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        assert!(read(&fifo, MadeBy::Operator).is_err(), "and it does not wait for a writer");
    }
}
