//! The result of an execution, from what was seen of it.

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::enforcement::{Enforcement, Level};
use sandkeep_core::execution::{
    End, EndFacts, ErrorInfo, ExecutionResult, ExecutionState, Exit, Kind, Work, conclude, exit,
};
use sandkeep_core::limits::LimitKind;
use sandkeep_core::time::Timestamp;
use sandkeep_runtime::driver::{Ended, NotRunnable};

use super::collect::Collector;
use super::request::Request;
use super::returned;

/// What to exit with when a handler ended with 0 and gave nothing valid back.
const NO_RESULT: u8 = 1;

/// A result, and what to exit with.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) result: ExecutionResult,
    pub(super) status: u8,
}

/// A result in which nothing has happened yet.
fn queued(request: &Request, enforcement: Enforcement) -> ExecutionResult {
    let work = &request.execution.work;
    ExecutionResult::queued(
        request.execution_id(),
        request.sandbox_id(),
        work.kind(),
        work.language(),
        enforcement,
        request.created_at,
    )
}

/// Of an execution that was cancelled before its sandbox was there.
pub(super) fn cancelled(request: &Request, now: Timestamp) -> Verdict {
    let mut nothing = Enforcement::full();
    for kind in LimitKind::ALL {
        nothing.lower(kind, Level::None, "cancelled before anything ran", "run it again");
    }
    let mut result = queued(request, nothing);
    let end = conclude(&EndFacts { cancelled: true, ..EndFacts::default() });
    result.set_end(&end);
    result.finished_at = Some(now);
    Verdict { result, status: exit::exit_status(&end) }
}

/// Of an execution that was followed to `ended`.
pub(super) fn verdict(
    request: &Request,
    enforcement: &Enforcement,
    collected: Collector,
    ended: Result<Box<Ended>, Problem>,
    now: Timestamp,
) -> Verdict {
    let mut result = queued(request, enforcement.clone());
    let totals = ended.as_ref().map_or([0, 0], |ended| [ended.stdout_bytes, ended.stderr_bytes]);
    let ([stdout, stderr], gap) = collected.finish(totals);
    result.set_stdout(&stdout);
    result.set_stderr(&stderr);
    result.output_gap = gap;
    let end = match ended {
        Ok(ended) => told(&mut result, &request.execution.work, *ended),
        Err(problem) => {
            result.error = Some(info(&problem));
            result.finished_at = Some(now);
            conclude(&EndFacts::default())
        }
    };
    result.set_end(&end);
    let status = match (result.status, exit::exit_status(&end)) {
        (ExecutionState::Failed, 0) => NO_RESULT,
        (_, status) => status,
    };
    Verdict { result, status }
}

fn told(result: &mut ExecutionResult, work: &Work, ended: Ended) -> End {
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

fn info(problem: &Problem) -> ErrorInfo {
    let mut message = problem.message.clone();
    if let Some(expected) = &problem.expected {
        message.push_str(&format!("; write {expected}"));
    }
    ErrorInfo { name: problem.code.to_string(), message, stack: None }
}
