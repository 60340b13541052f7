//! Container images as the command line means them: a path, or one that the store has.

use std::path::{Path, PathBuf};

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_image::{Config, Digest, Held, Image, Source, Store};

use crate::out;

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

/// An image that was asked for, found, and not changed in any way yet.
#[derive(Debug)]
pub(crate) enum Found {
    /// In a file or directory; unpacked already, or not.
    At(Source, Image),
    /// In the store, which keeps it while this lives.
    Here(Held),
}

impl Found {
    /// Looks for `reference`: what is a path is one, anything else has to be in the store.
    ///
    /// # Errors
    /// There is no such image, or none that can be used.
    pub(crate) fn find(reference: &str, store: &Store) -> Result<Self, Problem> {
        let path = Path::new(reference);
        if path.exists() {
            let source = Source::open(path)?;
            let image = source.image()?;
            return Ok(Self::At(source, image));
        }
        let stored = store.find(reference)?;
        // It may have been removed since.
        match store.hold(stored.id)? {
            Some(held) => Ok(Self::Here(held)),
            None => Ok(Self::find(reference, store)?),
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
