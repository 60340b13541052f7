//! `sandkeep admin`: what whoever runs a server does beside it.

use clap::Subcommand;
use sandkeep_server::{Config, reset_admin_key};

use crate::out::{self, Stop};
use crate::serve::{self, FileArg};

/// Mend a server from outside of it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    ResetKey(ResetKey),
}

/// Make another key for the administrator, in `admin.key`, and revoke the one that was there.
#[derive(Debug, clap::Args)]
#[command(after_help = RESET_HELP)]
struct ResetKey {
    #[command(flatten)]
    file: FileArg,

    /// The data directory of the server.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,

    /// Its PostgreSQL, if it has one. Others on this machine can read arguments: rather set
    /// `SANDKEEP_DATABASE_URL_FILE`.
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
}

const RESET_HELP: &str = "\
For when the key is lost, or somebody else has it. Other tokens stay as they are: `sandkeep token list` shows them.
A server with SQLite is stopped for it, and what runs in its sandboxes goes on meanwhile. Servers with PostgreSQL may run
on, and refuse the earlier key within five seconds. Settings are found as `sandkeep serve` finds them.";

pub(crate) async fn execute(args: &Args) -> Result<u8, Stop> {
    let Action::ResetKey(args) = &args.action;
    let texts = [("data_dir", &args.data_dir), ("database_url", &args.database_url)];
    let flags = texts.into_iter().filter_map(|(key, text)| Some((key, text.clone()?))).collect();
    let config = Config::of(&serve::values(&args.file, flags)?)?;
    // 125 whatever is wrong: 127 is for programs that are not there.
    let path = reset_admin_key(&config).await.map_err(Stop::Server)?;
    out::line(&format!("{} has a new key, and the one before is revoked", path.display()))?;
    Ok(0)
}
