//! `sandkeep serve`: the server, until a signal ends it.

use std::path::PathBuf;
use std::sync::Arc;

use clap::CommandFactory as _;
use sandkeep_core::code::Problem;
use sandkeep_server::config::{Sources, Values};
use sandkeep_server::{Config, Drained, Server, telemetry};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::account;
use crate::host;
use crate::out::{self, Stop};

/// Serve the API over HTTP.
#[derive(Debug, clap::Args)]
#[command(after_help = SERVE_HELP)]
pub(crate) struct Args {
    #[command(flatten)]
    file: FileArg,

    /// Where keys, lock, output and, without --database-url, the database are kept.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,

    /// Where requests come in [default: 127.0.0.1:8000].
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,

    /// PostgreSQL instead of SQLite. Others on this machine can read arguments: rather set
    /// `SANDKEEP_DATABASE_URL_FILE`.
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,

    /// Listen elsewhere than on loopback without TLS.
    #[arg(long)]
    insecure_listen: bool,

    /// Whoever reaches the server may use it. On loopback only.
    #[arg(long)]
    insecure_no_auth: bool,
}

const SERVE_HELP: &str = "\
Every setting can stand in the file of --config (TOML) and in a variable: `limits.body` is
SANDKEEP_LIMITS_BODY. Flags win over variables, variables over the file.
`sandkeep config show` lists all, with what they are.";

/// Where a configuration file is.
#[derive(Debug, clap::Args)]
pub(crate) struct FileArg {
    /// A file with settings of the server.
    #[arg(long = "config", value_name = "FILE", env = CONFIG_VARIABLE, hide_env_values = true)]
    config: Option<PathBuf>,
}

const CONFIG_VARIABLE: &str = "SANDKEEP_CONFIG";

/// Variables of clients, of keys, and of tests: settings of no server, and no slip either.
const OTHER_VARIABLES: [&str; 7] = [
    "SANDKEEP_URL",
    "SANDKEEP_API_KEY",
    "SANDKEEP_CLIENT_PROFILE",
    "SANDKEEP_MASTER_KEY",
    "SANDKEEP_MASTER_KEY_FILE",
    "SANDKEEP_BIN",
    "SANDKEEP_SEED",
];

/// Collects the settings of the server.
///
/// # Errors
/// `config_invalid`.
pub(crate) fn values(file: &FileArg, flags: Vec<(&'static str, String)>) -> Result<Values, Problem> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let sources = Sources {
        file: file.config.clone(),
        environment: std::env::vars_os().filter_map(text).collect(),
        not_settings: variables_of_commands(&crate::Cli::command()),
        flags,
        is_root: account::is_root(),
    };
    Values::collect(&sources)
}

/// The variables that other commands take their options from, and the rest that are no settings.
fn variables_of_commands(command: &clap::Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(|argument| argument.get_env());
    let mut names: Vec<String> = own.map(|name| name.to_string_lossy().into_owned()).collect();
    names.extend(command.get_subcommands().flat_map(variables_of_commands));
    names.extend(OTHER_VARIABLES.map(str::to_owned));
    names
}

impl Args {
    fn flags(&self) -> Vec<(&'static str, String)> {
        let texts = [
            ("data_dir", self.data_dir.clone()),
            ("listen", self.listen.clone()),
            ("database_url", self.database_url.clone()),
            ("insecure_listen", self.insecure_listen.then(|| "true".to_owned())),
            ("insecure_no_auth", self.insecure_no_auth.then(|| "true".to_owned())),
        ];
        texts.into_iter().filter_map(|(key, text)| Some((key, text?))).collect()
    }
}

pub(crate) async fn execute(args: &Args) -> Result<u8, Stop> {
    let config = Config::of(&values(&args.file, args.flags())?)?;
    telemetry::install(&config)?;
    host::allow_descriptors();
    // Before anything is open: a signal that comes while it opens is not lost.
    let [mut terminate, mut interrupt] =
        [listen_for(SignalKind::terminate())?, listen_for(SignalKind::interrupt())?];
    let driver =
        Arc::new(host::outliving_driver(&config.data_dir, config.orphan_after, config.warm_python.clone())?);
    let server = Server::start(config, driver).await?;
    let url = server.url().map_err(|error| out::failed("the listener has no address", &error))?;
    for path in server.made() {
        out::note(&format!("made {}", path.display()));
    }
    out::note(&format!("serving at {url}, described at {url}/docs"));
    let stop = CancellationToken::new();
    let running = server.run(stop.clone());
    let stopping = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
        // A second one does not wait.
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    tokio::select! {
        drained = running => Ok(match drained {
            Drained::InTime => 0,
            Drained::Late { .. } => LATE,
        }),
        () = stopping => Ok(LATE),
    }
}

/// Something was still open at the end.
const LATE: u8 = 1;

fn listen_for(kind: SignalKind) -> Result<Signal, Problem> {
    signal(kind).map_err(|error| out::failed("signals cannot be heard", &error))
}
