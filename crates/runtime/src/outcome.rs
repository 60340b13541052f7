//! From the facts of an end to the result that is told: the same for the command and for a server.

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::execution::{
    End, ErrorInfo, ExecutionResult, ExecutionState, Exit, Kind, Work, conclude, returned,
};
use sandkeep_core::time::Timestamp;

use crate::driver::{Ended, NotRunnable};

/// Fills `result` with what `ended` tells, and says which end that is. Its state goes into the result by
/// [`ExecutionResult::set_end`], its output is for the caller.
pub fn tell(result: &mut ExecutionResult, work: &Work, ended: Ended) -> End {
    let mut end = conclude(&ended.facts);
    if work.kind() == Kind::Handler {
        let by_itself = matches!(end.state, ExecutionState::Succeeded | ExecutionState::Failed);
        match returned::read(ended.returned.as_deref(), ended.returned_too_much) {
            // A value that was handed back before a timeout is still no result.
            Ok(value) if end.state == ExecutionState::Succeeded => result.return_value = Some(value),
            Ok(_) => {}
            // An exit code or a limit says more than "it did not return".
            Err(error) if ended.returned.is_some() || end.state == ExecutionState::Succeeded => {
                result.error = by_itself.then_some(error);
                if end.state == ExecutionState::Succeeded {
                    end.state = ExecutionState::Failed;
                }
            }
            Err(_) => {}
        }
    }
    if let Some(why) = &ended.not_runnable {
        result.error = Some(info(&not_runnable(work, end.exit, why)));
    }
    result.metrics = ended.metrics;
    result.artifacts = ended.artifacts;
    result.artifacts_truncated = ended.artifacts_truncated;
    let at = |unix_ms: u64| (unix_ms > 0).then(|| Timestamp::from_unix_ms(unix_ms));
    result.started_at = at(ended.started_at_ms).filter(|_| ended.not_runnable.is_none());
    result.finished_at = at(ended.finished_at_ms);
    end
}

fn not_runnable(work: &Work, exit: Option<Exit>, why: &NotRunnable) -> Problem {
    let program = match work {
        Work::Command { argv } => argv.first().map_or("", String::as_str),
        Work::Script { language, .. } | Work::Handler { language, .. } => language.as_str(),
    };
    if exit == Some(Exit::NotFound) {
        let expected = "a program of the sandbox, or its absolute path there";
        return Problem::refused(ErrorCode::NotFound, program, "is not in the sandbox", expected);
    }
    let reason = std::io::Error::from_raw_os_error(why.errno);
    let text = format!("cannot be run ({}: {reason})", why.stage);
    Problem::refused(ErrorCode::NotRunnable, program, &text, "an executable file for this machine")
}

/// A problem as the error of a result.
#[must_use]
pub fn info(problem: &Problem) -> ErrorInfo {
    let mut message = problem.message.clone();
    if let Some(expected) = &problem.expected {
        message.push_str(&format!("; write {expected}"));
    }
    ErrorInfo { name: problem.code.to_string(), message, stack: None }
}
