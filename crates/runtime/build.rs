//! Builds `sandkeep-agent` as a static program and leaves it where `src/local/embed.rs` includes it.
//!
//! It has a target directory of its own, because Cargo holds the lock of the outer one while this runs.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    let root = manifest.join("../..");
    for part in ["crates/agent", "crates/sandbox/src", "crates/protocol/src", "crates/core/src", "Cargo.lock"]
    {
        println!("cargo:rerun-if-changed={}", root.join(part).display());
    }
    let target = env::var("TARGET").expect("set by cargo");
    let directory = agent_target_directory(&out);
    build_agent(&root, &target, &directory);
    let built = directory.join(&target).join("agent").join("sandkeep-agent");
    std::fs::copy(&built, out.join("sandkeep-agent")).expect("the agent was just built there");
}

/// Beside the build directory of the profile, so that it survives changes of this crate's own hash.
fn agent_target_directory(out: &Path) -> PathBuf {
    // OUT_DIR is target/<profile>/build/<package>-<hash>/out.
    out.ancestors().nth(4).map_or_else(|| out.join("agent-target"), |target| target.join("agent"))
}

fn build_agent(root: &Path, target: &str, directory: &Path) {
    let cargo = env::var_os("CARGO").expect("set by cargo");
    let mut command = Command::new(cargo);
    command
        .current_dir(root)
        .args(["build", "--package", "sandkeep-agent", "--profile", "agent", "--target", target])
        .arg("--target-dir")
        .arg(directory)
        // Flags meant for the outer build (coverage, sanitizers) do not fit a static program.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        // At a fixed address, since every relocation is a page copied per process. What is mapped at random
        // places (stack, heap, memory files) stays so.
        .env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static");
    let status = command.status().expect("cargo can be run");
    assert!(status.success(), "building sandkeep-agent failed");
}
