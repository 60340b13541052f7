//! The filter, twice: its BPF run here against hand-written tables and against `decision`, and the kernel's
//! own answers in forked children.

#![expect(unsafe_code, reason = "raw system calls are what is tested")]

mod bpf;
mod forked;

use std::collections::HashMap;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::Command;

use sandkeep_sandbox::caps;
use sandkeep_sandbox::seccomp::{self, Action, Arch, CALLS, Memory, Program, Verdict};

use Action::{Absent, Allow, Kill, Refuse};

const ARCHES: [Arch; 2] = [Arch::X86_64, Arch::Aarch64];
/// A low half that says one thing and a high half that says another.
const HIGH: u64 = 1 << 32;

fn number(arch: Arch, name: &str) -> Option<u32> {
    CALLS.iter().find(|call| call.name == name).unwrap_or_else(|| panic!("no call {name}")).number(arch)
}

fn args<const N: usize>(given: [u64; N]) -> [u64; 6] {
    let mut all = [0; 6];
    all[..N].copy_from_slice(&given);
    all
}

/// What calls must come to, written by hand: the specification of the specification.
fn expectations() -> Vec<(&'static str, [u64; 6], Action)> {
    let minus_one = u64::MAX;
    let mut rows = Vec::new();
    let plain =
        |names: &[&'static str], action| names.iter().map(|n| (*n, [0; 6], action)).collect::<Vec<_>>();
    rows.extend(plain(
        &["read", "write", "execve", "futex", "kill", "openat", "mmap", "seccomp", "rseq"],
        Allow,
    ));
    rows.extend(plain(&["mount", "umount2", "pivot_root", "fsopen", "move_mount", "open_tree"], Refuse));
    rows.extend(plain(&["mount_setattr", "open_tree_attr", "unshare", "setns", "chroot", "ptrace"], Refuse));
    rows.extend(plain(
        &["bpf", "keyctl", "add_key", "request_key", "userfaultfd", "perf_event_open"],
        Refuse,
    ));
    rows.extend(plain(&["io_uring_setup", "io_uring_enter", "io_uring_register", "kexec_load"], Refuse));
    rows.extend(plain(&["process_vm_readv", "process_vm_writev", "process_madvise", "kcmp"], Refuse));
    rows.extend(plain(&["pidfd_getfd", "name_to_handle_at", "open_by_handle_at", "memfd_secret"], Refuse));
    rows.extend(plain(&["mbind", "set_mempolicy", "migrate_pages", "move_pages", "syslog", "acct"], Refuse));
    rows.extend(plain(&["clone3", "statmount", "listmount"], Absent));
    let mut add = |name, values: [u64; 6], action| rows.push((name, values, action));
    // Every namespace flag alone, hidden among thread flags, and in the half that the kernel drops.
    for flag in [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
        add("clone", args([flag]), Refuse);
        add("clone", args([flag | 0x3d_0f00 | 17]), Refuse);
        add("clone", args([flag | HIGH]), Refuse);
        add("clone", args([flag << 32 | 17]), Allow);
    }
    add("clone", args([0x3d_0f00]), Allow); // pthread_create
    for (persona, action) in [(0, Allow), (0xffff_ffff, Allow), (minus_one, Allow), (HIGH, Allow)] {
        add("personality", args([persona]), action);
    }
    for persona in [8, 0x2_0000, 0x4_0000, 0x40_0000, 0x4_0000 | HIGH] {
        add("personality", args([persona]), Refuse);
    }
    for name in ["socket", "socketpair"] {
        for (domain, kind, protocol, action) in SOCKETS {
            add(name, args([*domain, *kind, *protocol]), *action);
            add(name, args([*domain | HIGH, *kind | HIGH, *protocol | HIGH]), *action);
        }
    }
    for request in [0x5412, 0x541c, 0x5423] {
        for disguise in [request, request | HIGH, request | 0xffff_ffff_0000_0000] {
            add("ioctl", args([0, disguise]), Refuse);
        }
    }
    for request in [0x5401, 0x5413, 0x5410, 0x5421, 0x5412 << 32, 0] {
        add("ioctl", args([0x5412, request]), Allow);
    }
    for name in ["prlimit64", "sched_setaffinity", "sched_setscheduler", "sched_setparam", "sched_setattr"] {
        add(name, args([0, 7]), Allow);
        add(name, args([HIGH, 7]), Allow); // pid_t: the kernel sees 0
        for pid in [1, 4711, minus_one, 1 | HIGH] {
            add(name, args([pid, 7]), Refuse);
        }
    }
    for (which, who, action) in
        [(0, 0, Allow), (0, 1, Refuse), (1, 0, Refuse), (2, 0, Refuse), (2, 1000, Refuse)]
    {
        add("setpriority", args([which, who, 5]), action);
        add("ioprio_set", args([which + 1, who, 5]), action);
    }
    add("ioprio_set", args([0, 0]), Refuse);
    for (level, option, action) in
        [(1, 13, Refuse), (1 | HIGH, 13 | HIGH, Refuse), (1, 2, Allow), (6, 13, Allow), (41, 26, Allow)]
    {
        add("setsockopt", args([minus_one, level, option]), action);
    }
    add("prctl", args([38, 1]), Allow);
    add("prctl", args([62, 1]), Refuse);
    add("prctl", args([62 | HIGH, 1]), Refuse);
    for (mode, action) in [(0o644, Allow), (0o100_644, Allow), (0o010_644, Allow), (0o140_644, Allow)] {
        add("mknod", args([0, mode]), action);
        add("mknodat", args([0, 0, mode]), action);
    }
    for mode in [0o020_644, 0o060_644, 0o020_644 | HIGH, 0o060_644 | 0x10_0000] {
        add("mknod", args([0, mode]), Refuse);
        add("mknodat", args([0, 0, mode]), Refuse);
    }
    rows
}

/// Domain, type, protocol.
const SOCKETS: &[(u64, u64, u64, Action)] = &[
    (1, 1, 0, Allow),
    (1, 2, 0, Allow),
    (1, 5, 0, Allow),
    (1, 0o2_000_000 | 0o4_000 | 1, 0, Allow), // CLOEXEC, NONBLOCK
    (2, 1, 0, Allow),
    (2, 0o2_000_000 | 1, 6, Allow),
    (2, 2, 17, Allow),
    (2, 2, 1, Allow), // ping
    (10, 1, 6, Allow),
    (10, 2, 58, Allow),
    (2, 3, 0, Refuse), // raw
    (2, 3, 1, Refuse),
    (2, 0o4000 | 3, 255, Refuse),
    (10, 3, 58, Refuse),
    (2, 10, 0x300, Refuse), // SOCK_PACKET
    (2, 5, 132, Refuse),    // SCTP, both ways
    (2, 1, 132, Refuse),
    (2, 6, 33, Refuse),  // DCCP
    (2, 1, 262, Refuse), // MPTCP
    (2, 2, 136, Refuse), // UDP-Lite
    (2, 2, 115, Refuse), // L2TP
    (16, 3, 0, Allow),   // NETLINK_ROUTE
    (16, 2, 0, Allow),
    (16, 3, 4, Refuse),     // SOCK_DIAG
    (16, 3, 9, Refuse),     // AUDIT
    (16, 3, 12, Refuse),    // NETFILTER
    (16, 3, 15, Refuse),    // KOBJECT_UEVENT
    (16, 3, 16, Refuse),    // GENERIC
    (17, 3, 0x300, Refuse), // PACKET
    (40, 1, 0, Refuse),     // VSOCK
    (38, 5, 0, Refuse),     // ALG
    (31, 3, 0, Refuse),     // BLUETOOTH
    (29, 3, 1, Refuse),     // CAN
    (30, 5, 0, Refuse),     // TIPC
    (21, 5, 0, Refuse),     // RDS
    (15, 3, 2, Refuse),     // KEY
    (41, 2, 0, Refuse),     // KCM
    (43, 1, 0, Refuse),     // SMC
    (44, 3, 0, Refuse),     // XDP
    (0, 1, 0, Refuse),
    (0xffff_ffff, 1, 0, Refuse),
];

#[test]
fn tables_say_what_they_must() {
    for arch in ARCHES {
        for (name, args, action) in expectations() {
            let Some(nr) = number(arch, name) else { continue };
            assert_eq!(seccomp::decision_on(arch, nr, args), action, "{arch:?} {name} {args:x?}");
        }
        for nr in [472, 512, 600, 1000, 0x3fff_ffff, u32::MAX] {
            assert_eq!(seccomp::decision_on(arch, nr, [0; 6]), Absent, "{arch:?} {nr}");
        }
    }
    for nr in [0x4000_0000, 0x4000_0001, 0x4000_0208, 0x8000_0000, u32::MAX - 1] {
        assert_eq!(seccomp::decision_on(Arch::X86_64, nr, [0; 6]), Kill, "x32 {nr:#x}");
        assert_eq!(seccomp::decision_on(Arch::Aarch64, nr, [0; 6]), Absent, "no x32 there");
    }
}

#[test]
fn bpf_answers_as_the_tables_for_every_number() {
    let values =
        [0, 1, 2, 16, 62, 0x5412, 0x541c, 0x2_0000, 0o020_000, 0xffff_ffff, HIGH, HIGH | 1, u64::MAX];
    for arch in ARCHES {
        let program = Program::assemble(arch);
        let numbers = (0..600).chain([0x3fff_ffff, 0x4000_0000, 0x4000_0027, 0xffff_fffe, 0xffff_ffff]);
        for nr in numbers {
            for first in values {
                for second in values {
                    for third in [0, 1, 6, 132, 0o060_000] {
                        let args = args([first, second, third]);
                        let run = bpf::run(program.instructions(), &bpf::Call::on(arch, nr, args));
                        assert_eq!(
                            run.action,
                            seccomp::decision_on(arch, nr, args),
                            "{arch:?} {nr} {args:x?}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn bpf_answers_as_expected_and_kills_other_architectures() {
    for arch in ARCHES {
        let program = Program::assemble(arch);
        for (name, args, action) in expectations() {
            let Some(nr) = number(arch, name) else { continue };
            let run = bpf::run(program.instructions(), &bpf::Call::on(arch, nr, args));
            assert_eq!(run.action, action, "{arch:?} {name} {args:x?}");
        }
        // i386, arm, and each other.
        for foreign in [0x4000_0003, 0x4000_0028, 0xc000_003e, 0xc000_00b7, 0, u32::MAX] {
            for nr in (0..600).filter(|_| foreign != arch.audit()) {
                let call = bpf::Call { nr, arch: foreign, args: [0; 6] };
                assert_eq!(bpf::run(program.instructions(), &call).action, Kill);
            }
        }
    }
}

/// The kernel remembers a number as always allowed only if the program gets there without arguments.
#[test]
fn the_program_is_short_and_its_paths_are_too() {
    for arch in ARCHES {
        let program = Program::assemble(arch);
        let runs: Vec<_> =
            (0..472).map(|nr| bpf::run(program.instructions(), &bpf::Call::on(arch, nr, [0; 6]))).collect();
        let longest = runs.iter().map(|run| run.steps).max().unwrap();
        let total: usize = runs.iter().map(|run| run.steps).sum();
        let count = |action| {
            CALLS.iter().filter(|c| c.number(arch).is_some() && c.verdict == Verdict::Do(action)).count()
        };
        let conditional =
            CALLS.iter().filter(|c| c.number(arch).is_some() && matches!(c.verdict, Verdict::If(_))).count();
        println!(
            "{arch:?}: {} calls allowed, {conditional} by argument, {} refused, {} absent; {} instructions, longest path {longest}, mean {:.1}",
            count(Allow),
            count(Refuse),
            count(Absent),
            program.instructions().len(),
            total as f64 / runs.len() as f64,
        );
        assert!(
            program.instructions().len() < 300 && longest <= 20,
            "{} {longest}",
            program.instructions().len()
        );
        for call in CALLS.iter().filter(|call| call.verdict == Verdict::Do(Allow)) {
            let Some(nr) = call.number(arch) else { continue };
            let run = bpf::run(program.instructions(), &bpf::Call::on(arch, nr, [u64::MAX; 6]));
            assert!(run.action == Allow && !run.looked_at_arguments, "{} is not cached", call.name);
        }
    }
}

#[test]
fn names_and_numbers_occur_once() {
    for arch in ARCHES {
        let mut seen = HashMap::new();
        for call in CALLS {
            let Some(nr) = call.number(arch) else { continue };
            assert!(seen.insert(nr, call.name).is_none_or(|other| other == call.name), "{arch:?} {nr} twice");
        }
        let numbered = CALLS.iter().filter(|call| call.number(arch).is_some()).count();
        assert_eq!(numbered, seen.len());
    }
}

/// The table against the machine's kernel headers, where there are any. They may be older than the table.
#[test]
fn numbers_are_those_of_the_headers() {
    let headers = [
        (Arch::X86_64, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h", "__NR_"),
        (Arch::Aarch64, "/usr/include/asm-generic/unistd.h", "__NR_"),
    ];
    for (arch, path, prefix) in headers {
        let Ok(text) = std::fs::read_to_string(path) else {
            println!("SKIPPED {arch:?}: no {path}");
            continue;
        };
        let define = |line: &str| {
            let mut words = line.strip_prefix("#define ")?.split_whitespace();
            // asm-generic calls the ones that differ between 32 and 64 bits __NR3264_*.
            let name = words.next()?.replace("__NR3264_", "__NR_");
            Some((name.strip_prefix(prefix)?.to_owned(), words.next()?.parse::<u32>().ok()?))
        };
        let known: HashMap<String, u32> = text.lines().filter_map(define).collect();
        assert!(known.len() > 250, "{path} has {} numbers", known.len());
        let renamed = |name: &str| match name {
            "newfstatat" if arch == Arch::Aarch64 => "fstatat".to_owned(),
            other => other.to_owned(),
        };
        let mut compared = 0;
        for call in CALLS {
            let (Some(ours), Some(&theirs)) = (call.number(arch), known.get(&renamed(call.name))) else {
                continue;
            };
            assert_eq!(ours, theirs, "{arch:?} {}", call.name);
            compared += 1;
        }
        println!("{arch:?}: {compared} numbers agree with {path}");
        assert!(compared > 250, "{arch:?}: only {compared} compared");
    }
}

fn enter_filter() {
    caps::set_no_new_privs().expect("no_new_privs");
    seccomp::program(Memory::Counted).install().expect("filter");
}

/// The error number of a raw call, 0 if it succeeded.
fn errno_of(nr: u32, args: [u64; 6]) -> i32 {
    // SAFETY: callers pass numbers for pointers only where the filter answers before the kernel looks, or null.
    let result =
        unsafe { libc::syscall(i64::from(nr), args[0], args[1], args[2], args[3], args[4], args[5]) };
    if result == -1 { std::io::Error::last_os_error().raw_os_error().unwrap_or(-1) } else { 0 }
}

#[test]
fn the_kernel_answers_eperm_and_enosys() {
    let mut rows = Vec::new();
    for call in CALLS {
        let Some(nr) = call.number(Arch::HOST) else { continue };
        match call.verdict {
            Verdict::Do(Refuse) => rows.push((call.name, nr, libc::EPERM)),
            Verdict::Do(Absent) => rows.push((call.name, nr, libc::ENOSYS)),
            Verdict::Do(Allow | Kill) | Verdict::If(_) => {}
        }
    }
    rows.extend([472, 500, 600, 4000].map(|nr| ("unknown", nr, libc::ENOSYS)));
    let failing = forked::first_failing(enter_filter, &rows, |&(_, nr, errno)| errno_of(nr, [0; 6]) == errno);
    assert_eq!(failing.map(|row| rows[row]), None);
}

/// Every refused row of the table by hand, asked of the kernel; allowed rows with arguments that do no harm.
#[test]
fn the_kernel_looks_at_arguments_as_we_do() {
    let mut rows: Vec<_> = expectations()
        .into_iter()
        .filter(|(.., action)| *action == Refuse)
        .filter_map(|(name, args, _)| Some((name, number(Arch::HOST, name)?, args, true)))
        .collect();
    let allowed = expectations().into_iter().filter(|(name, _, action)| {
        *action == Allow
            && ["socket", "setsockopt", "personality", "ioctl", "prlimit64", "prctl"].contains(name)
    });
    rows.extend(allowed.filter_map(|(name, args, _)| Some((name, number(Arch::HOST, name)?, args, false))));
    for part in rows.chunks(200) {
        let failing = forked::first_failing(enter_filter, part, |&(_, nr, args, refused)| {
            (errno_of(nr, args) == libc::EPERM) == refused
        });
        assert_eq!(failing.map(|row| part[row]), None);
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn other_call_tables_kill() {
    let quiet = || {
        sandkeep_sandbox::rlimit::Rlimits::default().apply();
        enter_filter();
    };
    let x32 = forked::in_child(|| {
        quiet();
        errno_of(0x4000_0000 | 39, [0; 6])
    });
    assert_eq!(x32.signal(), Some(libc::SIGSYS), "{x32}");
    let i386 = forked::in_child(|| {
        quiet();
        let mut result: i32 = 20; // getpid of i386
        // SAFETY: the 32-bit entry preserves all registers but the result and, on some kernels, r8 to r11.
        unsafe {
            std::arch::asm!("int 0x80", inout("eax") result, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
        }
        i32::from(result < 0)
    });
    assert_eq!(i386.signal(), Some(libc::SIGSYS), "{i386}");
}

#[test]
fn it_needs_no_new_privs_from_the_unprivileged() {
    let status = forked::in_child(|| {
        if caps::hold(caps::NONE).is_err() {
            return 1;
        }
        i32::from(seccomp::program(Memory::Watched).install().is_ok())
    });
    assert_eq!(status.code(), Some(0));
}

/// Real programs run under the filter; what is not installed is skipped by name.
#[test]
fn real_programs_work() {
    let threads = "import threading, subprocess, socket, asyncio, os, multiprocessing.pool as p\n\
        t=[threading.Thread(target=lambda: None) for _ in range(8)]\n\
        [x.start() for x in t]; [x.join() for x in t]\n\
        assert subprocess.check_output(['echo','hi']) == b'hi\\n'\n\
        a,b=socket.socketpair(); a.send(b'x'); assert b.recv(1)==b'x'\n\
        asyncio.run(asyncio.sleep(0)); os.nice(1); os.sched_setaffinity(0, os.sched_getaffinity(0))\n\
        print(p.ThreadPool(4).map(lambda v: v*v, range(4)))";
    let node = "const {Worker}=require('worker_threads'); const cp=require('child_process');\
        if (cp.execSync('echo hi')!='hi\\n') throw 1;\
        require('fs').readFile('/etc/hostname',()=>{ new Worker('1',{eval:true}).on('exit',c=>console.log('[0, 1, 4, 9]')) })";
    let shell = "mkfifo /tmp/sk-fifo-$$ && rm /tmp/sk-fifo-$$; (echo a; echo b) | sort -r | tr -d '\\n' >/dev/null; \
        nice -n 3 true && ionice -c 3 true && ulimit -n 512 && echo '[0, 1, 4, 9]'";
    for (program, arguments) in
        [("python3", ["-c", threads]), ("node", ["-e", node]), ("bash", ["-ec", shell])]
    {
        let mut command = Command::new(program);
        command.args(arguments);
        // SAFETY: only system calls and our modules between fork and exec, see their docs.
        unsafe {
            command.pre_exec(|| {
                enter_filter();
                Ok(())
            });
        }
        match command.output() {
            Ok(output) => {
                let (out, err) =
                    (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
                assert!(
                    output.status.success() && out == "[0, 1, 4, 9]\n",
                    "{program}: {}\n{out}{err}",
                    output.status
                );
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                println!("SKIPPED {program}: not installed")
            }
            Err(error) => panic!("{program}: {error}"),
        }
    }
}

#[test]
fn core_dumps_stay_off_and_may_be_asked_about() {
    let prlimit = |pid: u64, resource: u64, new: u64| {
        sandkeep_sandbox::seccomp::decision_on(Arch::X86_64, 302, [pid, resource, new, 0, 0, 0])
    };
    assert_eq!(prlimit(0, 7, 0x7fff_0000), Action::Allow, "other limits may be set");
    assert_eq!(prlimit(0, 4, 0), Action::Allow, "and this one asked for");
    assert_eq!(prlimit(0, 4, 0x7fff_0000), Action::Refuse);
    assert_eq!(prlimit(0, 4, 0x1_0000_0000), Action::Refuse, "a pointer whose low half is null is not null");
    assert_eq!(prlimit(1, 7, 0), Action::Refuse, "not of others");
    let setrlimit =
        |resource: u64| sandkeep_sandbox::seccomp::decision_on(Arch::X86_64, 160, [resource, 1, 0, 0, 0, 0]);
    assert_eq!((setrlimit(4), setrlimit(7)), (Action::Refuse, Action::Allow));
}

#[test]
fn memory_that_no_process_shows_is_not_there_where_it_is_only_watched() {
    use sandkeep_sandbox::seccomp::{CALLS, UNSEEN_MEMORY};
    let (counted, watched) =
        (Program::assemble(Arch::X86_64), Program::assemble_for(Arch::X86_64, Memory::Watched));
    assert_ne!(counted, watched);
    for name in UNSEEN_MEMORY {
        assert!(CALLS.iter().any(|call| call.name == *name), "{name} is in the table");
    }
}
