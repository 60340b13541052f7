//! The command `sandkeep`.
//!
//! One file per command: its module has the `Args` that clap fills, and `execute`, which does it and says what to exit
//! with. `out` is the one place that writes to standard output and standard error, `refusal` the one that turns what
//! clap refuses into our errors, `host` the one that asks this machine for a clock, random bits and a driver, `remote` what the
//! commands have in common that talk to a server.
//!
//! Without the feature `host` this is a client: it has the commands that talk to a server, and builds wherever those do.
//! What needs a Linux host is listed in `here`, and in `elsewhere` for the client, which says so.
//!
//! A command that cannot be done exits with 125 and one line on standard error that begins with a stable code; with
//! `--json` the same stands on standard output as `{"error": {"code", "message", "value", "expected"}}`.

mod account;
#[cfg(feature = "host")]
mod admin;
#[cfg(feature = "host")]
mod attack;
mod audit;
#[cfg(feature = "host")]
mod bench;
mod completions;
#[cfg(feature = "host")]
mod config;
#[cfg(feature = "host")]
mod doctor;
#[cfg(not(feature = "host"))]
mod elsewhere;
mod env;
mod events;
mod exec;
mod executions;
mod explain;
#[cfg(feature = "host")]
mod here;
#[cfg(feature = "host")]
mod host;
#[cfg(feature = "host")]
mod image;
#[cfg(feature = "host")]
mod images;
mod interrupt;
mod logs;
mod manual;
mod out;
mod project;
mod refusal;
mod remote;
#[cfg(feature = "host")]
mod run;
mod sandbox;
#[cfg(feature = "host")]
mod serve;
mod token;
mod top;
mod version;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[cfg(not(feature = "host"))]
use elsewhere::Command as Here;
#[cfg(feature = "host")]
use here::Command as Here;
use out::Stop;

/// Runs code that nobody has reviewed, in a sandbox on this host.
#[derive(Debug, Parser)]
#[command(name = "sandkeep", version, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[cfg(feature = "host")]
const AFTER_HELP: &str = "\
Try it:
  echo 'print(6*7)' | sandkeep run -
  sandkeep help run";
#[cfg(not(feature = "host"))]
const AFTER_HELP: &str = "\
This is a client: it talks to a server (SANDKEEP_URL, SANDKEEP_API_KEY). Try it:
  sandkeep sandbox create --name box
  sandkeep exec box -- python3 -c 'print(6*7)'";

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Here(Here),
    Sandbox(sandbox::Args),
    Exec(Box<exec::Args>),
    Executions(executions::Args),
    Logs(logs::Args),
    Events(events::Args),
    Token(token::Args),
    Project(project::Args),
    Audit(audit::Args),
    Top(top::Args),
    Env(env::Args),
    Explain(explain::Args),
    Completions(completions::Args),
    Manual(manual::Args),
    Version(version::Args),
}

impl Command {
    /// Whether errors are wanted as JSON on standard output.
    fn wants_json(&self) -> bool {
        match self {
            Command::Here(command) => command.wants_json(),
            Command::Version(args) => args.json,
            Command::Sandbox(args) => args.wants_json(),
            Command::Exec(args) => args.wants_json(),
            Command::Executions(args) => args.wants_json(),
            Command::Logs(args) => args.wants_json(),
            Command::Events(args) => args.wants_json(),
            Command::Token(args) => args.wants_json(),
            Command::Project(args) => args.wants_json(),
            Command::Audit(args) => args.wants_json(),
            Command::Top(args) => args.wants_json(),
            Command::Env(args) => args.wants_json(),
            Command::Explain(_) | Command::Completions(_) | Command::Manual(_) => false,
        }
    }

    /// What to exit with.
    async fn execute(self) -> Result<u8, Stop> {
        match self {
            Command::Here(command) => command.execute().await,
            Command::Sandbox(args) => sandbox::execute(args).await,
            Command::Exec(args) => exec::execute(*args).await,
            Command::Executions(args) => executions::execute(args).await,
            Command::Logs(args) => logs::execute(args).await,
            Command::Events(args) => events::execute(args).await,
            Command::Token(args) => token::execute(args).await,
            Command::Project(args) => project::execute(args).await,
            Command::Audit(args) => audit::execute(args).await,
            Command::Top(args) => top::execute(args).await,
            Command::Env(args) => env::execute(&args),
            Command::Explain(args) => explain::execute(&args),
            Command::Completions(args) => completions::execute(&args),
            Command::Manual(args) => manual::execute(&args),
            Command::Version(args) => version::execute(&args),
        }
    }
}

fn main() -> ExitCode {
    let status = match Cli::try_parse() {
        Ok(cli) => {
            let wants_json = cli.command.wants_json();
            out::status(perform(cli.command), wants_json)
        }
        Err(error) => refusal::tell(&error),
    };
    ExitCode::from(status)
}

/// One thread: the work is done by supervisors, and what is left for us is waiting. A server has as many as processors.
fn perform(command: Command) -> Result<u8, Stop> {
    let mut builder = if matches!(&command, Command::Here(command) if command.is_server()) {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let runtime = builder.enable_all().build();
    let runtime = runtime.map_err(|error| out::failed("the async runtime cannot be started", &error))?;
    let outcome = runtime.block_on(command.execute());
    // A thread that still reads our standard input is not waited for.
    runtime.shutdown_background();
    outcome
}
