//! The system call filter: what code inside a sandbox may ask of the kernel.
//!
//! An allow-list. It starts from what the widely used container default allows and leaves out what foreign
//! code has no use for (`calls` has the table, one row per call; `rules` has the calls whose arguments are
//! looked at). The answers:
//!
//! | the call is | answer | why |
//! | --- | --- | --- |
//! | allowed | it runs | |
//! | known and refused | `EPERM` | programs report it as what it is |
//! | `clone3`, or any number the table does not know | `ENOSYS` | libraries then take their older path; `EPERM` breaks threads |
//! | made through another architecture (`int 0x80`), or with the x32 bit | the process is killed | no 64-bit program does it by accident, and every number means another call there |
//!
//! The program is classic BPF written by hand as a binary search over ranges of call numbers (`assemble`)
//! and not a list: the kernel walks the filter once per known number when it is installed, to remember which numbers are
//! always allowed (since 5.11 these never run the filter again), so the length of a path is paid some 900
//! times per installation. It uses only the instructions that this walk understands.
//!
//! `SECCOMP_FILTER_FLAG_SPEC_ALLOW` is left off. From 5.16 on it changes nothing unless the operator booted
//! with `spec_store_bypass_disable=seccomp` or `spectre_v2_user=seccomp`; before, its absence makes the
//! kernel put a branch-predictor barrier between this code and everybody else's, which is what hostile code deserves.
//!
//! Install it last: after ids, capabilities, `no_new_privs` and Landlock, right before exec.

#![expect(unsafe_code, reason = "neither std nor rustix has seccomp(2)")]

mod assemble;
mod calls;
mod rules;

use std::sync::LazyLock;

pub use assemble::Instruction;
pub use calls::{CALLS, Call, Verdict};
pub use rules::{Clause, Condition, Rule, Values};

/// Who counts the code's memory. (Both profiles use one program: what inside-root may do more than the user is decided by
/// its capabilities, and none of the refused calls is needed by a package manager.)
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// A control group: whatever holds it.
    Counted,
    /// A watch of the processes: what they can hold without its showing in them is not there for them (`ENOSYS`),
    /// memory files and System V objects.
    Watched,
}

/// Calls that make memory which no process has to show: see [`Memory::Watched`].
pub const UNSEEN_MEMORY: &[&str] = &["memfd_create", "shmget", "semget", "msgget"];

/// What happens to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The kernel runs it.
    Allow,
    /// It returns `EPERM`.
    Refuse,
    /// It returns `ENOSYS`, as on a kernel that never had it.
    Absent,
    /// The whole process is killed with `SIGSYS`.
    Kill,
}

/// An architecture the table has numbers for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// 64-bit x86 (with the x32 range fenced off).
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Arch {
    /// The one this program was built for.
    #[cfg(target_arch = "x86_64")]
    pub const HOST: Self = Self::X86_64;
    /// The one this program was built for.
    #[cfg(target_arch = "aarch64")]
    pub const HOST: Self = Self::Aarch64;

    /// `AUDIT_ARCH_*` of linux/audit.h: the ELF machine, 64-bit and little-endian flags.
    #[must_use]
    pub const fn audit(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::Aarch64 => 0xc000_00b7,
        }
    }
}

/// The filter refused to go in.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `EINVAL`: the kernel was built without `CONFIG_SECCOMP_FILTER`. `EACCES`: `no_new_privs` is not set.
    #[error("cannot install the system call filter")]
    Install(#[source] std::io::Error),
}

/// A finished filter, ready to be installed any number of times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    code: Box<[Instruction]>,
}

/// `struct sock_fprog` of linux/filter.h.
#[repr(C)]
struct SockFprog {
    len: u16,
    filter: *const Instruction,
}

impl Program {
    /// Assembles the filter for `arch`; for tests, which look at both. Everybody else uses [`program`].
    #[must_use]
    pub fn assemble(arch: Arch) -> Self {
        Self::assemble_for(arch, Memory::Counted)
    }

    /// The same, for code whose memory is counted by whom `memory` says.
    #[must_use]
    pub fn assemble_for(arch: Arch, memory: Memory) -> Self {
        let absent = match memory {
            Memory::Counted => &[],
            Memory::Watched => UNSEEN_MEMORY,
        };
        let code = assemble::assemble(arch.audit(), &calls::ranges(arch, absent));
        Self { code: code.into() }
    }

    /// The instructions, as the kernel gets them.
    #[must_use]
    pub fn instructions(&self) -> &[Instruction] {
        &self.code
    }

    /// Puts the calling thread, and whatever it forks or executes, under the filter, for good.
    ///
    /// `no_new_privs` must be set (see `caps::set_no_new_privs`). One system call, no allocation.
    ///
    /// # Errors
    /// [`Error::Install`] when the kernel refuses; the thread then runs without this filter and must not go on.
    pub fn install(&self) -> Result<(), Error> {
        let fprog = SockFprog {
            len: u16::try_from(self.code.len()).expect("a few hundred instructions; BPF_MAXINSNS is 4096"),
            filter: self.code.as_ptr(),
        };
        // SAFETY: `fprog` and the instructions it points to live across the call, which copies them; `SockFprog`
        // and `Instruction` have the layout of the kernel's `sock_fprog` and `sock_filter`.
        let result =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const fprog) };
        if result == 0 { Ok(()) } else { Err(Error::Install(std::io::Error::last_os_error())) }
    }
}

/// The filter for this machine, assembled at the first call. Call it once before forking, so that children find it made.
#[must_use]
pub fn program(memory: Memory) -> &'static Program {
    static COUNTED: LazyLock<Program> = LazyLock::new(|| Program::assemble(Arch::HOST));
    static WATCHED: LazyLock<Program> = LazyLock::new(|| Program::assemble_for(Arch::HOST, Memory::Watched));
    match memory {
        Memory::Counted => &COUNTED,
        Memory::Watched => &WATCHED,
    }
}

/// What the table and the rules say of a call on this machine, without any BPF: the specification the program is held to.
#[must_use]
pub fn decision(nr: u32, args: [u64; 6]) -> Action {
    decision_on(Arch::HOST, nr, args)
}

/// [`decision`] for an architecture by name.
#[must_use]
pub fn decision_on(arch: Arch, nr: u32, args: [u64; 6]) -> Action {
    if arch == Arch::X86_64 && (calls::X32_FIRST..u32::MAX).contains(&nr) {
        return Action::Kill;
    }
    match calls::verdict(arch, nr) {
        Verdict::Do(action) => action,
        Verdict::If(rule) if rule.allows(args) => Action::Allow,
        Verdict::If(_) => Action::Refuse,
    }
}
