//! A filter as long as ours, that lets everything pass: what counts is what it costs to install and to run through.

/// Instructions of the strict profile on x86-64, as the kernel gets them.
const LENGTH: usize = 157;

/// Loads the call's number, compares it with numbers that no call has, allows.
pub(crate) fn program() -> Vec<libc::sock_filter> {
    const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
    const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
    const RETURN: u16 = 0x06; // BPF_RET | BPF_K
    const ALLOW: u32 = 0x7fff_0000;
    const NO_CALL: u32 = 0x10_0000;
    let instruction = |code, k| libc::sock_filter { code, jt: 0, jf: 0, k };
    let mut program = vec![instruction(LOAD, 0)];
    let numbers = NO_CALL..;
    program.extend(numbers.take(LENGTH - 2).map(|number| instruction(JUMP_EQUAL, number)));
    program.push(instruction(RETURN, ALLOW));
    program
}
