//! What `sandkeep run` exits with: the code's own exit code where it has one, and otherwise the numbers
//! that shells, `timeout(1)` and container tools have made familiar.

use super::end::{End, Exit};
use super::state::ExecutionState;
use crate::code::{ErrorCode, Problem};
use crate::limits::LimitKind;

/// Its time was over, as `timeout(1)` has it.
pub const TIMED_OUT: u8 = 124;
/// We failed, not the code: `docker run` and `env(1)` have it.
pub const OURS: u8 = 125;
/// The program is there and cannot be executed.
pub const NOT_RUNNABLE: u8 = 126;
/// There is no such program.
pub const NOT_FOUND: u8 = 127;
/// Cancelled: 128 + SIGINT.
pub const CANCELLED: u8 = 130;
/// Killed for a limit other than time: 128 + SIGKILL.
pub const KILLED: u8 = 137;

/// The exit status for an end.
pub fn exit_status(end: &End) -> u8 {
    match (end.state, end.limit) {
        (ExecutionState::Cancelled, _) => CANCELLED,
        (ExecutionState::TimedOut, _) => TIMED_OUT,
        (ExecutionState::Failed, Some(limit)) => for_limit(limit),
        (ExecutionState::Succeeded | ExecutionState::Failed, _) => for_exit(end.exit),
        (
            ExecutionState::Lost
            | ExecutionState::Queued
            | ExecutionState::Starting
            | ExecutionState::Running,
            _,
        ) => OURS,
    }
}

/// The exit status for a problem that kept an execution from ending at all.
pub fn exit_status_of_problem(problem: &Problem) -> u8 {
    if problem.code == ErrorCode::NotFound {
        NOT_FOUND
    } else if problem.code == ErrorCode::NotRunnable {
        NOT_RUNNABLE
    } else {
        OURS
    }
}

fn for_limit(limit: LimitKind) -> u8 {
    match limit {
        LimitKind::Timeout => TIMED_OUT,
        LimitKind::Memory
        | LimitKind::Cpu
        | LimitKind::Processes
        | LimitKind::Disk
        | LimitKind::Inodes
        | LimitKind::Output => KILLED,
    }
}

fn for_exit(exit: Option<Exit>) -> u8 {
    match exit {
        Some(Exit::Code(code)) => code,
        Some(Exit::Signal(signal)) => 128u8.saturating_add(signal),
        Some(Exit::NotFound) => NOT_FOUND,
        Some(Exit::NotRunnable) => NOT_RUNNABLE,
        None => OURS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ExecutionState::{Cancelled, Failed, Lost, Queued, Running, Starting, Succeeded, TimedOut};

    #[track_caller]
    fn check(state: ExecutionState, limit: Option<LimitKind>, exit: Option<Exit>, expected: u8) {
        assert_eq!(exit_status(&End { state, limit, exit }), expected);
    }

    #[test]
    fn follows_the_end() {
        let killed = Some(Exit::Signal(9));
        check(Succeeded, None, Some(Exit::Code(0)), 0);
        for code in 1..=255 {
            check(Failed, None, Some(Exit::Code(code)), code);
        }
        for signal in 1..=64 {
            check(Failed, None, Some(Exit::Signal(signal)), 128 + signal);
        }
        check(Failed, None, Some(Exit::NotFound), 127);
        check(Failed, None, Some(Exit::NotRunnable), 126);
        check(TimedOut, Some(LimitKind::Timeout), killed, 124);
        check(Failed, Some(LimitKind::Memory), killed, 137);
        check(Failed, Some(LimitKind::Memory), Some(Exit::Code(1)), 137);
        check(Failed, Some(LimitKind::Output), None, 137);
        check(Cancelled, None, killed, 130);
        check(Cancelled, None, None, 130);
        for state in [Lost, Queued, Starting, Running] {
            check(state, None, None, 125);
        }
    }

    #[test]
    fn a_problem_is_ours_unless_the_program_is_missing() {
        for code in ErrorCode::all() {
            let expected = match code.as_str() {
                "not_found" => 127,
                "not_runnable" => 126,
                _ => 125,
            };
            assert_eq!(exit_status_of_problem(&Problem::new(code, "")), expected, "{code}");
        }
    }
}
