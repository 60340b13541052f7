//! The result of an execution, from what was seen of it.

use sandkeep_core::code::Problem;
use sandkeep_core::enforcement::{Enforcement, Level};
use sandkeep_core::execution::{EndFacts, ExecutionResult, ExecutionState, conclude, exit};
use sandkeep_core::limits::LimitKind;
use sandkeep_core::time::Timestamp;
use sandkeep_runtime::driver::Ended;
use sandkeep_runtime::outcome;

use super::collect::Collector;
use super::request::Request;

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
    let work = &request.execution.work;
    let not_started = ended.as_ref().ok().and_then(|ended| ended.not_runnable.as_ref());
    let not_started = not_started.map(|why| why.problem(outcome::program(work)));
    let end = match ended {
        Ok(ended) => outcome::tell(&mut result, work, *ended),
        Err(problem) => {
            result.error = Some(outcome::info(&problem));
            result.finished_at = Some(now);
            conclude(&EndFacts::default())
        }
    };
    let ([stdout, stderr], gap) = collected.finish(totals);
    result.set_stdout(&stdout);
    result.set_stderr(&stderr);
    result.output_gap = gap;
    result.set_end(&end);
    let status = match (result.status, exit::exit_status(&end), &not_started) {
        (ExecutionState::Failed, _, Some(problem)) => exit::exit_status_of_problem(problem),
        (ExecutionState::Failed, 0, None) => NO_RESULT,
        (_, status, _) => status,
    };
    Verdict { result, status }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use sandkeep_core::code::ErrorCode;
    use sandkeep_core::execution::{Encoding, Exit, Metrics, NotRunnable};
    use sandkeep_core::output::Stream;
    use sandkeep_core::size::ByteSize;

    fn request(words: &[&str]) -> Request {
        let all = ["sandkeep", "run"].iter().chain(words);
        let crate::Command::Here(crate::Here::Run(args)) = crate::Cli::try_parse_from(all).unwrap().command
        else {
            unreachable!("`run` was asked for")
        };
        crate::run::request::build(&args).unwrap()
    }

    fn ended(exit: Exit) -> Ended {
        Ended {
            facts: EndFacts { exit: Some(exit), ..EndFacts::default() },
            returned: None,
            returned_too_much: false,
            not_runnable: None,
            metrics: Metrics::default(),
            artifacts: Vec::new(),
            artifacts_truncated: false,
            stdout_bytes: 0,
            stderr_bytes: 0,
            started_at_ms: 1,
            finished_at_ms: 2,
        }
    }

    fn judge(request: &Request, ended: Result<Ended, Problem>) -> Verdict {
        let collected = Collector::new(ByteSize::from_kib(1));
        verdict(request, &Enforcement::full(), collected, ended.map(Box::new), Timestamp::from_unix_ms(9))
    }

    fn handler() -> (tempfile::TempDir, Request) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("h.py");
        std::fs::write(&file, "").unwrap();
        let request = request(&["--kind", "handler", file.to_str().unwrap()]);
        (directory, request)
    }

    #[test]
    fn a_command_ends_as_its_program_does() {
        let request = request(&["--", "x"]);
        for (exit, state, status) in [
            (Exit::Code(0), ExecutionState::Succeeded, 0),
            (Exit::Code(255), ExecutionState::Failed, 255),
            (Exit::Signal(15), ExecutionState::Failed, 143),
        ] {
            let verdict = judge(&request, Ok(ended(exit)));
            assert_eq!((verdict.result.status, verdict.status), (state, status));
            assert_eq!(verdict.result.started_at, Some(Timestamp::from_unix_ms(1)));
        }
    }

    #[test]
    fn what_could_not_start_says_why() {
        let request = request(&["--", "nosuch"]);
        for (stage, errno, name, status, says) in [
            ("exec", 2, "not_found", 127, "nosuch"),
            ("exec", 13, "not_runnable", 126, "nosuch"),
            ("files", 20, "mount_refused", 125, "a file that was given"),
            ("landlock", 1, "sandbox_failed", 125, "landlock"),
        ] {
            let why = NotRunnable { errno, stage: stage.to_owned() };
            let exit = why.exit();
            let verdict = judge(&request, Ok(Ended { not_runnable: Some(why), ..ended(exit) }));
            let error = verdict.result.error.unwrap();
            assert_eq!((error.name.as_str(), verdict.status), (name, status));
            assert!(error.message.contains(says), "{}", error.message);
            assert_eq!(verdict.result.started_at, None);
        }
    }

    #[test]
    fn a_lost_sandbox_is_ours() {
        let problem = Problem::new(ErrorCode::SandboxLost, "gone");
        let verdict = judge(&request(&["--", "x"]), Err(problem));
        assert_eq!((verdict.result.status, verdict.status), (ExecutionState::Lost, 125));
        assert_eq!(verdict.result.error.unwrap().name, "sandbox_lost");
        assert_eq!(verdict.result.finished_at, Some(Timestamp::from_unix_ms(9)));
    }

    #[test]
    fn a_handler_succeeds_with_a_value_only() {
        let (_directory, request) = handler();
        let value: &[u8] = b"{\"value\": 0}";
        let raised: &[u8] = b"{\"error\": {\"name\": \"E\", \"message\": \"m\", \"stack\": \"s\"}}";
        let cases = [
            (Some(value), 0, ExecutionState::Succeeded, 0, None::<&str>),
            (Some(raised), 1, ExecutionState::Failed, 1, Some("E")),
            (Some(&b"junk"[..]), 0, ExecutionState::Failed, 1, Some("return_value_invalid")),
            (None, 0, ExecutionState::Failed, 1, Some("return_value_invalid")),
            (None, 3, ExecutionState::Failed, 3, None),
            (Some(value), 3, ExecutionState::Failed, 3, None),
        ];
        for (returned, code, state, status, error) in cases {
            let returned = returned.map(<[u8]>::to_vec);
            let verdict = judge(&request, Ok(Ended { returned, ..ended(Exit::Code(code)) }));
            let result = verdict.result;
            assert_eq!((result.status, verdict.status), (state, status));
            assert_eq!(result.error.map(|error| error.name).as_deref(), error);
            assert_eq!(result.return_value.is_some(), state == ExecutionState::Succeeded);
        }
    }

    #[test]
    fn a_limit_says_more_than_a_missing_value() {
        let (_directory, request) = handler();
        let facts = EndFacts { out_of_memory: true, ..ended(Exit::Signal(9)).facts };
        let verdict = judge(&request, Ok(Ended { facts, ..ended(Exit::Signal(9)) }));
        assert_eq!((verdict.status, verdict.result.limit), (137, Some(LimitKind::Memory)));
        assert_eq!(verdict.result.error, None);
    }

    #[test]
    fn output_is_text_where_it_is_and_counted_where_it_is_not_kept() {
        let mut collected = Collector::new(ByteSize::from_bytes(10));
        collected.output(0, Stream::Stdout, &[b'a'; 20]);
        collected.output(20, Stream::Stderr, b"\xff");
        let ended = Ended { stdout_bytes: 20, stderr_bytes: 1, ..ended(Exit::Code(0)) };
        let now = Timestamp::from_unix_ms(9);
        let request = request(&["--", "x"]);
        let result = verdict(&request, &Enforcement::full(), collected, Ok(Box::new(ended)), now).result;
        assert_eq!((result.stdout.as_str(), result.stdout_missing_bytes), ("aaaaaaaaa", 11));
        assert_eq!((result.stderr.as_str(), result.stderr_encoding), ("/w==", Encoding::Base64));
        assert_eq!(result.output_gap.map(|gap| (gap.from, gap.to)), Some((8, 19)));
    }

    #[test]
    fn what_was_cancelled_before_it_ran_held_nothing() {
        let verdict = cancelled(&request(&["--", "x"]), Timestamp::from_unix_ms(9));
        assert_eq!((verdict.result.status, verdict.status), (ExecutionState::Cancelled, 130));
        assert_eq!(verdict.result.enforcement.memory, Level::None);
    }
}
