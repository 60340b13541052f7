//! OCI image layouts: `index.json` leads, through further indexes, to manifests; those to a configuration and layers.
//! Everything but the first index is named by its digest, and is what it should be or is refused.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Files, Found, FoundLayer, lacks};
use crate::config::document;
use crate::digest::Digest;
use crate::error::{Error, Result, shown};
use crate::{limits, platform};

const INDEX: &str = "index.json";

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

/// What a descriptor leads to.
#[derive(Debug, PartialEq, Eq)]
enum Kind {
    Index,
    Manifest,
    Layer,
    /// A layer that has to be fetched from somewhere else, by licence.
    ForeignLayer,
    Other,
}

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
            let named = descriptor.names();
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
        if let Some(Platform { os, architecture, variant }) = &descriptor.platform {
            // What is for no platform are attestations of builders.
            if os == "unknown" || architecture == "unknown" {
                return Ok(());
            }
            if let Err(error) = platform::check("the image", os, architecture, variant.as_deref()) {
                self.elsewhere = self.elsewhere.take().or(Some(error));
                return Ok(());
            }
        }
        let manifest: Manifest = document("a manifest", &self.blob(descriptor)?)?;
        self.found.push(Found {
            document: self.blob(&manifest.config)?,
            config_file: manifest.config.file()?,
            config_digest: Some(Digest::parse(&manifest.config.digest)?),
            names: names.to_vec(),
            layers: manifest.layers.iter().map(Descriptor::layer).collect::<Result<_>>()?,
        });
        Ok(())
    }

    /// A small blob, checked against its descriptor.
    fn blob(&self, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let (file, expected) = (descriptor.file()?, Digest::parse(&descriptor.digest)?);
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

impl Descriptor {
    fn kind(&self) -> Kind {
        match self.media_type.as_str() {
            "application/vnd.oci.image.index.v1+json"
            | "application/vnd.docker.distribution.manifest.list.v2+json" => Kind::Index,
            "application/vnd.oci.image.manifest.v1+json"
            | "application/vnd.docker.distribution.manifest.v2+json" => Kind::Manifest,
            "application/vnd.oci.image.layer.v1.tar"
            | "application/vnd.oci.image.layer.v1.tar+gzip"
            | "application/vnd.oci.image.layer.v1.tar+zstd"
            | "application/vnd.docker.image.rootfs.diff.tar"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd" => Kind::Layer,
            other if other.starts_with("application/vnd.oci.image.layer.nondistributable.") => {
                Kind::ForeignLayer
            }
            other if other.starts_with("application/vnd.docker.image.rootfs.foreign.") => Kind::ForeignLayer,
            _ => Kind::Other,
        }
    }

    fn layer(&self) -> Result<FoundLayer> {
        match self.kind() {
            Kind::Layer => {
                Ok(FoundLayer { file: self.file()?, stored: Some((self.size, Digest::parse(&self.digest)?)) })
            }
            Kind::ForeignLayer => Err(Error::unsupported(
                "a layer",
                "is not part of the image, but to be fetched from elsewhere",
            )),
            Kind::Index | Kind::Manifest | Kind::Other => {
                let of = shown(self.media_type.as_bytes());
                Err(Error::unsupported("a layer", format!("is of the unknown media type `{of}`")))
            }
        }
    }

    /// The name is made of checked digits, never of what the descriptor says.
    fn file(&self) -> Result<String> {
        Ok(format!("blobs/sha256/{}", Digest::parse(&self.digest)?.hex()))
    }

    fn names(&self) -> Vec<String> {
        let annotations = self.annotations.iter();
        let name = annotations.flat_map(|all| NAMES.iter().find_map(|key| all.get(*key)));
        name.cloned().collect()
    }
}
