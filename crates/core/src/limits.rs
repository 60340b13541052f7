//! What one execution may use.
//!
//! A caller gives a [`LimitsRequest`]; [`LimitsRequest::resolve`] fills it from the defaults, refuses what
//! is out of range, and remembers which limits were asked for, because a limit that was asked for and
//! cannot be enforced refuses the start, while a default one is only reported (see
//! [`enforcement`](crate::enforcement)).

use std::fmt::{self, Display};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::code::{ErrorCode, Problem};
use crate::cpu::CpuMillis;
use crate::defaults;
use crate::duration::Span;
use crate::size::ByteSize;

/// A thing that is bounded; also the name by which an end says what ended it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    /// Wall time.
    Timeout,
    /// Memory of the whole tree of processes.
    Memory,
    /// Processor time per second.
    Cpu,
    /// Processes and threads.
    Processes,
    /// Bytes written to the sandbox's own disk.
    Disk,
    /// Files on the sandbox's own disk.
    Inodes,
    /// Bytes of output.
    Output,
}

impl LimitKind {
    /// Every kind, in the order in which tables list them.
    pub const ALL: [LimitKind; 7] = [
        LimitKind::Timeout,
        LimitKind::Memory,
        LimitKind::Cpu,
        LimitKind::Processes,
        LimitKind::Disk,
        LimitKind::Inodes,
        LimitKind::Output,
    ];

    /// The name used in JSON and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            LimitKind::Timeout => "timeout",
            LimitKind::Memory => "memory",
            LimitKind::Cpu => "cpu",
            LimitKind::Processes => "processes",
            LimitKind::Disk => "disk",
            LimitKind::Inodes => "inodes",
            LimitKind::Output => "output",
        }
    }
}

impl Display for LimitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Every limit, with a value. JSON fields carry their unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of the whole tree, swap not included: [`MEMORY`].
    #[serde(rename = "memory_bytes")]
    pub memory: ByteSize,
    /// Processor share of the whole tree.
    #[serde(rename = "cpu_millis")]
    pub cpu: CpuMillis,
    /// Processes and threads alive at once: [`PROCESSES`].
    pub processes: u32,
    /// Bytes on the sandbox's own disk: [`DISK`].
    #[serde(rename = "disk_bytes")]
    pub disk: ByteSize,
    /// Files, directories and links on the sandbox's own disk: [`INODES`].
    pub inodes: u64,
    /// Wall time until the whole tree is killed: [`TIMEOUT`].
    #[serde(rename = "timeout_ms")]
    pub timeout: Span,
    /// Output that is kept; more than this is drained and counted, never blocked: [`OUTPUT`].
    #[serde(rename = "output_bytes")]
    pub output: ByteSize,
    /// Output after which the execution is ended with limit `output`; `None` never does.
    #[serde(rename = "output_kill_bytes")]
    pub output_kill: Option<ByteSize>,
    /// Open descriptors per process: [`OPEN_FILES`].
    pub open_files: u32,
}

/// 4 MiB is less than any interpreter needs, and enough for a static program.
pub const MEMORY: RangeInclusive<ByteSize> = ByteSize::from_mib(4)..=ByteSize::from_gib(16 * 1024);
/// From the program alone to the kernel's `PID_MAX_LIMIT` (`include/linux/threads.h`).
pub const PROCESSES: RangeInclusive<u32> = 1..=4_194_304;
/// Some files of the sandbox's own need a little room.
pub const DISK: RangeInclusive<ByteSize> = ByteSize::from_mib(1)..=ByteSize::from_gib(64 * 1024);
/// Some files of the sandbox's own need a few.
pub const INODES: RangeInclusive<u64> = 256..=u32::MAX as u64;
/// From the shortest span there is to a year; nobody waits longer, and sums stay far from overflow.
pub const TIMEOUT: RangeInclusive<Span> = Span::from_millis(1)..=Span::from_secs(365 * 86_400);
/// Output is kept in memory while it runs, which bounds it from above.
pub const OUTPUT: RangeInclusive<ByteSize> = ByteSize::from_kib(1)..=ByteSize::from_gib(1);
/// From one byte to more than anyone prints.
pub const OUTPUT_KILL: RangeInclusive<ByteSize> = ByteSize::from_bytes(1)..=ByteSize::from_gib(16 * 1024);
/// An interpreter opens a dozen before it starts; the upper end is the kernel's `fs.nr_open` as shipped.
pub const OPEN_FILES: RangeInclusive<u32> = 32..=1_048_576;

/// Where the number of inodes is not given, one per this many bytes of disk: ext4's default ratio.
const DISK_BYTES_PER_INODE: u64 = 16 * 1024;

/// What a caller asked for; `None` leaves the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitsRequest {
    /// See [`Limits::memory`].
    #[serde(rename = "memory_bytes")]
    pub memory: Option<ByteSize>,
    /// See [`Limits::cpu`].
    #[serde(rename = "cpu_millis")]
    pub cpu: Option<CpuMillis>,
    /// See [`Limits::processes`].
    pub processes: Option<u32>,
    /// See [`Limits::disk`].
    #[serde(rename = "disk_bytes")]
    pub disk: Option<ByteSize>,
    /// See [`Limits::inodes`]; follows a given `disk` when absent.
    pub inodes: Option<u64>,
    /// See [`Limits::timeout`].
    #[serde(rename = "timeout_ms")]
    pub timeout: Option<Span>,
    /// See [`Limits::output`].
    #[serde(rename = "output_bytes")]
    pub output: Option<ByteSize>,
    /// See [`Limits::output_kill`].
    #[serde(rename = "output_kill_bytes")]
    pub output_kill: Option<ByteSize>,
    /// See [`Limits::open_files`].
    pub open_files: Option<u32>,
}

/// The limits that were asked for, as opposed to filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Explicit(u8);

impl Explicit {
    /// Nothing was asked for.
    pub const NONE: Explicit = Explicit(0);

    /// Whether `kind` was asked for.
    pub fn contains(self, kind: LimitKind) -> bool {
        self.0 & Self::bit(kind) != 0
    }

    /// The same with `kind` asked for, if `asked`.
    #[must_use]
    pub fn with(self, kind: LimitKind, asked: bool) -> Self {
        if asked { Explicit(self.0 | Self::bit(kind)) } else { self }
    }

    fn bit(kind: LimitKind) -> u8 {
        1 << (kind as u8)
    }
}

/// What a caller calls the limits: a refusal names what they wrote.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "each is the name of the limit of this name")]
pub struct Names {
    pub memory: &'static str,
    pub cpu: &'static str,
    pub processes: &'static str,
    pub disk: &'static str,
    pub inodes: &'static str,
    pub timeout: &'static str,
    pub output: &'static str,
    pub output_kill: &'static str,
    pub open_files: &'static str,
}

impl Names {
    /// On the command line. What has no option there has the name that tables list it by.
    pub const OPTIONS: Names = Names {
        memory: "--memory",
        cpu: "--cpu",
        processes: "--pids",
        disk: "--disk",
        inodes: "inodes",
        timeout: "--timeout",
        output: "--output",
        output_kill: "--output-kill",
        open_files: "open_files",
    };

    /// In a request to a server.
    pub const FIELDS: Names = Names {
        memory: "limits.memory_bytes",
        cpu: "limits.cpu",
        processes: "limits.pids",
        disk: "limits.disk_bytes",
        inodes: "limits.inodes",
        timeout: "timeout_ms",
        output: "limits.output_bytes",
        output_kill: "limits.output_kill_bytes",
        open_files: "limits.open_files",
    };
}

impl LimitsRequest {
    /// Fills what is absent from `defaults` and checks every value.
    ///
    /// # Errors
    /// `limit_out_of_range`, naming the limit as in `names`, the value and the range.
    pub fn resolve(&self, defaults: &Limits, names: &Names) -> Result<(Limits, Explicit), Problem> {
        let inodes = match (self.inodes, self.disk) {
            (Some(inodes), _) => inodes,
            (None, Some(disk)) => defaults.inodes.max(disk.bytes() / DISK_BYTES_PER_INODE).min(*INODES.end()),
            (None, None) => defaults.inodes,
        };
        let limits = Limits {
            memory: self.memory.unwrap_or(defaults.memory),
            cpu: self.cpu.unwrap_or(defaults.cpu),
            processes: self.processes.unwrap_or(defaults.processes),
            disk: self.disk.unwrap_or(defaults.disk),
            inodes,
            timeout: self.timeout.unwrap_or(defaults.timeout),
            output: self.output.unwrap_or(defaults.output),
            output_kill: self.output_kill.or(defaults.output_kill),
            open_files: self.open_files.unwrap_or(defaults.open_files),
        };
        limits.check(names)?;
        Ok((limits, self.explicit()))
    }

    /// As [`resolve`](Self::resolve), for a sandbox that is not kept: its disk lives in its memory, and is half of that at most,
    /// or a full disk would kill whatever runs. One that is not asked for is as large as that allows.
    ///
    /// # Errors
    /// `limit_out_of_range`.
    pub fn of_ephemeral(&self, names: &Names) -> Result<(Limits, Explicit), Problem> {
        let memory = self.memory.unwrap_or(defaults::MEMORY);
        let half = ByteSize::from_bytes(memory.bytes() / 2);
        let defaults = Limits { disk: defaults::DISK.min(half), ..defaults::limits() };
        let (limits, explicit) = self.resolve(&defaults, names)?;
        if limits.disk <= half {
            return Ok((limits, explicit));
        }
        let why = format!("is more than half of the memory ({memory}), in which this disk lives");
        let double = ByteSize::from_bytes(limits.disk.bytes().saturating_mul(2));
        let expected = format!("at most {half}, or {} {}", names.memory, double.to_string().replace(' ', ""));
        let value = limits.disk.to_string();
        Err(Problem::refused(ErrorCode::LimitOutOfRange, &value, &why, &expected).within(names.disk))
    }

    /// Which limits the request names.
    pub fn explicit(&self) -> Explicit {
        Explicit::NONE
            .with(LimitKind::Memory, self.memory.is_some())
            .with(LimitKind::Cpu, self.cpu.is_some())
            .with(LimitKind::Processes, self.processes.is_some())
            .with(LimitKind::Disk, self.disk.is_some())
            .with(LimitKind::Inodes, self.inodes.is_some())
            .with(LimitKind::Timeout, self.timeout.is_some())
            .with(LimitKind::Output, self.output.is_some() || self.output_kill.is_some())
    }
}

impl Limits {
    /// Checks every value against its range.
    ///
    /// # Errors
    /// `limit_out_of_range` for the first that is outside, named as in `names`.
    pub fn check(&self, names: &Names) -> Result<(), Problem> {
        within(names.memory, self.memory, &MEMORY)?;
        within(names.processes, self.processes, &PROCESSES)?;
        within(names.disk, self.disk, &DISK)?;
        within(names.inodes, self.inodes, &INODES)?;
        within(names.timeout, self.timeout, &TIMEOUT)?;
        within(names.output, self.output, &OUTPUT)?;
        if let Some(output_kill) = self.output_kill {
            within(names.output_kill, output_kill, &OUTPUT_KILL)?;
        }
        within(names.open_files, self.open_files, &OPEN_FILES)
    }
}

fn within<T: PartialOrd + Display>(name: &str, value: T, range: &RangeInclusive<T>) -> Result<(), Problem> {
    if range.contains(&value) {
        return Ok(());
    }
    let expected = format!("{} to {}", range.start(), range.end());
    Err(Problem::refused(ErrorCode::LimitOutOfRange, &value.to_string(), "is out of range", &expected)
        .within(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(request: LimitsRequest) -> Result<(Limits, Explicit), Problem> {
        request.resolve(&defaults::limits(), &Names::OPTIONS)
    }

    #[test]
    fn nothing_asked_is_the_defaults() {
        let (limits, explicit) = resolve(LimitsRequest::default()).unwrap();
        assert_eq!(limits, defaults::limits());
        assert_eq!(explicit, Explicit::NONE);
    }

    #[test]
    fn what_was_asked_is_remembered() {
        let all = LimitsRequest {
            memory: Some(ByteSize::from_mib(64)),
            cpu: CpuMillis::from_millis(500),
            processes: Some(8),
            disk: Some(ByteSize::from_mib(2)),
            inodes: Some(1_000),
            timeout: Some(Span::from_secs(1)),
            output: Some(ByteSize::from_kib(1)),
            output_kill: Some(ByteSize::from_mib(1)),
            open_files: Some(64),
        };
        let (limits, explicit) = resolve(all).unwrap();
        assert_eq!((limits.memory.bytes(), limits.inodes, limits.open_files), (64 << 20, 1_000, 64));
        assert!(LimitKind::ALL.into_iter().all(|kind| explicit.contains(kind)));
        let one = LimitsRequest { cpu: Some(CpuMillis::ONE), ..LimitsRequest::default() }.explicit();
        assert_eq!(LimitKind::ALL.into_iter().filter(|&kind| one.contains(kind)).count(), 1);
        assert!(one.contains(LimitKind::Cpu));
    }

    #[test]
    fn inodes_follow_a_disk_that_was_asked_for() {
        for (disk_gib, inodes) in [(1, 65_536), (10, 655_360), (65_536, u64::from(u32::MAX))] {
            let disk = Some(ByteSize::from_gib(disk_gib));
            let (limits, explicit) = resolve(LimitsRequest { disk, ..LimitsRequest::default() }).unwrap();
            assert_eq!(limits.inodes, inodes);
            assert!(!explicit.contains(LimitKind::Inodes));
        }
    }

    #[test]
    fn a_disk_in_memory_is_half_of_it_at_most() {
        let mib = |count| Some(ByteSize::from_mib(count));
        let request = |memory, disk| LimitsRequest { memory, disk, ..LimitsRequest::default() };
        let cases = [
            (request(None, None), mib(256)),
            (request(mib(64), None), mib(32)),
            (request(mib(8192), None), mib(1024)),
            (request(mib(8192), mib(4096)), mib(4096)),
            (request(None, mib(1)), mib(1)),
        ];
        for (request, disk) in cases {
            let (limits, explicit) = request.of_ephemeral(&Names::OPTIONS).unwrap();
            assert_eq!((Some(limits.disk), explicit), (disk, request.explicit()));
        }
        let problem = request(mib(64), mib(33)).of_ephemeral(&Names::FIELDS).unwrap_err();
        assert_eq!(
            problem.to_string(),
            "limit_out_of_range: limits.disk_bytes: `33 MiB` is more than half of the memory (64 MiB), in which this disk \
             lives; write at most 32 MiB, or limits.memory_bytes 66MiB"
        );
    }

    #[test]
    fn refuses_what_is_out_of_range() {
        let none = LimitsRequest::default();
        let cases = [
            ("--memory", LimitsRequest { memory: Some(ByteSize::from_kib(1)), ..none }),
            ("--memory", LimitsRequest { memory: Some(ByteSize::from_gib(99_999)), ..none }),
            ("--pids", LimitsRequest { processes: Some(0), ..none }),
            ("--disk", LimitsRequest { disk: Some(ByteSize::from_bytes(0)), ..none }),
            ("inodes", LimitsRequest { inodes: Some(0), ..none }),
            ("--timeout", LimitsRequest { timeout: Some(Span::from_millis(0)), ..none }),
            ("--timeout", LimitsRequest { timeout: Some(Span::from_secs(366 * 86_400)), ..none }),
            ("--output", LimitsRequest { output: Some(ByteSize::from_bytes(0)), ..none }),
            ("--output-kill", LimitsRequest { output_kill: Some(ByteSize::from_bytes(0)), ..none }),
            ("open_files", LimitsRequest { open_files: Some(3), ..none }),
        ];
        for (name, request) in cases {
            let problem = resolve(request).expect_err(name);
            assert_eq!(problem.code, ErrorCode::LimitOutOfRange);
            assert!(problem.message.starts_with(&format!("{name}: ")), "{problem}");
        }
        let problem = resolve(LimitsRequest { memory: Some(ByteSize::from_kib(1)), ..none }).unwrap_err();
        let text = "limit_out_of_range: --memory: `1 KiB` is out of range; write 4 MiB to 16 TiB";
        assert_eq!(problem.to_string(), text);
        let request = LimitsRequest { processes: Some(0), ..none };
        let problem = request.resolve(&defaults::limits(), &Names::FIELDS).unwrap_err();
        assert!(problem.message.starts_with("limits.pids: `0` "), "{problem}");
    }

    #[test]
    fn json_has_units_in_its_names() {
        let json = serde_json::to_string(&defaults::limits()).unwrap();
        assert_eq!(
            json,
            "{\"memory_bytes\":536870912,\"cpu_millis\":1000,\"processes\":256,\"disk_bytes\":1073741824,\
             \"inodes\":65536,\"timeout_ms\":60000,\"output_bytes\":10485760,\"output_kill_bytes\":null,\
             \"open_files\":4096}"
        );
        let request: LimitsRequest = serde_json::from_str("{\"memory_bytes\":\"64Mi\"}").unwrap();
        assert_eq!(request.memory, Some(ByteSize::from_mib(64)));
        assert!(serde_json::from_str::<LimitsRequest>("{\"memory\":1}").is_err());
    }

    #[test]
    fn kinds_are_those_of_json() {
        for kind in LimitKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
