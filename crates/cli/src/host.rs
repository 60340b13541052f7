//! What this machine gives: the time, random bits, its size, and the driver `local`.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sandkeep_core::code::Problem;
use sandkeep_core::defaults;
use sandkeep_core::id::{ExecutionId, RANDOM_BYTES, SandboxId};
use sandkeep_core::size::ByteSize;
use sandkeep_core::time::Timestamp;
use sandkeep_runtime::local::{Config, ID_BASE, Local, StateDirectory};
use sha2::Digest as _;

use crate::out::failed;

/// The driver `local`, with its state in `state_dir` or where it is by default.
///
/// # Errors
/// `state_dir_unusable`.
pub(crate) fn driver(state_dir: Option<&PathBuf>) -> Result<Local, Problem> {
    let path = state_dir.cloned().unwrap_or_else(StateDirectory::default_path);
    let state = StateDirectory::open(&path)?;
    Ok(Local::new(Config { state, id_base: ID_BASE, ceiling: ceiling() }))
}

/// The driver `local` for a server with its books in `data_dir`: its sandboxes go on without it for `orphan_after`,
/// and keep interpreters that have imported `warm_python`.
///
/// # Errors
/// `state_dir_unusable`.
pub(crate) fn outliving_driver(
    data_dir: &Path,
    orphan_after: Duration,
    warm_python: Option<Vec<String>>,
) -> Result<Local, Problem> {
    // Which server it is must be the same at the next start, and not that of another one on this host.
    let path = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let digest = sha2::Sha256::digest(path.as_os_str().as_encoded_bytes());
    let owner: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let driver = driver(None)?;
    let driver = match warm_python {
        Some(modules) => driver.warming_python(modules),
        None => driver,
    };
    driver.outliving(&owner, orphan_after)
}

/// Milliseconds since 1970 UTC.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The time now.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_unix_ms(now_ms())
}

/// A fresh id.
///
/// # Errors
/// `internal`: the kernel gives no random bits.
pub(crate) fn sandbox_id() -> Result<SandboxId, Problem> {
    Ok(SandboxId::new(now_ms(), random()?))
}

/// A fresh id.
///
/// # Errors
/// `internal`: the kernel gives no random bits.
pub(crate) fn execution_id() -> Result<ExecutionId, Problem> {
    Ok(ExecutionId::new(now_ms(), random()?))
}

/// Lets this process have as many descriptors as it may: each sandbox and each connection takes some. The usual 1,024 are for
/// programs that use `select`.
pub(crate) fn allow_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where it cannot be raised, the first thing that cannot be opened says so.
    let _kept = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// The memory of this machine; 1 GiB where the kernel does not say.
pub(crate) fn memory() -> ByteSize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    ByteSize::from_kib(total_kib(&text).unwrap_or(1 << 20))
}

/// What all sandboxes together may use of it.
pub(crate) fn ceiling() -> ByteSize {
    let percent = u64::from(defaults::ALL_SANDBOXES_MEMORY_PERCENT);
    ByteSize::from_bytes(memory().bytes() / 100 * percent)
}

/// Processors that we may use, at least one.
pub(crate) fn processors() -> u32 {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn random() -> Result<[u8; RANDOM_BYTES], Problem> {
    let mut bytes = [0; RANDOM_BYTES];
    let flags = rustix::rand::GetRandomFlags::empty();
    // Up to 256 bytes come whole (getrandom(2)).
    rustix::rand::getrandom(&mut bytes, flags).map_err(|error| failed("no random bits", &error))?;
    Ok(bytes)
}

/// `MemTotal` of /proc/meminfo.
fn total_kib(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found() {
        let text = "MemTotal:       24681984 kB\nMemFree:         1 kB\n";
        assert_eq!(total_kib(text), Some(24_681_984));
        assert_eq!(total_kib(""), None);
        assert!(memory() > ceiling() && ceiling() > ByteSize::from_mib(1));
    }

    #[test]
    fn ids_differ() {
        assert_ne!(sandbox_id().unwrap(), sandbox_id().unwrap());
    }
}
