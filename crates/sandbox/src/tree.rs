//! Trees of files that hostile code made: measured and removed without following a link, whatever their names, depth
//! and modes.
//!
//! The caller has authority over every owner in the tree (see [`crate::userns::enter`]), so modes stand in nobody's
//! way.

use std::collections::HashSet;
use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, RenameFlags, Stat, openat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

/// What a tree takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of storage; a file with more than one name counts once.
    pub bytes: u64,
    /// Names in it.
    pub entries: u64,
}

impl Usage {
    /// Whether it is more than `most` in any way.
    #[must_use]
    pub fn exceeds(self, most: Usage) -> bool {
        self.bytes > most.bytes || self.entries > most.entries
    }
}

/// Directories that are open at the same time; each takes a descriptor.
const MOST_DEPTH: usize = 500;
const SAME_AS_EVERY_FILE_SYSTEM: u64 = 512; // bytes per block of stat(2)

/// Measures what is below `top`, while others may change it: what comes or goes meanwhile may count or not. Stops as
/// soon as it is more than `most`.
///
/// # Errors
/// `ELOOP` for a tree of more than 500 levels, `EMFILE`, and other refusals of the kernel. What cannot be opened for
/// want of authority belongs to nobody in the sandbox, and is left out.
pub fn measure(top: impl AsFd, most: Usage) -> Result<Usage, Errno> {
    let mut usage = Usage::default();
    let mut linked = HashSet::new();
    let mut open = vec![Dir::new(enter(&top, c".")?)?];
    while let Some(directory) = open.last_mut() {
        let Some(entry) = directory.read().transpose()? else {
            open.pop();
            continue;
        };
        let (name, here) = (entry.file_name(), directory.fd()?);
        if is_dots(name) {
            continue;
        }
        let Some(stat) = unless_gone(statat(here, name, AtFlags::SYMLINK_NOFOLLOW))? else { continue };
        usage.entries += 1;
        if counts(&stat, &mut linked) {
            usage.bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * SAME_AS_EVERY_FILE_SYSTEM;
        }
        if usage.exceeds(most) {
            break;
        }
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            && let Some(below) = unless_gone(enter(here, name))?
        {
            if open.len() == MOST_DEPTH {
                return Err(Errno::LOOP);
            }
            open.push(Dir::new(below)?);
        }
    }
    Ok(usage)
}

/// Whether the bytes of this one were not counted under another name.
fn counts(stat: &Stat, linked: &mut HashSet<u64>) -> bool {
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    is_directory || stat.st_nlink < 2 || linked.insert(stat.st_ino)
}

/// Removes all that is below `top`, which nobody else uses any more. May be called again after it was interrupted.
///
/// However deep a tree is, three directories are open at most: what lies deeper is moved up first.
///
/// # Errors
/// The kernel's refusal.
pub fn clear(top: impl AsFd) -> Result<(), Errno> {
    let mut moved = 0;
    while let Some(names) = some_names(&top)? {
        for name in names {
            match unlinkat(&top, &name, AtFlags::empty()) {
                Err(Errno::ISDIR) => remove_directory(top.as_fd(), &name, &mut moved)?,
                done => done?,
            }
        }
    }
    Ok(())
}

/// Removes the directory `name` of `top`; directories in it that are not empty become directories of `top`.
fn remove_directory(top: BorrowedFd<'_>, name: &CStr, moved: &mut u64) -> Result<(), Errno> {
    let directory = enter(top, name)?;
    while let Some(names) = some_names(&directory)? {
        for below in names {
            match unlinkat(&directory, &below, AtFlags::empty()) {
                Err(Errno::ISDIR) => {}
                done => {
                    done?;
                    continue;
                }
            }
            match unlinkat(&directory, &below, AtFlags::REMOVEDIR) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => move_up(directory.as_fd(), &below, top, moved)?,
                done => done?,
            }
        }
    }
    unlinkat(top, name, AtFlags::REMOVEDIR)
}

fn move_up(from: BorrowedFd<'_>, name: &CStr, top: BorrowedFd<'_>, moved: &mut u64) -> Result<(), Errno> {
    loop {
        *moved += 1;
        match renameat_with(from, name, top, format!(".moved-{moved}"), RenameFlags::NOREPLACE) {
            // From a removal that was interrupted.
            Err(Errno::EXIST) => {}
            done => return done,
        }
    }
}

/// As many names as are worth keeping at once; `None` when there are none left.
fn some_names(directory: impl AsFd) -> Result<Option<Vec<std::ffi::CString>>, Errno> {
    const AT_ONCE: usize = 1024;
    let names = Dir::new(enter(directory, c".")?)?
        .map(|entry| entry.map(|entry| entry.file_name().to_owned()))
        .filter(|name| name.as_ref().is_ok_and(|name| !is_dots(name)) || name.is_err());
    let names = names.take(AT_ONCE).collect::<Result<Vec<_>, _>>()?;
    Ok((!names.is_empty()).then_some(names))
}

fn enter(directory: impl AsFd, name: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(directory, name, flags, Mode::empty())
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

/// What went away, became something else, or is none of the sandbox's.
fn unless_gone<T>(result: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match result {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    const ANY: Usage = Usage { bytes: u64::MAX, entries: u64::MAX };

    fn open(path: &std::path::Path) -> OwnedFd {
        File::open(path).unwrap().into()
    }

    /// Directories in each other, deeper than any path.
    fn make_deep(top: &OwnedFd, levels: usize) {
        let mut at = top.try_clone().unwrap();
        for _ in 0..levels {
            rustix::fs::mkdirat(&at, c"d", Mode::RWXU).unwrap();
            at = enter(&at, c"d").unwrap();
        }
        rustix::fs::symlinkat(c"/", &at, c"link").unwrap();
    }

    #[test]
    fn what_a_tree_takes_is_counted_once_and_no_link_is_followed() {
        let (tree, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("large"), vec![1; 1 << 20]).unwrap();
        fs::create_dir_all(tree.path().join("a/b")).unwrap();
        fs::write(tree.path().join("a/b/file"), vec![1; 100_000]).unwrap();
        fs::hard_link(tree.path().join("a/b/file"), tree.path().join("same")).unwrap();
        symlink(outside.path(), tree.path().join("link")).unwrap();
        let usage = measure(open(tree.path()), ANY).unwrap();
        assert_eq!(usage.entries, 5);
        assert!((100_000..200_000).contains(&usage.bytes), "{usage:?}");
        let few = measure(open(tree.path()), Usage { entries: 2, ..ANY }).unwrap();
        assert_eq!(few.entries, 3, "no further than needed");
    }

    #[test]
    fn a_sparse_file_counts_as_what_it_takes() {
        let tree = tempfile::tempdir().unwrap();
        File::create(tree.path().join("sparse")).unwrap().set_len(1 << 40).unwrap();
        assert!(measure(open(tree.path()), ANY).unwrap().bytes < 1 << 20);
    }

    #[test]
    fn everything_is_removed_however_deep_and_nothing_else() {
        // In memory: ext4 is slow to give out thousands of inodes again.
        let (tree, outside) = (tempfile::tempdir_in("/dev/shm").unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("kept"), "").unwrap();
        let top = open(tree.path());
        make_deep(&top, 3_000);
        assert_eq!(measure(&top, ANY), Err(Errno::LOOP), "too deep to be measured");
        for n in 0..3_000 {
            fs::write(tree.path().join(format!("\n\u{1b}{n}")), "").unwrap();
        }
        symlink(outside.path(), tree.path().join("link")).unwrap();
        // As an interrupted removal leaves it.
        fs::create_dir_all(tree.path().join(".moved-2/x/y")).unwrap();
        let closed = tree.path().join("closed/inner");
        fs::create_dir_all(&closed).unwrap();
        if rustix::process::geteuid().is_root() {
            fs::set_permissions(closed.parent().unwrap(), fs::Permissions::from_mode(0o000)).unwrap();
        }
        clear(&top).unwrap();
        assert_eq!(fs::read_dir(tree.path()).unwrap().count(), 0);
        assert!(outside.path().join("kept").exists());
    }
}
