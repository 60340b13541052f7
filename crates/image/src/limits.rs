//! Bounds on what an image may make us read, hold and write. Generous for real images, and finite.

use crate::error::{Error, Result};

/// Largest manifest, index or configuration in bytes; registries and Docker take 4 MiB too.
pub const DOCUMENT_BYTES: u64 = 4 << 20;
/// Most layers. Docker makes 127 at most.
pub const LAYERS: usize = 512;
/// Deepest nesting of indexes in a layout. Tools make one or two.
pub const INDEX_DEPTH: u32 = 4;
/// Most manifests, over all indexes of a layout.
pub const MANIFESTS: usize = 1_000;
/// Most files in the outer archive of an image: a few per layer.
pub const ARCHIVE_ENTRIES: usize = 20_000;
/// Longest path in a layer, as the kernel has it (`PATH_MAX` less the end).
pub const PATH_BYTES: usize = 4_095;
/// Longest part of a path (`NAME_MAX`).
pub const NAME_BYTES: usize = 255;
/// Most directories above each other, so that whatever walks a tree needs few descriptors and little stack.
pub const DEPTH: usize = 256;
/// Longest extended header of one entry; Go's reader, which Docker uses, takes as much.
pub const EXTENSION_BYTES: u64 = 1 << 20;
/// What every file, directory or link is counted as at least: a block of most file systems.
pub const BLOCK_BYTES: u64 = 4_096;

/// What all layers of an image together may amount to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes on disk, every entry rounded up to blocks, also what a later layer hides again.
    pub bytes: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of all their names; the names of one layer are held in memory.
    pub name_bytes: u64,
    /// How many times larger than its compressed form a layer may be, beyond `ratio_free_bytes`. Text and programs
    /// compress three to five times; gzip at most a thousand times.
    pub ratio: u64,
    /// What a layer may amount to whatever its ratio: a file of zeros is no attack yet.
    pub ratio_free_bytes: u64,
}

impl Limits {
    /// What the command uses.
    pub const DEFAULT: Self = Self {
        bytes: 32 << 30,
        file_bytes: 8 << 30,
        entries: 1_000_000,
        name_bytes: 128 << 20,
        ratio: 200,
        ratio_free_bytes: 256 << 20,
    };
}

/// What is left of the limits while an image is unpacked.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    pub(crate) limits: Limits,
    bytes: u64,
    entries: u64,
    name_bytes: u64,
}

impl Budget {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, bytes: 0, entries: 0, name_bytes: 0 }
    }

    /// Counts an entry with a name of `name_bytes` and content of `size`.
    ///
    /// # Errors
    /// What is over its bound.
    pub(crate) fn take(&mut self, name_bytes: usize, size: u64) -> Result<()> {
        let limits = self.limits;
        let over =
            |what: &str, most: u64| Err(Error::too_large("the image", format!("{what}, at most {most}")));
        if size > limits.file_bytes {
            return over(&format!("has a file of {size} bytes"), limits.file_bytes);
        }
        self.entries += 1;
        self.name_bytes += name_bytes as u64;
        self.bytes = self.bytes.saturating_add(size.next_multiple_of(BLOCK_BYTES).max(BLOCK_BYTES));
        if self.entries > limits.entries {
            return over("has too many files", limits.entries);
        }
        if self.name_bytes > limits.name_bytes {
            return over("has too many bytes of names", limits.name_bytes);
        }
        if self.bytes > limits.bytes {
            return over("needs too many bytes of disk", limits.bytes);
        }
        Ok(())
    }

    /// Entries so far.
    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// Bytes so far, in blocks.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandkeep_core::code::ErrorCode;

    #[test]
    fn each_amount_has_its_bound() {
        let limits = Limits {
            bytes: 3 * BLOCK_BYTES,
            file_bytes: 5_000,
            entries: 3,
            name_bytes: 10,
            ..Limits::DEFAULT
        };
        let check = |taken: &[(usize, u64)], fits: bool| {
            let mut budget = Budget::new(limits);
            let outcome = taken.iter().try_for_each(|(name, size)| budget.take(*name, *size));
            assert_eq!(outcome.is_ok(), fits, "{taken:?}");
            if let Err(error) = outcome {
                assert_eq!(error.code(), ErrorCode::ImageTooLarge);
            }
        };
        check(&[(1, 0), (1, 0), (1, 0)], true);
        check(&[(1, 0), (1, 0), (1, 0), (1, 0)], false);
        check(&[(5, 0), (6, 0)], false);
        check(&[(1, 5_001)], false);
        check(&[(1, 5_000), (1, 1)], true);
        check(&[(1, 5_000), (1, 5_000)], false);
        check(&[(1, u64::MAX)], false);
    }
}
