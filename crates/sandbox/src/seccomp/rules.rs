//! Calls that are allowed for some arguments only, as data that both the assembler and `decision` read.
//!
//! A rule is a list of clauses; a call passes if every condition of any one clause holds. All arguments looked at
//! are declared `int`, `unsigned int`, `pid_t` or `umode_t` in the kernel, which drops the upper half of the
//! register before it looks (for `clone`, whose flags are `unsigned long`, `lower_32_bits` does). So conditions
//! compare the low 32 bits and no more: comparing all 64 would let `ioctl(fd, TIOCSTI | 1 << 32)`
//! pass a "not TIOCSTI", and what pointers point to cannot be looked at in a filter at all. An argument that the
//! kernel takes in full needs a second condition for its upper half: so far that is one pointer, asked whether it is null.

/// A call allowed for some arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// `clone` that makes no namespace.
    NoNamespaces,
    /// `personality` that asks (0xffffffff) or sets the default one. Others turn off address randomisation or `NX`.
    DefaultPersonality,
    /// `socket`, `socketpair`: UNIX; TCP, UDP and ping over INET and INET6; `NETLINK_ROUTE`. Not vsock (it is not
    /// namespaced and reaches the hypervisor), packet, raw, nor families and protocols whose first use loads a module.
    OrdinarySocket,
    /// `ioctl` that neither types into a terminal, pastes a console selection, nor loads a line discipline.
    NoTerminalInjection,
    /// `setsockopt` that leaves `SO_LINGER` alone: whoever closes the last copy of a lingering socket sleeps, for hours if that
    /// was asked for, and sockets can be handed to the agent, which has one thread.
    NoLingering,
    /// `prctl` other than core scheduling, which can idle a neighbour's hyperthread.
    NoCoreScheduling,
    /// A call whose first argument is a process: only 0, the caller. An agent with the same uid may live next to the
    /// code. Costs `pthread_setaffinity_np` and `pthread_setschedparam`, which name a thread by id and get `EPERM`.
    OnSelf,
    /// `prlimit64` on oneself, and not to set the size of core dumps: where the kernel pipes them to a program of the
    /// host's, every limit but the 1 that we set would feed that program, which runs as root, with the code's memory.
    OwnLimitsButCore,
    /// `setrlimit`, likewise.
    LimitsButCore,
    /// `setpriority(PRIO_PROCESS, 0, ..)` only: what `nice` does.
    PriorityOfSelf,
    /// `ioprio_set(IOPRIO_WHO_PROCESS, 0, ..)` only: what `ionice` does for itself and the command it starts.
    IoPriorityOfSelf,
    /// `mknod` of files, fifos and sockets, not of devices.
    NoDeviceMknod,
    /// `mknodat`, likewise.
    NoDeviceMknodat,
}

/// Conditions that must all hold.
pub type Clause = &'static [Condition];

/// A test of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Condition {
    /// Which argument, 0..=5.
    pub argument: u8,
    /// Its upper half rather than its low one.
    pub upper: bool,
    /// Bits of that half that count.
    pub mask: u32,
    /// What these bits must be.
    pub values: Values,
}

/// A set of values, listed or everything but the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// One of these.
    Among(&'static [u32]),
    /// None of these.
    Outside(&'static [u32]),
}

const EVERY_BIT: u32 = u32::MAX;

const fn among(argument: u8, mask: u32, values: &'static [u32]) -> Condition {
    Condition { argument, upper: false, mask, values: Values::Among(values) }
}

const fn outside(argument: u8, values: &'static [u32]) -> Condition {
    Condition { argument, upper: false, mask: EVERY_BIT, values: Values::Outside(values) }
}

const fn upper_half_is_zero(argument: u8) -> Condition {
    Condition { argument, upper: true, mask: EVERY_BIT, values: Values::Among(&[0]) }
}

/// `CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}`. `CLONE_NEWTIME` (0x80) is part of the exit signal in `clone`.
const CLONE_NEW_ANY: u32 = 0x7e02_0000;
const AF_UNIX: u32 = 1;
const AF_INET: u32 = 2;
const AF_INET6: u32 = 10;
const AF_NETLINK: u32 = 16;
const NETLINK_ROUTE: u32 = 0;
/// `SOCK_TYPE_MASK`: the rest of the argument is `SOCK_CLOEXEC` and `SOCK_NONBLOCK`.
const SOCK_TYPE: u32 = 0xf;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
/// The family's own choice, ICMP, TCP, UDP, `ICMPv6`. Not SCTP, DCCP, L2TP, MPTCP, UDP-Lite.
const PROTOCOLS: &[u32] = &[0, 1, 6, 17, 58];
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;
const TIOCSETD: u32 = 0x5423;
const SOL_SOCKET: u32 = 1;
const SO_LINGER: u32 = 13;
const PR_SCHED_CORE: u32 = 62;
const RLIMIT_CORE: u32 = 4;
const PRIO_PROCESS: u32 = 0;
const IOPRIO_WHO_PROCESS: u32 = 1;
const S_IFMT: u32 = 0o170_000;
/// No type (a regular file), regular, fifo, socket.
const HARMLESS_NODES: &[u32] = &[0, 0o100_000, 0o010_000, 0o140_000];

type Clauses = &'static [Clause];

const NO_NAMESPACES: Clauses = &[&[among(0, CLONE_NEW_ANY, &[0])]];
const DEFAULT_PERSONALITY: Clauses = &[&[among(0, EVERY_BIT, &[0, u32::MAX])]];
const ORDINARY_SOCKET: Clauses = &[
    &[among(0, EVERY_BIT, &[AF_UNIX])],
    &[
        among(0, EVERY_BIT, &[AF_INET, AF_INET6]),
        among(1, SOCK_TYPE, &[SOCK_STREAM, SOCK_DGRAM]),
        among(2, EVERY_BIT, PROTOCOLS),
    ],
    &[among(0, EVERY_BIT, &[AF_NETLINK]), among(2, EVERY_BIT, &[NETLINK_ROUTE])],
];
const NO_TERMINAL_INJECTION: Clauses = &[&[outside(1, &[TIOCSTI, TIOCLINUX, TIOCSETD])]];
const NO_LINGERING: Clauses = &[&[outside(1, &[SOL_SOCKET])], &[outside(2, &[SO_LINGER])]];
const NO_CORE_SCHEDULING: Clauses = &[&[outside(0, &[PR_SCHED_CORE])]];
const ON_SELF: Clauses = &[&[among(0, EVERY_BIT, &[0])]];
const OWN_LIMITS_BUT_CORE: Clauses = &[
    &[among(0, EVERY_BIT, &[0]), outside(1, &[RLIMIT_CORE])],
    // No new limit: only asked for.
    &[among(0, EVERY_BIT, &[0]), among(2, EVERY_BIT, &[0]), upper_half_is_zero(2)],
];
const LIMITS_BUT_CORE: Clauses = &[&[outside(0, &[RLIMIT_CORE])]];
const PRIORITY_OF_SELF: Clauses = &[&[among(0, EVERY_BIT, &[PRIO_PROCESS]), among(1, EVERY_BIT, &[0])]];
const IO_PRIORITY_OF_SELF: Clauses =
    &[&[among(0, EVERY_BIT, &[IOPRIO_WHO_PROCESS]), among(1, EVERY_BIT, &[0])]];
const NO_DEVICE_MKNOD: Clauses = &[&[among(1, S_IFMT, HARMLESS_NODES)]];
const NO_DEVICE_MKNODAT: Clauses = &[&[among(2, S_IFMT, HARMLESS_NODES)]];

impl Rule {
    /// The clauses, any one of which lets the call pass.
    #[must_use]
    pub const fn clauses(self) -> &'static [Clause] {
        match self {
            Self::NoNamespaces => NO_NAMESPACES,
            Self::DefaultPersonality => DEFAULT_PERSONALITY,
            Self::OrdinarySocket => ORDINARY_SOCKET,
            Self::NoTerminalInjection => NO_TERMINAL_INJECTION,
            Self::NoLingering => NO_LINGERING,
            Self::NoCoreScheduling => NO_CORE_SCHEDULING,
            Self::OnSelf => ON_SELF,
            Self::OwnLimitsButCore => OWN_LIMITS_BUT_CORE,
            Self::LimitsButCore => LIMITS_BUT_CORE,
            Self::PriorityOfSelf => PRIORITY_OF_SELF,
            Self::IoPriorityOfSelf => IO_PRIORITY_OF_SELF,
            Self::NoDeviceMknod => NO_DEVICE_MKNOD,
            Self::NoDeviceMknodat => NO_DEVICE_MKNODAT,
        }
    }

    /// Whether a call with these arguments passes.
    #[must_use]
    pub fn allows(self, args: [u64; 6]) -> bool {
        self.clauses().iter().any(|clause| clause.iter().all(|condition| condition.holds(args)))
    }
}

impl Condition {
    fn holds(&self, args: [u64; 6]) -> bool {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the kernel truncates too: see the module's essay"
        )]
        let value = (args[usize::from(self.argument)] >> if self.upper { 32 } else { 0 }) as u32 & self.mask;
        match self.values {
            Values::Among(list) => list.contains(&value),
            Values::Outside(list) => !list.contains(&value),
        }
    }
}
