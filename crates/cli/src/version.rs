//! `sandkeep version`.

use crate::out::{self, Stop};

/// Print the version.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// As JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn execute(args: &Args) -> Result<u8, Stop> {
    let version = env!("CARGO_PKG_VERSION");
    let arch = std::env::consts::ARCH;
    if args.json {
        out::json(&serde_json::json!({ "name": "sandkeep", "version": version, "arch": arch }))?;
    } else {
        out::line(&format!("sandkeep {version} ({arch})"))?;
    }
    Ok(0)
}
