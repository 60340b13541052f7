//! Whether the parts that requests need work, each asked by using it a little. What asks decides how often, and how long it
//! waits.

use std::path::Path;

use rustix::fs::statvfs;
use sandkeep_blob::Key;
use sandkeep_core::code::{ErrorCode, Problem, chain};
use sandkeep_core::defaults;
use sandkeep_core::size::ByteSize;
use sandkeep_runtime::driver::SandboxSpec;

use crate::clock::Clock;
use crate::engine::Parts;
use crate::ids::fresh;
use crate::output::Outputs;

/// Free space below which a server is not ready: what runs can go on writing for a while, and whoever watches can act.
pub const FREE_LEAST: ByteSize = ByteSize::from_mib(64);

/// Whether sandboxes can be made.
///
/// # Errors
/// The driver's.
pub async fn sandboxes(parts: &Parts) -> Result<(), Problem> {
    parts.driver.check(&SandboxSpec::of_host(fresh(&parts.clock), defaults::limits())).await
}

/// Whether output can be written and read, and has room in `directory`.
///
/// # Errors
/// `data_dir_unusable`.
pub async fn output(outputs: &Outputs, clock: &Clock, directory: &Path) -> Result<(), Problem> {
    let unusable = |error: &dyn std::error::Error| Problem::new(ErrorCode::DataDirUnusable, chain(error));
    let written = clock.now_us().to_be_bytes().to_vec();
    let blobs = outputs.blobs();
    blobs.put(&Key::probe(), written.clone()).await.map_err(|error| unusable(&error))?;
    if blobs.get(&Key::probe()).await.map_err(|error| unusable(&error))? != written {
        return Err(Problem::new(ErrorCode::DataDirUnusable, "what was written is not what is read"));
    }
    let about = statvfs(directory).map_err(|errno| unusable(&errno))?;
    has_room(about.f_blocks, about.f_bavail.saturating_mul(about.f_frsize))
}

/// A file system without a size has no blocks, and always room.
fn has_room(blocks: u64, free_bytes: u64) -> Result<(), Problem> {
    if blocks == 0 || free_bytes >= FREE_LEAST.bytes() {
        return Ok(());
    }
    let free = ByteSize::from_bytes(free_bytes);
    let problem = Problem::new(ErrorCode::DataDirUnusable, format!("{free} are free in the data directory"));
    Err(problem.expecting(format!("{FREE_LEAST} or more")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_noticed_before_it_is_full() {
        has_room(1000, 64 << 20).unwrap();
        has_room(0, 0).unwrap();
        let problem = has_room(1000, (64 << 20) - 1).unwrap_err();
        assert_eq!(problem.code, ErrorCode::DataDirUnusable);
    }
}
