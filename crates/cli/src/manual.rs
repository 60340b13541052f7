//! `sandkeep manual`: a page of the manual for each command.

use std::path::PathBuf;

use clap::CommandFactory as _;
use sandkeep_core::code::{ErrorCode, Problem};

use crate::out::Stop;

/// Write the manual pages into a directory, for example: sandkeep manual ~/.local/share/man/man1
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A directory that is there. Pages of an earlier version are overwritten.
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

pub(crate) fn execute(args: &Args) -> Result<u8, Stop> {
    clap_mangen::generate_to(crate::Cli::command(), &args.directory).map_err(|error| {
        let what = format!("{} takes no manual pages: {error}", args.directory.display());
        Problem::new(ErrorCode::OutputDirUnusable, what)
    })?;
    Ok(0)
}
