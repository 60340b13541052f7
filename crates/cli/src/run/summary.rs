//! The line that a person sees at the end: `ok · 9 ms · 8 MiB · network closed`.

use sandkeep_core::defaults;
use sandkeep_core::enforcement::Level;
use sandkeep_core::execution::{ExecutionResult, ExecutionState};
use sandkeep_core::limits::{LimitKind, Limits};
use sandkeep_core::size::ByteSize;

pub(super) fn line(result: &ExecutionResult, limits: &Limits) -> String {
    let mut parts = vec![ending(result, limits), wall(result.metrics.wall_ms)];
    parts.extend(result.metrics.peak_memory_bytes.map(memory));
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

/// In whole MiB, as `du` counts: anything finer is noise of the moment. JSON has the bytes.
fn memory(peak_bytes: u64) -> String {
    ByteSize::from_mib(peak_bytes.div_ceil(1 << 20)).rounded()
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

#[cfg(test)]
mod tests {
    use super::*;
    use ExecutionState::{Cancelled, Failed, Lost, Succeeded, TimedOut};
    use sandkeep_core::defaults::limits;
    use sandkeep_core::enforcement::Enforcement;
    use sandkeep_core::execution::{End, ErrorInfo, Exit, Kind};
    use sandkeep_core::id::{ExecutionId, SandboxId};
    use sandkeep_core::time::Timestamp;

    fn result(state: ExecutionState, limit: Option<LimitKind>, exit: Option<Exit>) -> ExecutionResult {
        let (id, sandbox) = (ExecutionId::new(0, [0; 10]), SandboxId::new(0, [0; 10]));
        let now = Timestamp::from_unix_ms(0);
        let mut result = ExecutionResult::queued(id, sandbox, Kind::Command, None, Enforcement::full(), now);
        result.set_end(&End { state, limit, exit });
        result
    }

    #[test]
    fn every_end_has_its_words() {
        let killed = Some(Exit::Signal(9));
        let cases = [
            (result(Succeeded, None, Some(Exit::Code(0))), "ok"),
            (result(Failed, None, Some(Exit::Code(3))), "exit 3"),
            (result(Failed, None, Some(Exit::Signal(11))), "killed by SIGSEGV"),
            (result(Failed, None, Some(Exit::Signal(64))), "killed by signal 64"),
            (result(TimedOut, Some(LimitKind::Timeout), killed), "timed out after 1m"),
            (result(Failed, Some(LimitKind::Memory), killed), "killed: memory limit 512 MiB"),
            (result(Failed, Some(LimitKind::Output), killed), "killed: output limit"),
            (result(Failed, Some(LimitKind::Disk), killed), "killed: disk limit 1 GiB"),
            (result(Cancelled, None, killed), "cancelled"),
            (result(Lost, None, None), "lost: the sandbox ended around it"),
        ];
        for (result, expected) in cases {
            assert_eq!(line(&result, &limits()), format!("{expected} · 0 ms · network closed"));
        }
        let mut missing = result(Failed, None, Some(Exit::NotFound));
        let error = |name: &str| ErrorInfo { name: name.to_owned(), message: String::new(), stack: None };
        missing.error = Some(error("not_found"));
        assert!(line(&missing, &limits()).starts_with("not found · "));
        let mut nothing = result(Failed, None, Some(Exit::Code(0)));
        nothing.error = Some(error("return_value_invalid"));
        assert!(line(&nothing, &limits()).starts_with("no result · "));
    }

    #[test]
    fn what_it_cost_and_what_was_not_limited() {
        let mut result = result(Succeeded, None, Some(Exit::Code(0)));
        result.metrics.wall_ms = 9;
        result.metrics.peak_memory_bytes = Some(8 << 20);
        assert_eq!(line(&result, &limits()), "ok · 9 ms · 8 MiB · network closed");
        result.metrics.peak_memory_bytes = Some(300_000);
        assert_eq!(line(&result, &limits()), "ok · 9 ms · 1 MiB · network closed");
        result.metrics.peak_memory_bytes = Some(7 << 20 | 1);
        result.metrics.wall_ms = 61_234;
        result.enforcement.lower(LimitKind::Cpu, Level::None, "", "");
        assert_eq!(line(&result, &limits()), "ok · 61.2 s · 8 MiB · network closed · cpu not limited");
    }
}
