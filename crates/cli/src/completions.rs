//! `sandkeep completions`: scripts for shells.

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::out::{self, Stop};

/// Print a completion script, for example: sandkeep completions bash > ~/.local/share/bash-completion/completions/sandkeep
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The shell.
    shell: Shell,
}

pub(crate) fn execute(args: &Args) -> Result<u8, Stop> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "sandkeep", &mut script);
    out::bytes(&script)?;
    Ok(0)
}
