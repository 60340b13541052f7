//! The Landlock fence, asked of the kernel: children enter one prepared ruleset and try.

#![expect(unsafe_code, reason = "raw calls between fork and exit")]
#![expect(clippy::print_stdout, reason = "skips and counts are told to whoever reads the test's output")]

mod forked;

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;
use sandkeep_sandbox::caps;
use sandkeep_sandbox::fence::{self, Error, Fence, Openings, Prepared, Scope};

/// A tree with `read`, `write` and `secret` directories, each with a file `f`.
struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for name in ["read", "write", "secret"] {
            std::fs::create_dir(dir.path().join(name)).expect("mkdir");
            std::fs::write(dir.path().join(name).join("f"), name).expect("write");
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// The fence of most cases, or `None` (printed) on a machine without Landlock.
fn fence(tree: &Tree, scope: Scope) -> Option<Fence> {
    let (read, write) = (tree.path("read"), tree.path("write"));
    let read_exec = [read.as_path(), Path::new("/usr"), Path::new("/bin"), Path::new("/etc/passwd")];
    let openings = Openings { read_exec: &read_exec, read_write: &[&write, Path::new("/dev/null")], scope };
    match Fence::prepare(&openings).expect("rules for paths that exist") {
        Prepared::Ready(fence) => Some(fence),
        Prepared::Absent(cause) => {
            println!("SKIPPED: {cause}");
            None
        }
    }
}

/// As an execution does: without capabilities, `PERFMON` among which reads any environment.
fn enter(fence: &Fence) {
    caps::hold(caps::NONE).expect("giving up is free");
    caps::set_no_new_privs().expect("no_new_privs");
    fence.enter().expect("enter");
}

fn open(path: &Path, flags: OFlags) -> Result<(), Errno> {
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o600)).map(drop)
}

#[test]
fn files_are_as_listed() {
    let tree = Tree::new();
    let Some(fence) = fence(&tree, Scope::Sandbox) else { return };
    println!("Landlock ABI {}", fence.abi());
    let (read, write) = (OFlags::RDONLY, OFlags::WRONLY);
    let create = write | OFlags::CREATE;
    let denied = Err(Errno::ACCESS);
    let rows = [
        (tree.path("read/f"), read, Ok(())),
        (tree.path("read"), read | OFlags::DIRECTORY, Ok(())),
        (tree.path("read/f"), write, denied),
        (tree.path("read/new"), create, denied),
        (tree.path("write/f"), write | OFlags::TRUNC, Ok(())),
        (tree.path("write/new"), create, Ok(())),
        (tree.path("write/../secret/f"), read, denied),
        (tree.path("secret/f"), read, denied),
        (tree.path("secret"), read | OFlags::DIRECTORY, denied),
        (PathBuf::from("/etc/passwd"), read, Ok(())),
        (PathBuf::from("/etc/passwd"), write, denied),
        (PathBuf::from("/etc/hostname"), read, denied),
        (PathBuf::from("/dev/null"), write, Ok(())),
        (PathBuf::from("/dev/zero"), read, denied),
        (PathBuf::from("/proc/self/status"), read, denied),
        (PathBuf::from("/"), read | OFlags::DIRECTORY, denied),
    ];
    // Twice: one fence serves any number of children.
    for _ in 0..2 {
        let failing = forked::first_failing(
            || enter(&fence),
            &rows,
            |(path, flags, expect)| open(path, *flags) == *expect,
        );
        assert_eq!(failing.map(|row| &rows[row]), None);
    }
}

#[test]
fn links_renames_and_devices_do_not_get_around_it() {
    let tree = Tree::new();
    let Some(fence) = fence(&tree, Scope::Sandbox) else { return };
    std::os::unix::fs::symlink(tree.path("secret/f"), tree.path("write/symlink")).expect("symlink");
    let path = |name: &str| tree.path(name);
    let (secret, stolen, symlink) = (path("secret/f"), path("write/stolen"), path("write/symlink"));
    let (moved, node, own) = (path("read/moved"), path("write/node"), path("write/f"));
    let status = forked::in_child(|| {
        enter(&fence);
        let null = rustix::fs::makedev(1, 3);
        let cases = [
            open(&symlink, OFlags::RDONLY) == Err(Errno::ACCESS),
            rustix::fs::linkat(CWD, &secret, CWD, &stolen, AtFlags::empty()).is_err(),
            rustix::fs::rename(&secret, &stolen).is_err(),
            rustix::fs::rename(&own, &moved).is_err(),
            rustix::fs::unlink(&secret).is_err(),
            rustix::fs::mknodat(CWD, &node, FileType::CharacterDevice, Mode::RUSR, null).is_err(),
        ];
        cases.iter().position(|held| !held).map_or(0, |case| i32::try_from(case).expect("few") + 1)
    });
    assert_eq!(status.code(), Some(0), "case");
    assert!(tree.path("secret/f").exists() && tree.path("write/f").exists());
}

#[test]
fn the_world_outside_cannot_be_traced_nor_mounts_changed() {
    let tree = Tree::new();
    let all = Openings { read_exec: &[], read_write: &[Path::new("/")], scope: Scope::Sandbox };
    let Prepared::Ready(fence) = Fence::prepare(&all).expect("rules") else { return };
    let parent = format!("/proc/{}", std::process::id());
    let (environ, fds, memory) =
        (format!("{parent}/environ"), format!("{parent}/fd"), format!("{parent}/mem"));
    let target =
        std::ffi::CString::new(tree.path("write").into_os_string().into_encoded_bytes()).expect("no nul");
    let status = forked::in_child(|| {
        // SAFETY: one thread; nothing of ours needs the old mount namespace.
        let own_mounts = unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0;
        if open(Path::new(&environ), OFlags::RDONLY).is_err() {
            return 1;
        }
        // With all capabilities, so that it is the fence that refuses to mount.
        caps::set_no_new_privs().expect("no_new_privs");
        fence.enter().expect("enter");
        // SAFETY: pointers to strings that live across the call.
        let mounted = own_mounts
            && unsafe {
                libc::mount(c"none".as_ptr(), target.as_ptr(), c"tmpfs".as_ptr(), 0, std::ptr::null())
            } == 0;
        caps::hold(caps::NONE).expect("giving up is free");
        let closed = [&environ, &memory]
            .iter()
            .all(|file| open(Path::new(file), OFlags::RDONLY) == Err(Errno::ACCESS));
        let listed = std::fs::read_link(format!("{fds}/0")).is_ok();
        i32::from(!closed) * 2 + i32::from(listed) * 4 + i32::from(mounted) * 8
    });
    assert_eq!(status.code(), Some(0), "1 before, 2 open, 4 listed, 8 mounted");
}

/// Signals and abstract sockets end at the execution under `Scope::Execution` only; from outside they always arrive.
#[test]
fn scope_is_what_was_asked() {
    let tree = Tree::new();
    let name = format!("sandkeep-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let listener = UnixListener::bind_addr(&address).expect("bind");
    for scope in [Scope::Execution, Scope::Sandbox] {
        let Some(fence) = fence(&tree, scope) else { return };
        if scope == Scope::Execution && !fence.is_scoped() {
            println!("SKIPPED: ABI {} has no scopes", fence.abi());
            continue;
        }
        let us = std::process::id();
        let status = forked::in_child(|| {
            enter(&fence);
            // SAFETY: signal 0 only asks.
            let signalled = unsafe { libc::kill(libc::pid_t::try_from(us).expect("a pid"), 0) } == 0;
            let connected = UnixStream::connect_addr(&address).is_ok();
            // SAFETY: the child signals itself, which is inside.
            let itself = unsafe { libc::kill(libc::getpid(), 0) } == 0;
            i32::from(signalled) + i32::from(connected) * 2 + i32::from(!itself) * 4
        });
        let expect = if scope == Scope::Execution { 0 } else { 3 };
        assert_eq!(status.code(), Some(expect), "{scope:?}: 1 signalled, 2 connected, 4 not even itself");
    }
    drop(listener);
    // A fenced child that waits for ever is ended by us, who stand outside.
    let Some(fence) = fence(&tree, Scope::Execution) else { return };
    // SAFETY: the child only pauses.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        enter(&fence);
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    }
    let mut status = 0;
    // SAFETY: `pid` is our child and `status` is writable.
    unsafe {
        assert_eq!(libc::kill(pid, libc::SIGKILL), 0);
        assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
    }
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL);
}

#[test]
fn two_executions_are_strangers() {
    let tree = Tree::new();
    let all = Openings { read_exec: &[], read_write: &[Path::new("/")], scope: Scope::Sandbox };
    let Prepared::Ready(fence) = Fence::prepare(&all).expect("rules") else { return };
    let (reader, writer) = std::io::pipe().expect("pipe");
    // SAFETY: the child enters, says so and pauses.
    let first = unsafe { libc::fork() };
    if first == 0 {
        enter(&fence);
        rustix::io::write(&writer, b"in").expect("the parent reads");
        loop {
            // SAFETY: waits for a signal.
            unsafe { libc::pause() };
        }
    }
    let mut word = [0; 2];
    rustix::io::read(&reader, &mut word).expect("the child is in");
    let environ = format!("/proc/{first}/environ");
    let status = forked::in_child(|| {
        enter(&fence);
        i32::from(open(Path::new(&environ), OFlags::RDONLY) != Err(Errno::ACCESS))
    });
    // SAFETY: our child.
    unsafe {
        libc::kill(first, libc::SIGKILL);
        libc::waitpid(first, std::ptr::null_mut(), 0);
    }
    assert_eq!(status.code(), Some(0));
    drop(tree);
}

#[test]
fn errors_name_the_path_and_the_step() {
    if let Err(cause) = fence::abi() {
        println!("SKIPPED: {cause}");
        return;
    }
    let missing = Path::new("/nowhere/at/all");
    let openings = Openings { read_exec: &[missing], read_write: &[], scope: Scope::Sandbox };
    match Fence::prepare(&openings) {
        Err(Error::Open { path, .. }) => assert_eq!(path, missing),
        other => panic!("{other:?}"),
    }
    let Some(fence) = fence(&Tree::new(), Scope::Sandbox) else { return };
    let status = forked::in_child(|| {
        let gave_up = caps::hold(caps::NONE).is_ok();
        i32::from(!(gave_up && matches!(fence.enter(), Err(Error::Enter(_)))))
    });
    assert_eq!(status.code(), Some(0), "entering needs no_new_privs or SYS_ADMIN");
}
