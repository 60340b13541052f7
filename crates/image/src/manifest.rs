//! Manifests and indexes of OCI and of Docker, as layouts and registries have them.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::config::{self, document};
use crate::digest::Digest;
use crate::error::{Error, Result, shown};
use crate::{limits, platform};

/// Media types of what [`Answer::read`] takes, as a registry is asked for them.
pub const ACCEPTED: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// Manifests of one name, for many platforms.
#[derive(Debug, Deserialize)]
pub struct Index {
    #[serde(default)]
    pub(crate) manifests: Vec<Descriptor>,
}

/// What an image consists of.
#[derive(Debug, Deserialize)]
pub struct Manifest {
    /// The configuration, whose digest is the image's id.
    pub config: Descriptor,
    /// Layers, lowest first.
    pub layers: Vec<Descriptor>,
}

/// A blob by its digest.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    /// Its size in bytes, as whoever made the descriptor says.
    pub size: u64,
    #[serde(default)]
    platform: Option<Platform>,
    #[serde(default)]
    pub(crate) annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
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
pub(crate) enum Kind {
    Index,
    Manifest,
    Layer,
    /// A layer that has to be fetched from somewhere else, by licence.
    ForeignLayer,
    Other,
}

/// What a registry has under a name.
#[derive(Debug)]
pub enum Answer {
    /// Manifests for many platforms.
    Index(Index),
    /// One manifest.
    Manifest(Manifest),
}

impl Answer {
    /// Tells the two apart by what is in them; media types that servers give are not relied upon.
    ///
    /// # Errors
    /// It is neither.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Shape {
            #[serde(default)]
            manifests: Option<serde::de::IgnoredAny>,
            #[serde(default)]
            config: Option<serde::de::IgnoredAny>,
        }
        let shape: Shape = document("the manifest", bytes)?;
        match (shape.manifests, shape.config) {
            (Some(_), None) => document("the manifest", bytes).map(Self::Index),
            (None, Some(_)) => document("the manifest", bytes).map(Self::Manifest),
            // One reader would see an index and another a manifest.
            (Some(_), Some(_)) => Err(Error::invalid("the manifest", "is an index and a manifest at once")),
            (None, None) => Err(Error::unsupported("the manifest", "is of a kind that is not understood")),
        }
    }
}

impl Index {
    /// The manifest for this host.
    ///
    /// # Errors
    /// There is none.
    pub fn for_host(&self) -> Result<&Descriptor> {
        if self.manifests.len() > limits::MANIFESTS {
            return Err(Error::too_large(
                "the image",
                format!("has more than {} manifests", limits::MANIFESTS),
            ));
        }
        let mut elsewhere = None;
        for descriptor in &self.manifests {
            match (descriptor.kind(), descriptor.check_platform()) {
                (Kind::Manifest, Some(Ok(()))) => return Ok(descriptor),
                (Kind::Manifest, Some(Err(error))) => elsewhere = elsewhere.or(Some(error)),
                _ => {}
            }
        }
        Err(elsewhere.unwrap_or_else(|| Error::unsupported("the image", "is for no platform at all")))
    }
}

impl Manifest {
    /// What is wrong with it before anything of it is fetched.
    ///
    /// # Errors
    /// Too many layers or bytes, a kind of layer that is not understood, or digests that are none.
    pub fn check(&self) -> Result<()> {
        if self.layers.len() > limits::LAYERS {
            let why = format!("has {} layers, at most {}", self.layers.len(), limits::LAYERS);
            return Err(Error::too_large("the image", why));
        }
        self.config.digest()?;
        if self.config.size > limits::DOCUMENT_BYTES {
            let why = format!("has {} bytes, at most {}", self.config.size, limits::DOCUMENT_BYTES);
            return Err(Error::too_large("the image's configuration", why));
        }
        self.layers.iter().try_for_each(|layer| layer.check_layer().and_then(|()| layer.digest().map(drop)))
    }
}

/// Digests of an image's layers as plain archives, lowest first, as its configuration has them.
///
/// # Errors
/// It is no configuration, or for another platform.
pub fn diff_ids(configuration: &[u8]) -> Result<Vec<Digest>> {
    let document = config::Document::parse(configuration)?;
    document.check_platform()?;
    Ok(document.diff_ids)
}

impl Descriptor {
    /// Of the blob.
    ///
    /// # Errors
    /// What stands there is none that is understood.
    pub fn digest(&self) -> Result<Digest> {
        Digest::parse(&self.digest)
    }

    /// Whether it is for this host; `None` when it is for nothing that runs.
    pub(crate) fn check_platform(&self) -> Option<Result<()>> {
        let Some(Platform { os, architecture, variant }) = &self.platform else { return Some(Ok(())) };
        // What is for no platform are attestations of builders.
        if os == "unknown" || architecture == "unknown" {
            return None;
        }
        Some(platform::check("the image", os, architecture, variant.as_deref()))
    }

    pub(crate) fn kind(&self) -> Kind {
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

    pub(crate) fn check_layer(&self) -> Result<()> {
        match self.kind() {
            Kind::Layer => Ok(()),
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

    /// Its file in a layout. The name is made of checked digits, never of what the descriptor says.
    ///
    /// # Errors
    /// As [`Descriptor::digest`].
    pub fn file(&self) -> Result<String> {
        Ok(format!("blobs/sha256/{}", self.digest()?.hex()))
    }
}
