//! `cargo xtask openapi`: writes the document that the server's routes add up to.
//!
//! The server is run, not linked, so that this program stays small.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

pub(crate) fn write() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(&root).args([
        "run",
        "--quiet",
        "--package",
        "sandkeep-server",
        "--example",
        "openapi",
    ]);
    let output = command.output().context("run the server's example")?;
    ensure!(output.status.success(), "the server did not build: {}", String::from_utf8_lossy(&output.stderr));
    let path = root.join("openapi/openapi.json");
    std::fs::write(&path, output.stdout).with_context(|| format!("write {}", path.display()))
}
