//! OCI image layouts: `index.json` leads, through further indexes, to manifests; those to a configuration and layers.
//! Everything but the first index is named by its digest, and is what it should be or is refused.

use super::{Files, Found, FoundLayer, lacks};
use crate::config::document;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::limits;
use crate::manifest::{Descriptor, Index, Kind, Manifest};

const INDEX: &str = "index.json";

/// Where names stand: containerd's, which is whole, before the standard's, which may be a tag only.
const NAMES: [&str; 2] = ["io.containerd.image.name", "org.opencontainers.image.ref.name"];

/// Images that are for this host, as far as the indexes say what they are for.
///
/// # Errors
/// There is no index, or what it leads to is not there or not what it should be.
pub(super) fn images(files: &Files) -> Result<Vec<Found>> {
    if !files.has(INDEX) {
        return Err(Error::invalid(
            "the image",
            "has neither index.json (OCI layout) nor manifest.json (docker save)",
        ));
    }
    let mut walk = Walk { files, found: Vec::new(), seen: 0, elsewhere: None };
    walk.index(&document(INDEX, &files.document(INDEX)?)?, &[], 0)?;
    match walk.elsewhere {
        Some(error) if walk.found.is_empty() => Err(error),
        Some(_) | None => Ok(walk.found),
    }
}

struct Walk<'a> {
    files: &'a Files,
    found: Vec<Found>,
    seen: usize,
    /// Why an image that is there is not for us.
    elsewhere: Option<Error>,
}

impl Walk<'_> {
    fn index(&mut self, index: &Index, names: &[String], depth: u32) -> Result<()> {
        if depth >= limits::INDEX_DEPTH {
            return Err(Error::too_large("the image", "has indexes in indexes in indexes"));
        }
        for descriptor in &index.manifests {
            self.seen += 1;
            if self.seen > limits::MANIFESTS {
                return Err(Error::too_large(
                    "the image",
                    format!("has more than {} manifests", limits::MANIFESTS),
                ));
            }
            let named = names_of(descriptor);
            let names = if named.is_empty() { names } else { &named };
            match descriptor.kind() {
                Kind::Index => {
                    self.index(&document("an index", &self.blob(descriptor)?)?, names, depth + 1)?
                }
                Kind::Manifest => self.manifest(descriptor, names)?,
                // Signatures and the like.
                Kind::Layer | Kind::ForeignLayer | Kind::Other => {}
            }
        }
        Ok(())
    }

    fn manifest(&mut self, descriptor: &Descriptor, names: &[String]) -> Result<()> {
        match descriptor.check_platform() {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                self.elsewhere = self.elsewhere.take().or(Some(error));
                return Ok(());
            }
            None => return Ok(()),
        }
        let manifest: Manifest = document("a manifest", &self.blob(descriptor)?)?;
        self.found.push(Found {
            document: self.blob(&manifest.config)?,
            config_file: manifest.config.file()?,
            config_digest: Some(manifest.config.digest()?),
            names: names.to_vec(),
            layers: manifest.layers.iter().map(layer_of).collect::<Result<_>>()?,
        });
        Ok(())
    }

    /// A small blob, checked against its descriptor.
    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let (file, expected) = (descriptor.file()?, descriptor.digest()?);
        if !self.files.has(&file) {
            return Err(lacks(&file));
        }
        let bytes = self.files.document(&file)?;
        let digest = Digest::of(&bytes);
        if digest != expected {
            return Err(Error::invalid(file, format!("its digest is {digest}, which it should not be")));
        }
        if bytes.len() as u64 != descriptor.size {
            return Err(Error::invalid(
                file,
                format!("has {} bytes, and {} are said", bytes.len(), descriptor.size),
            ));
        }
        Ok(bytes)
    }
}

/// The names that a descriptor's annotations give.
fn names_of(descriptor: &Descriptor) -> Vec<String> {
    let annotations = descriptor.annotations.iter();
    let name = annotations.flat_map(|all| NAMES.iter().find_map(|key| all.get(*key)));
    name.cloned().collect()
}

fn layer_of(descriptor: &Descriptor) -> Result<FoundLayer> {
    descriptor.check_layer()?;
    Ok(FoundLayer { file: descriptor.file()?, stored: Some((descriptor.size, descriptor.digest()?)) })
}
