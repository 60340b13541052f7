//! From what was seen of a program to a verdict. Pure.

use sandkeep_core::enforcement::Level;
use sandkeep_core::execution::{End, ExecutionState};
use sandkeep_core::limits::{LimitKind, Limits};
use serde::Serialize;

use super::program::{Expect, Program};

/// What became of one program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verdict {
    /// The sandbox held.
    Blocked,
    /// It did not.
    Escaped,
    /// Nobody can say that it held: no verdict, no end, something left behind.
    Failed,
    /// Not run here.
    Skipped,
}

impl Verdict {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Verdict::Blocked => "blocked",
            Verdict::Escaped => "ESCAPED",
            Verdict::Failed => "FAILED",
            Verdict::Skipped => "skipped",
        }
    }
}

/// A program that ran, as far as the judge wants to know.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) how: How,
    /// Last whole or partial line of standard output that is not empty.
    pub(super) last_line: String,
    /// The same of standard error, for whoever reads the verdict.
    pub(super) last_error: String,
    /// The secret of the host was in its output or in what it left.
    pub(super) saw_secret: bool,
    /// What is wrong with the list of its artifacts.
    pub(super) artifact_fault: Option<String>,
}

/// How it ended.
#[derive(Debug, Clone)]
pub(super) enum How {
    Ended {
        end: End,
        wall_ms: u64,
        peak_memory: Option<u64>,
    },
    /// The sandbox went away, with this reason.
    Gone(String),
    /// No end was told in time.
    Hung,
}

/// Beyond its timeout, in ms, until a whole tree is dead and its end is told, on a busy machine.
const GRACE_MS: u64 = 3_000;
/// What a watched memory limit may be passed by before it is seen: the promise of the product.
const OVERSHOOT_BYTES: u64 = 512 << 20;

/// Verdict and its reason.
pub(super) fn judge(program: &Program, seen: &Seen, limits: &Limits, memory: Level) -> (Verdict, String) {
    if seen.saw_secret {
        return (Verdict::Escaped, "the secret of the host came out".to_owned());
    }
    if let Some(detail) = seen.last_line.strip_prefix("ESCAPED") {
        return (Verdict::Escaped, detail.trim().to_owned());
    }
    if let Some(fault) = &seen.artifact_fault {
        return (Verdict::Failed, fault.clone());
    }
    match check(program, seen, limits, memory) {
        Ok(detail) => (Verdict::Blocked, detail),
        Err(detail) => (Verdict::Failed, detail),
    }
}

fn check(program: &Program, seen: &Seen, limits: &Limits, memory: Level) -> Result<String, String> {
    let blocked = seen.last_line.strip_prefix("BLOCKED").map(|detail| detail.trim().to_owned());
    let (end, wall_ms, peak_memory) = match &seen.how {
        How::Hung => return Err("no end was told in time".to_owned()),
        How::Gone(why) if program.expect == Expect::Contained => {
            return Ok(format!("the sandbox ended: {why}"));
        }
        How::Gone(why) => return Err(format!("the sandbox ended: {why}")),
        How::Ended { end, wall_ms, peak_memory } => (end, *wall_ms, *peak_memory),
    };
    let over = |most: u64| peak_memory.is_some_and(|peak| peak > most);
    let most = limits.memory.bytes() + OVERSHOOT_BYTES;
    if memory == Level::Watched && over(most) {
        return Err(format!("memory peaked at {} bytes, more than {most}", peak_memory.unwrap_or(0)));
    }
    let otherwise = || Err(format!("expected {}: {}", program.expectation(), describe(end, seen)));
    match program.expect {
        Expect::Blocked => match blocked {
            Some(detail) if end.state == ExecutionState::Succeeded => Ok(detail),
            Some(_) | None => otherwise(),
        },
        Expect::Contained => Ok(blocked.unwrap_or_else(|| describe(end, seen))),
        Expect::Timeout if end.limit != Some(LimitKind::Timeout) => otherwise(),
        Expect::Timeout if wall_ms > limits.timeout.as_millis() + GRACE_MS => {
            Err(format!("was ended only after {wall_ms} ms"))
        }
        Expect::Timeout => Ok(format!("ended after {wall_ms} ms")),
        Expect::LimitMemory if end.limit == Some(LimitKind::Memory) => Ok(describe(end, seen)),
        Expect::LimitMemory => match blocked {
            Some(detail) if memory != Level::Kernel => Ok(detail),
            Some(_) | None => otherwise(),
        },
        Expect::LimitOutput if end.limit == Some(LimitKind::Output) => Ok(describe(end, seen)),
        Expect::LimitOutput => otherwise(),
    }
}

fn describe(end: &End, seen: &Seen) -> String {
    let mut words = vec![end.state.to_string()];
    words.extend(end.limit.map(|limit| format!("limit {limit}")));
    words.extend(end.exit_code().map(|code| format!("exit {code}")));
    words.extend(end.signal().map(|signal| format!("signal {signal}")));
    words.extend((!seen.last_line.is_empty()).then(|| format!("last said `{}`", cut(&seen.last_line))));
    words.extend((!seen.last_error.is_empty()).then(|| format!("error `{}`", cut(&seen.last_error))));
    words.join(", ")
}

fn cut(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attack::program;
    use sandkeep_core::defaults;
    use sandkeep_core::execution::Exit;

    fn program(expect: Expect) -> Program {
        let any = program::all().into_iter().next().unwrap();
        Program { expect, ..any }
    }

    fn ended(state: ExecutionState, limit: Option<LimitKind>, exit: Exit, line: &str) -> Seen {
        let end = End { state, limit, exit: Some(exit) };
        let how = How::Ended { end, wall_ms: 50, peak_memory: Some(1 << 20) };
        Seen {
            how,
            last_line: line.to_owned(),
            last_error: String::new(),
            saw_secret: false,
            artifact_fault: None,
        }
    }

    fn good(line: &str) -> Seen {
        ended(ExecutionState::Succeeded, None, Exit::Code(0), line)
    }

    fn limited(limit: LimitKind, line: &str) -> Seen {
        let state =
            if limit == LimitKind::Timeout { ExecutionState::TimedOut } else { ExecutionState::Failed };
        ended(state, Some(limit), Exit::Signal(9), line)
    }

    #[track_caller]
    fn check(expect: Expect, seen: &Seen, memory: Level, verdict: Verdict) {
        let judged = judge(&program(expect), seen, &defaults::limits(), memory);
        assert_eq!(judged.0, verdict, "{expect:?} {seen:?} {judged:?}");
    }

    #[test]
    fn silence_is_no_success() {
        let (kernel, blocked) = (Level::Kernel, Expect::Blocked);
        check(blocked, &good("BLOCKED all"), kernel, Verdict::Blocked);
        check(blocked, &good(""), kernel, Verdict::Failed);
        check(blocked, &good("I was blocked"), kernel, Verdict::Failed);
        let given_up = ended(ExecutionState::Failed, None, Exit::Code(2), "");
        check(blocked, &given_up, kernel, Verdict::Failed);
        let died = ended(ExecutionState::Failed, None, Exit::Signal(11), "BLOCKED all");
        check(blocked, &died, kernel, Verdict::Failed);
        check(blocked, &limited(LimitKind::Timeout, "BLOCKED all"), kernel, Verdict::Failed);
    }

    #[test]
    fn an_escape_is_one_whatever_was_expected() {
        for expect in
            [Expect::Blocked, Expect::Contained, Expect::Timeout, Expect::LimitMemory, Expect::LimitOutput]
        {
            check(expect, &good("ESCAPED it"), Level::Kernel, Verdict::Escaped);
            check(expect, &limited(LimitKind::Memory, "ESCAPED it"), Level::Kernel, Verdict::Escaped);
            let seen = Seen { saw_secret: true, ..good("BLOCKED it") };
            check(expect, &seen, Level::Kernel, Verdict::Escaped);
            check(expect, &Seen { how: How::Hung, ..good("") }, Level::Kernel, Verdict::Failed);
        }
    }

    #[test]
    fn a_limit_must_be_the_one_that_was_meant() {
        for (expect, limit) in [
            (Expect::Timeout, LimitKind::Timeout),
            (Expect::LimitMemory, LimitKind::Memory),
            (Expect::LimitOutput, LimitKind::Output),
        ] {
            for ended_by in LimitKind::ALL {
                let verdict = if ended_by == limit { Verdict::Blocked } else { Verdict::Failed };
                check(expect, &limited(ended_by, ""), Level::Kernel, verdict);
            }
            check(expect, &good("BLOCKED"), Level::Kernel, Verdict::Failed);
        }
        check(Expect::LimitMemory, &good("BLOCKED refused"), Level::Watched, Verdict::Blocked);
    }

    #[test]
    fn a_late_end_and_a_high_peak_are_failures() {
        let how = |wall_ms, peak| {
            let end = End { state: ExecutionState::TimedOut, limit: Some(LimitKind::Timeout), exit: None };
            let how = How::Ended { end, wall_ms, peak_memory: Some(peak) };
            Seen { how, ..good("") }
        };
        let limits = defaults::limits();
        let (timeout, most) = (limits.timeout.as_millis(), limits.memory.bytes() + OVERSHOOT_BYTES);
        check(Expect::Timeout, &how(timeout + GRACE_MS, most), Level::Watched, Verdict::Blocked);
        check(Expect::Timeout, &how(timeout + GRACE_MS + 1, most), Level::Watched, Verdict::Failed);
        check(Expect::Timeout, &how(timeout, most + 1), Level::Watched, Verdict::Failed);
    }

    #[test]
    fn a_sandbox_may_end_only_where_that_is_contained() {
        let seen = Seen { how: How::Gone("sandbox_lost: killed".to_owned()), ..good("") };
        check(Expect::Contained, &seen, Level::Kernel, Verdict::Blocked);
        check(Expect::Blocked, &seen, Level::Kernel, Verdict::Failed);
        check(Expect::Timeout, &seen, Level::Kernel, Verdict::Failed);
    }
}
