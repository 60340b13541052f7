//! Directories that hold a root file system: looked at before anything is started from one.
//!
//! What is inside is not trusted and only looked at as a sandbox; here it is asked whether the directory itself can be
//! used. What its files are worth shows when it is built on.

use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use sandkeep_core::code::{ErrorCode, Problem};

/// What a sandbox has of its own: whatever is mounted there does not show anyway, where we may leave it out. `/sys` shows
/// to nobody.
const COVERED: [&str; 7] = ["dev", "home/user", "proc", "run", "sys", "tmp", "workspace"];

/// The real path of `directory`, after [`check`].
///
/// # Errors
/// `root_unusable`.
pub fn resolve(directory: &Path) -> Result<String, Problem> {
    let refuse = |why: &str| unusable(directory, why);
    let path = directory.canonicalize().map_err(|error| refuse(&format!("cannot be used ({error})")))?;
    check(&path)?;
    path.into_os_string().into_string().map_err(|_| refuse("is not UTF-8"))
}

/// Whether a sandbox can be started from the directory at `path`.
///
/// # Errors
/// `root_unusable`: it is no directory, the host's own root, not readable by us, or has other file systems below it.
pub(super) fn check(path: &Path) -> Result<(), Problem> {
    let refuse = |why: &str| Err(unusable(path, why));
    let real = path.canonicalize().map_err(|error| unusable(path, &format!("cannot be used ({error})")))?;
    if real == Path::new("/") {
        return refuse("is the host's own root");
    }
    if real != path {
        return refuse("is not an absolute path without links");
    }
    if !path.is_dir() {
        return refuse("is not a directory");
    }
    if let Err(errno) = accessat(CWD, path, Access::READ_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        return refuse(&format!("cannot be read ({errno})"));
    }
    let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
    let covered = if rustix::process::geteuid().is_root() { &COVERED[..] } else { &[] };
    match mounted_below(&mounts, path, covered) {
        // An overlay shows one file system: these directories would be empty, without a word.
        Some(other) => {
            let why = format!("has another file system mounted below it, at {}", other.display());
            let expected = "a directory without mounts: unmount that, or copy the tree";
            Err(unusable(path, &why).expecting(expected))
        }
        None => Ok(()),
    }
}

fn unusable(path: &Path, why: &str) -> Problem {
    let expected = "a directory with a root file system";
    Problem::refused(ErrorCode::RootUnusable, &path.to_string_lossy(), why, expected)
}

/// The first mount point below `root` and not below one of the `covered`, in the text of `/proc/self/mountinfo`.
fn mounted_below(mountinfo: &[u8], root: &Path, covered: &[&str]) -> Option<PathBuf> {
    let points = mountinfo.split(|byte| *byte == b'\n').filter_map(|line| {
        let field = line.split(|byte| *byte == b' ').nth(4)?;
        Some(PathBuf::from(std::ffi::OsString::from_vec(unescaped(field))))
    });
    points.into_iter().find(|point| {
        let below = point.strip_prefix(root).ok().filter(|below| !below.as_os_str().is_empty());
        below.is_some_and(|below| !covered.iter().any(|covered| below.starts_with(covered)))
    })
}

/// Blanks and backslashes are written as three octal digits there (proc(5)).
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|digits| *first == b'\\' && digits.iter().all(u8::is_ascii_digit));
        let byte = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[3..] } else { after };
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_that_would_not_show_are_found() {
        let line = |point: &str| format!("36 35 98:0 / {point} rw,noatime - ext3 /dev/root rw\n");
        let check = |points: &[&str], expected: Option<&str>| {
            let text: String = points.iter().map(|point| line(point)).collect();
            let found = mounted_below(text.as_bytes(), Path::new("/srv/root x"), &COVERED);
            assert_eq!(found.as_deref(), expected.map(Path::new), "{points:?}");
        };
        check(&["/", "/srv", "/srv/root\\040x", "/srv/root", "/srv/root\\040xy/z"], None);
        check(&["/srv/root\\040x/proc", "/srv/root\\040x/dev/pts", "/srv/root\\040x/sys"], None);
        check(&["/srv/root\\040x/home"], Some("/srv/root x/home"));
        check(&["/srv/root\\040x/tmp", "/srv/root\\040x/a\\134b\\011c"], Some("/srv/root x/a\\b\tc"));
        check(&["/srv/root\\040x/process"], Some("/srv/root x/process"));
        check(&["", "short line", "1 2 3 4"], None);
        assert!(mounted_below(line("/r/proc").as_bytes(), Path::new("/r"), &[]).is_some());
    }

    #[test]
    fn what_is_no_root_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let parent = parent.path().canonicalize().unwrap();
        let (file, link, root) = (parent.join("file"), parent.join("link"), parent.join("root"));
        fs::write(&file, "").unwrap();
        fs::create_dir(&root).unwrap();
        std::os::unix::fs::symlink(&root, &link).unwrap();
        assert_eq!(resolve(&link).unwrap(), root.to_str().unwrap());
        assert_eq!(check(&root), Ok(()));
        for (path, why) in [
            (file.as_path(), "is not a directory"),
            (&parent.join("none"), "No such file"),
            (Path::new("/"), "own root"),
            (Path::new("/tmp/.."), "own root"),
            (&link, "without links"),
        ] {
            let problem = check(path).unwrap_err();
            assert_eq!(problem.code, ErrorCode::RootUnusable);
            assert!(problem.message.contains(why), "{problem}");
        }
    }
}
