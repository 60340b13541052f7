//! `--self-test`: small programs that run into each limit. What is said to be kept is seen to be kept, on the host
//! of whoever asks, which may be unlike any that we have.

use sandkeep_core::code::Problem;
use sandkeep_core::cpu::CpuMillis;
use sandkeep_core::duration::Span;
use sandkeep_core::enforcement::{Enforcement, Level};
use sandkeep_core::execution::{ExecutionState, Work, conclude};
use sandkeep_core::limits::{LimitKind, LimitsRequest};
use sandkeep_core::output::Mask;
use sandkeep_core::size::ByteSize;
use sandkeep_runtime::driver::{Ended, Event, ExecutionSpec, Stdin, User};
use sandkeep_runtime::local::Local;
use sandkeep_runtime::{Driver as _, Sandbox};
use serde::Serialize;

use super::sandbox_spec;
use crate::host;
use crate::out;

/// One limit, tried.
#[derive(Debug)]
pub(super) struct Trial {
    pub(super) limit: LimitKind,
    pub(super) outcome: Outcome,
    /// What happened to the program.
    pub(super) seen: String,
}

/// How a trial went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// The limit held.
    Held,
    /// It did not.
    Failed,
    /// Nothing keeps it here, as `doctor` says anyway.
    NotTried,
}

impl Outcome {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Outcome::Held => "held",
            Outcome::Failed => "FAILED",
            Outcome::NotTried => "not tried",
        }
    }
}

/// A program that runs into a limit, and what shows that it held.
struct Case {
    limit: LimitKind,
    /// For bash, with what every host has.
    program: &'static str,
    asks: LimitsRequest,
    holds: fn(&Seen) -> bool,
}

/// What is looked at.
#[derive(Debug)]
struct Seen {
    ended: Box<Ended>,
    output: Vec<u8>,
}

impl Seen {
    fn is_end(&self, state: ExecutionState, limit: Option<LimitKind>) -> bool {
        let end = conclude(&self.ended.facts);
        (end.state, end.limit) == (state, limit)
    }

    fn exit_code(&self) -> Option<u8> {
        conclude(&self.ended.facts).exit_code()
    }

    fn cpu_ms(&self) -> Option<u64> {
        Some(self.ended.metrics.cpu_user_ms? + self.ended.metrics.cpu_system_ms?)
    }

    /// The number on the last whole line of output.
    fn last_number(&self) -> Option<u32> {
        String::from_utf8_lossy(&self.output).lines().last()?.trim().parse().ok()
    }

    fn summary(&self) -> String {
        let end = conclude(&self.ended.facts);
        let mut parts = vec![end.state.to_string()];
        parts.extend(end.limit.map(|limit| format!("limit {limit}")));
        parts.extend(end.exit_code().map(|code| format!("exit {code}")));
        parts.extend(self.cpu_ms().map(|ms| format!("{ms} ms of processor")));
        parts.push(format!("{} bytes of output", self.ended.stdout_bytes));
        parts.join(", ")
    }
}

const NOTHING: LimitsRequest = LimitsRequest {
    memory: None,
    cpu: None,
    processes: None,
    disk: None,
    inodes: None,
    timeout: Some(Span::from_secs(20)),
    output: None,
    output_kill: None,
    open_files: None,
};
/// The processor test burns for this long, of which it may have [`CPU_SHARE`].
const CPU_WALL: Span = Span::from_millis(1_000);
const CPU_SHARE: Option<CpuMillis> = CpuMillis::from_millis(100);
/// A tenth of a second, and what the kernel lets pass between two looks of its scheduler.
const CPU_MOST_MS: u64 = 250;

/// What a program exits with when the limit stopped it, and when it could not even do what the limit allows: a limit is
/// not held because nothing works.
const STOPPED: u8 = 9;

fn cases() -> [Case; 7] {
    [
        Case {
            limit: LimitKind::Timeout,
            program: "(setsid sleep 60 &) ; sleep 60",
            asks: LimitsRequest { timeout: Some(Span::from_millis(300)), ..NOTHING },
            holds: |seen| seen.is_end(ExecutionState::TimedOut, Some(LimitKind::Timeout)),
        },
        Case {
            limit: LimitKind::Memory,
            // A line is kept in memory whole until it ends. This one does end: where nothing holds, the host must live.
            program: "head -c 268435456 /dev/zero | tail -n 1 > /dev/null",
            asks: LimitsRequest { memory: Some(ByteSize::from_mib(32)), ..NOTHING },
            // Killed, or refused more by its own resource limit, which `tail` tells with 1.
            holds: |seen| {
                seen.is_end(ExecutionState::Failed, Some(LimitKind::Memory)) || seen.exit_code() == Some(1)
            },
        },
        Case {
            limit: LimitKind::Cpu,
            // Four, so that on a busy host too they get more than their share unless something keeps them from it.
            program: "for n in 1 2 3 4; do while :; do :; done & done; wait",
            asks: LimitsRequest { cpu: CPU_SHARE, timeout: Some(CPU_WALL), ..NOTHING },
            holds: |seen| {
                seen.is_end(ExecutionState::TimedOut, Some(LimitKind::Timeout))
                    && seen.cpu_ms().is_some_and(|ms| (1..=CPU_MOST_MS).contains(&ms))
            },
        },
        Case {
            limit: LimitKind::Processes,
            // Bash tries again for longer than the time it has here.
            program: "for n in {1..64}; do sleep 60 & echo $n; done 2>/dev/null",
            asks: LimitsRequest { processes: Some(16), timeout: Some(Span::from_secs(2)), ..NOTHING },
            holds: |seen| seen.last_number().is_some_and(|started| started <= 16),
        },
        Case {
            limit: LimitKind::Disk,
            program: "head -c 1M /dev/zero > /tmp/some && { head -c 8M /dev/zero > /tmp/more 2>/dev/null || exit 9; }",
            asks: LimitsRequest { disk: Some(ByteSize::from_mib(2)), ..NOTHING },
            holds: |seen| seen.exit_code() == Some(STOPPED),
        },
        Case {
            limit: LimitKind::Inodes,
            program: ": > /tmp/some && for n in {1..1000}; do : > /tmp/$n || exit 9; done 2>/dev/null",
            asks: LimitsRequest { inodes: Some(256), ..NOTHING },
            holds: |seen| seen.exit_code() == Some(STOPPED),
        },
        Case {
            limit: LimitKind::Output,
            program: "head -c 10M /dev/zero",
            asks: LimitsRequest { output_kill: Some(ByteSize::from_kib(64)), ..NOTHING },
            holds: |seen| seen.is_end(ExecutionState::Failed, Some(LimitKind::Output)),
        },
    ]
}

/// Runs every program in a sandbox of its own.
pub(super) async fn run(driver: &Local, enforcement: &Enforcement) -> Vec<Trial> {
    let mut trials = Vec::new();
    for case in cases() {
        let (outcome, seen) = if enforcement.level(case.limit) == Level::None {
            (Outcome::NotTried, "nothing keeps it here".to_owned())
        } else {
            match try_one(driver, &case).await {
                Ok(seen) if (case.holds)(&seen) => (Outcome::Held, seen.summary()),
                Ok(seen) => (Outcome::Failed, seen.summary()),
                // A sandbox was made just before: one that cannot be made now, or is lost, is a limit that does harm.
                Err(problem) => (Outcome::Failed, problem.to_string()),
            }
        };
        trials.push(Trial { limit: case.limit, outcome, seen });
    }
    trials
}

async fn try_one(driver: &Local, case: &Case) -> Result<Seen, Problem> {
    let spec = sandbox_spec(&case.asks)?;
    let sandbox = driver.create(&spec).await?;
    let seen = watch(sandbox.as_ref(), case, spec.limits).await;
    sandbox.stop().await;
    seen
}

async fn watch(
    sandbox: &dyn Sandbox,
    case: &Case,
    limits: sandkeep_core::limits::Limits,
) -> Result<Seen, Problem> {
    let argv = ["bash", "-c", case.program].map(str::to_owned).to_vec();
    let execution = ExecutionSpec {
        id: host::execution_id()?,
        token: 1,
        work: Work::Command { argv },
        env: std::collections::BTreeMap::new(),
        cwd: None,
        user: User::User,
        stdin: Stdin::Empty,
        merge_stderr: false,
        mask: Mask::default(),
        limits,
        files: Vec::new(),
        artifacts: false,
    };
    let mut running = sandbox.start(&execution).await?;
    let mut output = Vec::new();
    loop {
        match running.next().await? {
            Some(Event::Ended(ended)) => return Ok(Seen { ended, output }),
            Some(Event::Output { bytes, .. }) => output.extend(bytes),
            Some(Event::Started | Event::Gap { .. }) => {}
            None => return Err(out::failed("a test of a limit", &"its end was not told")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandkeep_core::execution::{EndFacts, Exit};
    use sandkeep_core::limits::LimitKind::{Cpu, Disk, Inodes, Memory, Output, Processes, Timeout};

    fn seen(facts: EndFacts, cpu_ms: u64, output: &str) -> Seen {
        let exit = facts.exit.or(Some(Exit::Signal(9)));
        let mut ended = Ended { facts: EndFacts { exit, ..facts }, ..Ended::default() };
        ended.metrics.cpu_user_ms = Some(cpu_ms);
        ended.metrics.cpu_system_ms = Some(0);
        Seen { ended: Box::new(ended), output: output.into() }
    }

    fn exit(code: u8) -> EndFacts {
        EndFacts { exit: Some(Exit::Code(code)), ..EndFacts::default() }
    }

    /// What each program shows where its limit holds, and all that it may show where it does not.
    #[test]
    fn what_does_not_hold_is_no_held_limit() {
        let timed_out = EndFacts { timed_out: true, ..EndFacts::default() };
        let out_of_memory = EndFacts { out_of_memory: true, ..EndFacts::default() };
        let output_killed = EndFacts { output_killed: true, ..EndFacts::default() };
        let table: [(LimitKind, EndFacts, u64, &str, bool); 21] = [
            (Timeout, timed_out, 0, "", true),
            (Timeout, exit(0), 0, "", false),
            (Memory, out_of_memory, 0, "", true),
            (Memory, exit(1), 0, "", true), // refused by RLIMIT_DATA
            (Memory, exit(0), 0, "", false),
            (Memory, timed_out, 0, "", false),
            (Cpu, timed_out, 210, "", true),
            (Cpu, timed_out, 990, "", false),
            (Cpu, timed_out, 0, "", false), // a meter that does not count
            (Cpu, exit(1), 10, "", false),
            (Processes, timed_out, 0, "1\n15\n", true),
            (Processes, exit(0), 0, "1\n64\n", false),
            (Processes, exit(1), 0, "", false),
            (Disk, exit(9), 0, "", true),
            (Disk, exit(0), 0, "", false),
            (Disk, exit(1), 0, "", false), // nothing can be written at all
            (Inodes, exit(9), 0, "", true),
            (Inodes, exit(0), 0, "", false),
            (Output, output_killed, 0, "", true),
            (Output, exit(0), 0, "", false),
            (Output, timed_out, 0, "", false),
        ];
        for (limit, facts, cpu_ms, output, held) in table {
            let case = cases().into_iter().find(|case| case.limit == limit).expect("every limit has a case");
            let seen = seen(facts, cpu_ms, output);
            assert_eq!((case.holds)(&seen), held, "{limit}: {}", seen.summary());
        }
    }
}
