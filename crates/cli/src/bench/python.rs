//! Small programs in Python: forked from a warm interpreter, started anew, and as the first thing of a new sandbox.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::defaults;
use sandkeep_core::execution::{CodeSource, Language, Work};
use sandkeep_runtime::local::interpreters;
use sandkeep_runtime::{Driver, Sandbox};
use serde::Serialize;

use super::life;
use super::peers::{self, Peer};
use super::stats::{self, Summary};
use super::weight;
use crate::host;
use crate::out::{self, Stop};

/// Times of the same minutes.
#[derive(Debug, Serialize)]
pub(crate) struct Python {
    /// A line of Python in a sandbox whose interpreter is warm, from the call to its result.
    pub(crate) warm: Summary,
    /// The same where each is started anew.
    pub(crate) plain: Summary,
    /// Create, and the result of the first program.
    pub(crate) first: Summary,
    /// `python3 -I -c pass` as a plain process.
    pub(crate) interpreter: Summary,
    pub(crate) bwrap: Option<Summary>,
    pub(crate) warm_pss_bytes: Option<u64>,
}

/// Longer than an interpreter takes to import what is usual, on any machine.
const WARM_WITHIN: Duration = Duration::from_secs(20);

/// # Errors
/// The driver's, or `internal` when there is no Python here.
pub(crate) async fn measure(state_dir: Option<&PathBuf>, rounds: u32) -> Result<Python, Stop> {
    let program = interpreter()?;
    let plain_driver = host::driver(state_dir)?;
    let warm_driver = host::driver(state_dir)?.warming_python(defaults::python_modules());
    let (plain_sandbox, warm_sandbox) =
        (life::create(&plain_driver).await?, life::create(&warm_driver).await?);
    become_warm(warm_sandbox.as_ref()).await?;
    let (mut warm, mut plain, mut first) = (Vec::new(), Vec::new(), Vec::new());
    let (mut interpreter, mut bwrap) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        warm.push(life::perform(warm_sandbox.as_ref(), line()).await?.ended);
        plain.push(life::perform(plain_sandbox.as_ref(), line()).await?.ended);
        first.push(first_program(&plain_driver).await?);
        let alone = peers::python(&program).map_err(|error| out::failed("no plain Python here", &error))?;
        interpreter.push(alone);
        bwrap.extend(Peer::Bubblewrap.once());
    }
    let warm_pss_bytes = weight::warm_pss(warm_sandbox.facts());
    plain_sandbox.stop().await;
    warm_sandbox.stop().await;
    let summary = |times: &[_]| stats::summary(times).expect("at least ten rounds");
    Ok(Python {
        warm: summary(&warm),
        plain: summary(&plain),
        first: summary(&first),
        interpreter: summary(&interpreter),
        bwrap: stats::summary(&bwrap),
        warm_pss_bytes,
    })
}

fn line() -> Work {
    script("print(sum(range(10)))")
}

fn script(code: &str) -> Work {
    let code = CodeSource::Inline { name: "main.py".to_owned(), code: code.as_bytes().to_vec() };
    Work::Script { language: Language::Python, code, args: Vec::new() }
}

/// Runs programs until one of them is a fork, which it tells by its end.
async fn become_warm(sandbox: &dyn Sandbox) -> Result<(), Problem> {
    let begun = Instant::now();
    while begun.elapsed() < WARM_WITHIN {
        let asked =
            life::perform(sandbox, script("import gc, sys; sys.exit(gc.get_freeze_count() < 5000)")).await;
        if asked.is_ok() {
            return Ok(());
        }
    }
    Err(Problem::new(ErrorCode::Internal, "no interpreter is kept warm here: doctor says what is missing"))
}

async fn first_program(driver: &dyn Driver) -> Result<Duration, Problem> {
    let begun = Instant::now();
    let sandbox = life::create(driver).await?;
    let ran = life::perform(sandbox.as_ref(), line()).await;
    let took = begun.elapsed();
    sandbox.stop().await;
    ran.map(|_| took)
}

fn interpreter() -> Result<PathBuf, Problem> {
    let found = interpreters().into_iter().find(|found| found.language == Language::Python);
    let path = found.and_then(|found| found.path.ok());
    path.filter(|path| Path::new(path).exists())
        .ok_or_else(|| Problem::new(ErrorCode::InterpreterMissing, "there is no Python here to measure"))
}
