//! The bound on a PID namespace, run into.

#![expect(unsafe_code, reason = "fork has no safe form")]

mod forked;

use sandkeep_sandbox::pids;

const NO_NAMESPACE: i32 = 250;
const NO_BOUND: i32 = 251;

/// Forks sleepers in a PID namespace bound to `most` until the kernel refuses; a tenth of how many there were.
fn tenths_of_forks(most: u64) -> i32 {
    if rustix::process::geteuid().is_root() && !become_nobody() {
        return NO_NAMESPACE;
    }
    if !forked::become_inside_root() {
        return NO_NAMESPACE;
    }
    // SAFETY: one thread; the namespace is for the children.
    if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
        return NO_NAMESPACE;
    }
    // SAFETY: the child is process 1 there, and leaves by `_exit` alone; all its children end with it.
    unsafe {
        let first = libc::fork();
        if first == 0 {
            let Ok(bound) = pids::bound(most) else { libc::_exit(NO_BOUND) };
            if bound != most {
                libc::_exit(NO_BOUND);
            }
            let mut forks = 0;
            while forks < 2000 {
                match libc::fork() {
                    0 => loop {
                        libc::pause();
                    },
                    pid if pid > 0 => forks += 1,
                    _ => break,
                }
            }
            libc::_exit(forks / 10);
        }
        let mut status = 0;
        libc::waitpid(first, &raw mut status, 0);
        libc::WEXITSTATUS(status)
    }
}

/// The machine's root is refused, whatever it calls itself in a namespace.
fn become_nobody() -> bool {
    let (uid, gid) = (rustix::process::Uid::from_raw(65_534), rustix::process::Gid::from_raw(65_534));
    rustix::thread::set_thread_res_gid(gid, gid, gid).is_ok()
        && rustix::thread::set_thread_res_uid(uid, uid, uid).is_ok()
        && rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable).is_ok()
}

#[test]
fn no_more_processes_than_numbers() {
    const MOST: u64 = 700;
    let status = forked::in_child(|| tenths_of_forks(MOST));
    match status.code() {
        Some(NO_NAMESPACE) => println!("SKIPPED pids: this machine lets us make no namespace"),
        Some(NO_BOUND) => {
            println!("SKIPPED pids: this kernel has no pid_max per namespace, or a larger least")
        }
        // The first process has one of the 699 numbers.
        forks => assert_eq!(forks, Some(69)),
    }
}

#[test]
fn the_machines_own_number_is_not_touched() {
    let file = "/proc/sys/kernel/pid_max";
    let before = std::fs::read_to_string(file).expect("there is one");
    assert!(pids::bound(700).is_err());
    assert_eq!(std::fs::read_to_string(file).expect("as before"), before);
}

#[test]
fn every_process_has_a_number_with_one_to_spare() {
    assert_eq!(pids::room_for(256), 300 + 512 + 64);
    assert_eq!(pids::room_for(4_194_304), 4_194_304);
}
