//! Watching a directory, and all below it where that is asked for, until somebody ends this process.
//!
//! The kernel queues what happens; when the queue overflows, because nobody takes the events or too much happens, the
//! watch ends and says so: a client that has missed something must know. What appears below a directory between its
//! making and our watching it is found by looking, and told once.

use std::collections::{HashMap, HashSet};
use std::ffi::{CStr, CString, OsStr};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use buffa::MessageField;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::fs::{CWD, Dir, Mode, OFlags, fstat, fstatfs, openat};
use rustix::io::Errno;
use sandkeep_protocol::envelope::{self, Code, ConnectError};
use sandkeep_protocol::filesystem as envd;
use sandkeep_protocol::filesystem::__buffa::oneof::watch_dir_response::Event;

use super::entry::{Names, entry};
use super::list::DIRECTORY;
use super::{refused, write};

/// Directories of one watch; the kernel bounds the number per user as well.
const MOST_DIRECTORIES: usize = 8_192;
/// Levels of a tree that is watched; each is an open descriptor while the tree is walked.
const MOST_LEVELS: usize = 64;
/// Things in a tree that comes below a watched directory at once.
const MOST_FOUND: usize = 50_000;
/// Room for what the kernel has queued, as much as it gives at a time.
const QUEUE_BYTES: usize = 64 * 1024;

/// What to watch.
#[derive(Debug)]
pub(crate) struct Wish {
    /// A clean absolute path.
    pub(crate) path: String,
    /// All below it, too.
    pub(crate) recursive: bool,
    /// Describe with every event what it happened to.
    pub(crate) describe: bool,
    /// Also where another computer may make changes that nobody here sees.
    pub(crate) network: bool,
}

/// Watches until the other end of `out` goes away, or the watch cannot go on.
pub(super) fn watch(wish: &Wish, out: &OwnedFd) {
    let ended = begin(wish).and_then(|mut watch| {
        tell(out, envd::watch_dir_response::StartEvent::default().into())?;
        watch.follow(out)
    });
    let mut end = Vec::new();
    envelope::encode_end(&mut end, ended);
    // Nobody is left to tell where this fails.
    let _unheard = write(out, &end);
}

struct Watch<'a> {
    wish: &'a Wish,
    queue: OwnedFd,
    /// The watched directory itself.
    root: i32,
    /// Which it is, by device and inode. (A descriptor of it would keep the kernel from telling that it is removed.)
    root_inode: (u64, u64),
    /// Which directory is which watch; its path below the root.
    directories: HashMap<i32, Vec<u8>>,
    /// What was told as new because it was found, and may come out of the queue as well.
    found: HashSet<(i32, CString)>,
    names: Names,
}

fn begin(wish: &Wish) -> Result<Watch<'_>, ConnectError> {
    let failed = |errno| refused(&wish.path, errno);
    let root = openat(CWD, wish.path.as_str(), DIRECTORY, Mode::empty()).map_err(failed)?;
    if !wish.network && is_network(root.as_fd()).map_err(failed)? {
        let text = format!("{}: changes that other computers make there are not seen", wish.path);
        return Err(ConnectError::new(Code::InvalidArgument, text));
    }
    let queue = inotify::init(CreateFlags::CLOEXEC).map_err(no_more_watches)?;
    let number = add(&queue, root.as_fd(), WatchFlags::DELETE_SELF | WatchFlags::MOVE_SELF)
        .map_err(|errno| if errno == Errno::NOSPC { no_more_watches(errno) } else { failed(errno) })?;
    let root_inode = inode(&root).map_err(failed)?;
    let mut watch = Watch {
        wish,
        queue,
        root: number,
        root_inode,
        directories: HashMap::from([(number, Vec::new())]),
        found: HashSet::new(),
        names: Names::read(),
    };
    if wish.recursive {
        watch.enter(root, Vec::new(), 0, &mut None)?;
    }
    Ok(watch)
}

impl Watch<'_> {
    fn follow(&mut self, out: &OwnedFd) -> Result<(), ConnectError> {
        let mut space = vec![MaybeUninit::uninit(); QUEUE_BYTES];
        let queue = self.queue.try_clone().map_err(|_| no_more_watches(Errno::MFILE))?;
        let mut events = Reader::new(queue, &mut space);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(refused(&self.wish.path, errno)),
            };
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                let text = "more happened than was taken: events are lost, and the watch ends";
                return Err(ConnectError::new(Code::DataLoss, text));
            }
            if event.wd() == self.root && event.events().intersects(ReadFlags::IGNORED | ReadFlags::UNMOUNT) {
                // The directory is gone; that was told.
                return Ok(());
            }
            let (wd, happened) = (event.wd(), event.events());
            match event.file_name().map(CStr::to_owned) {
                Some(name) => self.happened(wd, happened, name, out)?,
                None if wd == self.root => self.happened_to_root(happened, out)?,
                // Of another directory that is told by the one above it.
                None if happened.contains(ReadFlags::IGNORED) => drop(self.directories.remove(&wd)),
                None => {}
            }
        }
    }

    /// Something happened to `name` in a directory.
    fn happened(
        &mut self,
        wd: i32,
        happened: ReadFlags,
        name: CString,
        out: &OwnedFd,
    ) -> Result<(), ConnectError> {
        // What is left in the queue of a directory that moved away.
        let Some(directory) = self.directories.get(&wd).cloned() else { return Ok(()) };
        let path = join(&directory, &name);
        let comes = happened.intersects(ReadFlags::CREATE | ReadFlags::MOVED_TO);
        if comes && self.found.remove(&(wd, name.clone())) {
            return Ok(());
        }
        if happened.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM) {
            self.found.remove(&(wd, name));
        }
        for kind in kinds(happened) {
            self.tell(&path, kind, out)?;
        }
        if self.wish.recursive && happened.contains(ReadFlags::ISDIR) {
            if happened.contains(ReadFlags::MOVED_FROM) {
                self.leave(&path);
            }
            if comes {
                self.arrived(path, out)?;
            }
        }
        Ok(())
    }

    fn happened_to_root(&mut self, happened: ReadFlags, out: &OwnedFd) -> Result<(), ConnectError> {
        for kind in kinds(happened) {
            self.tell(b".", kind, out)?;
        }
        Ok(())
    }

    /// A directory came below a watched one: watches it, and tells what is in it already.
    fn arrived(&mut self, path: Vec<u8>, out: &OwnedFd) -> Result<(), ConnectError> {
        let mut seen = Some(Vec::new());
        let level = path.iter().filter(|byte| **byte == b'/').count() + 1;
        if let Some(directory) = self.open(&path) {
            self.enter(directory, path, level, &mut seen)?;
        }
        for (wd, directory, name) in seen.into_iter().flatten() {
            self.tell(&join(&directory, &name), envd::EventType::EVENT_TYPE_CREATE, out)?;
            self.found.insert((wd, name));
            if self.found.len() > MOST_DIRECTORIES {
                self.found.clear();
            }
        }
        Ok(())
    }

    /// Watches a directory below the root (the root itself is watched) and those in it; what lies in them goes into `seen`,
    /// if that is wanted.
    fn enter(
        &mut self,
        directory: OwnedFd,
        path: Vec<u8>,
        level: usize,
        seen: &mut Option<Vec<(i32, Vec<u8>, CString)>>,
    ) -> Result<(), ConnectError> {
        let number = if path.is_empty() {
            self.root
        } else {
            match add(&self.queue, directory.as_fd(), WatchFlags::empty()) {
                Ok(number) => number,
                Err(errno @ (Errno::NOSPC | Errno::NOMEM)) => return Err(no_more_watches(errno)),
                // One that cannot be read is not watched, and said of the others.
                Err(_) => return Ok(()),
            }
        };
        self.directories.insert(number, path.clone());
        if self.directories.len() > MOST_DIRECTORIES || level > MOST_LEVELS {
            return Err(too_much());
        }
        let Ok(entries) = Dir::read_from(&directory) else { return Ok(()) };
        for entry in entries.flatten() {
            let name = entry.file_name().to_owned();
            if name.as_bytes() == b"." || name.as_bytes() == b".." {
                continue;
            }
            if let Some(seen) = seen {
                seen.push((number, path.clone(), name.clone()));
                if seen.len() > MOST_FOUND {
                    return Err(too_much());
                }
            }
            let below = openat(&directory, &name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty());
            if let Ok(below) = below {
                self.enter(below, join(&path, &name), level + 1, seen)?;
            }
        }
        Ok(())
    }

    /// A directory moved away: what happens in it is not ours to tell any more.
    fn leave(&mut self, path: &[u8]) {
        let queue = &self.queue;
        self.directories.retain(|number, directory| {
            let below = directory.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest[0] == b'/');
            if below {
                // Gone already, then.
                let _gone = inotify::remove_watch(queue, *number);
            }
            !below
        });
    }

    fn tell(&self, path: &[u8], kind: envd::EventType, out: &OwnedFd) -> Result<(), ConnectError> {
        let event = envd::FilesystemEvent {
            name: String::from_utf8_lossy(path).into_owned(),
            r#type: kind.into(),
            entry: self.describe(path),
        };
        tell(out, event.into())
    }

    /// What is there now, if that is wanted and anything is.
    fn describe(&self, path: &[u8]) -> MessageField<envd::EntryInfo, buffa::Inline<envd::EntryInfo>> {
        let described = self.wish.describe.then(|| {
            let cut = path.iter().rposition(|byte| *byte == b'/');
            let (above, name) = cut.map_or((&path[..0], path), |cut| (&path[..cut], &path[cut + 1..]));
            let directory = self.open(above)?;
            let name = CString::new(name).ok()?;
            let shown = format!("{}/{}", self.wish.path.trim_end_matches('/'), String::from_utf8_lossy(path));
            entry(directory.as_fd(), &name, shown, &self.names).ok()
        });
        described.flatten().map_or_else(MessageField::none, MessageField::some)
    }

    /// Opens a directory below the root, step by step and never through a link; none when another is in the root's place.
    fn open(&self, path: &[u8]) -> Option<OwnedFd> {
        let root = openat(CWD, self.wish.path.as_str(), DIRECTORY, Mode::empty()).ok()?;
        let root = inode(&root).is_ok_and(|inode| inode == self.root_inode).then_some(root)?;
        path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).try_fold(root, |above, name| {
            openat(&above, OsStr::from_bytes(name), DIRECTORY | OFlags::NOFOLLOW, Mode::empty()).ok()
        })
    }
}

fn inode(directory: &OwnedFd) -> Result<(u64, u64), Errno> {
    fstat(directory).map(|stat| (stat.st_dev, stat.st_ino))
}

fn join(directory: &[u8], name: &CStr) -> Vec<u8> {
    let mut path = directory.to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name.to_bytes());
    path
}

/// Adds a watch on the directory behind a descriptor, whatever is at its path by now.
fn add(queue: &OwnedFd, directory: BorrowedFd<'_>, more: WatchFlags) -> Result<i32, Errno> {
    let what = WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MODIFY
        | WatchFlags::ATTRIB
        | WatchFlags::MOVED_FROM
        | WatchFlags::MOVED_TO
        | WatchFlags::ONLYDIR;
    inotify::add_watch(queue, format!("/proc/self/fd/{}", directory.as_raw_fd()), what | more)
}

fn kinds(happened: ReadFlags) -> impl Iterator<Item = envd::EventType> {
    use envd::EventType;
    let table = [
        (ReadFlags::CREATE | ReadFlags::MOVED_TO, EventType::EVENT_TYPE_CREATE),
        (ReadFlags::MOVED_FROM | ReadFlags::MOVE_SELF, EventType::EVENT_TYPE_RENAME),
        (ReadFlags::ATTRIB, EventType::EVENT_TYPE_CHMOD),
        (ReadFlags::MODIFY, EventType::EVENT_TYPE_WRITE),
        (ReadFlags::DELETE | ReadFlags::DELETE_SELF, EventType::EVENT_TYPE_REMOVE),
    ];
    table.into_iter().filter(move |(flags, _)| happened.intersects(*flags)).map(|(_, kind)| kind)
}

fn tell(out: &OwnedFd, event: Event) -> Result<(), ConnectError> {
    let mut bytes = Vec::new();
    let response = envd::WatchDirResponse { event: Some(event) };
    envelope::encode_message(&mut bytes, &buffa::Message::encode_to_vec(&response));
    write(out, &bytes).map_err(|errno| ConnectError::new(Code::Canceled, errno.to_string()))
}

/// File systems whose contents others may change: `f_type` of NFS, CIFS, SMB2, 9p, Ceph and FUSE (linux/magic.h).
const NETWORK: [u32; 6] = [0x6969, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997, 0x00c3_6400, 0x6573_5546];

fn is_network(directory: BorrowedFd<'_>) -> Result<bool, Errno> {
    // Some are negative where the number is taken for a signed one.
    let kind = fstatfs(directory)?.f_type & 0xffff_ffff;
    Ok(NETWORK.iter().any(|network| i64::from(*network) == kind))
}

fn too_much() -> ConnectError {
    let text =
        format!("there is more than one watch holds: {MOST_DIRECTORIES} directories, {MOST_LEVELS} levels");
    ConnectError::new(Code::ResourceExhausted, text)
}

fn no_more_watches(errno: Errno) -> ConnectError {
    let text = format!("the kernel has no more watches for this user: {errno}");
    ConnectError::new(Code::ResourceExhausted, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_happening_may_be_several_events() {
        use envd::EventType;
        let check = |happened, expect: &[EventType]| assert_eq!(kinds(happened).collect::<Vec<_>>(), expect);
        check(ReadFlags::CREATE | ReadFlags::ISDIR, &[EventType::EVENT_TYPE_CREATE]);
        check(ReadFlags::MOVED_TO, &[EventType::EVENT_TYPE_CREATE]);
        check(ReadFlags::MOVED_FROM, &[EventType::EVENT_TYPE_RENAME]);
        check(ReadFlags::DELETE_SELF, &[EventType::EVENT_TYPE_REMOVE]);
        check(ReadFlags::IGNORED, &[]);
        let both = ReadFlags::MODIFY | ReadFlags::ATTRIB;
        check(both, &[EventType::EVENT_TYPE_CHMOD, EventType::EVENT_TYPE_WRITE]);
    }
}
