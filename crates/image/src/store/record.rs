//! What is known of an unpacked image.

use std::fs;
use std::io;
use std::path::Path;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

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
}

/// The part of it that is written down.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) size_bytes: u64,
    pub(super) entries: u64,
    pub(super) left_out: u64,
    pub(super) clamped: u64,
}

impl Record {
    /// `None` when there is none.
    pub(super) fn read(path: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        fs::write(path, serde_json::to_vec(self)?)
    }
}
