//! `sandkeep run`: one execution in a sandbox of its own, which ends with the command.
//!
//! `request` turns words into what is asked of the driver and refuses what is wrong before anything starts; `follow`
//! carries output, input and signals; `result` says how it ended. Nothing of the sandbox outlives this process: its
//! supervisor sees the socket close, however we end.

mod args;
mod bring;
mod collect;
mod follow;
mod input;
pub(crate) mod request;
mod result;
mod summary;
mod words;
mod writer;

use sandkeep_core::code::ErrorCode;
use sandkeep_core::execution::{ExecutionResult, exit};
use sandkeep_runtime::{Driver as _, Sandbox};

pub(crate) use args::{Args, LimitArgs};
use bring::Destination;
use follow::{Followed, Follower};
use input::Input;
use request::Request;
use result::Verdict;
use writer::{Writer, Written};

use crate::host;
use crate::images;
use crate::interrupt::Interrupts;
use crate::out::{self, Stop};

pub(crate) async fn execute(args: Args) -> Result<u8, Stop> {
    let request = request::build(&args)?;
    let results = args.out.as_deref().map(Destination::open).transpose()?;
    let driver = host::driver(args.state_dir.as_ref())?;
    // Before interrupts are ours: until here nothing needs an orderly end.
    let unpacked = request.base.ready()?;
    if let Some(image) = unpacked.as_ref().or_else(|| request.base.here()) {
        images::probe(image, &driver).await;
    }
    let mut interrupts = Interrupts::listen()?;
    let sandbox = tokio::select! {
        made = driver.create(&request.sandbox) => made?,
        // Dropping the attempt leaves nothing behind.
        () = interrupts.next() => return finish(&args, &request, &result::cancelled(&request, host::now()), &Written::default()),
    };
    let outcome = inside(&args, &request, results.as_ref(), sandbox.as_ref(), &mut interrupts).await;
    sandbox.stop().await;
    let (verdict, written) = outcome?;
    finish(&args, &request, &verdict, &written)
}

async fn inside(
    args: &Args,
    request: &Request,
    results: Option<&Destination>,
    sandbox: &dyn Sandbox,
    interrupts: &mut Interrupts,
) -> Result<(Verdict, Written), Stop> {
    sandbox.enforcement().check(request.explicit, request.demand)?;
    let running = tokio::select! {
        running = sandbox.start(&request.execution) => running?,
        () = interrupts.next() => return Ok((result::cancelled(request, host::now()), Written::default())),
    };
    let writer = (!args.json).then(Writer::start);
    let input = request.input.clone().map(Input::start);
    let follower = Follower::new(running, &mut *interrupts, request.execution.limits.output, writer, input);
    let Followed { collected, ended, written, output_failed } = follower.follow().await;
    if let Some(error) = output_failed {
        return Err(error.into());
    }
    let mut verdict = result::verdict(request, sandbox.enforcement(), collected, ended, host::now());
    if let Some(to) = results {
        let listed = (&verdict.result.artifacts, verdict.result.artifacts_truncated);
        let complete = bring::bring(sandbox, listed.0, listed.1, to, interrupts).await;
        if !complete && verdict.status == 0 {
            verdict.status = exit::OURS;
        }
    }
    Ok((verdict, written))
}

/// Shows what is left to show, and returns what to exit with.
fn finish(args: &Args, request: &Request, verdict: &Verdict, written: &Written) -> Result<u8, Stop> {
    let result = &verdict.result;
    if args.json {
        out::json(result)?;
        return Ok(verdict.status);
    }
    return_value(result, written)?;
    error(result);
    if out::is_watched() {
        let stdout_mid_line = written.stdout_mid_line && result.return_value.is_none();
        let line = summary::line(result, &request.execution.limits);
        let start = if stdout_mid_line || written.stderr_mid_line { "\n" } else { "" };
        out::error_bytes(format!("{start}{line}\n").as_bytes());
    }
    Ok(verdict.status)
}

/// On a line of its own, so that the last line of standard output is the value and nothing else.
fn return_value(result: &ExecutionResult, written: &Written) -> Result<(), Stop> {
    let Some(value) = &result.return_value else { return Ok(()) };
    if written.stdout_mid_line {
        out::line("")?;
    }
    out::line(&value.compact())
}

/// Errors of ours; what the code raised it has written itself.
fn error(result: &ExecutionResult) {
    let Some(error) = &result.error else { return };
    if let Ok(code) = error.name.parse::<ErrorCode>() {
        out::note(&format!("{code}: {}", error.message));
    }
}
