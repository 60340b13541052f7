//! One thing in a file system, as clients are told of it.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::io::Read as _;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use buffa::MessageField;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use rustix::io::Errno;
use sandkeep_protocol::Timestamp;
use sandkeep_protocol::filesystem as envd;

/// Longest table of users or groups that is looked at: it may be the code's own.
const MOST_TABLE_BYTES: u64 = 1 << 20;

/// Names of users and groups, as the sandbox has them.
#[derive(Debug)]
pub(super) struct Names {
    users: BTreeMap<u32, String>,
    groups: BTreeMap<u32, String>,
}

impl Names {
    pub(super) fn read() -> Self {
        Self { users: table("/etc/passwd"), groups: table("/etc/group") }
    }
}

/// Third field to first field of lines with colons; of several, the first counts.
fn table(path: &str) -> BTreeMap<u32, String> {
    let mut names = BTreeMap::new();
    // Without waiting for a writer, should it be a pipe.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(file) = openat(CWD, path, flags, Mode::empty()) else { return names };
    let mut text = Vec::new();
    let _as_far_as_it_goes = std::fs::File::from(file).take(MOST_TABLE_BYTES).read_to_end(&mut text);
    for line in String::from_utf8_lossy(&text).lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(Ok(id))) = (fields.next(), fields.nth(1).map(str::parse)) {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

/// What lies at `name` in `directory`, and is `path` for the client.
///
/// # Errors
/// The kernel's: it is not there, or may not be looked at.
pub(super) fn entry(
    directory: BorrowedFd<'_>,
    name: &CStr,
    path: String,
    names: &Names,
) -> Result<envd::EntryInfo, Errno> {
    let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let link = is(&stat, FileType::Symlink).then(|| link(directory, name));
    let (kind, mode, target) = match link {
        None => (kind(&stat), stat.st_mode, None),
        Some((target, Some(stat))) => (kind(&stat), stat.st_mode, Some(target)),
        Some((target, None)) => (envd::FileType::FILE_TYPE_SYMLINK, stat.st_mode, Some(target)),
    };
    let of =
        |table: &BTreeMap<u32, String>, id: u32| table.get(&id).cloned().unwrap_or_else(|| id.to_string());
    Ok(envd::EntryInfo {
        name: name.to_string_lossy().into_owned(),
        r#type: kind.into(),
        path,
        size: stat.st_size,
        mode: mode & 0o777,
        permissions: permissions(stat.st_mode),
        owner: of(&names.users, stat.st_uid),
        group: of(&names.groups, stat.st_gid),
        modified_time: MessageField::some(time(&stat)),
        symlink_target: target,
        ..Default::default()
    })
}

pub(super) fn is(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

/// Where a link leads, with what is there; only its text when that is nowhere.
fn link(directory: BorrowedFd<'_>, name: &CStr) -> (String, Option<Stat>) {
    // Opened as a place and not for use: neither does this wait for a pipe, nor does it wake a device.
    let there = openat(directory, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    let found = there.and_then(|there| {
        let path = readlinkat(CWD, format!("/proc/self/fd/{}", there.as_raw_fd()), Vec::new())?;
        Ok((path.to_string_lossy().into_owned(), Some(rustix::fs::fstat(there.as_fd())?)))
    });
    found.unwrap_or_else(|_| {
        let text = readlinkat(directory, name, Vec::new()).unwrap_or_default();
        (text.to_string_lossy().into_owned(), None)
    })
}

fn kind(stat: &Stat) -> envd::FileType {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => envd::FileType::FILE_TYPE_FILE,
        FileType::Directory => envd::FileType::FILE_TYPE_DIRECTORY,
        FileType::Symlink => envd::FileType::FILE_TYPE_SYMLINK,
        FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => envd::FileType::FILE_TYPE_UNSPECIFIED,
    }
}

/// As `ls -l` writes them.
fn permissions(mode: u32) -> String {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::RegularFile => '-',
        FileType::Directory => 'd',
        FileType::Symlink => 'l',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        FileType::CharacterDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::Unknown => '?',
    };
    let mut text = String::from(kind);
    for (shift, special, mark) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift & 7;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => mark,
            (true, false) => mark.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}

/// Times that JSON has no form for (before the year 1, after 9999: a file may claim them) are the nearest that it has.
fn time(stat: &Stat) -> Timestamp {
    const YEARS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
    let seconds = stat.st_mtime.clamp(*YEARS.start(), *YEARS.end());
    let nanos = i32::try_from(stat.st_mtime_nsec).ok().filter(|nanos| (0..1_000_000_000).contains(nanos));
    Timestamp { seconds, nanos: nanos.unwrap_or(0), ..Default::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_those_of_ls() {
        let check = |mode, expect: &str| assert_eq!(permissions(mode), expect, "{mode:o}");
        check(0o100_644, "-rw-r--r--");
        check(0o040_755, "drwxr-xr-x");
        check(0o041_777, "drwxrwxrwt");
        check(0o041_776, "drwxrwxrwT");
        check(0o106_711, "-rws--s--x");
        check(0o104_600, "-rwS------");
        check(0o120_777, "lrwxrwxrwx");
        check(0o010_600, "prw-------");
    }

    #[test]
    fn any_time_has_a_form() {
        // What `touch -d` and hostile code leave.
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("far");
        std::fs::write(&path, "").unwrap();
        for seconds in [i64::from(i32::MIN), 0, 1 << 40, i64::MAX] {
            let mut stat = rustix::fs::stat(&path).unwrap();
            stat.st_mtime = seconds;
            let info =
                envd::EntryInfo { modified_time: MessageField::some(time(&stat)), ..Default::default() };
            assert!(serde_json::to_string(&info).is_ok(), "{seconds}");
        }
    }
}
