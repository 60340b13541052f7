//! Mounting, with the flags that a sandbox always wants.
//!
//! Paths may be relative: the root file system is built from within its own directory. Every error carries
//! what was being mounted where, since an errno from `mount(2)` alone tells nobody anything.
#![expect(unsafe_code, reason = "mount_setattr has no wrapper in rustix")]

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsmount, fsopen, mount, mount_bind_recursive, mount_change,
    move_mount, open_tree, unmount,
};

/// A mount that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what} {target}")]
pub struct Error {
    /// What was tried: "bind /usr on", "mount tmpfs on"…
    what: String,
    /// Where.
    target: String,
    #[source]
    source: Errno,
}

impl Error {
    /// What the kernel said.
    #[must_use]
    pub fn errno(&self) -> Errno {
        self.source
    }
}

/// The result of this module's operations.
pub type Result<T> = std::result::Result<T, Error>;

fn describe<T>(result: rustix::io::Result<T>, what: impl Into<String>, target: &str) -> Result<T> {
    result.map_err(|source| Error { what: what.into(), target: target.to_owned(), source })
}

/// How a bound tree may be used. Devices and setuid programs never work in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nothing under it can be changed.
    ReadOnly,
    /// Whoever may write there by ownership may write.
    ReadWrite,
}

/// Nothing mounted from now on shows outside, and nothing outside shows here.
///
/// # Errors
/// The kernel's refusal.
pub fn make_private() -> Result<()> {
    let flags = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    describe(mount_change("/", flags), "make private", "/")
}

/// A new tmpfs of at most `size_bytes` and `inodes`, with `mode` on its root.
///
/// # Errors
/// The kernel's refusal.
pub fn tmpfs(target: &str, size_bytes: u64, inodes: u64, mode: u32) -> Result<()> {
    let data = format!("size={size_bytes},nr_inodes={inodes},mode={mode:o}");
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    describe(mount("tmpfs", target, "tmpfs", flags, &*c_string(&data)), "mount tmpfs on", target)
}

/// A fresh procfs of our PID namespace, detached; to be handed to [`attach_as_is`].
///
/// Has to be made while another whole procfs can be seen, that is before the old root is dropped.
///
/// # Errors
/// The kernel's refusal: `EPERM` where parts of the outer /proc are hidden (nested containers).
pub fn proc() -> Result<OwnedFd> {
    let made = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC).and_then(|context| {
        fsconfig_create(context.as_fd())?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    });
    describe(made, "make a procfs for", "/proc")
}

/// Pseudo-terminals of its own, `most` at once: the kernel's bound is one for the whole host.
///
/// # Errors
/// The kernel's refusal.
pub fn devpts(target: &str, most: u32) -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let data = format!("newinstance,ptmxmode=0666,mode=0620,max={most}");
    describe(mount("devpts", target, "devpts", flags, &*c_string(&data)), "mount devpts on", target)
}

/// An overlay of `upper` over `lower`; `work` lies beside `upper`. All must be paths without `,` or `:`.
///
/// # Errors
/// The kernel's refusal.
pub fn overlay(target: &str, lower: &str, upper: &str, work: &str) -> Result<()> {
    let data = format!("lowerdir={lower},upperdir={upper},workdir={work},userxattr");
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    describe(mount("overlay", target, "overlay", flags, &*c_string(&data)), "mount overlay on", target)
}

/// A read-only overlay of `lowers`, the first on top. All must be paths without `,` or `:`.
///
/// # Errors
/// The kernel's refusal; `EPERM` in a user namespace before Linux 5.11.
pub fn overlay_read_only(target: &str, lowers: &[&str]) -> Result<()> {
    let data = format!("lowerdir={},userxattr", lowers.join(":"));
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::RDONLY;
    describe(mount("overlay", target, "overlay", flags, &*c_string(&data)), "mount overlay on", target)
}

/// Shows the tree at `source`, with all mounted below it, at `target`.
///
/// # Errors
/// The kernel's refusal; `ENOENT` when either does not exist.
pub fn bind(source: &str, target: &str, access: Access) -> Result<()> {
    describe(mount_bind_recursive(source, target), format!("bind {source} on"), target)?;
    let attributes = match access {
        Access::ReadOnly => libc::MOUNT_ATTR_RDONLY,
        Access::ReadWrite => 0,
    };
    set_attributes(target, attributes | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV, true)
}

/// Binds without touching flags: devices, which `nodev` would break.
///
/// # Errors
/// The kernel's refusal.
pub fn bind_device(source: &str, target: &str) -> Result<()> {
    describe(mount_bind_recursive(source, target), format!("bind {source} on"), target)
}

/// Makes the one mount at `target` read-only.
///
/// # Errors
/// The kernel's refusal.
pub fn seal(target: &str) -> Result<()> {
    set_attributes(target, libc::MOUNT_ATTR_RDONLY, false)
}

/// Has the ids of the detached `tree` translated by the user namespace behind `userns`; all of it or nothing. Needs real
/// root over the file system. `source` is for the error alone.
///
/// # Errors
/// The kernel's refusal: `EINVAL` when a file system in it cannot translate ids.
pub fn translate_ids(tree: &OwnedFd, userns: impl AsFd, source: &str) -> Result<()> {
    let attr = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(userns.as_fd().as_raw_fd()).expect("descriptors are not negative"),
    };
    let flags = libc::AT_EMPTY_PATH | libc::AT_RECURSIVE;
    describe(mount_setattr(tree.as_raw_fd(), c"", flags, &attr), "translate ids of", source)
}

/// A detached copy of the tree at `source`, with all mounted below it, to be handed to [`attach`].
///
/// # Errors
/// The kernel's refusal; `ENOENT` when there is none.
pub fn clone_tree(source: &str) -> Result<OwnedFd> {
    clone(source, OpenTreeFlags::AT_RECURSIVE)
}

/// The same without what is mounted below it.
///
/// # Errors
/// As [`clone_tree`]; `EINVAL` where that was mounted by somebody with more authority, who may have meant to cover something.
pub fn clone_file_system(source: &str) -> Result<OwnedFd> {
    clone(source, OpenTreeFlags::empty())
}

fn clone(source: &str, how: OpenTreeFlags) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | how;
    describe(open_tree(CWD, source, flags), "clone the tree at", source)
}

/// The same of an open directory, which may be open for its path alone.
///
/// # Errors
/// The kernel's refusal; `EINVAL` when it was opened in another mount namespace.
pub fn clone_open_tree(directory: impl AsFd, source: &str) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    describe(open_tree(directory, "", flags), "clone the tree at", source)
}

/// Puts a detached mount at `target`, its flags untouched: for devices, which `nodev` would break, and for what was
/// made with its flags.
///
/// # Errors
/// The kernel's refusal.
pub fn attach_as_is(mount: impl AsFd, target: &str) -> Result<()> {
    let moved = move_mount(mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
    describe(moved, "attach a mount at", target)
}

/// Puts a detached tree at `target`.
///
/// # Errors
/// The kernel's refusal.
pub fn attach(tree: impl AsFd, target: &str, access: Access) -> Result<()> {
    let moved = move_mount(tree, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
    describe(moved, "attach a tree at", target)?;
    let attributes = match access {
        Access::ReadOnly => libc::MOUNT_ATTR_RDONLY,
        Access::ReadWrite => 0,
    };
    set_attributes(target, attributes | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV, true)
}

/// Takes the mount at `target` away, now or when its last user leaves.
///
/// # Errors
/// The kernel's refusal.
pub fn detach(target: &str) -> Result<()> {
    describe(unmount(target, UnmountFlags::DETACH), "detach", target)
}

/// Makes the current directory, a mount point, the root, and drops the old root and all under it.
///
/// # Errors
/// The kernel's refusal.
pub fn pivot_here() -> Result<()> {
    // With both arguments ".", the old root lands on top of the new one and is what "." then detaches.
    describe(rustix::process::pivot_root(".", "."), "pivot to", ".")?;
    describe(unmount(".", UnmountFlags::DETACH), "drop the old root at", ".")?;
    describe(rustix::process::chdir("/"), "enter", "/")
}

fn set_attributes(target: &str, set: u64, recursive: bool) -> Result<()> {
    let attr = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    describe(mount_setattr(libc::AT_FDCWD, &c_string(target), flags, &attr), "set flags of", target)
}

fn mount_setattr(
    dir: libc::c_int,
    path: &std::ffi::CStr,
    flags: libc::c_int,
    attr: &libc::mount_attr,
) -> rustix::io::Result<()> {
    // SAFETY: `path` is null-terminated and `attr` a live struct of the size given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir,
            path.as_ptr(),
            flags,
            std::ptr::from_ref(attr),
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 {
        return Ok(());
    }
    Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO))
}

fn c_string(text: &str) -> CString {
    CString::new(text).expect("mount arguments are built here, from checked paths")
}
