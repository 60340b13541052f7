//! What each wall costs an execution, in microseconds: medians over forked children, each of which puts
//! them up once, in the order of a real execution. Run it with `--release`.

#![expect(unsafe_code, reason = "fork has no safe form")]
#![expect(clippy::print_stdout, reason = "it is a program that prints")]

use std::io::Read as _;
use std::path::Path;
use std::time::Instant;

use sandkeep_sandbox::fence::{Fence, Openings, Prepared, Scope};
use sandkeep_sandbox::rlimit::Rlimits;
use sandkeep_sandbox::seccomp::{self, Memory};
use sandkeep_sandbox::{caps, keyring};

const CHILDREN: usize = 500;
const CALLS: u32 = 200_000;
const STEPS: [&str; 9] = [
    "rlimits",
    "capability bounding set, from all",
    "capability sets",
    "no_new_privs",
    "Landlock, entering",
    "system call filter, installing",
    "getppid, ns",
    "ioctl (argument looked at), ns",
    "open+close of /etc/passwd, ns",
];

fn main() {
    let start = Instant::now();
    let program = seccomp::program(Memory::Counted);
    println!(
        "{:>9.2} us  system call filter, assembling ({} instructions)",
        micros(start),
        program.instructions().len()
    );
    let start = Instant::now();
    let joined = keyring::join_new();
    println!("{:>9.2} us  session keyring ({joined:?})", micros(start));
    let start = Instant::now();
    let openings = Openings {
        read_exec: &["/usr", "/etc", "/bin", "/lib"].map(Path::new),
        read_write: &["/tmp", "/dev", "/proc", "/home"].map(Path::new),
        scope: Scope::Sandbox,
    };
    let Ok(Prepared::Ready(fence)) = Fence::prepare(&openings) else {
        println!("no Landlock here");
        return;
    };
    println!("{:>9.2} us  Landlock, preparing eight rules (ABI {})", micros(start), fence.abi());
    let bare: Vec<_> = (0..20).map(|_| child(calls)).collect();
    let walled: Vec<_> = (0..CHILDREN).map(|n| child(|marks| walls(marks, &fence, n < 20))).collect();
    for (index, name) in STEPS.iter().enumerate() {
        let without =
            if index >= 6 { format!("  (without walls {:.0})", median(&bare, index)) } else { String::new() };
        println!("{:>9.2}     {name}{without}", median(&walled, index));
    }
}

type Marks = [f64; STEPS.len()];

fn walls(marks: &mut Marks, fence: &Fence, with_calls: bool) {
    let mut step = |index: usize, run: &mut dyn FnMut() -> bool| {
        let start = Instant::now();
        assert!(run(), "step {index}");
        marks[index] = micros(start);
    };
    step(0, &mut || Rlimits::default().apply().is_empty());
    step(1, &mut || caps::bound(caps::ALL, caps::NONE).is_ok());
    step(2, &mut || caps::hold(caps::NONE).is_ok());
    step(3, &mut || caps::set_no_new_privs().is_ok());
    step(4, &mut || fence.enter().is_ok());
    step(5, &mut || seccomp::program(Memory::Counted).install().is_ok());
    if with_calls {
        calls(marks);
    }
}

fn calls(marks: &mut Marks) {
    let mut each = |index: usize, times: u32, run: &dyn Fn()| {
        let start = Instant::now();
        (0..times).for_each(|_| run());
        marks[index] = micros(start) * 1000.0 / f64::from(times);
    };
    each(6, CALLS, &|| assert!(rustix::process::getppid().is_some()));
    each(7, CALLS, &|| {
        std::hint::black_box(rustix::io::ioctl_fionread(std::io::stdin())).ok();
    });
    each(8, CALLS / 10, &|| drop(std::fs::File::open("/etc/passwd")));
}

/// Runs `body` in a child and gets its marks back.
fn child(body: impl FnOnce(&mut Marks)) -> Marks {
    let (mut reader, mut writer) = std::io::pipe().expect("pipe");
    // SAFETY: this program has one thread.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork");
    if pid == 0 {
        let mut marks = [0.0; STEPS.len()];
        body(&mut marks);
        let bytes: Vec<u8> = marks.iter().flat_map(|mark| mark.to_ne_bytes()).collect();
        std::io::Write::write_all(&mut writer, &bytes).expect("the parent reads");
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    drop(writer);
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).expect("the child writes");
    // SAFETY: `pid` is our child.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    let mut marks =
        bytes.chunks_exact(8).map(|mark| f64::from_ne_bytes(mark.try_into().expect("eight bytes")));
    std::array::from_fn(|_| marks.next().expect("all marks"))
}

fn median(all: &[Marks], index: usize) -> f64 {
    let mut column: Vec<_> = all.iter().map(|marks| marks[index]).filter(|mark| *mark > 0.0).collect();
    column.sort_by(f64::total_cmp);
    column[column.len() / 2]
}

fn micros(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e6
}
