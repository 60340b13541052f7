//! Making an image in the store, and tidying up after whoever could not finish.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::Path;

use rustix::fs::{Gid, Uid, chown};
use rustix::process::{getegid, geteuid};

use super::lock::Lock;
use super::record::{Record, boot};
use super::{CONFIG, RECORD, ROOT, Store, discard};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::apply::apply;
use crate::limits::{Budget, Limits};
use crate::root::{Owners, Root};
use crate::source::{Image, Source};

impl Store {
    /// Unpacks an image whose lock we hold, and which is not there.
    pub(super) fn make(&self, source: &Source, image: &Image) -> Result<()> {
        let (partial, unpacked) = (self.partial(image.id), self.unpacked(image.id));
        // What has no record that counts is a remnant.
        discard(&unpacked)?;
        let made = self.make_partial(&partial, source, image).and_then(|()| {
            fs::rename(&partial, &unpacked).map_err(|error| Error::store("cannot keep the image", error))
        });
        if made.is_err() {
            // If this fails too, it is swept later.
            let _left = discard(&partial);
        }
        made
    }

    fn make_partial(&self, partial: &Path, source: &Source, image: &Image) -> Result<()> {
        discard(partial)?;
        let root = partial.join(ROOT);
        let failed = |error| Error::store("cannot make room for the image", error);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&root).map_err(failed)?;
        fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).map_err(failed)?;
        let record = self.layers(&root, source, image)?;
        fs::write(partial.join(CONFIG), &image.document).map_err(failed)?;
        record.write(&partial.join(RECORD)).map_err(failed)
    }

    fn layers(&self, root: &Path, source: &Source, image: &Image) -> Result<Record> {
        // Nothing that is there already is collected meanwhile.
        let _layers = self.layers_lock()?;
        // What is taken apart needs room; what is there already only counts.
        let (mut budget, mut room) = (Budget::new(self.limits), Budget::new(self.affordable()?));
        let mut record = Record { boot: Some(boot()), ..Record::default() };
        let owners = owners(root);
        let mut target = Root::open(root, owners)?;
        for (number, layer) in image.layers.iter().enumerate() {
            let what = format!("layer {} of {}", number + 1, image.layers.len());
            let (mut kept, tally) = self.layer(&what, source, layer, owners, &mut room)?;
            apply(&what, &mut kept, &mut target, &mut budget)?;
            record.left_out += tally.left_out;
            record.clamped += tally.clamped;
        }
        (record.size_bytes, record.entries) = (budget.bytes(), budget.entries());
        Ok(record)
    }

    /// Our limits, and no more than nine tenths of what is free.
    pub(super) fn affordable(&self) -> Result<Limits> {
        let disk = rustix::fs::statvfs(&self.path)
            .map_err(|errno| Error::store("cannot see how much is free", errno))?;
        if disk.f_blocks == 0 {
            // A file system without a size of its own.
            return Ok(self.limits);
        }
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        Ok(Limits { bytes: self.limits.bytes.min(free / 10 * 9), ..self.limits })
    }

    /// Removes partials that nobody works on, images that do not count any more, and layers that no image has. What cannot be removed now is
    /// tried again next time.
    pub(super) fn sweep(&self) {
        let ids = |part: &str| {
            let entries = fs::read_dir(self.path.join(part)).into_iter().flatten().flatten();
            entries.filter_map(|entry| Digest::from_hex(entry.file_name().to_str()?))
        };
        for id in ids("partial").chain(ids("unpacked").filter(|id| self.record(*id).is_none())) {
            let Ok(Some(_lock)) = Lock::try_exclusive(&self.lock_file(id)) else { continue };
            let _later = discard(&self.partial(id));
            // Somebody may have made it since we looked.
            if self.record(id).is_none() {
                let _later = discard(&self.unpacked(id));
            }
        }
        self.sweep_incoming();
        self.collect_layers();
    }
}

/// Root keeps owners, where its namespace has the ids for it.
pub(super) fn owners(root: &Path) -> Owners {
    let is_given = |uid, gid| chown(root, Some(uid), Some(gid)).is_ok();
    let last = (Uid::from_raw(65_535), Gid::from_raw(65_535));
    if geteuid().is_root() && is_given(last.0, last.1) && is_given(geteuid(), getegid()) {
        Owners::Image
    } else {
        Owners::Us
    }
}
