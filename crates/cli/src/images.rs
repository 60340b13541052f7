//! Container images as the command line means them: a path, one that the store has, or one of a registry.

mod probe;

use std::path::{Path, PathBuf};

use clap::builder::FalseyValueParser;
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_image::{Config, Digest, Held, Image, Source, Store};
use sandkeep_registry::{Reference, Settings, pull};

use crate::out;
pub(crate) use probe::probe;

/// Where the store is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct StoreArgs {
    /// Where images are kept.
    #[arg(long, value_name = "DIR", env = "SANDKEEP_IMAGE_DIR", hide = true)]
    pub(crate) image_dir: Option<PathBuf>,
}

impl StoreArgs {
    /// The directory, whether or not it is there.
    ///
    /// # Errors
    /// `image_store_unusable`: nobody says where.
    pub(crate) fn path(&self) -> Result<PathBuf, Problem> {
        let path = self.image_dir.clone().or_else(Store::default_path).ok_or_else(|| {
            let text = "there is neither a home directory nor XDG_CACHE_HOME to keep images in";
            Problem::new(ErrorCode::ImageStoreUnusable, text).expecting("SANDKEEP_IMAGE_DIR=DIR")
        })?;
        // The supervisor need not stand where we do.
        std::path::absolute(&path).map_err(|error| {
            Problem::new(ErrorCode::ImageStoreUnusable, format!("{}: {error}", path.display()))
        })
    }

    /// # Errors
    /// `image_store_unusable`.
    pub(crate) fn open(&self) -> Result<Store, Problem> {
        Ok(Store::open(&self.path()?)?)
    }
}

/// How registries are asked.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Registries")]
pub(crate) struct RegistryArgs {
    /// Talk to registries without TLS. Those on this machine are anyway, unless certificates are given.
    #[arg(long)]
    plain_http: bool,

    /// Trust these certificates (PEM) of registries besides the host's.
    #[arg(long, value_name = "FILE", env = "SANDKEEP_REGISTRY_CA", hide_env_values = true)]
    registry_ca: Option<PathBuf>,
}

/// Whether registries may be asked for what is not here.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Registries")]
pub(crate) struct OfflineArg {
    /// Ask no registry: an image that is not here is unknown.
    #[arg(long, env = "SANDKEEP_OFFLINE", hide_env_values = true, value_parser = FalseyValueParser::new())]
    pub(crate) offline: bool,
}

impl RegistryArgs {
    fn settings(&self) -> Result<Settings, Problem> {
        let variable = |name: &str| std::env::var(name).ok();
        let ca = self.registry_ca.clone().filter(|path| !path.as_os_str().is_empty());
        Settings::find(variable, ca, self.plain_http)
    }

    /// Pulls an image, unpacks it, and gives it the name that it was asked for by.
    ///
    /// # Errors
    /// It is not there, may not be had, or cannot be used.
    pub(crate) fn pull(&self, reference: &Reference, store: &Store) -> Result<Held, Problem> {
        out::note(&format!("pulling {reference} from {}", reference.registry()));
        let pulled = pull(reference, store, &self.settings()?, &out::note)?;
        let held = ready(store, &pulled.source, &pulled.image)?;
        store.name(held.id, &pulled.image.names)?;
        Ok(held)
    }
}

/// An image that was asked for and found. Nothing changed for it yet, unless it was pulled.
#[derive(Debug)]
pub(crate) enum Found {
    /// In a file or directory; unpacked already, or not.
    At(Source, Image),
    /// In the store, which keeps it while this lives.
    Here(Held),
}

impl Found {
    /// Looks for `reference`: what is a path is one; what the store knows is that; for anything else `registry` is asked,
    /// where there is one.
    ///
    /// # Errors
    /// There is no such image, or none that can be used.
    pub(crate) fn find(
        reference: &str,
        store: &Store,
        registry: Option<&RegistryArgs>,
    ) -> Result<Self, Problem> {
        let path = Path::new(reference);
        if path.exists() {
            let source = Source::open(path)?;
            let image = source.image()?;
            return Ok(Self::At(source, image));
        }
        let name = named(reference);
        // Docker's registry has several names, and a tag beside a digest says nothing.
        let known = store
            .find(reference)
            .or_else(|error| name.as_ref().and_then(|name| store.find(&name.to_string()).ok()).ok_or(error));
        let stored = match (known, registry, name) {
            (Ok(stored), _, _) => stored,
            (Err(error), Some(registry), Some(name)) if error.code() == ErrorCode::ImageUnknown => {
                return registry.pull(&name, store).map(Self::Here);
            }
            (Err(error), _, _) => return Err(error.into()),
        };
        // It may have been removed since.
        match store.hold(stored.id)? {
            Some(held) => Ok(Self::Here(held)),
            None => Ok(Self::find(reference, store, registry)?),
        }
    }

    /// How the image wants to be run.
    pub(crate) fn config(&self) -> &Config {
        match self {
            Self::At(_, image) => &image.config,
            Self::Here(held) => &held.config,
        }
    }

    /// Which it is.
    pub(crate) fn id(&self) -> Digest {
        match self {
            Self::At(_, image) => image.id,
            Self::Here(held) => held.id,
        }
    }

    /// Unpacks it if it is not there; it stays while the result lives, or while this does where there is none.
    ///
    /// # Errors
    /// What is wrong with it, or `image_store_unusable`.
    pub(crate) fn ready(&self, store: &Store) -> Result<Option<Held>, Problem> {
        match self {
            Self::At(source, image) => ready(store, source, image).map(Some),
            Self::Here(_) => Ok(None),
        }
    }

    /// It, where it was there.
    pub(crate) fn here(&self) -> Option<&Held> {
        match self {
            Self::At(..) => None,
            Self::Here(held) => Some(held),
        }
    }
}

/// What a registry can be asked for: not what looks like a file that is missing, and not the id of an image.
fn named(reference: &str) -> Option<Reference> {
    let is_file = [".tar", ".tgz", ".gz", ".zst", ".xz"].iter().any(|ending| reference.ends_with(ending));
    let is_id = reference.len() >= 8 && reference.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_file || is_id || reference.starts_with("sha256:") { None } else { Reference::parse(reference).ok() }
}

/// Unpacks an image unless it is there, and says so to a person, since that can take a while.
///
/// # Errors
/// As [`Found::ready`].
pub(crate) fn ready(store: &Store, source: &Source, image: &Image) -> Result<Held, Problem> {
    let told = || {
        if out::is_watched() {
            let name = image.names.first().cloned().unwrap_or_else(|| image.id.short());
            out::note(&format!("unpacking {name}, once"));
        }
    };
    Ok(store.ready(source, image, told)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_ids_are_not_asked_for() {
        for asked in
            ["python", "python:3.12-slim", "ghcr.io/a/b:1", "localhost:5000/a", "decade", "abc.tar:1"]
        {
            assert!(named(asked).is_some(), "{asked}");
        }
        for not in
            ["python.tar", "./python", "/a/b", "../x", "0123456789ab", "sha256:00", "", "a b", "image.tar.gz"]
        {
            assert!(named(not).is_none(), "{not}");
        }
    }
}
