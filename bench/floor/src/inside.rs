//! The child, from fresh namespaces to the program: the same steps in the same order as Sandkeep's process 1 and
//! the child it forks, in one process.

use std::ffi::{CStr, CString};

use crate::groups::Groups;
use crate::sys;

/// What is executed.
pub(crate) enum Target {
    /// A path inside.
    Path(CString),
    /// A memory file with the static program that lies beside this one.
    Descriptor(i32),
}

impl Target {
    pub(crate) fn from_argument(argument: &str) -> Self {
        if argument != "static" {
            return Self::Path(CString::new(argument).expect("no NUL"));
        }
        let mut path = std::env::current_exe().expect("our own path");
        path.set_file_name("floor-true");
        let bytes = std::fs::read(&path).expect("floor-true lies beside floor");
        // From memory, which no Landlock rule has to let through.
        // SAFETY: a terminated name; the bytes are live.
        let opened = unsafe {
            let memory = libc::memfd_create(c"floor-true".as_ptr(), libc::MFD_CLOEXEC);
            sys::check(i64::from(memory), "memfd_create");
            libc::write(memory, bytes.as_ptr().cast(), bytes.len());
            memory
        };
        Self::Descriptor(opened)
    }

    fn exec(&self) -> ! {
        let argv = [c"true".as_ptr(), std::ptr::null()];
        let env = [c"PATH=/usr/bin:/bin".as_ptr(), std::ptr::null()];
        // SAFETY: terminated arrays of terminated strings.
        let failed = unsafe {
            match self {
                Self::Path(path) => i64::from(libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr())),
                Self::Descriptor(fd) => libc::syscall(
                    libc::SYS_execveat,
                    *fd,
                    c"".as_ptr(),
                    argv.as_ptr(),
                    env.as_ptr(),
                    libc::AT_EMPTY_PATH,
                ),
            }
        };
        sys::check(failed, "exec");
        unreachable!("exec returned success")
    }
}

pub(crate) fn become_program(
    target: &Target,
    groups: &Groups,
    filter: &[libc::sock_filter],
    go: i32,
    output: i32,
    root: bool,
) -> ! {
    sys::read_one(go);
    if root {
        ids(65_533);
    }
    // SAFETY: sets a number.
    unsafe { libc::umask(0) };
    build_root(root);
    // SAFETY: a name of the length given, no pointers otherwise.
    unsafe {
        sys::check(i64::from(libc::sethostname(c"sandbox".as_ptr(), 7)), "sethostname");
        loopback_up();
        libc::setsid();
        libc::syscall(libc::SYS_keyctl, 1, std::ptr::null::<libc::c_char>());
    }
    drop_bounding_set();
    let fence = fence();
    // From here on, what Sandkeep does for every execution.
    groups.enter();
    // SAFETY: plain numbers.
    unsafe {
        libc::umask(0o022);
        for resource in [libc::RLIMIT_NOFILE, libc::RLIMIT_CORE, libc::RLIMIT_MEMLOCK] {
            let limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            let limit = if resource == libc::RLIMIT_NOFILE {
                libc::rlimit { rlim_cur: 4096, rlim_max: 4096 }
            } else {
                limit
            };
            libc::setrlimit(resource, &raw const limit);
        }
        libc::dup2(output, 1);
        libc::dup2(output, 2);
        libc::syscall(libc::SYS_close_range, 3, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    }
    if root {
        ids(1000);
    }
    no_capabilities();
    sys::chdir(c"/workspace");
    enter_fence(fence);
    install(filter);
    target.exec()
}

fn ids(id: u32) {
    // SAFETY: plain numbers.
    unsafe {
        libc::syscall(libc::SYS_setgroups, 0, std::ptr::null::<libc::gid_t>());
        sys::check(i64::from(libc::setresgid(id, id, id)), "setresgid");
        // Changing ids clears the effective set unless it is kept; ours keeps authority the same way, by namespace.
        libc::prctl(libc::PR_SET_KEEPCAPS, 1);
        sys::check(i64::from(libc::setresuid(id, id, id)), "setresuid");
    }
    set_capabilities(u64::MAX >> 23);
}

const NOSUID_NODEV: u64 = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
const READ_ONLY: u64 = NOSUID_NODEV | libc::MOUNT_ATTR_RDONLY;
const TREES: [(&CStr, &CStr); 7] = [
    (c"/usr", c"usr"),
    (c"/bin", c"bin"),
    (c"/sbin", c"sbin"),
    (c"/lib", c"lib"),
    (c"/lib32", c"lib32"),
    (c"/lib64", c"lib64"),
    (c"/libx32", c"libx32"),
];
const DEVICES: [&CStr; 6] =
    [c"/dev/null", c"/dev/zero", c"/dev/full", c"/dev/random", c"/dev/urandom", c"/dev/tty"];
const MASKED_FILES: [&CStr; 11] = [
    c"/proc/interrupts",
    c"/proc/timer_stats",
    c"/proc/kcore",
    c"/proc/keys",
    c"/proc/latency_stats",
    c"/proc/timer_list",
    c"/proc/sched_debug",
    c"/proc/kallsyms",
    c"/proc/kmsg",
    c"/proc/kpagecount",
    c"/proc/kpageflags",
];
const MASKED_DIRS: [&CStr; 3] = [c"/proc/acpi", c"/proc/asound", c"/proc/scsi"];
const PROC_READ_ONLY: [&CStr; 5] =
    [c"/proc/bus", c"/proc/fs", c"/proc/irq", c"/proc/sys", c"/proc/sysrq-trigger"];

/// The strict profile's view of the host's own programs, mount for mount.
fn build_root(root: bool) {
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    sys::mount(c"none", c"/", c"", libc::MS_REC | libc::MS_PRIVATE, c"");
    let devices = DEVICES.map(sys::clone_tree);
    let etc = [(c"/etc/alternatives", true), (c"/etc/ld.so.cache", false)]
        .map(|(path, directory)| sys::exists(path).then(|| (path, directory, sys::clone_tree(path))));
    let proc = sys::new_proc();
    sys::mount(c"tmpfs", c"/tmp", c"tmpfs", flags, c"size=524288,nr_inodes=512,mode=755");
    sys::chdir(c"/tmp");
    sys::mkdir(c".data", 0o755);
    sys::mount(c"tmpfs", c".data", c"tmpfs", flags, c"size=134217728,nr_inodes=65536,mode=755");
    host_trees();
    pivot();
    sys::mkdir(c"/etc", 0o755);
    for (path, text) in [
        (
            &b"/etc/passwd\0"[..],
            &b"root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000:user:/home/user:/bin/bash\n"[..],
        ),
        (b"/etc/group\0", b"root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n"),
        (b"/etc/nsswitch.conf\0", b"passwd: files\ngroup: files\nhosts: files\n"),
        (b"/etc/hosts\0", b"127.0.0.1 localhost sandbox\n::1 localhost sandbox\n"),
        (b"/etc/hostname\0", b"sandbox\n"),
        (b"/etc/resolv.conf\0", b""),
    ] {
        sys::write_file(path, text);
    }
    for (path, directory, tree) in etc.into_iter().flatten() {
        if directory {
            sys::mkdir(path, 0o755)
        } else {
            sys::write_file(path.to_bytes_with_nul(), b"")
        }
        sys::attach(tree, path);
        sys::set_attributes(path, READ_ONLY, true);
    }
    writable(root);
    for (path, tree) in DEVICES.iter().zip(devices) {
        sys::write_file(path.to_bytes_with_nul(), b"");
        sys::attach(tree, path);
    }
    for (name, to) in [
        (c"/dev/fd", c"/proc/self/fd"),
        (c"/dev/stdin", c"/proc/self/fd/0"),
        (c"/dev/stdout", c"/proc/self/fd/1"),
        (c"/dev/stderr", c"/proc/self/fd/2"),
        (c"/dev/ptmx", c"pts/ptmx"),
    ] {
        sys::symlink(to, name);
    }
    sys::mkdir(c"/dev/pts", 0o755);
    let pts = c"newinstance,ptmxmode=0666,mode=0620";
    sys::mount(c"devpts", c"/dev/pts", c"devpts", libc::MS_NOSUID | libc::MS_NOEXEC, pts);
    masked_proc(proc);
    sys::set_attributes(c"/", libc::MOUNT_ATTR_RDONLY, false);
}

/// Through overlays, so that sockets and FIFOs in the host's trees are not the host's.
fn host_trees() {
    sys::mkdir(c".empty", 0o755);
    for (path, name) in TREES {
        let mut link = [0_u8; 256];
        // SAFETY: a terminated path; the last byte of the buffer stays NUL.
        let length = unsafe { libc::readlink(path.as_ptr(), link.as_mut_ptr().cast(), link.len() - 1) };
        if length > 0 {
            sys::symlink(CStr::from_bytes_until_nul(&link).expect("NUL at the end"), name);
        } else if sys::exists(path) {
            sys::mkdir(name, 0o755);
            let layers = format!("lowerdir={}:.empty,userxattr", path.to_str().expect("ASCII"));
            let layers = CString::new(layers).expect("no NUL");
            let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_RDONLY;
            sys::mount(c"overlay", name, c"overlay", flags, &layers);
        }
    }
    for hidden in [c"usr/local/etc", c"usr/src"] {
        if sys::exists(hidden) {
            sys::bind(c".empty", hidden, Some(READ_ONLY));
        }
    }
}

fn pivot() {
    // SAFETY: terminated paths.
    let moved = unsafe { libc::syscall(libc::SYS_pivot_root, c".".as_ptr(), c".".as_ptr()) };
    sys::check(moved, "pivot_root");
    sys::detach(c".");
    sys::chdir(c"/");
}

fn writable(root: bool) {
    sys::mkdir(c"/dev", 0o755);
    sys::mkdir(c"/home", 0o755);
    for (backing, target, mode, owned) in [
        (c"/.data/tmp", c"/tmp", 0o1777, false),
        (c"/.data/run", c"/run", 0o755, false),
        (c"/.data/shm", c"/dev/shm", 0o1777, false),
        (c"/.data/home", c"/home/user", 0o700, true),
        (c"/.data/workspace", c"/workspace", 0o755, true),
    ] {
        sys::mkdir(backing, mode);
        if owned && root {
            // SAFETY: a terminated path.
            sys::check(i64::from(unsafe { libc::chown(backing.as_ptr(), 1000, 1000) }), "chown");
        }
        sys::mkdir(target, 0o755);
        sys::bind(backing, target, Some(NOSUID_NODEV));
    }
    sys::detach(c"/.data");
    // Where the agent lays code and events.
    sys::mkdir(c"/run/sandkeep", 0o755);
    let flags = libc::MS_NOSUID | libc::MS_NODEV;
    sys::mount(c"tmpfs", c"/run/sandkeep", c"tmpfs", flags, c"size=67108864,nr_inodes=4096,mode=755");
}

fn masked_proc(proc: i32) {
    sys::mkdir(c"/proc", 0o755);
    sys::attach(proc, c"/proc");
    for file in MASKED_FILES.iter().filter(|file| sys::exists(file)) {
        sys::bind(c"/dev/null", file, None);
    }
    for directory in MASKED_DIRS.iter().filter(|directory| sys::exists(directory)) {
        let flags = libc::MS_NOSUID | libc::MS_NODEV;
        sys::mount(c"tmpfs", directory, c"tmpfs", flags, c"size=0,nr_inodes=1,mode=555");
    }
    for part in PROC_READ_ONLY.iter().filter(|part| sys::exists(part)) {
        sys::bind(part, part, Some(READ_ONLY));
    }
}

/// # Safety
/// None to speak of: calls with live structs.
unsafe fn loopback_up() {
    // SAFETY: ifreq is plain data; the ioctl reads one.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
        sys::check(i64::from(socket), "socket");
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l'.cast_signed();
        request.ifr_name[1] = b'o'.cast_signed();
        request.ifr_ifru.ifru_flags = 0x41; // IFF_UP | IFF_RUNNING
        sys::check(i64::from(libc::ioctl(socket, libc::SIOCSIFFLAGS, &raw const request)), "SIOCSIFFLAGS");
        libc::close(socket);
    }
}

fn drop_bounding_set() {
    for capability in 0..64 {
        // SAFETY: plain numbers; past the last capability the kernel says so.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            break;
        }
    }
}

fn no_capabilities() {
    // SAFETY: plain numbers.
    unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    }
    set_capabilities(0);
}

/// Effective and permitted become `set` (as far as permitted), inheritable becomes empty.
fn set_capabilities(set: u64) {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    let header = Header { version: 0x2008_0522, pid: 0 };
    let (low, high) = (set as u32, (set >> 32) as u32);
    let data = [low, low, 0, high, high, 0];
    // SAFETY: the layout of version 3: two sets of three words.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    sys::check(done, "capset");
}

/// Landlock: reading and executing everywhere, writing where writing is meant to be; -1 without Landlock.
fn fence() -> i32 {
    #[repr(C, packed)]
    struct Beneath {
        allowed: u64,
        parent: i32,
    }
    const READ_EXEC: u64 = 0b1101;
    const ALL: u64 = (1 << 13) - 1;
    let handled: [u64; 1] = [ALL];
    // SAFETY: live structs of the sizes given; terminated paths.
    unsafe {
        let ruleset = libc::syscall(libc::SYS_landlock_create_ruleset, handled.as_ptr(), 8_usize, 0);
        let Ok(ruleset) = i32::try_from(ruleset) else { return -1 };
        if ruleset < 0 {
            return -1;
        }
        let places = [c"/", c"/tmp", c"/run", c"/home", c"/workspace", c"/dev", c"/proc"];
        for (index, place) in places.into_iter().enumerate() {
            let parent = libc::open(place.as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
            let rule = Beneath { allowed: if index == 0 { READ_EXEC } else { ALL }, parent };
            sys::check(
                libc::syscall(libc::SYS_landlock_add_rule, ruleset, 1, &raw const rule, 0),
                "landlock_add_rule",
            );
            libc::close(parent);
        }
        ruleset
    }
}

fn enter_fence(ruleset: i32) {
    if ruleset >= 0 {
        // SAFETY: our own descriptor.
        sys::check(
            unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) },
            "landlock_restrict_self",
        );
    }
}

fn install(filter: &[libc::sock_filter]) {
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).expect("short"),
        filter: filter.as_ptr().cast_mut(),
    };
    // SAFETY: the program and its instructions are live; the kernel copies them.
    let done =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    sys::check(done, "seccomp");
}
