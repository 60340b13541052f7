//! Places in a sandbox that callers name: where something of the host is shown, and where a file is put.
//!
//! Whatever can be known from the names alone is refused here. Whether a place can be made in the sandbox's root shows when
//! it is built.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::code::{ErrorCode, Problem};

/// Mounts of one sandbox. They travel to it in one message, which the kernel limits to 253 descriptors (`SCM_MAX_FD`);
/// whoever needs more than this shows a directory above.
pub const MOUNTS_MAX: usize = 60;
/// Longest path of a place, of the 4,096 bytes with the end that the kernel takes (`PATH_MAX`): room for what the agent
/// puts in front of it.
const PATH_MAX_BYTES: usize = 4_000;
/// Longest name between two slashes (`NAME_MAX`).
const NAME_MAX_BYTES: usize = 255;
/// Deepest place: every directory on the way may have to be made, and what makes them has room for 512.
const DEPTH_MAX: usize = 64;

/// Places that a sandbox makes itself and needs as they are.
const OWN_PLACES: [&str; 7] =
    ["/proc", "/sys", "/dev", "/run/sandkeep", "/run/sudo.sock", "/.data", "/.empty"];

/// Where something of the host is shown: an absolute path inside that covers nothing which the sandbox needs.
///
/// Parsing takes `.` and doubled slashes out and refuses `..`, since that would be answered by whatever lies there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MountTarget(String);

impl MountTarget {
    /// The path: absolute, no slash at its end.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MountTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for MountTarget {
    type Err = Problem;

    /// # Errors
    /// `mount_refused`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let refuse =
            |why: &str, expected: &str| Err(Problem::refused(ErrorCode::MountRefused, text, why, expected));
        let elsewhere = "another absolute path inside, like /data";
        let Some(below_root) = text.strip_prefix('/') else {
            return refuse("is not absolute", "an absolute path inside, like /data");
        };
        let path = match clean(below_root) {
            Ok(path) => format!("/{path}"),
            Err(why) => return refuse(why, elsewhere),
        };
        if path == "/" {
            return refuse("would cover the whole sandbox", elsewhere);
        }
        let covered = OWN_PLACES.into_iter().find(|own| is_below(&path, own) || is_below(own, &path));
        if let Some(own) = covered {
            return refuse(&format!("would cover {own}, which the sandbox needs"), elsewhere);
        }
        Ok(Self(path))
    }
}

/// Whether `path` is `top` or lies below it.
fn is_below(path: &str, top: &str) -> bool {
    path.strip_prefix(top).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Checks what one target alone cannot show: how many there are, and that no two are the same.
///
/// # Errors
/// `mount_refused`.
pub fn check_mounts<'a>(targets: impl IntoIterator<Item = &'a MountTarget>) -> Result<(), Problem> {
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for target in targets {
        count += 1;
        if !seen.insert(target) {
            let why = "is the target of two mounts";
            let expected = "each target once";
            return Err(Problem::refused(ErrorCode::MountRefused, target.as_str(), why, expected));
        }
    }
    if count > MOUNTS_MAX {
        let expected = format!("at most {MOUNTS_MAX}; a mount shows everything below its source");
        let why = "mounts are too many";
        return Err(Problem::refused(ErrorCode::MountRefused, &count.to_string(), why, &expected));
    }
    Ok(())
}

/// A path below `/workspace` as the agent takes it: relative, without `.` and doubled slashes.
///
/// # Errors
/// Why it is none, in words that follow the path.
pub fn below_workspace(path: &str) -> Result<String, &'static str> {
    let path = clean(path.strip_prefix("/workspace/").unwrap_or(path))?;
    if path.is_empty() { Err("has no name for the copy") } else { Ok(path) }
}

/// Checks that files can lie beside each other: none has the name of another, or of a directory that another needs.
///
/// # Errors
/// `mount_refused`.
pub fn check_files<'a>(paths: impl IntoIterator<Item = &'a str>) -> Result<(), Problem> {
    let refuse = |path: &str, why: &str| {
        Err(Problem::refused(ErrorCode::MountRefused, path, why, "a name of its own for each file"))
    };
    let mut seen = BTreeSet::new();
    for path in paths {
        if below_workspace(path).as_deref() != Ok(path) {
            return refuse(path, "is no path below /workspace");
        }
        if !seen.insert(path) {
            return refuse(path, "is the name of two files");
        }
    }
    for path in &seen {
        let mut above = *path;
        while let Some((directory, _)) = above.rsplit_once('/') {
            if seen.contains(directory) {
                return refuse(directory, "is the name of a file and of a directory with another file");
            }
            above = directory;
        }
    }
    Ok(())
}

/// `path` without `.` and doubled slashes, or why it cannot be had inside.
fn clean(path: &str) -> Result<String, &'static str> {
    let mut parts = Vec::new();
    for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
        match part {
            ".." => return Err("leads out of where it belongs"),
            part if part.contains('\0') => return Err("has a NUL byte"),
            part if part.len() > NAME_MAX_BYTES => return Err("has a name of more than 255 bytes"),
            part => parts.push(part),
        }
    }
    if parts.len() > DEPTH_MAX {
        return Err("is more than 64 directories deep");
    }
    let path = parts.join("/");
    if path.len() > PATH_MAX_BYTES { Err("is longer than 4,000 bytes") } else { Ok(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Result<String, String> {
        text.parse::<MountTarget>().map(|target| target.0).map_err(|problem| {
            assert_eq!(problem.code, ErrorCode::MountRefused);
            problem.message
        })
    }

    #[test]
    fn targets_are_made_plain() {
        let cases = [
            ("/data", "/data"),
            ("/a//b/./c/", "/a/b/c"),
            ("/workspace", "/workspace"),
            ("/process", "/process"),
            ("/devices/x", "/devices/x"),
            ("/run/sandkeep2", "/run/sandkeep2"),
            ("/a b,c:d\n", "/a b,c:d\n"),
        ];
        for (text, expected) in cases {
            assert_eq!(target(text).as_deref(), Ok(expected), "{text}");
        }
        assert!(target(&format!("/{}", "n".repeat(255))).is_ok());
        assert!(target(&"/d".repeat(64)).is_ok());
    }

    #[test]
    fn targets_that_cannot_be_are_refused() {
        let long = format!("/{}", "n".repeat(256));
        let longer = format!("/{}", vec!["n".repeat(250); 17].join("/"));
        let deep = "/d".repeat(65);
        let cases = [
            ("", "is not absolute"),
            ("data", "is not absolute"),
            ("./data", "is not absolute"),
            ("/", "whole sandbox"),
            ("/./", "whole sandbox"),
            ("/a/../b", "leads out"),
            ("/..", "leads out"),
            ("/a\0b", "NUL"),
            ("/proc", "cover /proc"),
            ("/proc/self/fd/3", "cover /proc"),
            ("/sys/x", "cover /sys"),
            ("/dev/shm", "cover /dev"),
            ("/run", "cover /run/sandkeep"),
            ("/run/sandkeep/x", "cover /run/sandkeep"),
            ("/run/sudo.sock", "cover /run/sudo.sock"),
            ("/.empty", "cover /.empty"),
            (&long, "255 bytes"),
            (&longer, "4,000 bytes"),
            (&deep, "64 directories"),
        ];
        for (text, why) in cases {
            let message = target(text).expect_err(text);
            assert!(message.contains(why), "{text}: {message}");
        }
    }

    #[test]
    fn mounts_are_few_and_each_has_its_place() {
        let targets = |count: usize| (0..count).map(|n| MountTarget(format!("/m{n}"))).collect::<Vec<_>>();
        assert_eq!(check_mounts(&targets(0)), Ok(()));
        assert_eq!(check_mounts(&targets(MOUNTS_MAX)), Ok(()));
        let problem = check_mounts(&targets(MOUNTS_MAX + 1)).unwrap_err();
        assert_eq!(problem.value.as_deref(), Some("61"));
        assert!(problem.to_string().contains("at most 60"), "{problem}");
        let twice: Vec<MountTarget> = ["/a", "/a/b", "/a//b/."].map(|text| text.parse().unwrap()).into();
        let problem = check_mounts(&twice).unwrap_err();
        assert_eq!(problem.message, "`/a/b` is the target of two mounts");
    }

    #[test]
    fn files_lie_below_the_workspace() {
        let cases = [
            ("a", Ok("a")),
            ("/workspace/a", Ok("a")),
            ("d/./e//x", Ok("d/e/x")),
            ("...", Ok("...")),
            ("../x", Err("leads out of where it belongs")),
            ("a/..", Err("leads out of where it belongs")),
            ("", Err("has no name for the copy")),
            (".", Err("has no name for the copy")),
            ("a\0", Err("has a NUL byte")),
        ];
        for (text, expected) in cases {
            assert_eq!(below_workspace(text), expected.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn files_do_not_stand_in_each_others_way() {
        assert_eq!(check_files([]), Ok(()));
        assert_eq!(check_files(["a", "a-b", "a.d/b", "b/c", "b/d"]), Ok(()));
        let cases: [(&[&str], &str); 6] = [
            (&["a", "a"], "`a` is the name of two files"),
            (&["a", "a-b", "a/b"], "`a` is the name of a file and of a directory"),
            (&["d/e/f/g", "d/e"], "`d/e` is the name of a file and of a directory"),
            (&["../a"], "`../a` is no path"),
            (&["a//b"], "`a//b` is no path"),
            (&["/etc/passwd"], "`/etc/passwd` is no path"),
        ];
        for (paths, message) in cases {
            let problem = check_files(paths.iter().copied()).expect_err(message);
            assert_eq!(problem.code, ErrorCode::MountRefused);
            assert!(problem.message.starts_with(message), "{problem}");
        }
    }
}
