//! What the driver `local` promises beyond what every driver does: bounds of this host.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail like tests, and skips are told"
)]
#![allow(unreachable_pub, dead_code, reason = "the support is shared with other suites")]

mod ceiling;
mod check;
mod images;
mod numbers;
#[path = "../support/mod.rs"]
mod support;
mod watched;

use sandkeep_core::size::ByteSize;
use sandkeep_runtime::driver::{Layer, SandboxSpec};
use sandkeep_runtime::local::{Config, ID_BASE, Local, StateDirectory};

/// The driver in the usual place.
fn local() -> Local {
    let state = StateDirectory::open(&StateDirectory::default_path()).unwrap();
    Local::new(Config { state, id_base: ID_BASE, ceiling: ByteSize::from_gib(8) })
}

/// A sandbox whose layer is kept in a directory below `parent`.
fn with_layer(parent: &tempfile::TempDir, disk: ByteSize, inodes: u64) -> SandboxSpec {
    let mut spec = support::sandbox_spec();
    let directory = parent.path().join("layer").to_str().unwrap().to_owned();
    spec.layer = Layer::Persistent { directory };
    (spec.limits.disk, spec.limits.inodes) = (disk, inodes);
    spec
}
