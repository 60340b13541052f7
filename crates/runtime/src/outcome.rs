//! From the facts of an end to the result that is told: the same for the command and for a server.

use sandkeep_core::code::Problem;
use sandkeep_core::execution::{End, ErrorInfo, ExecutionResult, Kind, Work, conclude, returned};
use sandkeep_core::time::Timestamp;

use crate::driver::Ended;

/// Fills `result` with what `ended` tells, and says which end that is. Its state goes into the result by
/// [`ExecutionResult::set_end`], its output by [`ExecutionResult::set_stdout`] and its like: until then all of it is missing.
pub fn tell(result: &mut ExecutionResult, work: &Work, ended: Ended) -> End {
    let mut end = conclude(&ended.facts);
    if work.kind() == Kind::Handler {
        let outcome = returned::settle(end, ended.returned.as_deref(), ended.returned_too_much);
        (end, result.return_value, result.error) = (outcome.end, outcome.value, outcome.error);
    }
    if let Some(why) = &ended.not_runnable {
        result.error = Some(info(&why.problem(program(work))));
    }
    (result.stdout_missing_bytes, result.stderr_missing_bytes) = (ended.stdout_bytes, ended.stderr_bytes);
    result.metrics = ended.metrics;
    result.artifacts = ended.artifacts;
    result.artifacts_truncated = ended.artifacts_truncated;
    let at = |unix_ms: u64| (unix_ms > 0).then(|| Timestamp::from_unix_ms(unix_ms));
    result.started_at = at(ended.started_at_ms).filter(|_| ended.not_runnable.is_none());
    result.finished_at = at(ended.finished_at_ms);
    end
}

/// What was to be started, by the name that people know.
#[must_use]
pub fn program(work: &Work) -> &str {
    match work {
        Work::Command { argv } => argv.first().map_or("", String::as_str),
        Work::Script { language, .. } | Work::Handler { language, .. } => language.as_str(),
    }
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
