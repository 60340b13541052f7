//! Resource limits of one execution's processes.
//!
//! The second line behind control groups, and the first where there are none. Each limit is set soft and hard at
//! once, so the code cannot raise it again. Per process unless said otherwise.
//!
//! [`Rlimits::apply`] never fails: a limit that the process may not raise to what was asked is set to the most it may,
//! which is stricter than asked, and reported.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What to set. `None` leaves the inherited limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rlimits {
    /// Open descriptors.
    pub nofile: u64,
    /// Processes and threads, counted per user and user namespace. Not a limit for uid 0 of the first namespace.
    pub nproc: Option<u64>,
    /// Bytes of a core dump.
    pub core: u64,
    /// Bytes of the largest file that can be written.
    pub fsize: Option<u64>,
    /// Bytes of private writable memory. Shared mappings are not counted.
    pub data: Option<u64>,
    /// Bytes of the main thread's stack, and of other threads' by default.
    pub stack: Option<u64>,
    /// Bytes of locked memory.
    pub memlock: u64,
    /// Bytes in POSIX message queues, per user.
    pub msgqueue: u64,
    /// Queued signals and POSIX timers, per user.
    pub sigpending: u64,
    /// Highest real-time priority: 0 is no real-time scheduling.
    pub rtprio: u64,
    /// 20 minus the lowest nice value: 0 is no rise above the present one.
    pub nice: u64,
}

impl Default for Rlimits {
    /// The small fixed ones at what a program needs, the ones that depend on the sandbox's limits left to the caller.
    fn default() -> Self {
        Self {
            nofile: 4096,
            nproc: None,
            // Not 0: a kernel that pipes dumps to a program heeds no limit but 1, which it reads as "never" (fs/coredump.c).
            core: 1,
            fsize: None,
            data: None,
            stack: None,
            memlock: 64 << 10,
            msgqueue: 819_200, // the kernel's own default, MQ_BYTES_MAX
            sigpending: 1024,
            rtprio: 0,
            nice: 0,
        }
    }
}

/// Names of limits that are stricter than asked (or, should the kernel refuse to say, unknown).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shortfall(u32);

impl Shortfall {
    /// Whether everything was set as asked.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The limits, by their names in `Rlimits`.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.into_iter().enumerate().filter(move |(i, _)| self.0 & 1 << i != 0).map(|(_, name)| name)
    }
}

const NAMES: [&str; 11] = [
    "nofile",
    "nproc",
    "core",
    "fsize",
    "data",
    "stack",
    "memlock",
    "msgqueue",
    "sigpending",
    "rtprio",
    "nice",
];

impl Rlimits {
    /// Sets them on the calling process, for it and all it starts. Does not allocate.
    pub fn apply(&self) -> Shortfall {
        let mut shortfall = Shortfall::default();
        for (index, (resource, value)) in self.entries().into_iter().enumerate() {
            if value.is_some_and(|value| !set(resource, value)) {
                shortfall.0 |= 1 << index;
            }
        }
        shortfall
    }

    /// In the order of `NAMES`.
    fn entries(&self) -> [(Resource, Option<u64>); NAMES.len()] {
        [
            (Resource::Nofile, Some(self.nofile)),
            (Resource::Nproc, self.nproc),
            (Resource::Core, Some(self.core)),
            (Resource::Fsize, self.fsize),
            (Resource::Data, self.data),
            (Resource::Stack, self.stack),
            (Resource::Memlock, Some(self.memlock)),
            (Resource::Msgqueue, Some(self.msgqueue)),
            (Resource::Sigpending, Some(self.sigpending)),
            (Resource::Rtprio, Some(self.rtprio)),
            (Resource::Nice, Some(self.nice)),
        ]
    }
}

/// Sets one limit; whether it is as asked.
fn set(resource: Resource, value: u64) -> bool {
    let exactly = |value| Rlimit { current: Some(value), maximum: Some(value) };
    if setrlimit(resource, exactly(value)).is_ok() {
        return true;
    }
    // Above the hard limit (or, for descriptors, above fs.nr_open): the most we may have is the hard limit.
    if let Some(most) = getrlimit(resource).maximum {
        // Fails only if nothing can be set at all, and then the inherited limit stays; both are a shortfall.
        setrlimit(resource, exactly(most.min(value))).ok();
    }
    false
}
