//! The commands that work on this host: there is one to run code on, or a server to be run.

use clap::Subcommand;

use crate::out::Stop;
use crate::{admin, attack, bench, config, doctor, image, run, serve};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Box<run::Args>),
    Serve(serve::Args),
    Admin(admin::Args),
    Doctor(doctor::Args),
    Image(image::Args),
    Config(config::Args),
    Attack(attack::Args),
    Bench(bench::Args),
}

impl Command {
    /// Whether errors are wanted as JSON on standard output.
    pub(crate) fn wants_json(&self) -> bool {
        match self {
            Command::Run(args) => args.json,
            Command::Doctor(args) => args.json,
            Command::Config(args) => args.wants_json(),
            Command::Image(args) => args.wants_json(),
            Command::Attack(args) => args.json,
            Command::Bench(args) => args.wants_json(),
            Command::Serve(_) | Command::Admin(_) => false,
        }
    }

    /// Whether it works for many at once.
    pub(crate) fn is_server(&self) -> bool {
        matches!(self, Command::Serve(_))
    }

    /// What to exit with.
    pub(crate) async fn execute(self) -> Result<u8, Stop> {
        match self {
            Command::Run(args) => run::execute(*args).await,
            Command::Serve(args) => serve::execute(&args).await,
            Command::Admin(args) => admin::execute(&args).await,
            Command::Doctor(args) => doctor::execute(&args).await,
            Command::Image(args) => image::execute(&args).await,
            Command::Config(args) => config::execute(&args),
            Command::Attack(args) => attack::execute(&args).await,
            Command::Bench(args) => bench::execute(args).await,
        }
    }
}
