//! Every system call by name: its number on each architecture and what becomes of it.
//!
//! Numbers are those of Linux 6.17 (`asm/unistd_64.h` and `asm-generic/unistd.h`). What is not
//! here is answered as if the kernel did not have it: calls newer than the table, and those that Linux dropped or never
//! had behind their number (`getpmsg`, `tuxcall`, `create_module`, `epoll_ctl_old` ...).
//!
//! To add a call: put it in its group, with both numbers, and its reason if it is refused for a reason that its neighbours
//! do not share. A test holds the numbers to the headers of the machine.

use super::rules::Rule;
use super::{Action, Arch};

/// One system call.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// Its name in the kernel.
    pub name: &'static str,
    x86_64: u16,
    aarch64: u16,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// What becomes of a call before its arguments are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The same whatever the arguments.
    Do(Action),
    /// Allowed if the rule says so, else refused.
    If(Rule),
}

/// Numbers that share a verdict, from `first` up to the next range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u32,
    pub(super) verdict: Verdict,
}

/// `__X32_SYSCALL_BIT`: from here on `x86_64` numbers are those of the x32 ABI. The last number of all, -1, is not: a
/// tracer uses it for "skip", old `configure` scripts for "no such call", and the kernel answers `ENOSYS`.
pub(super) const X32_FIRST: u32 = 0x4000_0000;

impl Call {
    /// Its number, if the architecture has it.
    #[must_use]
    pub fn number(&self, arch: Arch) -> Option<u32> {
        let number = match arch {
            Arch::X86_64 => self.x86_64,
            Arch::Aarch64 => self.aarch64,
        };
        (number != NONE).then_some(u32::from(number))
    }
}

/// The verdict on a number below the x32 range.
pub(super) fn verdict(arch: Arch, number: u32) -> Verdict {
    CALLS.iter().find(|call| call.number(arch) == Some(number)).map_or(ABSENT, |call| call.verdict)
}

/// All 32-bit numbers, as ranges in rising order; neighbours differ.
pub(super) fn ranges(arch: Arch) -> Vec<Range> {
    let mut known: Vec<_> =
        CALLS.iter().filter_map(|call| Some((call.number(arch)?, call.verdict))).collect();
    known.sort_unstable_by_key(|&(number, _)| number);
    let mut ranges = Vec::with_capacity(known.len());
    let mut next = 0;
    for (number, verdict) in known {
        if number > next {
            extend(&mut ranges, next, ABSENT);
        }
        extend(&mut ranges, number, verdict);
        next = number + 1;
    }
    extend(&mut ranges, next, ABSENT);
    if arch == Arch::X86_64 {
        extend(&mut ranges, X32_FIRST, Verdict::Do(Action::Kill));
        extend(&mut ranges, u32::MAX, ABSENT);
    }
    ranges
}

fn extend(ranges: &mut Vec<Range>, first: u32, verdict: Verdict) {
    if ranges.last().is_none_or(|last| last.verdict != verdict) {
        ranges.push(Range { first, verdict });
    }
}

const fn call(name: &'static str, x86_64: u16, aarch64: u16, verdict: Verdict) -> Call {
    Call { name, x86_64, aarch64, verdict }
}

/// The architecture does not have the call.
const NONE: u16 = u16::MAX;
const ALLOW: Verdict = Verdict::Do(Action::Allow);
const REFUSE: Verdict = Verdict::Do(Action::Refuse);
const ABSENT: Verdict = Verdict::Do(Action::Absent);
use Verdict::If;

/// The table.
pub const CALLS: &[Call] = &[
    // Allowed for some arguments.
    call("clone", 56, 220, If(Rule::NoNamespaces)),
    call("ioctl", 16, 29, If(Rule::NoTerminalInjection)),
    call("ioprio_set", 251, 30, If(Rule::IoPriorityOfSelf)),
    call("mknod", 133, NONE, If(Rule::NoDeviceMknod)),
    call("mknodat", 259, 33, If(Rule::NoDeviceMknodat)),
    call("personality", 135, 92, If(Rule::DefaultPersonality)),
    call("prctl", 157, 167, If(Rule::NoCoreScheduling)),
    call("prlimit64", 302, 261, If(Rule::OnSelf)),
    call("sched_setaffinity", 203, 122, If(Rule::OnSelf)),
    call("sched_setattr", 314, 274, If(Rule::OnSelf)),
    call("sched_setparam", 142, 118, If(Rule::OnSelf)),
    call("sched_setscheduler", 144, 119, If(Rule::OnSelf)),
    call("setpriority", 141, 140, If(Rule::PriorityOfSelf)),
    call("socket", 41, 198, If(Rule::OrdinarySocket)),
    call("socketpair", 53, 199, If(Rule::OrdinarySocket)),
    // As if the kernel did not have them: `clone3` hides its flags behind a pointer, and libraries fall back to
    // `clone`; the other two tell what /proc/self/mountinfo may not, and libmount falls back to that.
    call("clone3", 435, 435, ABSENT),
    call("listmount", 458, 458, ABSENT),
    call("statmount", 457, 457, ABSENT),
    // Refused.
    call("acct", 163, 89, REFUSE),
    call("add_key", 248, 217, REFUSE),
    call("adjtimex", 159, 171, REFUSE),
    call("bpf", 321, 280, REFUSE),
    call("chroot", 161, 51, REFUSE),
    call("clock_adjtime", 305, 266, REFUSE),
    call("clock_settime", 227, 112, REFUSE),
    call("delete_module", 176, 106, REFUSE),
    call("fanotify_init", 300, 262, REFUSE),
    call("fanotify_mark", 301, 263, REFUSE),
    call("finit_module", 313, 273, REFUSE),
    call("fsconfig", 431, 431, REFUSE),
    call("fsmount", 432, 432, REFUSE),
    call("fsopen", 430, 430, REFUSE),
    call("fspick", 433, 433, REFUSE),
    call("get_mempolicy", 239, 236, REFUSE),
    call("init_module", 175, 105, REFUSE),
    call("io_uring_enter", 426, 426, REFUSE),
    call("io_uring_register", 427, 427, REFUSE),
    call("io_uring_setup", 425, 425, REFUSE),
    call("ioperm", 173, NONE, REFUSE),
    call("iopl", 172, NONE, REFUSE),
    call("kcmp", 312, 272, REFUSE),
    call("kexec_file_load", 320, 294, REFUSE),
    call("kexec_load", 246, 104, REFUSE),
    call("keyctl", 250, 219, REFUSE),
    call("lookup_dcookie", 212, 18, REFUSE),
    call("lsm_get_self_attr", 459, 459, REFUSE),
    call("lsm_list_modules", 461, 461, REFUSE),
    call("lsm_set_self_attr", 460, 460, REFUSE),
    call("mbind", 237, 235, REFUSE),
    call("memfd_secret", 447, 447, REFUSE),
    call("migrate_pages", 256, 238, REFUSE),
    call("modify_ldt", 154, NONE, REFUSE),
    call("mount", 165, 40, REFUSE),
    call("mount_setattr", 442, 442, REFUSE),
    call("move_mount", 429, 429, REFUSE),
    call("move_pages", 279, 239, REFUSE),
    call("name_to_handle_at", 303, 264, REFUSE),
    call("nfsservctl", 180, 42, REFUSE),
    call("open_by_handle_at", 304, 265, REFUSE),
    call("open_tree", 428, 428, REFUSE),
    call("open_tree_attr", 467, 467, REFUSE),
    call("perf_event_open", 298, 241, REFUSE),
    call("pidfd_getfd", 438, 438, REFUSE),
    call("pivot_root", 155, 41, REFUSE),
    call("process_madvise", 440, 440, REFUSE),
    call("process_vm_readv", 310, 270, REFUSE),
    call("process_vm_writev", 311, 271, REFUSE),
    call("ptrace", 101, 117, REFUSE),
    call("quotactl", 179, 60, REFUSE),
    call("quotactl_fd", 443, 443, REFUSE),
    call("reboot", 169, 142, REFUSE),
    call("request_key", 249, 218, REFUSE),
    call("set_mempolicy", 238, 237, REFUSE),
    call("set_mempolicy_home_node", 450, 450, REFUSE),
    call("setdomainname", 171, 162, REFUSE),
    call("sethostname", 170, 161, REFUSE),
    call("setns", 308, 268, REFUSE),
    call("settimeofday", 164, 170, REFUSE),
    call("swapoff", 168, 225, REFUSE),
    call("swapon", 167, 224, REFUSE),
    call("sysfs", 139, NONE, REFUSE),
    call("syslog", 103, 116, REFUSE),
    call("umount2", 166, 39, REFUSE),
    call("unshare", 272, 97, REFUSE),
    call("uselib", 134, NONE, REFUSE),
    call("userfaultfd", 323, 282, REFUSE),
    call("ustat", 136, NONE, REFUSE),
    call("vhangup", 153, 58, REFUSE),
    // Allowed.
    call("accept", 43, 202, ALLOW),
    call("accept4", 288, 242, ALLOW),
    call("access", 21, NONE, ALLOW),
    call("alarm", 37, NONE, ALLOW),
    call("arch_prctl", 158, NONE, ALLOW),
    call("bind", 49, 200, ALLOW),
    call("brk", 12, 214, ALLOW),
    call("cachestat", 451, 451, ALLOW),
    call("capget", 125, 90, ALLOW),
    call("capset", 126, 91, ALLOW),
    call("chdir", 80, 49, ALLOW),
    call("chmod", 90, NONE, ALLOW),
    call("chown", 92, NONE, ALLOW),
    call("clock_getres", 229, 114, ALLOW),
    call("clock_gettime", 228, 113, ALLOW),
    call("clock_nanosleep", 230, 115, ALLOW),
    call("close", 3, 57, ALLOW),
    call("close_range", 436, 436, ALLOW),
    call("connect", 42, 203, ALLOW),
    call("copy_file_range", 326, 285, ALLOW),
    call("creat", 85, NONE, ALLOW),
    call("dup", 32, 23, ALLOW),
    call("dup2", 33, NONE, ALLOW),
    call("dup3", 292, 24, ALLOW),
    call("epoll_create", 213, NONE, ALLOW),
    call("epoll_create1", 291, 20, ALLOW),
    call("epoll_ctl", 233, 21, ALLOW),
    call("epoll_pwait", 281, 22, ALLOW),
    call("epoll_pwait2", 441, 441, ALLOW),
    call("epoll_wait", 232, NONE, ALLOW),
    call("eventfd", 284, NONE, ALLOW),
    call("eventfd2", 290, 19, ALLOW),
    call("execve", 59, 221, ALLOW),
    call("execveat", 322, 281, ALLOW),
    call("exit", 60, 93, ALLOW),
    call("exit_group", 231, 94, ALLOW),
    call("faccessat", 269, 48, ALLOW),
    call("faccessat2", 439, 439, ALLOW),
    call("fadvise64", 221, 223, ALLOW),
    call("fallocate", 285, 47, ALLOW),
    call("fchdir", 81, 50, ALLOW),
    call("fchmod", 91, 52, ALLOW),
    call("fchmodat", 268, 53, ALLOW),
    call("fchmodat2", 452, 452, ALLOW),
    call("fchown", 93, 55, ALLOW),
    call("fchownat", 260, 54, ALLOW),
    call("fcntl", 72, 25, ALLOW),
    call("fdatasync", 75, 83, ALLOW),
    call("fgetxattr", 193, 10, ALLOW),
    call("flistxattr", 196, 13, ALLOW),
    call("flock", 73, 32, ALLOW),
    call("fork", 57, NONE, ALLOW),
    call("fremovexattr", 199, 16, ALLOW),
    call("fsetxattr", 190, 7, ALLOW),
    call("fstat", 5, 80, ALLOW),
    call("fstatfs", 138, 44, ALLOW),
    call("fsync", 74, 82, ALLOW),
    call("ftruncate", 77, 46, ALLOW),
    call("futex", 202, 98, ALLOW),
    call("futex_requeue", 456, 456, ALLOW),
    call("futex_wait", 455, 455, ALLOW),
    call("futex_waitv", 449, 449, ALLOW),
    call("futex_wake", 454, 454, ALLOW),
    call("futimesat", 261, NONE, ALLOW),
    call("get_robust_list", 274, 100, ALLOW),
    call("getcpu", 309, 168, ALLOW),
    call("getcwd", 79, 17, ALLOW),
    call("getdents", 78, NONE, ALLOW),
    call("getdents64", 217, 61, ALLOW),
    call("getegid", 108, 177, ALLOW),
    call("geteuid", 107, 175, ALLOW),
    call("getgid", 104, 176, ALLOW),
    call("getgroups", 115, 158, ALLOW),
    call("getitimer", 36, 102, ALLOW),
    call("getpeername", 52, 205, ALLOW),
    call("getpgid", 121, 155, ALLOW),
    call("getpgrp", 111, NONE, ALLOW),
    call("getpid", 39, 172, ALLOW),
    call("getppid", 110, 173, ALLOW),
    call("getpriority", 140, 141, ALLOW),
    call("getrandom", 318, 278, ALLOW),
    call("getresgid", 120, 150, ALLOW),
    call("getresuid", 118, 148, ALLOW),
    call("getrlimit", 97, 163, ALLOW),
    call("getrusage", 98, 165, ALLOW),
    call("getsid", 124, 156, ALLOW),
    call("getsockname", 51, 204, ALLOW),
    call("getsockopt", 55, 209, ALLOW),
    call("gettid", 186, 178, ALLOW),
    call("gettimeofday", 96, 169, ALLOW),
    call("getuid", 102, 174, ALLOW),
    call("getxattr", 191, 8, ALLOW),
    call("getxattrat", 464, 464, ALLOW),
    call("inotify_add_watch", 254, 27, ALLOW),
    call("inotify_init", 253, NONE, ALLOW),
    call("inotify_init1", 294, 26, ALLOW),
    call("inotify_rm_watch", 255, 28, ALLOW),
    call("io_cancel", 210, 3, ALLOW),
    call("io_destroy", 207, 1, ALLOW),
    call("io_getevents", 208, 4, ALLOW),
    call("io_pgetevents", 333, 292, ALLOW),
    call("io_setup", 206, 0, ALLOW),
    call("io_submit", 209, 2, ALLOW),
    call("ioprio_get", 252, 31, ALLOW),
    call("kill", 62, 129, ALLOW),
    call("landlock_add_rule", 445, 445, ALLOW),
    call("landlock_create_ruleset", 444, 444, ALLOW),
    call("landlock_restrict_self", 446, 446, ALLOW),
    call("lchown", 94, NONE, ALLOW),
    call("lgetxattr", 192, 9, ALLOW),
    call("link", 86, NONE, ALLOW),
    call("linkat", 265, 37, ALLOW),
    call("listen", 50, 201, ALLOW),
    call("listxattr", 194, 11, ALLOW),
    call("listxattrat", 465, 465, ALLOW),
    call("llistxattr", 195, 12, ALLOW),
    call("lremovexattr", 198, 15, ALLOW),
    call("lseek", 8, 62, ALLOW),
    call("lsetxattr", 189, 6, ALLOW),
    call("lstat", 6, NONE, ALLOW),
    call("madvise", 28, 233, ALLOW),
    call("map_shadow_stack", 453, 453, ALLOW),
    call("membarrier", 324, 283, ALLOW),
    call("memfd_create", 319, 279, ALLOW),
    call("mincore", 27, 232, ALLOW),
    call("mkdir", 83, NONE, ALLOW),
    call("mkdirat", 258, 34, ALLOW),
    call("mlock", 149, 228, ALLOW),
    call("mlock2", 325, 284, ALLOW),
    call("mlockall", 151, 230, ALLOW),
    call("mmap", 9, 222, ALLOW),
    call("mprotect", 10, 226, ALLOW),
    call("mq_getsetattr", 245, 185, ALLOW),
    call("mq_notify", 244, 184, ALLOW),
    call("mq_open", 240, 180, ALLOW),
    call("mq_timedreceive", 243, 183, ALLOW),
    call("mq_timedsend", 242, 182, ALLOW),
    call("mq_unlink", 241, 181, ALLOW),
    call("mremap", 25, 216, ALLOW),
    call("mseal", 462, 462, ALLOW),
    call("msgctl", 71, 187, ALLOW),
    call("msgget", 68, 186, ALLOW),
    call("msgrcv", 70, 188, ALLOW),
    call("msgsnd", 69, 189, ALLOW),
    call("msync", 26, 227, ALLOW),
    call("munlock", 150, 229, ALLOW),
    call("munlockall", 152, 231, ALLOW),
    call("munmap", 11, 215, ALLOW),
    call("nanosleep", 35, 101, ALLOW),
    call("newfstatat", 262, 79, ALLOW),
    call("open", 2, NONE, ALLOW),
    call("openat", 257, 56, ALLOW),
    call("openat2", 437, 437, ALLOW),
    call("pause", 34, NONE, ALLOW),
    call("pidfd_open", 434, 434, ALLOW),
    call("pidfd_send_signal", 424, 424, ALLOW),
    call("pipe", 22, NONE, ALLOW),
    call("pipe2", 293, 59, ALLOW),
    call("pkey_alloc", 330, 289, ALLOW),
    call("pkey_free", 331, 290, ALLOW),
    call("pkey_mprotect", 329, 288, ALLOW),
    call("poll", 7, NONE, ALLOW),
    call("ppoll", 271, 73, ALLOW),
    call("pread64", 17, 67, ALLOW),
    call("preadv", 295, 69, ALLOW),
    call("preadv2", 327, 286, ALLOW),
    call("process_mrelease", 448, 448, ALLOW),
    call("pselect6", 270, 72, ALLOW),
    call("pwrite64", 18, 68, ALLOW),
    call("pwritev", 296, 70, ALLOW),
    call("pwritev2", 328, 287, ALLOW),
    call("read", 0, 63, ALLOW),
    call("readahead", 187, 213, ALLOW),
    call("readlink", 89, NONE, ALLOW),
    call("readlinkat", 267, 78, ALLOW),
    call("readv", 19, 65, ALLOW),
    call("recvfrom", 45, 207, ALLOW),
    call("recvmmsg", 299, 243, ALLOW),
    call("recvmsg", 47, 212, ALLOW),
    call("remap_file_pages", 216, 234, ALLOW),
    call("removexattr", 197, 14, ALLOW),
    call("removexattrat", 466, 466, ALLOW),
    call("rename", 82, NONE, ALLOW),
    call("renameat", 264, 38, ALLOW),
    call("renameat2", 316, 276, ALLOW),
    call("restart_syscall", 219, 128, ALLOW),
    call("rmdir", 84, NONE, ALLOW),
    call("rseq", 334, 293, ALLOW),
    call("rt_sigaction", 13, 134, ALLOW),
    call("rt_sigpending", 127, 136, ALLOW),
    call("rt_sigprocmask", 14, 135, ALLOW),
    call("rt_sigqueueinfo", 129, 138, ALLOW),
    call("rt_sigreturn", 15, 139, ALLOW),
    call("rt_sigsuspend", 130, 133, ALLOW),
    call("rt_sigtimedwait", 128, 137, ALLOW),
    call("rt_tgsigqueueinfo", 297, 240, ALLOW),
    call("sched_get_priority_max", 146, 125, ALLOW),
    call("sched_get_priority_min", 147, 126, ALLOW),
    call("sched_getaffinity", 204, 123, ALLOW),
    call("sched_getattr", 315, 275, ALLOW),
    call("sched_getparam", 143, 121, ALLOW),
    call("sched_getscheduler", 145, 120, ALLOW),
    call("sched_rr_get_interval", 148, 127, ALLOW),
    call("sched_yield", 24, 124, ALLOW),
    call("seccomp", 317, 277, ALLOW),
    call("select", 23, NONE, ALLOW),
    call("semctl", 66, 191, ALLOW),
    call("semget", 64, 190, ALLOW),
    call("semop", 65, 193, ALLOW),
    call("semtimedop", 220, 192, ALLOW),
    call("sendfile", 40, 71, ALLOW),
    call("sendmmsg", 307, 269, ALLOW),
    call("sendmsg", 46, 211, ALLOW),
    call("sendto", 44, 206, ALLOW),
    call("set_robust_list", 273, 99, ALLOW),
    call("set_tid_address", 218, 96, ALLOW),
    call("setfsgid", 123, 152, ALLOW),
    call("setfsuid", 122, 151, ALLOW),
    call("setgid", 106, 144, ALLOW),
    call("setgroups", 116, 159, ALLOW),
    call("setitimer", 38, 103, ALLOW),
    call("setpgid", 109, 154, ALLOW),
    call("setregid", 114, 143, ALLOW),
    call("setresgid", 119, 149, ALLOW),
    call("setresuid", 117, 147, ALLOW),
    call("setreuid", 113, 145, ALLOW),
    call("setrlimit", 160, 164, ALLOW),
    call("setsid", 112, 157, ALLOW),
    call("setsockopt", 54, 208, ALLOW),
    call("setuid", 105, 146, ALLOW),
    call("setxattr", 188, 5, ALLOW),
    call("setxattrat", 463, 463, ALLOW),
    call("shmat", 30, 196, ALLOW),
    call("shmctl", 31, 195, ALLOW),
    call("shmdt", 67, 197, ALLOW),
    call("shmget", 29, 194, ALLOW),
    call("shutdown", 48, 210, ALLOW),
    call("sigaltstack", 131, 132, ALLOW),
    call("signalfd", 282, NONE, ALLOW),
    call("signalfd4", 289, 74, ALLOW),
    call("splice", 275, 76, ALLOW),
    call("stat", 4, NONE, ALLOW),
    call("statfs", 137, 43, ALLOW),
    call("statx", 332, 291, ALLOW),
    call("symlink", 88, NONE, ALLOW),
    call("symlinkat", 266, 36, ALLOW),
    call("sync", 162, 81, ALLOW),
    call("sync_file_range", 277, 84, ALLOW),
    call("syncfs", 306, 267, ALLOW),
    call("sysinfo", 99, 179, ALLOW),
    call("tee", 276, 77, ALLOW),
    call("tgkill", 234, 131, ALLOW),
    call("time", 201, NONE, ALLOW),
    call("timer_create", 222, 107, ALLOW),
    call("timer_delete", 226, 111, ALLOW),
    call("timer_getoverrun", 225, 109, ALLOW),
    call("timer_gettime", 224, 108, ALLOW),
    call("timer_settime", 223, 110, ALLOW),
    call("timerfd_create", 283, 85, ALLOW),
    call("timerfd_gettime", 287, 87, ALLOW),
    call("timerfd_settime", 286, 86, ALLOW),
    call("times", 100, 153, ALLOW),
    call("tkill", 200, 130, ALLOW),
    call("truncate", 76, 45, ALLOW),
    call("umask", 95, 166, ALLOW),
    call("uname", 63, 160, ALLOW),
    call("unlink", 87, NONE, ALLOW),
    call("unlinkat", 263, 35, ALLOW),
    call("uprobe", 336, NONE, ALLOW),
    call("uretprobe", 335, NONE, ALLOW),
    call("utime", 132, NONE, ALLOW),
    call("utimensat", 280, 88, ALLOW),
    call("utimes", 235, NONE, ALLOW),
    call("vfork", 58, NONE, ALLOW),
    call("vmsplice", 278, 75, ALLOW),
    call("wait4", 61, 260, ALLOW),
    call("waitid", 247, 95, ALLOW),
    call("write", 1, 64, ALLOW),
    call("writev", 20, 66, ALLOW),
];
