//! One sandbox from nothing to nothing, timed step by step through the driver's seam.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::defaults;
use sandkeep_core::execution::{ExecutionState, Work, conclude};
use sandkeep_core::output::Mask;
use sandkeep_runtime::driver::{ExecutionSpec, SandboxSpec, Stdin, User};
use sandkeep_runtime::{Driver, Event, Sandbox};

use crate::host;

/// Times of one execution, from the call that starts it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ran {
    /// Foreign code runs.
    pub(crate) started: Duration,
    /// Its result is here.
    pub(crate) ended: Duration,
}

/// Times of one sandbox with one command.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    pub(crate) created: Duration,
    pub(crate) ran: Ran,
    /// Until nothing was left.
    pub(crate) stopped: Duration,
}

impl Life {
    /// From nothing to the result of the first command.
    pub(crate) fn first_command(&self) -> Duration {
        self.created + self.ran.ended
    }
}

/// Makes a sandbox, runs `argv` in it, ends it.
///
/// # Errors
/// The driver's, or `internal` when the command does not end with 0.
pub(crate) async fn whole(driver: &dyn Driver, argv: &[&str]) -> Result<Life, Problem> {
    let spec = sandbox_spec()?;
    let begun = Instant::now();
    let sandbox = driver.create(&spec).await?;
    let created = begun.elapsed();
    let ran = run(sandbox.as_ref(), argv).await;
    let ending = Instant::now();
    sandbox.stop().await;
    Ok(Life { created, ran: ran?, stopped: ending.elapsed() })
}

/// Makes a sandbox with the defaults.
///
/// # Errors
/// The driver's.
pub(crate) async fn create(driver: &dyn Driver) -> Result<Box<dyn Sandbox>, Problem> {
    driver.create(&sandbox_spec()?).await
}

/// Runs `argv` in a live sandbox.
///
/// # Errors
/// The driver's, or `internal` when the command does not end with 0.
pub(crate) async fn run(sandbox: &dyn Sandbox, argv: &[&str]) -> Result<Ran, Problem> {
    let words = argv.iter().map(|&word| word.to_owned()).collect();
    perform(sandbox, Work::Command { argv: words }).await
}

/// Runs `work` in a live sandbox.
///
/// # Errors
/// As [`run`].
pub(crate) async fn perform(sandbox: &dyn Sandbox, work: Work) -> Result<Ran, Problem> {
    let spec = execution_spec(work)?;
    let begun = Instant::now();
    let mut running = sandbox.start(&spec).await?;
    let mut started = None;
    while let Some(event) = running.next().await? {
        match event {
            Event::Started => started = Some(begun.elapsed()),
            Event::Output { .. } | Event::Gap { .. } => {}
            Event::Ended(ended) => {
                let at = begun.elapsed();
                if conclude(&ended.facts).state != ExecutionState::Succeeded {
                    return Err(unexpected(
                        &spec.work,
                        &format!("{:?} {:?}", ended.facts, ended.not_runnable),
                    ));
                }
                return Ok(Ran { started: started.unwrap_or(at), ended: at });
            }
        }
    }
    Err(unexpected(&spec.work, "no end was told"))
}

fn unexpected(work: &Work, what: &str) -> Problem {
    let name = match work {
        Work::Command { argv } => argv.join(" "),
        Work::Script { language, .. } | Work::Handler { language, .. } => format!("a program in {language}"),
    };
    Problem::new(ErrorCode::Internal, format!("`{name}` did not end as it should: {what}"))
}

fn sandbox_spec() -> Result<SandboxSpec, Problem> {
    Ok(SandboxSpec::of_host(host::sandbox_id()?, defaults::limits()))
}

fn execution_spec(work: Work) -> Result<ExecutionSpec, Problem> {
    Ok(ExecutionSpec {
        id: host::execution_id()?,
        token: 1,
        work,
        env: BTreeMap::new(),
        cwd: None,
        user: User::User,
        stdin: Stdin::Empty,
        merge_stderr: false,
        mask: Mask::default(),
        limits: defaults::limits(),
        files: Vec::new(),
        artifacts: false,
    })
}
