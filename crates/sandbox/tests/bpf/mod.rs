//! A small interpreter of the classic BPF that a seccomp filter may use, to hold a program to its tables.

use sandkeep_sandbox::seccomp::{Action, Arch, Instruction};

/// `struct seccomp_data`, without the instruction pointer that we do not look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call {
    pub(crate) nr: u32,
    pub(crate) arch: u32,
    pub(crate) args: [u64; 6],
}

impl Call {
    pub(crate) fn on(arch: Arch, nr: u32, args: [u64; 6]) -> Self {
        Self { nr, arch: arch.audit(), args }
    }

    fn word(&self, offset: u32) -> u32 {
        assert_eq!(offset % 4, 0, "loads are aligned");
        match offset {
            0 => self.nr,
            4 => self.arch,
            8 | 12 => panic!("nobody should look at the instruction pointer"),
            16..64 => {
                let index = usize::try_from(offset - 16).expect("48 at most");
                let value = self.args[index / 8];
                u32::try_from(if index.is_multiple_of(8) { value & 0xffff_ffff } else { value >> 32 })
                    .expect("half a word")
            }
            _ => panic!("offset {offset} is outside of seccomp_data"),
        }
    }
}

/// What a run came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) action: Action,
    pub(crate) steps: usize,
    /// Whether it looked at anything but number and architecture.
    pub(crate) looked_at_arguments: bool,
}

/// Runs the program as the kernel would. Panics on what the kernel would have refused.
pub(crate) fn run(program: &[Instruction], call: &Call) -> Run {
    let (mut at, mut a, mut steps, mut looked_at_arguments) = (0, 0_u32, 0, false);
    loop {
        let instruction = program[at];
        let branch = |taken: bool| usize::from(if taken { instruction.jt } else { instruction.jf });
        steps += 1;
        at += 1;
        match instruction.code {
            0x20 => {
                looked_at_arguments |= instruction.k >= 16;
                a = call.word(instruction.k);
            }
            0x54 => a &= instruction.k,
            0x05 => at += usize::try_from(instruction.k).expect("64-bit hosts"),
            0x15 => at += branch(a == instruction.k),
            0x35 => at += branch(a >= instruction.k),
            0x06 => return Run { action: meaning(instruction.k), steps, looked_at_arguments },
            other => panic!("operation {other:#x} is not one that the kernel can follow at installation"),
        }
    }
}

fn meaning(answer: u32) -> Action {
    match answer {
        0x7fff_0000 => Action::Allow,
        0x0005_0001 => Action::Refuse,
        0x0005_0026 => Action::Absent,
        0x8000_0000 => Action::Kill,
        other => panic!("{other:#x} is none of our answers"),
    }
}
