//! The system calls, each ending the program when it fails: a floor with a step missing would be a wrong floor.
#![allow(clippy::missing_safety_doc, reason = "a private module of raw calls")]

use std::ffi::CStr;

/// What a sandbox is made of.
pub(crate) const NAMESPACES: i32 = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP;

/// `value`, or the end: `what` and errno on standard error, status 99.
pub(crate) fn check(value: i64, what: &str) -> i64 {
    if value < 0 {
        eprintln!("floor: {what}: {}", std::io::Error::last_os_error());
        // SAFETY: ends the process.
        unsafe { libc::_exit(99) }
    }
    value
}

fn fd(value: i64) -> i32 {
    i32::try_from(value).expect("descriptors are small")
}

pub(crate) fn clone(namespaces: i32) -> i32 {
    // SAFETY: clone_args is plain integers; no stack and no CLONE_VM, so the child goes on with a copy of ours, and
    // this program has one thread.
    let pid = unsafe {
        let mut args: libc::clone_args = std::mem::zeroed();
        args.flags = u64::from(namespaces.unsigned_abs());
        args.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
        libc::syscall(libc::SYS_clone3, &raw mut args, size_of::<libc::clone_args>())
    };
    fd(check(pid, "clone3"))
}

pub(crate) fn wait(pid: i32) -> i32 {
    let mut status = 0;
    // SAFETY: the pointer is to a live local.
    check(i64::from(unsafe { libc::waitpid(pid, &raw mut status, 0) }), "waitpid");
    status
}

pub(crate) fn pipe() -> [i32; 2] {
    let mut ends = [0; 2];
    // SAFETY: room for two descriptors.
    check(i64::from(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) }), "pipe2");
    ends
}

pub(crate) fn pair() -> [i32; 2] {
    let mut ends = [0; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: room for two descriptors.
    check(i64::from(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) }), "socketpair");
    ends
}

pub(crate) fn close(descriptor: i32) {
    // SAFETY: our own descriptor.
    unsafe { libc::close(descriptor) };
}

/// Reads until the other end is closed.
pub(crate) fn drain(descriptor: i32) {
    let mut buffer = [0_u8; 4096];
    // SAFETY: the buffer is live and as long as said.
    while unsafe { libc::read(descriptor, buffer.as_mut_ptr().cast(), buffer.len()) } > 0 {}
}

pub(crate) fn read_one(descriptor: i32) {
    let mut byte = 0_u8;
    // SAFETY: one live byte.
    check(unsafe { libc::read(descriptor, (&raw mut byte).cast(), 1) } as i64, "read");
}

pub(crate) fn write(descriptor: i32, bytes: &[u8]) {
    // SAFETY: the bytes are live and as many as said.
    check(unsafe { libc::write(descriptor, bytes.as_ptr().cast(), bytes.len()) } as i64, "write");
}

/// Opens `path` (NUL at its end) for writing, writes once, closes.
pub(crate) fn write_file(path: &[u8], bytes: &[u8]) {
    let path = CStr::from_bytes_with_nul(path).expect("a NUL at the end");
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC | libc::O_CLOEXEC;
    // SAFETY: a terminated path.
    let opened = fd(check(i64::from(unsafe { libc::open(path.as_ptr(), flags, 0o644) }), "open for writing"));
    if !bytes.is_empty() {
        write(opened, bytes);
    }
    close(opened);
}

/// `mount(2)`.
pub(crate) fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: libc::c_ulong, data: &CStr) {
    // SAFETY: terminated strings.
    let done =
        unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) };
    check(i64::from(done), "mount");
}

/// A bind of `source` with `attributes` put on it in a second call, as ours.
pub(crate) fn bind(source: &CStr, target: &CStr, attributes: Option<u64>) {
    mount(source, target, c"", libc::MS_BIND | libc::MS_REC, c"");
    if let Some(attributes) = attributes {
        set_attributes(target, attributes, true);
    }
}

pub(crate) fn set_attributes(target: &CStr, set: u64, recursive: bool) {
    let attributes = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    let size = size_of::<libc::mount_attr>();
    // SAFETY: a terminated path, a live struct of the size given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            target.as_ptr(),
            flags,
            &raw const attributes,
            size,
        )
    };
    check(done, "mount_setattr");
}

pub(crate) fn clone_tree(source: &CStr) -> i32 {
    // OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE
    let flags = 1 | libc::O_CLOEXEC | libc::AT_RECURSIVE;
    // SAFETY: a terminated path.
    let tree = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, source.as_ptr(), flags) };
    fd(check(tree, "open_tree"))
}

pub(crate) fn attach(tree: i32, target: &CStr) {
    const EMPTY_PATH: i32 = 4;
    // SAFETY: terminated paths.
    let done = unsafe {
        libc::syscall(libc::SYS_move_mount, tree, c"".as_ptr(), libc::AT_FDCWD, target.as_ptr(), EMPTY_PATH)
    };
    check(done, "move_mount");
    close(tree);
}

/// A fresh procfs, not attached yet.
pub(crate) fn new_proc() -> i32 {
    const CMD_CREATE: i32 = 6;
    let attributes = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let null = std::ptr::null::<libc::c_char>();
    // SAFETY: terminated names, null where nothing is given.
    unsafe {
        let context = fd(check(libc::syscall(libc::SYS_fsopen, c"proc".as_ptr(), 1), "fsopen"));
        check(libc::syscall(libc::SYS_fsconfig, context, CMD_CREATE, null, null, 0), "fsconfig");
        let made = fd(check(libc::syscall(libc::SYS_fsmount, context, 1, attributes), "fsmount"));
        close(context);
        made
    }
}

pub(crate) fn mkdir(path: &CStr, mode: u32) {
    // SAFETY: a terminated path.
    check(i64::from(unsafe { libc::mkdir(path.as_ptr(), mode) }), "mkdir");
}

pub(crate) fn symlink(to: &CStr, path: &CStr) {
    // SAFETY: terminated paths.
    check(i64::from(unsafe { libc::symlink(to.as_ptr(), path.as_ptr()) }), "symlink");
}

pub(crate) fn chdir(path: &CStr) {
    // SAFETY: a terminated path.
    check(i64::from(unsafe { libc::chdir(path.as_ptr()) }), "chdir");
}

pub(crate) fn detach(path: &CStr) {
    // SAFETY: a terminated path.
    check(i64::from(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) }), "umount2");
}

pub(crate) fn exists(path: &CStr) -> bool {
    // SAFETY: a terminated path.
    unsafe { libc::access(path.as_ptr(), libc::F_OK) == 0 }
}
