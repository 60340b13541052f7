//! `sandkeep doctor`: what this host can enforce.
//!
//! The truth comes from making a sandbox and asking it; what the host looks like only explains it. `report` holds what
//! was found, `table` shows it to a person, `selftest` lets programs run into each limit.

mod report;
mod selftest;
mod table;

use std::path::PathBuf;

use sandkeep_core::sandbox::Profile;
use sandkeep_core::{defaults, limits};
use sandkeep_runtime::Driver as _;
use sandkeep_runtime::driver::SandboxSpec;
use sandkeep_runtime::local::{self, Local, StateDirectory, probe};

use crate::host;
use crate::out::{self, Stop};
use crate::run::request;
use report::{Booted, Report};

/// What to exit with when this host cannot run anything, or a limit does not hold as it should.
const UNFIT: u8 = 1;

/// Show what this host can enforce, why not more, and the command that mends it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exit status: 0 when programs can be run here, 1 when not or when a limit failed its test."
)]
pub(crate) struct Args {
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,

    /// Also run small programs into each limit, and see that it holds (a few seconds).
    #[arg(long)]
    self_test: bool,

    /// Our own directory on this host.
    #[arg(long, value_name = "DIR", env = "SANDKEEP_STATE_DIR", hide = true)]
    state_dir: Option<PathBuf>,
}

pub(crate) async fn execute(args: &Args) -> Result<u8, Stop> {
    let state_path = args.state_dir.clone().unwrap_or_else(StateDirectory::default_path);
    let driver = host::driver(args.state_dir.as_ref());
    let booted = match &driver {
        Ok(driver) => boot(driver).await,
        Err(problem) => Err(problem.clone()),
    };
    let self_test = match (&driver, &booted) {
        (Ok(driver), Ok(booted)) if args.self_test => Some(selftest::run(driver, &booted.enforcement).await),
        _ => None,
    };
    let report = Report {
        findings: probe::findings(booted.is_ok()),
        booted,
        self_test,
        interpreters: local::interpreters(),
        exposed: probe::exposed(),
        state_path,
        ceiling: host::ceiling(),
    };
    if args.json {
        out::json(&report.to_json())?;
    } else {
        out::bytes(table::text(&report).as_bytes())?;
    }
    Ok(if report.is_fit() { 0 } else { UNFIT })
}

/// Makes a sandbox as `sandkeep run` does, looks at it, and ends it.
async fn boot(driver: &Local) -> Result<Booted, sandkeep_core::code::Problem> {
    let sandbox = driver.create(&sandbox_spec(&limits::LimitsRequest::default())?).await?;
    let booted = Booted { enforcement: sandbox.enforcement().clone(), facts: sandbox.facts().clone() };
    sandbox.stop().await;
    Ok(booted)
}

/// A sandbox of the host's programs with what `request` asks for.
fn sandbox_spec(request: &limits::LimitsRequest) -> Result<SandboxSpec, sandkeep_core::code::Problem> {
    let (limits, _) = request::limits(request, host::processors())?;
    debug_assert_eq!(defaults::PROFILE, Profile::Strict, "the probe is of what run does");
    Ok(SandboxSpec::of_host(host::sandbox_id()?, limits))
}
