//! What is known of an unpacked image.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::runtimes::Runtime;
use crate::digest::Digest;

/// An image in the store, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Digest of its configuration.
    pub id: Digest,
    /// Names that it was given, sorted.
    pub names: Vec<String>,
    /// What its layers came to on disk in bytes, every entry rounded up to blocks.
    pub size_bytes: u64,
    /// Files, directories and links of its layers.
    pub entries: u64,
    /// Devices and FIFOs that were left out.
    pub left_out: u64,
    /// Entries whose owner has no id in a sandbox, and which belong to nobody now.
    pub clamped: u64,
    /// When it was unpacked.
    pub unpacked_at: SystemTime,
    /// When a sandbox last began to use it.
    pub used_at: SystemTime,
    /// Whether one does now.
    pub in_use: bool,
    /// What it can run; `None` when nobody looked yet.
    pub runtimes: Option<Vec<Runtime>>,
}

/// The part of it that is written down.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) size_bytes: u64,
    pub(super) entries: u64,
    pub(super) left_out: u64,
    pub(super) clamped: u64,
    /// The boot in which it was unpacked, while it is not certain that all of it is on disk.
    pub(super) boot: Option<String>,
}

impl Record {
    /// `None` when there is none.
    pub(super) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    /// Whether what it describes is whole.
    pub(super) fn counts(&self) -> bool {
        of_this_boot(self.boot.as_deref())
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, serde_json::to_vec(self)?)
    }

    /// Takes the place of the record that is there, at once or not at all.
    pub(super) fn replace(&self, path: &Path) -> io::Result<()> {
        Self::replace_with(&serde_json::to_vec(self)?, path)
    }

    /// The same for any text.
    pub(super) fn replace_with(text: &[u8], path: &Path) -> io::Result<()> {
        let new = path.with_extension(format!("new-{}", std::process::id()));
        fs::write(&new, text)?;
        fs::File::open(&new)?.sync_all()?;
        fs::rename(&new, path)
    }
}

/// Whether what was made in `boot` is whole: `None` when all of it has reached the disk.
pub(super) fn of_this_boot(made_in: Option<&str>) -> bool {
    made_in.is_none_or(|made_in| made_in == boot())
}

/// Tells this boot of the machine from others; the same for all where the kernel does not say.
pub(super) fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}
