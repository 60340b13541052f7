//! Layers that images share: taken apart once, and kept while an image that is there has them.
//!
//! Two locks guard them. `locks/layers` is held shared by whoever makes an image or pulls one, so that nothing it counts
//! on is collected; `locks/DIFF` by whoever takes that layer apart. Files of a layer are never written again: images have
//! them as hard links, sandboxes see images without being able to change them.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::lock::Lock;
use super::record::{Record, boot, of_this_boot};
use super::{CONFIG, Store, discard};
use crate::config::Document;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::kept::{Reader, Writer};
use crate::layer::{self, Expected, Tally};
use crate::limits::Budget;
use crate::root::Owners;
use crate::source::{Layer, Source};

/// What is written down of a layer.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    left_out: u64,
    clamped: u64,
    /// As for images.
    boot: Option<String>,
}

const KEPT: &str = "layer.json";
const LAYERS_LOCK: &str = "layers";

impl Store {
    /// Keeps layers from being collected.
    pub(super) fn layers_lock(&self) -> Result<Lock> {
        Lock::shared(&self.path.join("locks").join(LAYERS_LOCK))
    }

    /// Whether a layer is there whose files belong to whom they should.
    pub(super) fn has_layer(&self, diff_id: Digest, owners: Owners) -> bool {
        self.kept(&self.layer_path(diff_id, owners)).is_some()
    }

    /// The layer taken apart, which is done if it was not yet. Whoever calls holds the lock of layers.
    pub(super) fn layer(
        &self,
        what: &str,
        source: &Source,
        layer: &Layer,
        owners: Owners,
        room: &mut Budget,
    ) -> Result<(Reader, Tally)> {
        let path = self.layer_path(layer.diff_id, owners);
        // Who is slower waits here, and finds what the faster one made.
        let _lock = Lock::exclusive(&self.lock_file(layer.diff_id))?;
        let kept = match self.kept(&path) {
            Some(kept) => kept,
            None => self.take_apart(what, source, layer, owners, room)?,
        };
        Ok((Reader::open(&path)?, Tally { left_out: kept.left_out, clamped: kept.clamped }))
    }

    fn take_apart(
        &self,
        what: &str,
        source: &Source,
        layer: &Layer,
        owners: Owners,
        room: &mut Budget,
    ) -> Result<Kept> {
        let (partial, path) = (self.partial(layer.diff_id), self.layer_path(layer.diff_id, owners));
        discard(&partial)?;
        let failed = |error: io::Error| Error::store("cannot keep a layer of the image", error);
        fs::DirBuilder::new().mode(0o700).create(&partial).map_err(failed)?;
        let expected =
            Expected { stored: layer.stored.map(|(_, digest)| digest), diff_id: Some(layer.diff_id) };
        let made = source.layer(layer).and_then(|opened| {
            let into = Writer::create(&partial, owners)?;
            let tally = layer::keep(what, opened.reader, expected, into, room)?;
            let kept = Kept { left_out: tally.left_out, clamped: tally.clamped, boot: Some(boot()) };
            let text = serde_json::to_vec(&kept).map_err(|error| failed(error.into()))?;
            fs::write(partial.join(KEPT), text).map_err(failed)?;
            // What has no record that counts is a remnant.
            discard(&path)?;
            fs::rename(&partial, &path).map_err(failed)?;
            Ok(kept)
        });
        if made.is_err() {
            // If this fails too, it is swept later.
            let _left = discard(&partial);
        }
        made
    }

    /// Notes that all layers of an image have reached the disk.
    pub(super) fn keep_layers(&self, id: Digest) -> Result<()> {
        let _lock = self.layers_lock()?;
        for diff_id in self.layers_of(id)?.unwrap_or_default() {
            for owners in [Owners::Image, Owners::Us] {
                let path = self.layer_path(diff_id, owners);
                let Some(kept) = self.kept(&path) else { continue };
                let text = serde_json::to_vec(&Kept { boot: None, ..kept }).map_err(io::Error::other);
                let replaced = text.and_then(|text| Record::replace_with(&text, &path.join(KEPT)));
                replaced.map_err(|error| Error::store("cannot keep a layer", error))?;
            }
        }
        Ok(())
    }

    /// Removes the layers that no image has, unless somebody is at work who may count on them. What cannot be removed
    /// now is tried again next time.
    pub(super) fn collect_layers(&self) {
        let Ok(Some(_lock)) = Lock::try_exclusive(&self.path.join("locks").join(LAYERS_LOCK)) else { return };
        let Ok(wanted) = self.wanted_layers() else { return };
        for entry in fs::read_dir(self.path.join("layers")).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let diff_id = name.to_str().and_then(|name| Digest::from_hex(name.split('.').next()?));
            let Some(diff_id) = diff_id else { continue };
            if wanted.contains(&diff_id) && self.kept(&entry.path()).is_some() {
                continue;
            }
            // In one step out of sight: half a layer must not be taken for a whole one.
            let partial = self.partial(diff_id);
            let _later = discard(&partial);
            if fs::rename(entry.path(), &partial).is_ok() {
                let _later = discard(&partial);
            }
        }
    }

    fn wanted_layers(&self) -> Result<HashSet<Digest>> {
        let entries = match fs::read_dir(self.path.join("unpacked")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
            other => other.map_err(|error| Error::store("cannot list the images", error))?,
        };
        let mut wanted = HashSet::new();
        for entry in entries.flatten() {
            let id = entry.file_name().to_str().and_then(Digest::from_hex);
            if let Some(id) = id {
                wanted.extend(self.layers_of(id)?.unwrap_or_default());
            }
        }
        Ok(wanted)
    }

    /// Digests of an image's layers; `None` when it is not there.
    fn layers_of(&self, id: Digest) -> Result<Option<Vec<Digest>>> {
        match fs::read(self.unpacked(id).join(CONFIG)) {
            Ok(document) => Document::parse(&document).map(|document| Some(document.diff_ids)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::store(format!("cannot read image {}", id.short()), error)),
        }
    }

    /// The record of a layer that is whole.
    fn kept(&self, path: &std::path::Path) -> Option<Kept> {
        let kept: Kept = serde_json::from_slice(&fs::read(path.join(KEPT)).ok()?).ok()?;
        of_this_boot(kept.boot.as_deref()).then_some(kept)
    }

    /// A store may be used with and without the right to give files away, as by root inside and outside of a container.
    fn layer_path(&self, diff_id: Digest, owners: Owners) -> PathBuf {
        let whose = if owners == Owners::Image { "image" } else { "us" };
        self.path.join("layers").join(format!("{}.{whose}", diff_id.hex()))
    }
}
