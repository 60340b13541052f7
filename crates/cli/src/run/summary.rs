//! The line that a person sees at the end: `ok · 9 ms · 8 MiB · network closed`.

use sandkeep_core::defaults;
use sandkeep_core::enforcement::Level;
use sandkeep_core::execution::{ExecutionResult, ExecutionState};
use sandkeep_core::limits::{LimitKind, Limits};
use sandkeep_core::size::ByteSize;

pub(super) fn line(result: &ExecutionResult, limits: &Limits) -> String {
    let mut parts = vec![ending(result, limits), wall(result.metrics.wall_ms)];
    parts.extend(result.metrics.peak_memory_bytes.map(|peak| ByteSize::from_bytes(peak).rounded()));
    parts.push(format!("network {}", defaults::NETWORK));
    let not_held = |kind: &LimitKind| result.enforcement.level(*kind) == Level::None;
    parts.extend(
        LimitKind::ALL.iter().filter(|kind| not_held(kind)).map(|kind| format!("{kind} not limited")),
    );
    parts.join(" · ")
}

fn ending(result: &ExecutionResult, limits: &Limits) -> String {
    match (result.status, result.limit) {
        (ExecutionState::Succeeded, _) => "ok".to_owned(),
        (ExecutionState::TimedOut, _) => format!("timed out after {}", limits.timeout),
        (ExecutionState::Cancelled, _) => "cancelled".to_owned(),
        (ExecutionState::Failed, Some(limit)) => format!("killed: {}", limited(limit, limits)),
        (ExecutionState::Failed, None) => failed(result),
        (
            ExecutionState::Lost
            | ExecutionState::Queued
            | ExecutionState::Starting
            | ExecutionState::Running,
            _,
        ) => "lost: the sandbox ended around it".to_owned(),
    }
}

fn limited(limit: LimitKind, limits: &Limits) -> String {
    match limit {
        LimitKind::Timeout => format!("timeout {}", limits.timeout),
        LimitKind::Memory => format!("memory limit {}", limits.memory),
        LimitKind::Cpu => format!("cpu limit {}", limits.cpu),
        LimitKind::Processes => format!("limit of {} processes", limits.processes),
        LimitKind::Disk => format!("disk limit {}", limits.disk),
        LimitKind::Inodes => format!("limit of {} files", limits.inodes),
        LimitKind::Output => match limits.output_kill {
            Some(size) => format!("output limit {size}"),
            None => "output limit".to_owned(),
        },
    }
}

fn failed(result: &ExecutionResult) -> String {
    match (result.exit_code, result.signal, &result.error) {
        (Some(0), _, Some(_)) => "no result".to_owned(),
        (Some(code), _, _) => format!("exit {code}"),
        (None, Some(signal), _) => format!("killed by {}", signal_name(signal)),
        (None, None, Some(error)) => error.name.replace('_', " "),
        (None, None, None) => "failed".to_owned(),
    }
}

fn wall(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{ms} ms"),
        _ => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
    }
}

/// `signal(7)`, numbers of x86-64 and aarch64.
fn signal_name(signal: u8) -> String {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
        "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
    ];
    let name = usize::from(signal).checked_sub(1).and_then(|index| NAMES.get(index));
    name.map_or_else(|| format!("signal {signal}"), |name| format!("SIG{name}"))
}
