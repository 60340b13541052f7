//! What capabilities, limits and keyring come to, read back from the kernel after a real exec.

#![expect(unsafe_code, reason = "the hooks between fork and exec have no safe form")]
#![expect(clippy::print_stdout, reason = "skips and counts are told to whoever reads the test's output")]

mod forked;

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sandkeep_sandbox::caps::{self, Caps};
use sandkeep_sandbox::keyring::{self, Joined};
use sandkeep_sandbox::rlimit::Rlimits;

/// Exit code of a child on a machine that lets us make no user namespace.
const NO_NAMESPACE: i32 = 77;

/// `/proc/self/status` of a program executed after `prepare` ran as root of a fresh user namespace; `None` (printed) where
/// there can be none.
fn status_after(
    prepare: impl Fn() -> Result<(), caps::Error> + Send + Sync + 'static,
    argv: &[&str],
) -> Option<String> {
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]);
    // SAFETY: between fork and exec only system calls and our own modules run, which do not allocate.
    unsafe {
        command.pre_exec(move || {
            if !forked::become_inside_root() {
                libc::_exit(NO_NAMESPACE);
            }
            prepare().map_err(|_| std::io::ErrorKind::Other.into())
        });
    }
    let output = command.output().expect("the program runs");
    if output.status.code() == Some(NO_NAMESPACE) {
        println!("SKIPPED: this machine lets us make no user namespace");
        return None;
    }
    assert!(output.status.success(), "{argv:?}: {output:?}");
    Some(String::from_utf8(output.stdout).expect("text"))
}

fn set_of(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
    u64::from_str_radix(line.trim_start_matches(':').trim(), 16).expect("hexadecimal")
}

fn check_sets(status: &str, expect: Caps) {
    for name in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(set_of(status, name), expect.bits(), "{name} in\n{status}");
    }
    for name in ["CapInh", "CapAmb"] {
        assert_eq!(set_of(status, name), 0, "{name} in\n{status}");
    }
    assert_eq!(set_of(status, "NoNewPrivs"), 1);
}

fn walls(keep: Caps) -> Result<(), caps::Error> {
    caps::bound(caps::ALL, keep)?;
    caps::hold(keep)?;
    caps::set_no_new_privs()
}

#[test]
fn strict_has_nothing_even_as_uid_0() {
    let Some(status) = status_after(|| walls(caps::NONE), &["cat", "/proc/self/status"]) else { return };
    check_sets(&status, caps::NONE);
}

#[test]
fn dev_root_has_exactly_its_set_after_one_exec_and_more() {
    // Numbers 0, 1, 3 to 7 and 10 of linux/capability.h.
    assert_eq!(caps::DEV_ROOT.bits(), 0x4fb);
    let chain = ["sh", "-c", "exec bash -c 'cat /proc/self/status; true'"];
    for argv in [&["cat", "/proc/self/status"][..], &chain[..]] {
        let Some(status) = status_after(|| walls(caps::DEV_ROOT), argv) else { return };
        check_sets(&status, caps::DEV_ROOT);
    }
}

#[test]
fn bounding_in_two_steps_is_bounding_in_one() {
    let twice = || {
        caps::bound(caps::ALL, caps::DEV_ROOT)?;
        caps::bound(caps::DEV_ROOT | Caps::SETPCAP, caps::NONE)?;
        caps::hold(caps::NONE)?;
        caps::set_no_new_privs()
    };
    let Some(status) = status_after(twice, &["cat", "/proc/self/status"]) else { return };
    check_sets(&status, caps::NONE);
}

#[test]
fn what_was_given_up_does_not_come_back() {
    let status = forked::in_child(|| {
        if !forked::become_inside_root() {
            return NO_NAMESPACE;
        }
        let gave_up = walls(caps::DEV_ROOT).is_ok();
        let more = caps::DEV_ROOT.union(Caps::SYS_ADMIN);
        let refused = matches!(caps::hold(more), Err(caps::Error::Hold(_)));
        let no_more_bounding =
            matches!(caps::bound(caps::ALL, caps::NONE), Err(caps::Error::Bound { number: 0, .. }));
        i32::from(!(gave_up && refused && no_more_bounding))
    });
    assert!(matches!(status.code(), Some(0 | NO_NAMESPACE)), "{status}");
}

#[test]
fn limits_are_set_hard_and_the_shortfall_is_named() {
    let asked = Rlimits { nofile: 200, fsize: Some(1 << 20), nproc: Some(50), ..Rlimits::default() };
    let read_back =
        |resource, value| getrlimit(resource) == Rlimit { current: Some(value), maximum: Some(value) };
    let status = forked::in_child(|| {
        if !asked.apply().is_empty() {
            return 1;
        }
        let pairs = [
            (Resource::Nofile, 200),
            (Resource::Fsize, 1 << 20),
            (Resource::Nproc, 50),
            (Resource::Core, 1),
            (Resource::Memlock, 64 << 10),
            (Resource::Rtprio, 0),
            (Resource::Nice, 0),
        ];
        if !pairs.iter().all(|&(resource, value)| read_back(resource, value)) {
            return 2;
        }
        // Without SYS_RESOURCE the limit cannot go up again, and the answer says which.
        if caps::hold(caps::NONE).is_err() {
            return 3;
        }
        let more = Rlimits { nofile: 4096, ..asked.clone() };
        if !more.apply().names().eq(["nofile"]) || !read_back(Resource::Nofile, 200) {
            return 4;
        }
        let raised = Rlimit { current: Some(300), maximum: Some(300) };
        if setrlimit(Resource::Nofile, raised).is_ok() { 5 } else { 0 }
    });
    assert_eq!(status.code(), Some(0), "step");
}

#[test]
fn the_session_keyring_is_a_new_one() {
    /// `KEYCTL_GET_KEYRING_ID` of the session keyring, without making one.
    fn session() -> i64 {
        // SAFETY: plain numbers.
        unsafe { libc::syscall(libc::SYS_keyctl, 0, -3, 0) }
    }
    let status = forked::in_child(|| {
        let before = session();
        match keyring::join_new() {
            Ok(Joined::Own) => i32::from(session() == before || session() < 0),
            Ok(Joined::Unavailable) => NO_NAMESPACE,
            Err(_) => 2,
        }
    });
    if status.code() == Some(NO_NAMESPACE) {
        println!("SKIPPED: no keyrings here");
        return;
    }
    assert_eq!(status.code(), Some(0));
}
