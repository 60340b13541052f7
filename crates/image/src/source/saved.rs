//! Archives of `docker save`: `manifest.json` lists images, each with its configuration and layers by file name.

use serde::Deserialize;

use super::{Files, Found, FoundLayer};
use crate::config::document;
use crate::error::{Error, Result};
use crate::limits;

pub(super) const MANIFEST: &str = "manifest.json";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// # Errors
/// The manifest is none, or names files that are not there.
pub(super) fn images(files: &Files) -> Result<Vec<Found>> {
    let bytes = files.document(MANIFEST)?;
    let entries: Vec<Entry> = document(MANIFEST, &bytes)?;
    if entries.len() > limits::MANIFESTS {
        return Err(Error::too_large(MANIFEST, format!("has {} images", entries.len())));
    }
    let found = |entry: Entry| {
        let layers = entry.layers.unwrap_or_default();
        Ok(Found {
            document: files.document(&entry.config)?,
            config_file: entry.config,
            config_digest: None,
            names: entry.repo_tags.unwrap_or_default(),
            layers: layers.into_iter().map(|file| FoundLayer { file, stored: None }).collect(),
        })
    };
    entries.into_iter().map(found).collect()
}
