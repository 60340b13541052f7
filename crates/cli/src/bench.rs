//! `sandkeep bench`: what sandboxes cost on this machine, beside what else could have been used in the same minutes.
//!
//! Not a profiler and not a test: it prints figures, ratios and whether the project's own targets are reached, and
//! exits with 0 whatever they are. `interleaved` times one sandbox with one command against bare processes, the floor
//! program of the repository, bubblewrap, runc and Docker, each in turn, so that a busy neighbour hits all of them;
//! `bursts` does what public comparisons call time to first command; `live` runs commands in one sandbox; `crowd` holds
//! many at once and weighs them. `targets` judges, `report` shows. Numbers without the load beside them say nothing,
//! so the load stands at both ends.

mod bursts;
mod crowd;
mod floor;
mod interleaved;
mod life;
mod live;
mod load;
mod peers;
mod python;
mod report;
mod stats;
mod targets;
mod weight;

use std::path::PathBuf;
use std::sync::Arc;

use sandkeep_runtime::Driver;
use serde::Serialize;

use crate::host;
use crate::out::{self, Stop};
use bursts::Burst;
use crowd::{Alive, Idle};
use interleaved::Interleaved;
use live::Live;
use load::Load;
use python::Python;
use targets::Verdict;

/// Measure sandboxes on this host.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) what: What,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum What {
    Sandbox(SandboxArgs),
}

/// Time and weigh sandboxes, beside bare processes, bubblewrap, runc and Docker where they are installed.
#[derive(Debug, clap::Args)]
pub(crate) struct SandboxArgs {
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Rounds of each timed thing.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(10..=100_000))]
    rounds: u32,
    /// Sandboxes alive at once; 0 leaves that part out.
    #[arg(long, value_name = "N", default_value_t = 1_500, value_parser = clap::value_parser!(u32).range(0..=4_000))]
    alive: u32,
    /// Only these parts.
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<Part>,
    /// Also print the median of each step.
    #[arg(long)]
    trace: bool,
    /// The floor program of bench/floor, built; left out of the comparison when not given.
    #[arg(long, value_name = "PATH", env = "SANDKEEP_FLOOR")]
    floor: Option<PathBuf>,
    /// An image for docker that has `true`; Docker is left out when there is none.
    #[arg(long, value_name = "NAME", env = "SANDKEEP_BENCH_IMAGE", default_value = "sandkeep-bench")]
    docker_image: String,
    /// Where locks of live sandboxes are kept.
    #[arg(long, value_name = "DIR", env = "SANDKEEP_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

/// What can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// One sandbox with one command, beside the peers.
    Cold,
    /// A hundred one after another, staggered, and at once.
    Bursts,
    /// Commands in a live sandbox.
    Live,
    /// Small programs in Python, with a warm interpreter and without.
    Python,
    /// Memory of an idle sandbox.
    Idle,
    /// Many sandboxes at once.
    Alive,
}

/// All that was measured.
#[derive(Debug, Default, Serialize)]
struct Measured {
    load_before: Load,
    load_after: Load,
    #[serde(skip_serializing_if = "Option::is_none")]
    cold: Option<Interleaved>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bursts: Vec<Burst>,
    #[serde(skip_serializing_if = "Option::is_none")]
    live: Option<Live>,
    #[serde(skip_serializing_if = "Option::is_none")]
    python: Option<Python>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle: Option<Idle>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alive: Option<Alive>,
    verdicts: Vec<Verdict>,
}

impl Args {
    /// Whether errors are wanted as JSON on standard output.
    pub(crate) fn wants_json(&self) -> bool {
        let What::Sandbox(args) = &self.what;
        args.json
    }
}

pub(crate) async fn execute(args: Args) -> Result<u8, Stop> {
    let What::Sandbox(args) = args.what;
    let measured = measure(&args).await?;
    if args.json {
        out::json(&measured)?;
    } else {
        out::bytes(report::text(&measured, args.trace).as_bytes())?;
    }
    Ok(0)
}

async fn measure(args: &SandboxArgs) -> Result<Measured, Stop> {
    let driver: Arc<dyn Driver> = Arc::new(host::driver(args.state_dir.as_ref())?);
    let wanted = |part| args.only.is_empty() || args.only.contains(&part);
    let mut measured = Measured { load_before: Load::now(), ..Measured::default() };
    if wanted(Part::Cold) {
        say("one sandbox with one command, beside the peers");
        measured.cold = Some(interleaved::measure(driver.as_ref(), args).await?);
    }
    if wanted(Part::Live) {
        say("commands in a live sandbox");
        measured.live = Some(live::measure(driver.as_ref(), args.rounds.max(live::LEAST_ROUNDS)).await?);
    }
    if wanted(Part::Python) {
        say("small programs in Python");
        measured.python = Some(python::measure(args.state_dir.as_ref(), args.rounds).await?);
    }
    if wanted(Part::Bursts) {
        measured.bursts = bursts::measure(&driver).await;
    }
    if wanted(Part::Idle) {
        say("memory of idle sandboxes");
        measured.idle = Some(crowd::idle(&driver).await?);
    }
    if wanted(Part::Alive) && args.alive > 0 {
        say(&format!("{} sandboxes at once", args.alive));
        measured.alive = Some(crowd::alive(&driver, args.alive, args.state_dir.as_ref()).await?);
    }
    measured.load_after = Load::now();
    measured.verdicts = targets::judge(&measured);
    Ok(measured)
}

/// Minutes pass; whoever watches is told what is being done.
fn say(what: &str) {
    if out::is_watched() {
        out::note(&format!("measuring {what} …"));
    }
}
