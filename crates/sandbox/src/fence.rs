//! Landlock as a second wall behind the mount namespace: whatever a mistake in the first leaves reachable, the
//! code still opens only what is under a few listed directories.
//!
//! The agent makes a [`Fence`] once (a ruleset behind a descriptor); each execution's child enters it with one system call.
//! Every entry makes a *new* domain below the enterer's own, which has effects beyond files:
//! - processes of a domain cannot trace, nor read `/proc/PID/{mem,environ,fd,root,..}` of, processes outside of it: neither
//!   the agent, which stays outside, nor another execution;
//! - they cannot change the mount tree at all;
//! - with [`Scope::Execution`] (ABI 6) they can neither signal a process outside nor connect to an abstract UNIX socket
//!   made outside, where "outside" again includes the sandbox's other executions. It works one way: the agent, outside,
//!   signals them as ever.
//!
//! Network rights are not handled: the network namespace decides, and loopback inside must work.

#![expect(unsafe_code, reason = "neither std nor rustix has the landlock system calls")]

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};

/// How far the code's signals and abstract sockets reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Its own execution. For where no PID and network namespace stands around the code, or executions are to be strangers.
    Execution,
    /// As far as the namespaces let them: one execution can `kill` what another left running. The agent is safe
    /// from it as PID 1, to which the kernel delivers only signals it has handlers for.
    Sandbox,
}

/// What to let through: whole trees (or single files) by path, as the caller sees them.
#[derive(Debug, Clone, Copy)]
pub struct Openings<'a> {
    /// Read, list, execute.
    pub read_exec: &'a [&'a Path],
    /// The same and write, create, remove, rename, truncate, and ioctl on devices. Never make device nodes.
    pub read_write: &'a [&'a Path],
    /// Reach of signals and abstract sockets.
    pub scope: Scope,
}

/// A ruleset ready to be entered, by any number of children.
#[derive(Debug)]
pub struct Fence {
    ruleset: OwnedFd,
    abi: u32,
    scoped: bool,
}

impl Fence {
    /// That of another process of ours, to be entered: what it is able to do is known there.
    #[must_use]
    pub fn received(ruleset: OwnedFd) -> Self {
        Self { ruleset, abi: 0, scoped: false }
    }
}

/// For whoever closes all other descriptors before entering.
impl AsFd for Fence {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ruleset.as_fd()
    }
}

/// The outcome of [`Fence::prepare`].
#[derive(Debug)]
pub enum Prepared {
    /// The wall can be used.
    Ready(Fence),
    /// There is none on this machine.
    Absent(Absence),
}

/// Why this machine has no Landlock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// `ENOSYS`: a kernel before 5.13, or built without it.
    NotBuilt,
    /// `EOPNOTSUPP`: built, but not among the `lsm=` of the boot command line.
    NotEnabled,
    /// Any other error number: most likely a system call filter around us.
    Refused(i32),
}

impl fmt::Display for Absence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotBuilt => {
                f.write_str("the kernel has no Landlock (Linux 5.13 with CONFIG_SECURITY_LANDLOCK)")
            }
            Self::NotEnabled => {
                f.write_str("Landlock is not enabled at boot: add `landlock` to the kernel's lsm= list")
            }
            Self::Refused(errno) => {
                write!(f, "the Landlock calls are refused here (error {errno}), perhaps by a container")
            }
        }
    }
}

/// A step that failed although the machine has Landlock.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot make a Landlock ruleset")]
    Create(#[source] io::Error),
    #[error("cannot open {path} to let it through the Landlock fence", path = .path.display())]
    Open {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot add a Landlock rule for {path}", path = .path.display())]
    Rule {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// `EPERM`: `no_new_privs` is not set. `E2BIG`: sixteen domains deep already.
    #[error("cannot enter the Landlock domain")]
    Enter(#[source] io::Error),
}

/// `LANDLOCK_ACCESS_FS_*` of linux/landlock.h.
mod access {
    pub(super) const EXECUTE: u64 = 1 << 0;
    pub(super) const WRITE_FILE: u64 = 1 << 1;
    pub(super) const READ_FILE: u64 = 1 << 2;
    pub(super) const READ_DIR: u64 = 1 << 3;
    pub(super) const MAKE_CHAR: u64 = 1 << 6;
    pub(super) const MAKE_BLOCK: u64 = 1 << 11;
    pub(super) const TRUNCATE: u64 = 1 << 14;
    pub(super) const IOCTL_DEV: u64 = 1 << 15;

    /// All that an ABI can handle. New rights came with 2 (`REFER`), 3 (`TRUNCATE`) and 5 (`IOCTL_DEV`).
    pub(super) const fn known(abi: u32) -> u64 {
        match abi {
            0 => 0,
            1 => (1 << 13) - 1,
            2 => (1 << 14) - 1,
            3 | 4 => (1 << 15) - 1,
            _ => (1 << 16) - 1,
        }
    }

    pub(super) const READ_EXEC: u64 = EXECUTE | READ_FILE | READ_DIR;
    pub(super) const READ_WRITE: u64 = !(MAKE_CHAR | MAKE_BLOCK);
    /// The rights that mean something on what is not a directory; the kernel refuses a rule with others.
    pub(super) const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;
}

/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | LANDLOCK_SCOPE_SIGNAL`, from ABI 6 on.
const SCOPES: u64 = 3;
const SCOPES_SINCE_ABI: u32 = 6;
/// `LANDLOCK_CREATE_RULESET_VERSION`.
const CREATE_VERSION: u32 = 1;
/// `LANDLOCK_RULE_PATH_BENEATH`.
const RULE_PATH_BENEATH: libc::c_int = 1;

/// `struct landlock_ruleset_attr`; an older kernel takes a longer one whose unknown tail is zero.
#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneathAttr {
    allowed_access: u64,
    parent_fd: i32,
}

/// The running kernel's Landlock ABI, 1 or more.
///
/// # Errors
/// Why there is none.
pub fn abi() -> Result<u32, Absence> {
    // SAFETY: with this flag the kernel wants a null pointer and size 0, and touches no memory.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<RulesetAttr>(),
            0_usize,
            CREATE_VERSION,
        )
    };
    match u32::try_from(version) {
        Ok(abi) => Ok(abi),
        Err(_) => Err(match io::Error::last_os_error().raw_os_error() {
            Some(libc::ENOSYS) | None => Absence::NotBuilt,
            Some(libc::EOPNOTSUPP) => Absence::NotEnabled,
            Some(other) => Absence::Refused(other),
        }),
    }
}

impl Fence {
    /// Makes the ruleset, with everything the kernel can handle refused but for `openings`.
    ///
    /// Rules hold on to the files behind the paths, in whatever mount namespace they are looked at later. A tree mounted anew
    /// afterwards (say a fresh /proc) is reached by the rule of a directory above it, not by one of its own old root.
    ///
    /// # Errors
    /// [`Error::Open`] for a path that is not there, [`Error::Create`] and [`Error::Rule`] for what should not happen.
    pub fn prepare(openings: &Openings<'_>) -> Result<Prepared, Error> {
        let abi = match abi() {
            Ok(abi) => abi,
            Err(absence) => return Ok(Prepared::Absent(absence)),
        };
        let scoped = openings.scope == Scope::Execution && abi >= SCOPES_SINCE_ABI;
        let handled = access::known(abi);
        let fence = Self { ruleset: create(handled, scoped)?, abi, scoped };
        for path in openings.read_exec {
            fence.allow(path, handled & access::READ_EXEC)?;
        }
        for path in openings.read_write {
            fence.allow(path, handled & access::READ_WRITE)?;
        }
        Ok(Prepared::Ready(fence))
    }

    /// The ABI in use: rights that came later than it are not fenced.
    #[must_use]
    pub fn abi(&self) -> u32 {
        self.abi
    }

    /// Whether signals and abstract sockets end at the execution.
    #[must_use]
    pub fn is_scoped(&self) -> bool {
        self.scoped
    }

    /// Puts the calling thread, and all it starts, behind the fence, for good. Needs `no_new_privs`. One system call.
    ///
    /// # Errors
    /// [`Error::Enter`]; the thread is then not fenced.
    pub fn enter(&self) -> Result<(), Error> {
        // SAFETY: plain numbers, no memory of ours.
        let result =
            unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.ruleset.as_raw_fd(), 0_u32) };
        if result == 0 { Ok(()) } else { Err(Error::Enter(io::Error::last_os_error())) }
    }

    fn allow(&self, path: &Path, access: u64) -> Result<(), Error> {
        let opened = |errno: rustix::io::Errno| Error::Open { path: path.to_owned(), source: errno.into() };
        let target = rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(opened)?;
        let stat = rustix::fs::fstat(&target).map_err(opened)?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let allowed_access = if is_directory { access } else { access & access::OF_FILES };
        let rule = PathBeneathAttr { allowed_access, parent_fd: target.as_raw_fd() };
        // SAFETY: `rule` has the layout of the kernel's struct and lives across the call; both descriptors are open.
        let result = unsafe {
            let fd = self.ruleset.as_raw_fd();
            libc::syscall(libc::SYS_landlock_add_rule, fd, RULE_PATH_BENEATH, &raw const rule, 0_u32)
        };
        if result == 0 {
            return Ok(());
        }
        Err(Error::Rule { path: path.to_owned(), source: io::Error::last_os_error() })
    }
}

fn create(handled_access_fs: u64, scoped: bool) -> Result<OwnedFd, Error> {
    let attr =
        RulesetAttr { handled_access_fs, handled_access_net: 0, scoped: if scoped { SCOPES } else { 0 } };
    // SAFETY: `attr` lives across the call and its size is told. The kernel makes the descriptor close-on-exec.
    let fd = unsafe {
        libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attr, size_of::<RulesetAttr>(), 0_u32)
    };
    if fd < 0 {
        return Err(Error::Create(io::Error::last_os_error()));
    }
    let fd = i32::try_from(fd).expect("descriptors are ints");
    // SAFETY: the kernel just made this descriptor and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
