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
    /// Medians of the steps of a sandbox's life in milliseconds, in their order.
    pub(crate) steps: Vec<(&'static str, f64)>,
    /// Who is not compared, and why.
    pub(crate) absent: Vec<String>,
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

fn steps(lives: &[Life]) -> Vec<(&'static str, f64)> {
    let of = |step: fn(&Life) -> Duration| {
        let times: Vec<_> = lives.iter().map(step).collect();
        stats::median(&times).unwrap_or(0.0)
    };
    vec![
        ("create: supervisor, namespaces, root", of(|life| life.created)),
        ("start: groups, fork, walls, exec", of(|life| life.ran.started)),
        ("command runs, result arrives", of(|life| life.ran.ended.saturating_sub(life.ran.started))),
        ("stop: kill, wait, release", of(|life| life.stopped)),
    ]
}
