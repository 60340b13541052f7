//! The floor: what the kernel takes for a sandbox like ours, when nothing else is done.
//!
//! One process makes one child per round: `clone3` into the same seven namespaces, the same mounts, groups, ids,
//! capabilities, Landlock rules and a filter of the same length, and then `execve`. There is no supervisor, no agent,
//! no protocol, no accounting: whatever Sandkeep takes above this is Sandkeep's own.
//!
//! `floor serve [PROGRAM]` does one round per line on standard input and answers each with nanoseconds, so that the
//! benchmark can interleave it with everything else; PROGRAM is a path inside (default `/usr/bin/true`), or `static`
//! for the static one beside this file. `floor ROUNDS [PROGRAM]` prints the lowest and the median.
//! C-like on purpose: raw calls, no allocation in the child, the first failure ends the program with its name.

mod filter;
mod groups;
mod inside;
mod sys;

use std::io::{BufRead as _, Write as _};
use std::time::Instant;

use groups::Groups;
use inside::Target;

/// Everything that is prepared once, as Sandkeep prepares it once.
struct Floor {
    target: Target,
    groups: Groups,
    filter: Vec<libc::sock_filter>,
    root: bool,
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mode = args.next().unwrap_or_default();
    let program = args.next().unwrap_or_else(|| "/usr/bin/true".to_owned());
    let floor = Floor {
        target: Target::from_argument(&program),
        groups: Groups::prepare(),
        filter: filter::program(),
        // SAFETY: asks for a number.
        root: unsafe { libc::geteuid() } == 0,
    };
    match (mode.as_str(), mode.parse::<usize>()) {
        ("serve", _) => serve(&floor),
        (_, Ok(rounds)) if rounds > 0 => measure(&floor, rounds),
        _ => {
            eprintln!("usage: floor serve|ROUNDS [PROGRAM|static]");
            std::process::exit(2);
        }
    }
    floor.groups.remove();
}

fn serve(floor: &Floor) {
    let stdout = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        if line.is_err() {
            return;
        }
        let took = floor.round();
        let mut out = stdout.lock();
        if writeln!(out, "{took}").and_then(|()| out.flush()).is_err() {
            return;
        }
    }
}

fn measure(floor: &Floor, rounds: usize) {
    let mut took: Vec<u64> = (0..rounds).map(|_| floor.round()).collect();
    took.sort_unstable();
    println!("min {} us, median {} us", took[0] / 1000, took[rounds / 2] / 1000);
}

impl Floor {
    /// One sandbox with one program in it, from nothing to reaped; nanoseconds.
    fn round(&self) -> u64 {
        let begun = Instant::now();
        let [output, output_theirs] = sys::pipe();
        let [go, go_theirs] = sys::pair();
        let pid = sys::clone(sys::NAMESPACES);
        if pid == 0 {
            sys::close(go);
            sys::close(output);
            inside::become_program(
                &self.target,
                &self.groups,
                &self.filter,
                go_theirs,
                output_theirs,
                self.root,
            )
        }
        sys::close(go_theirs);
        sys::close(output_theirs);
        write_maps(pid, self.root);
        sys::write(go, b"g");
        sys::drain(output);
        sys::close(output);
        sys::close(go);
        let status = sys::wait(pid);
        assert!(status == 0, "a round of the floor failed: wait status {status:#x}");
        u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// One write each, as ours: 65,536 ids from a base that nobody uses, or the one we have.
fn write_maps(pid: i32, root: bool) {
    let file = |name: &str| format!("/proc/{pid}/{name}\0");
    // SAFETY: ask for numbers.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let (uids, gids) = if root {
        let range = "0 1000000000 65536".to_owned();
        (range.clone(), range)
    } else {
        sys::write_file(file("setgroups").as_bytes(), b"deny");
        (format!("1000 {uid} 1"), format!("1000 {gid} 1"))
    };
    sys::write_file(file("uid_map").as_bytes(), uids.as_bytes());
    sys::write_file(file("gid_map").as_bytes(), gids.as_bytes());
}
