//! Time to first command as public comparisons measure it: create, and the result of one trivial command.
//!
//! A hundred one after another, a hundred staggered, a hundred at once; 5 % trimmed from each side; the failures count.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sandkeep_core::code::Problem;
use sandkeep_runtime::Driver;
use serde::Serialize;
use tokio::task::JoinSet;

use super::life::{self, Life};
use super::say;
use super::stats::{self, Summary};

/// Sandboxes per mode.
const COUNT: u32 = 100;
const STAGGER: Duration = Duration::from_millis(200);
const TRIM_PERCENT: usize = 5;

/// How the sandboxes follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    Sequential,
    Staggered,
    AtOnce,
}

impl Mode {
    const ALL: [Self; 3] = [Self::Sequential, Self::Staggered, Self::AtOnce];

    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Sequential => "100 one after another",
            Self::Staggered => "100, one each 200 ms",
            Self::AtOnce => "100 at once",
        }
    }
}

/// One mode with one command.
#[derive(Debug, Serialize)]
pub(crate) struct Burst {
    pub(crate) command: String,
    pub(crate) mode: Mode,
    /// Of those that succeeded, trimmed.
    pub(crate) first_command: Option<Summary>,
    pub(crate) succeeded: u32,
    pub(crate) failed: u32,
    /// The first failure.
    pub(crate) failure: Option<String>,
}

/// Failures are counted, not returned.
pub(crate) async fn measure(driver: &Arc<dyn Driver>) -> Vec<Burst> {
    let mut commands = vec![vec!["true"]];
    if ["/usr/bin/node", "/bin/node"].iter().any(|path| Path::new(path).exists()) {
        commands.push(vec!["node", "-v"]);
    }
    let mut bursts = Vec::new();
    for argv in commands {
        for mode in Mode::ALL {
            say(&format!("`{}`, {}", argv.join(" "), mode.words()));
            bursts.push(one(driver, &argv, mode).await);
        }
    }
    bursts
}

async fn one(driver: &Arc<dyn Driver>, argv: &[&'static str], mode: Mode) -> Burst {
    let mut outcomes = Vec::new();
    match mode {
        Mode::Sequential => {
            for _ in 0..COUNT {
                outcomes.push(life::whole(driver.as_ref(), argv).await);
            }
        }
        Mode::Staggered => outcomes = together(driver, argv, STAGGER).await,
        Mode::AtOnce => outcomes = together(driver, argv, Duration::ZERO).await,
    }
    let first: Vec<_> = outcomes.iter().flatten().map(Life::first_command).collect();
    let failure = outcomes.iter().find_map(|outcome| outcome.as_ref().err());
    let succeeded = u32::try_from(first.len()).unwrap_or(u32::MAX);
    Burst {
        command: argv.join(" "),
        mode,
        first_command: stats::summary(&stats::trimmed(&first, TRIM_PERCENT)),
        succeeded,
        failed: COUNT - succeeded,
        failure: failure.map(ToString::to_string),
    }
}

/// All of them as tasks of this one thread, each beginning `stagger` after the one before.
async fn together(
    driver: &Arc<dyn Driver>,
    argv: &[&'static str],
    stagger: Duration,
) -> Vec<Result<Life, Problem>> {
    let mut lives = JoinSet::new();
    for n in 0..COUNT {
        let (driver, argv) = (Arc::clone(driver), argv.to_vec());
        lives.spawn(async move {
            tokio::time::sleep(stagger * n).await;
            life::whole(driver.as_ref(), &argv).await
        });
    }
    lives.join_all().await
}
