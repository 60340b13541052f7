//! One sandbox with one command, and every peer, in turn.

use std::collections::BTreeMap;
use std::time::Duration;

use sandkeep_runtime::Driver;
use serde::Serialize;

use super::SandboxArgs;
use super::life::{self, Life};
use super::peers::{self, Peer};
use super::stats::{self, Summary};
use crate::out::Stop;

/// Times of the same minutes.
#[derive(Debug, Serialize)]
pub(crate) struct Interleaved {
    /// Create, and the result of `true`.
    pub(crate) first_command: Summary,
    /// The same and the sandbox's end, after which nothing is left.
    pub(crate) whole_life: Summary,
    /// By name.
    pub(crate) peers: BTreeMap<&'static str, Summary>,
    /// Of a sandbox's life, in their order.
    pub(crate) steps: Vec<Step>,
    /// Who is not compared, and why.
    pub(crate) absent: Vec<String>,
}

/// A part of a sandbox's life.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    pub(crate) p50_ms: f64,
}

/// Rounds before any that count: memory files are written, groups are made, caches are filled.
const WARM_UP: u32 = 5;

/// # Errors
/// The driver's; a peer that fails in the middle is dropped with the reason.
pub(crate) async fn measure(driver: &dyn Driver, args: &SandboxArgs) -> Result<Interleaved, Stop> {
    let (mut peers, mut absent) = peers::all(args.floor.as_deref(), &args.docker_image);
    for _ in 0..WARM_UP {
        life::whole(driver, &["true"]).await?;
    }
    let mut lives = Vec::new();
    let mut times: BTreeMap<&'static str, Vec<Duration>> = BTreeMap::new();
    for round in 0..args.rounds {
        lives.push(life::whole(driver, &["true"]).await?);
        peers.retain_mut(|peer| take_turn(peer, round, &mut times, &mut absent));
    }
    let first: Vec<_> = lives.iter().map(Life::first_command).collect();
    let whole: Vec<_> = lives.iter().map(|life| life.first_command() + life.stopped).collect();
    Ok(Interleaved {
        first_command: stats::summary(&first).expect("at least ten rounds"),
        whole_life: stats::summary(&whole).expect("at least ten rounds"),
        peers: times.iter().filter_map(|(name, times)| Some((*name, stats::summary(times)?))).collect(),
        steps: steps(&lives),
        absent,
    })
}

/// False when it failed and takes no further part.
fn take_turn(
    peer: &mut Peer,
    round: u32,
    times: &mut BTreeMap<&'static str, Vec<Duration>>,
    absent: &mut Vec<String>,
) -> bool {
    match peer.once() {
        Ok(took) => {
            times.entry(peer.name()).or_default().push(took);
            true
        }
        Err(error) => {
            absent.push(format!("{}, from round {round} on: {error}", peer.name()));
            false
        }
    }
}

fn steps(lives: &[Life]) -> Vec<Step> {
    let step = |name, part: fn(&Life) -> Duration| {
        let times: Vec<_> = lives.iter().map(part).collect();
        Step { name, p50_ms: stats::median(&times).unwrap_or(0.0) }
    };
    vec![
        step("create: supervisor, namespaces, root", |life| life.created),
        step("start: groups, fork, walls, exec", |life| life.ran.started),
        step("run: the command, and its result", |life| life.ran.ended.saturating_sub(life.ran.started)),
        step("stop: kill, wait, release", |life| life.stopped),
    ]
}
