//! `sandkeep attack`: hostile programs against a sandbox of this host.
//!
//! The programs are data, embedded from `crates/cli/attack` (its README is the contract). This lays out what they may
//! reach on the host if a sandbox leaks (`bait`), runs each in a sandbox through the same driver as `sandkeep run`
//! (`trial`, several at a time: `suite`), and judges not only what a program says of itself (`judge`) but what it left:
//! processes of its sandbox (`remains`), settings of the machine (`watch`), the next execution in the same sandbox.
//!
//! A program that says nothing has not been blocked, one that cannot show anything here is skipped aloud.

mod bait;
mod judge;
mod program;
mod remains;
mod report;
mod suite;
mod trial;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::defaults;
use sandkeep_core::sandbox::Profile;
use sandkeep_runtime::driver::User;
use sandkeep_runtime::local::StateDirectory;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};

use crate::host;
use crate::out::{self, Stop};
use bait::Bait;
use judge::Verdict;
use program::Program;
use report::Report;
use suite::{Row, Sibling, Suite, Terms, skip};

/// What to exit with when a program was not blocked.
const LEAKS: u8 = 1;

/// Run the escape suite: hostile programs that try to get out of a sandbox of this host.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 when every program that ran was blocked, 1 when not.")]
pub(crate) struct Args {
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,

    /// Security profile of the sandboxes: strict or dev.
    #[arg(long, value_name = "PROFILE", default_value_t = defaults::PROFILE)]
    profile: Profile,

    /// Who the programs are inside: user, or root with --profile dev.
    #[arg(long, value_name = "USER", default_value = "user")]
    user: As,

    /// Only programs of this area or name; may be repeated.
    #[arg(long, value_name = "AREA|NAME", value_delimiter = ',')]
    only: Vec<String>,

    /// Show the programs and run none.
    #[arg(long)]
    list: bool,

    /// Programs at the same time [default: two per processor, at most 8].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,

    /// Our own directory on this host.
    #[arg(long, value_name = "DIR", env = "SANDKEEP_STATE_DIR", hide = true)]
    state_dir: Option<PathBuf>,
}

/// Who a program is inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
enum As {
    /// The ordinary user.
    User,
    /// Inside-root.
    Root,
}

impl As {
    fn of(text: &str) -> Option<Self> {
        match text {
            "user" => Some(As::User),
            "root" => Some(As::Root),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            As::User => "user",
            As::Root => "root",
        }
    }
}

pub(crate) async fn execute(args: &Args) -> Result<u8, Stop> {
    if args.user == As::Root && args.profile == Profile::Strict {
        let why = "is nobody in profile strict";
        return Err(Problem::refused(ErrorCode::InvalidValue, "root", why, "--profile dev too")
            .within("--user")
            .into());
    }
    let mut chosen = choose(program::all(), args)?;
    if args.list {
        chosen.retain(|program| program.users.contains(&args.user));
        if args.json {
            out::json(&report::list_json(&chosen))?;
        } else {
            out::bytes(report::list(&chosen).as_bytes())?;
        }
        return Ok(0);
    }
    bait::marked()?;
    // Whoever interrupts us gets everything cleaned up: dropping the future ends all sandboxes and removes the bait.
    let report = tokio::select! {
        report = run(args, chosen) => report?,
        stopped = interrupted() => return Err(stopped.into()),
    };
    if args.json {
        out::json(&report)?;
    } else {
        out::bytes(report.text().as_bytes())?;
    }
    Ok(if report.holds() { 0 } else { LEAKS })
}

/// Returns when somebody wants us to end.
async fn interrupted() -> Problem {
    let handlers =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()));
    let (Ok(mut interrupt), Ok(mut terminate), Ok(mut hang_up)) = handlers else {
        return out::failed("the suite", &"signals cannot be heard");
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    out::failed("the suite", &"interrupted before its end")
}

/// The programs for this profile that were asked for.
fn choose(programs: Vec<Program>, args: &Args) -> Result<Vec<Program>, Problem> {
    let named = |program: &Program, word: &str| program.name == word || program.area == word;
    if let Some(word) = args.only.iter().find(|word| !programs.iter().any(|program| named(program, word))) {
        let why = "is neither an area nor a program of the suite";
        let problem = Problem::refused(ErrorCode::InvalidValue, word, why, "a name that --list shows");
        return Err(problem.within("--only"));
    }
    let wanted = |program: &Program| {
        let asked = args.only.is_empty() || args.only.iter().any(|word| named(program, word));
        asked && program.profiles.contains(&args.profile)
    };
    Ok(programs.into_iter().filter(wanted).collect())
}

async fn run(args: &Args, chosen: Vec<Program>) -> Result<Report, Stop> {
    let begun = Instant::now();
    // Programs in Python that share a sandbox are forks of its interpreter from the second on.
    let driver = host::driver(args.state_dir.as_ref())?.warming_python(defaults::python_modules());
    let driver = Arc::new(driver);
    let state_dir = args.state_dir.clone().unwrap_or_else(StateDirectory::default_path);
    let bait = Bait::plant()?;
    let env = bait.environment().map_err(|error| out::failed("the bait", &error))?;
    let user = match args.user {
        As::User => User::User,
        As::Root => User::Root,
    };
    let mut terms = Terms { profile: args.profile, user, env };
    let sibling = Sibling::start(&driver, &terms).await?;
    terms.env.insert("ATTACK_OTHER_SANDBOX".to_owned(), sibling.id());
    let enforcement = sibling.enforcement().clone();
    // With one id, that is root's in dev, whoever was asked for.
    let single = sibling.facts().id_count == 1 && args.profile == Profile::Dev;
    let user = if single { As::Root } else { args.user };
    let (mut rows, mut queue) = (Vec::new(), Vec::new());
    for program in chosen.into_iter().filter(|program| program.users.contains(&user)) {
        match skip(&program, &enforcement, sibling.facts()) {
            Some(detail) => {
                let (name, area) = (program.name, program.area);
                rows.push(Row { name, area, verdict: Verdict::Skipped, detail, ms: 0 });
            }
            None => queue.push(program),
        }
    }
    let suite = Arc::new(Suite::new(driver, terms, bait, state_dir, queue));
    let (ran, mut findings) = suite.run(jobs(args)).await;
    rows.extend(ran);
    rows.sort_by_key(|row| (row.area, row.name));
    findings.extend(sibling.end().await);
    let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Report::new(args.profile, user, enforcement, rows, findings, ms))
}

/// Many programs wait for a limit, so that two of them share a processor well; more would make their clocks late.
fn jobs(args: &Args) -> usize {
    args.jobs.map_or_else(|| host::processors().saturating_mul(2).min(8) as usize, usize::from)
}
