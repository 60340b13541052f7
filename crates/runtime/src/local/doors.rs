//! Where supervisors that outlive us are found again: a directory with one socket for each, named after its sandbox.
//!
//! The directory is private, below the state directory, and has the name of whoever owns what is in it: two servers with
//! different books that share a host must not end each other's sandboxes. A socket that nobody listens at was left by a
//! supervisor that was killed.

use std::fs;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{AtFlags, Mode, OFlags, unlinkat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt};
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::id::SandboxId;
use sandkeep_protocol::supervisor as proto;

use super::StateDirectory;
use crate::driver::Owned;

/// The directory of one owner.
#[derive(Debug)]
pub(super) struct Doors {
    path: PathBuf,
    directory: OwnedFd,
    orphan_after: Duration,
}

/// Somebody at the other end of a socket.
pub(super) struct Met {
    pub(super) socket: UnixStream,
    /// Process id of whoever listens there, from the kernel.
    pub(super) pid: u32,
}

/// For room at a door: five seconds.
const ATTEMPTS: u32 = 1_000;
const AGAIN_AFTER: Duration = Duration::from_millis(5);

impl Doors {
    /// The directory of `owner`, made where it is missing.
    ///
    /// # Errors
    /// `invalid_value`: the name of the owner; `state_dir_unusable`.
    pub(super) fn open(state: &StateDirectory, owner: &str, orphan_after: Duration) -> Result<Self, Problem> {
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if owner.is_empty() || owner.len() > 64 || !owner.bytes().all(fits) {
            let expected = "1 to 64 of a-z, 0-9 and -";
            return Err(Problem::refused(ErrorCode::InvalidValue, owner, "is no name of an owner", expected));
        }
        let path = state.path().join("supervisors").join(owner);
        let unusable = |error: &dyn std::fmt::Display| {
            Problem::new(ErrorCode::StateDirUnusable, format!("{}: cannot be used: {error}", path.display()))
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(|error| unusable(&error))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| unusable(&errno))?;
        Ok(Self { path, directory, orphan_after })
    }

    /// What a supervisor is told of it.
    pub(super) fn told(&self, owned: Owned) -> proto::Outliving {
        proto::Outliving {
            directory: self.path.to_string_lossy().into_owned(),
            name: name(owned),
            orphan_after_ms: u64::try_from(self.orphan_after.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// Connects to the supervisor of `owned`; `None` when nobody listens there.
    ///
    /// # Errors
    /// `sandbox_failed`: for want of something here, or too many wait to be let in. That says nothing of the sandbox.
    pub(super) async fn meet(&self, owned: Owned) -> Result<Option<Met>, Problem> {
        let failed = |error: &dyn std::fmt::Display| {
            Problem::new(ErrorCode::SandboxFailed, format!("cannot connect to a supervisor: {error}"))
        };
        let mut attempts = 0..ATTEMPTS;
        let socket = loop {
            match self.connect(&name(owned)) {
                Ok(Some(socket)) => break socket,
                Ok(None) => return Ok(None),
                // As many wait at the door as may. The supervisor takes them in as fast as it can, and the kernel tells nobody
                // when there is room.
                Err(Errno::AGAIN) if attempts.next().is_some() => tokio::time::sleep(AGAIN_AFTER).await,
                Err(errno) => return Err(failed(&errno)),
            }
        };
        let peer = sockopt::socket_peercred(&socket).map_err(|errno| failed(&errno))?;
        if peer.uid != rustix::process::geteuid() {
            return Err(failed(&"it belongs to another user"));
        }
        let pid = peer.pid.as_raw_nonzero().get().unsigned_abs();
        Ok(Some(Met { socket: UnixStream::from(socket), pid }))
    }

    fn connect(&self, name: &str) -> rustix::io::Result<Option<OwnedFd>> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // By descriptor: an address has room for 107 bytes, and the directory may have a longer path.
        let path = format!("/proc/self/fd/{}/{name}", self.directory.as_raw_fd());
        match connect(&socket, &SocketAddrUnix::new(path)?) {
            Ok(()) => Ok(Some(socket)),
            Err(Errno::NOENT | Errno::CONNREFUSED) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Every sandbox whose supervisor lives. What dead ones left is cleared away.
    ///
    /// # Errors
    /// `state_dir_unusable`.
    pub(super) fn list(&self) -> Result<Vec<Owned>, Problem> {
        let entries = fs::read_dir(&self.path).map_err(|error| {
            Problem::new(
                ErrorCode::StateDirUnusable,
                format!("{}: cannot be read: {error}", self.path.display()),
            )
        })?;
        let mut living = Vec::new();
        for entry in entries.flatten() {
            let file_name = entry.file_name();
            let Some(text) = file_name.to_str() else { continue };
            match text.strip_prefix('.') {
                // On its way to its name, unless its maker is gone.
                Some(fresh) if is_abandoned(fresh) => self.remove(text),
                Some(_) => {}
                None => match parsed(text) {
                    Some(_) if matches!(self.connect(text), Ok(None)) => self.remove(text),
                    // One that has no time for us lives.
                    Some(owned) => living.push(owned),
                    None => {}
                },
            }
        }
        Ok(living)
    }

    /// Takes the socket of a supervisor away that was killed.
    pub(super) fn clear(&self, owned: Owned) {
        self.remove(&name(owned));
    }

    fn remove(&self, name: &str) {
        let _gone = unlinkat(&self.directory, name, AtFlags::empty());
    }
}

fn name(owned: Owned) -> String {
    format!("{}.{}", owned.id, owned.incarnation)
}

fn parsed(name: &str) -> Option<Owned> {
    let (id, incarnation) = name.split_once('.')?;
    Some(Owned { id: id.parse::<SandboxId>().ok()?, incarnation: incarnation.parse().ok()? })
}

/// Whether the process that a socket without a name belongs to is gone.
fn is_abandoned(fresh: &str) -> bool {
    let pid = fresh.rsplit_once('-').map_or("", |(_, pid)| pid);
    !pid.is_empty() && !std::path::Path::new("/proc").join(pid).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doors() -> (tempfile::TempDir, Doors) {
        let directory = tempfile::tempdir().unwrap();
        let long = directory.path().join("x".repeat(120));
        let state = StateDirectory::open(&long).unwrap();
        let doors = Doors::open(&state, "tests", Duration::from_secs(1)).unwrap();
        (directory, doors)
    }

    #[tokio::test]
    async fn only_sockets_with_somebody_behind_them_are_listed() {
        let (_directory, doors) = doors();
        let owned = |n: u8| Owned { id: SandboxId::new(1, [n; 10]), incarnation: u64::from(n) };
        let at = |name: &str| {
            let path = format!("/proc/self/fd/{}/{name}", doors.directory.as_raw_fd());
            std::os::unix::net::UnixListener::bind(path).unwrap()
        };
        let living = at(&name(owned(1)));
        drop(at(&name(owned(2))));
        drop(at(&format!(".{}-0", name(owned(3)))));
        let coming = at(&format!(".{}-{}", name(owned(4)), std::process::id()));
        fs::write(doors.path.join("else"), "").unwrap();
        assert_eq!(doors.list().unwrap(), [owned(1)]);
        assert_eq!(fs::read_dir(&doors.path).unwrap().count(), 3, "living, coming, and what is not ours");
        let met = doors.meet(owned(1)).await.unwrap().unwrap();
        assert_eq!(met.pid, std::process::id());
        assert!(doors.meet(owned(2)).await.unwrap().is_none());
        drop((living, coming));
        assert!(doors.meet(owned(1)).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn whoever_finds_the_door_crowded_waits_for_room() {
        let (_state, doors) = doors();
        let owned = Owned { id: SandboxId::new(1, [1; 10]), incarnation: 1 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).unwrap();
        let path = format!("/proc/self/fd/{}/{}", doors.directory.as_raw_fd(), name(owned));
        rustix::net::bind(&listener, &SocketAddrUnix::new(path).unwrap()).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let mut crowd = Vec::new();
        while let Ok(Some(socket)) = doors.connect(&name(owned)) {
            crowd.push(socket);
        }
        assert!(!crowd.is_empty());
        let make_room = async { rustix::net::accept(&listener).unwrap() };
        // In this order: nobody is let in before the door was found crowded.
        let (met, _accepted) = tokio::join!(doors.meet(owned), make_room);
        assert!(met.unwrap().is_some());
    }

    #[test]
    fn the_name_of_an_owner_never_leads_elsewhere() {
        let (directory, _) = doors();
        let state = StateDirectory::open(&directory.path().join("state")).unwrap();
        for name in ["", ".", "..", "a/b", "A", "a\n", &"a".repeat(65)] {
            let refused = Doors::open(&state, name, Duration::ZERO).unwrap_err();
            assert_eq!(refused.code, ErrorCode::InvalidValue, "{name:?}");
        }
    }
}
