//! Commands in one live sandbox, beside bare processes.

use sandkeep_runtime::Driver;
use serde::Serialize;

use super::life;
use super::peers::Peer;
use super::stats::{self, Summary};
use crate::out::{self, Stop};

/// Fewer say little about a p99.
pub(crate) const LEAST_ROUNDS: u32 = 300;

/// Times of the same minutes.
#[derive(Debug, Serialize)]
pub(crate) struct Live {
    /// `true` in the sandbox, from the call to its result.
    pub(crate) command: Summary,
    /// From the call until foreign code runs.
    pub(crate) started: Summary,
    /// `true` as a plain process, output piped and read.
    pub(crate) bare_spawn: Summary,
}

/// # Errors
/// The driver's, or `internal` when no plain process can be started.
pub(crate) async fn measure(driver: &dyn Driver, rounds: u32) -> Result<Live, Stop> {
    let sandbox = life::create(driver).await?;
    let (mut ended, mut started, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds + WARM_UP {
        let ran = life::run(sandbox.as_ref(), &["true"]).await?;
        let spawn = Peer::Spawn.once().map_err(|error| out::failed("no plain `true` here", &error))?;
        if round >= WARM_UP {
            ended.push(ran.ended);
            started.push(ran.started);
            bare.push(spawn);
        }
    }
    sandbox.stop().await;
    let summary = |times: &[_]| stats::summary(times).expect("at least ten rounds");
    Ok(Live { command: summary(&ended), started: summary(&started), bare_spawn: summary(&bare) })
}

const WARM_UP: u32 = 5;
