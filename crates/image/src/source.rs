//! Where an image comes from: a path that is looked through without changing anything.
//!
//! Three forms, told apart by what is there and not by names: an OCI image layout as a directory, the same as a tar,
//! and an archive of `docker save` (of any version; newer ones are a layout with Docker's manifest beside it). All
//! become [`Image`]s: an id, a configuration, and layers as names of files in the source.

mod archive;
mod layout;
mod saved;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::config::{Config, Document};
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::limits;
use archive::Archive;

/// A path that holds images.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    files: Files,
}

/// An image as its source describes it; nothing of its layers was read yet.
#[derive(Debug, Clone)]
pub struct Image {
    /// Digest of the configuration, which names the digests of all layers.
    pub id: Digest,
    /// How it wants to be run.
    pub config: Config,
    /// What its source calls it, like `python:3.12-slim`; for showing, and as names when it is imported.
    pub names: Vec<String>,
    pub(crate) document: Vec<u8>,
    pub(crate) layers: Vec<Layer>,
}

/// A layer in its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layer {
    /// The file.
    pub(crate) file: String,
    /// Its size and digest, where the source names them.
    pub(crate) stored: Option<(u64, Digest)>,
    /// Digest of the plain archive.
    pub(crate) diff_id: Digest,
}

/// Files by name, as a layout has them.
#[derive(Debug)]
enum Files {
    Directory(PathBuf),
    Archive(Archive),
}

/// A file of a source, being read.
pub(crate) struct Opened {
    pub(crate) size: u64,
    pub(crate) reader: Box<dyn Read>,
}

impl Source {
    /// Looks at `path`.
    ///
    /// # Errors
    /// It cannot be read, or is neither a directory nor an archive.
    pub fn open(path: &Path) -> Result<Self> {
        let files = if path.is_dir() {
            Files::Directory(path.to_owned())
        } else {
            Files::Archive(Archive::open(path)?)
        };
        Ok(Self { path: path.to_owned(), files })
    }

    /// Every image in it that is for this host, by id.
    ///
    /// # Errors
    /// There is none, or what there is cannot be used.
    pub fn images(&self) -> Result<Vec<Image>> {
        let found = match &self.files {
            // Names of files are Docker's own there, and lead nowhere but into the archive.
            Files::Archive(archive) if archive.has(saved::MANIFEST) => saved::images(&self.files)?,
            Files::Archive(_) | Files::Directory(_) => layout::images(&self.files)?,
        };
        let mut refused = None;
        let mut images: BTreeMap<Digest, Image> = BTreeMap::new();
        for found in found {
            match found.check() {
                Ok(image) => {
                    let known = images
                        .entry(image.id)
                        .or_insert_with(|| Image { names: Vec::new(), ..image.clone() });
                    known.names.extend(image.names);
                }
                Err(error) => refused = refused.or(Some(error)),
            }
        }
        match refused {
            Some(error) if images.is_empty() => Err(error),
            Some(_) | None if images.is_empty() => Err(Error::invalid(self.shown(), "holds no image")),
            Some(_) | None => Ok(images.into_values().collect()),
        }
    }

    /// The one image in it that is for this host.
    ///
    /// # Errors
    /// As [`Source::images`]; or there are several.
    pub fn image(&self) -> Result<Image> {
        let mut images = self.images()?;
        if images.len() == 1 {
            return Ok(images.remove(0));
        }
        let names: Vec<String> = images
            .iter()
            .map(|image| image.names.first().cloned().unwrap_or_else(|| image.id.short()))
            .collect();
        Err(Error::Unsupported {
            what: self.shown(),
            why: format!("holds {} images: {}", names.len(), names.join(", ")),
            expected: Some(format!("--image {} after `sandkeep image import {}`", names[0], self.shown())),
        })
    }

    /// Opens the file of a layer.
    pub(crate) fn layer(&self, layer: &Layer) -> Result<Opened> {
        let opened = self.files.open(&layer.file)?.ok_or_else(|| lacks(&layer.file))?;
        match layer.stored {
            Some((size, _)) if size != opened.size => {
                let why = format!("has {} bytes, and the manifest says {size}", opened.size);
                Err(Error::invalid(&layer.file, why))
            }
            Some(_) | None => Ok(opened),
        }
    }

    fn shown(&self) -> String {
        self.path.display().to_string()
    }
}

/// What a source says of an image, before it is checked.
struct Found {
    config_file: String,
    /// Where the source names it.
    config_digest: Option<Digest>,
    document: Vec<u8>,
    names: Vec<String>,
    layers: Vec<FoundLayer>,
}

struct FoundLayer {
    file: String,
    stored: Option<(u64, Digest)>,
}

impl Found {
    fn check(self) -> Result<Image> {
        let id = Digest::of(&self.document);
        if self.config_digest.is_some_and(|digest| digest != id) {
            return Err(Error::invalid(
                &self.config_file,
                format!("its digest is {id}, which it should not be"),
            ));
        }
        let document = Document::parse(&self.document)?;
        document.check_platform()?;
        if document.diff_ids.len() != self.layers.len() {
            let (has, says) = (self.layers.len(), document.diff_ids.len());
            return Err(Error::invalid(
                "the image",
                format!("has {has} layers, and its configuration says {says}"),
            ));
        }
        let layers = self.layers.into_iter().zip(document.diff_ids);
        let layers = layers.map(|(layer, diff_id)| Layer { file: layer.file, stored: layer.stored, diff_id });
        Ok(Image {
            id,
            config: document.config,
            names: self.names.into_iter().filter_map(|name| name_of(&name)).collect(),
            document: self.document,
            layers: layers.collect(),
        })
    }
}

/// A name as people write it, of one that an archive chose; `None` when it is none.
pub(crate) fn name_of(name: &str) -> Option<String> {
    let short = short_name(name);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@".contains(&byte);
    let first = short.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    // Without a tag it is one: that alone names nothing.
    let named = short.contains(':') && !short.ends_with(':');
    (first && named && short.len() <= limits::NAME_BYTES && short.bytes().all(fits)).then(|| short.to_owned())
}

/// Without what Docker's registry adds to names, unless the rest would then mean another registry.
pub(crate) fn short_name(name: &str) -> &str {
    let rest = name.strip_prefix("docker.io/").unwrap_or(name);
    match rest.split_once('/') {
        Some(("library", last)) if !last.contains('/') => last,
        Some((first, _)) if first == "localhost" || first.contains(['.', ':']) => name,
        Some(_) | None => rest,
    }
}

impl Files {
    fn has(&self, name: &str) -> bool {
        match self {
            Self::Directory(path) => path.join(name).is_file(),
            Self::Archive(archive) => archive.has(name),
        }
    }

    /// `None` when there is no such file. For a directory `name` is one of ours or made of a digest.
    fn open(&self, name: &str) -> Result<Option<Opened>> {
        match self {
            Self::Directory(path) => plain_file(&path.join(name)),
            Self::Archive(archive) => Ok(archive.read(name)),
        }
    }

    /// A small file, whole.
    fn document(&self, name: &str) -> Result<Vec<u8>> {
        let opened = self.open(name)?.ok_or_else(|| lacks(name))?;
        if opened.size > limits::DOCUMENT_BYTES {
            return Err(Error::too_large(
                name,
                format!("has {} bytes, at most {}", opened.size, limits::DOCUMENT_BYTES),
            ));
        }
        let mut bytes = Vec::new();
        let most = limits::DOCUMENT_BYTES;
        opened.reader.take(most).read_to_end(&mut bytes).map_err(|error| Error::read(name, error))?;
        Ok(bytes)
    }
}

fn lacks(file: &str) -> Error {
    Error::invalid("the image", format!("lacks its file {}", crate::error::shown(file.as_bytes())))
}

/// Opens a file that somebody else may have made: a FIFO in its place must not make us wait.
fn plain_file(path: &Path) -> Result<Option<Opened>> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let unreadable = |error| Error::read(path.display().to_string(), error);
    let file = match File::options().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let meta = file.metadata().map_err(unreadable)?;
    if !meta.is_file() {
        return Err(Error::invalid(path.display().to_string(), "is not a file"));
    }
    Ok(Some(Opened { size: meta.len(), reader: Box::new(file) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shortened_where_they_then_mean_the_same() {
        for (name, short) in [
            ("docker.io/library/python:3.12", "python:3.12"),
            ("library/python:3", "python:3"),
            ("docker.io/owner/name:1", "owner/name:1"),
            ("ghcr.io/owner/name:1", "ghcr.io/owner/name:1"),
            ("docker.io/ghcr.io/name:1", "docker.io/ghcr.io/name:1"),
            ("library/ghcr.io/name:1", "library/ghcr.io/name:1"),
            ("docker.io/localhost/name:1", "docker.io/localhost/name:1"),
        ] {
            assert_eq!(name_of(name).as_deref(), Some(short), "{name}");
        }
    }
}
