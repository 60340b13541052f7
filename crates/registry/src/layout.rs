//! What was fetched, as a layout that the store takes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_image::Digest;
use serde_json::json;

/// A layout in a directory of the store's.
pub(crate) struct Layout<'a>(&'a Path);

impl<'a> Layout<'a> {
    pub(crate) fn create(directory: &'a Path) -> Result<Self, Problem> {
        fs::create_dir_all(directory.join("blobs/sha256")).map_err(|error| unwritten(&error))?;
        Ok(Self(directory))
    }

    /// Where a blob belongs.
    pub(crate) fn blob(&self, digest: Digest) -> PathBuf {
        self.0.join("blobs/sha256").join(digest.hex())
    }

    pub(crate) fn put(&self, digest: Digest, bytes: &[u8]) -> Result<(), Problem> {
        fs::write(self.blob(digest), bytes).map_err(|error| unwritten(&error))
    }

    /// Says which manifest it is all about, and what the image is called.
    pub(crate) fn finish(&self, manifest: Digest, size: usize, name: &str) -> Result<(), Problem> {
        let index = json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": manifest.to_string(), "size": size,
            "annotations": {"io.containerd.image.name": name},
        }]});
        fs::write(self.0.join("index.json"), index.to_string()).map_err(|error| unwritten(&error))
    }
}

/// The store has no room, or is not there.
pub(crate) fn unwritten(error: &io::Error) -> Problem {
    Problem::new(ErrorCode::ImageStoreUnusable, format!("what a registry sends cannot be written: {error}"))
}
