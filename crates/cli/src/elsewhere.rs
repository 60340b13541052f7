//! The commands of `here`, in a build that is only a client: each says that it needs a host, whatever its arguments.

use std::ffi::OsString;

use clap::Subcommand;
use sandkeep_core::code::{ErrorCode, Problem};

use crate::out::Stop;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Needs a Linux host, which this client is not for.
    #[command(aliases = OTHERS, hide = true, disable_help_flag = true)]
    Run(Args),
}

const OTHERS: [&str; 7] = ["serve", "admin", "doctor", "image", "config", "attack", "bench"];

/// Whatever it is.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

impl Command {
    pub(crate) fn wants_json(&self) -> bool {
        let Command::Run(args) = self;
        args.arguments.iter().take_while(|argument| *argument != "--").any(|argument| argument == "--json")
    }

    pub(crate) fn is_server(&self) -> bool {
        false
    }

    #[expect(clippy::unused_async, reason = "as that of `here`, which waits")]
    pub(crate) async fn execute(self) -> Result<u8, Stop> {
        let what = "this sandkeep is a client only, and the command works on a Linux host";
        let expected = "`sandkeep exec` with a server, or the same command on its host";
        Err(Problem::new(ErrorCode::HostRequired, what).expecting(expected).into())
    }
}
