//! A sandbox's place on this host: a number that no other live sandbox has, and with it a range of ids and a
//! name for control groups.
//!
//! The proof is a lock on a file, held by the supervisor for as long as the sandbox lives; however the
//! supervisor ends, the kernel gives the lock back.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use sandkeep_sandbox::idmap::RANGE;

/// Slots on one host: ranges of 65,536 ids from the default base up to where systemd's foreign ids begin.
pub(crate) const SLOTS: u32 = 4_094;

/// A held slot.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) number: u32,
    lock: File,
}

impl Slot {
    /// Takes the first free slot from `hint` on, around the end; `None` when all are taken.
    ///
    /// # Errors
    /// `directory`, made where it is missing, cannot be used.
    pub(crate) fn claim(directory: &Path, hint: u32) -> io::Result<Option<Self>> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        for step in 0..SLOTS {
            let number = (hint % SLOTS + step) % SLOTS;
            if let Some(slot) = Self::take(directory, number)? {
                return Ok(Some(slot));
            }
        }
        Ok(None)
    }

    /// Takes slot `number` if it is free.
    ///
    /// # Errors
    /// The lock file cannot be opened.
    pub(crate) fn take(directory: &Path, number: u32) -> io::Result<Option<Self>> {
        let mut options = File::options();
        let lock =
            options.create(true).truncate(false).write(true).open(directory.join(number.to_string()))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { number, lock })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The lock alone: process 1 holds on to it as well, so that the slot is not free before all in it are gone, however
    /// the supervisor ends.
    pub(crate) fn into_lock(self) -> OwnedFd {
        self.lock.into()
    }

    /// First host id of this slot's range.
    pub(crate) fn first_id(&self, base: u32) -> u32 {
        base + self.number * RANGE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_held_by_one_and_free_after_it() {
        let directory = tempfile::tempdir().unwrap();
        let claim = |hint| Slot::claim(directory.path(), hint).unwrap().unwrap();
        let first = claim(7);
        let second = claim(7);
        assert_eq!((first.number, second.number), (7, 8));
        drop(first);
        assert_eq!(claim(7).number, 7);
        assert_eq!(claim(SLOTS + 3).number, 3);
    }

    #[test]
    fn ranges_of_slots_do_not_overlap() {
        let directory = tempfile::tempdir().unwrap();
        let slots: Vec<_> =
            (0..3).map(|n| Slot::take(directory.path(), n).unwrap().unwrap().first_id(1 << 30)).collect();
        assert!(slots.windows(2).all(|pair| pair[0] + RANGE <= pair[1]));
    }
}
