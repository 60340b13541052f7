//! Builds `sandkeep-agent` as a static program and leaves it where `src/local/embed.rs` includes it; first the module of the
//! warm interpreter, which the agent includes.
//!
//! Each has a target directory of its own: Cargo holds the lock of the outer one while this runs, and their flags differ.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("set by cargo"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("set by cargo"));
    let root = manifest.join("../..");
    for part in [
        "crates/agent",
        "crates/warm",
        "crates/sandbox/src",
        "crates/protocol/src",
        "crates/core/src",
        "Cargo.lock",
    ] {
        println!("cargo:rerun-if-changed={}", root.join(part).display());
    }
    let target = env::var("TARGET").expect("set by cargo");
    // A shared object that the interpreter's own C library loads.
    let warm = Build { package: "sandkeep-warm", file: "libsandkeep_warm.so", flags: "", module: None };
    let warm = warm.run(&root, &target, &target_directory(&out, "warm"));
    // At a fixed address, since every relocation is a page copied per process. What is mapped at random
    // places (stack, heap, memory files) stays so.
    let flags = "-C target-feature=+crt-static -C relocation-model=static";
    let agent = Build { package: "sandkeep-agent", file: "sandkeep-agent", flags, module: Some(&warm) };
    let built = agent.run(&root, &target, &target_directory(&out, "agent"));
    std::fs::copy(&built, out.join("sandkeep-agent")).expect("the agent was just built there");
}

/// Beside the build directory of the profile, so that it survives changes of this crate's own hash.
fn target_directory(out: &Path, name: &str) -> PathBuf {
    // OUT_DIR is target/<profile>/build/<package>-<hash>/out.
    out.ancestors().nth(4).map_or_else(|| out.join(name), |target| target.join(name))
}

struct Build<'a> {
    package: &'a str,
    file: &'a str,
    flags: &'a str,
    /// What `SANDKEEP_WARM` is to say.
    module: Option<&'a Path>,
}

impl Build<'_> {
    /// Builds it, says where it is.
    fn run(&self, root: &Path, target: &str, directory: &Path) -> PathBuf {
        let mut command = Command::new(env::var_os("CARGO").expect("set by cargo"));
        command
            .current_dir(root)
            .args(["build", "--package", self.package, "--profile", "agent", "--target", target])
            .arg("--target-dir")
            .arg(directory)
            // Flags meant for the outer build (coverage, sanitizers) do not fit these.
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("RUSTC_WORKSPACE_WRAPPER")
            .env("RUSTFLAGS", self.flags);
        if let Some(module) = self.module {
            command.env("SANDKEEP_WARM", module);
        }
        let status = command.status().expect("cargo can be run");
        assert!(status.success(), "building {} failed", self.package);
        directory.join(target).join("agent").join(self.file)
    }
}
