//! What a sandbox stands on: the host's own trees, a directory, or an image.

use std::path::Path;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_image::{Config, Held, Store};
use sandkeep_runtime::driver::Root;

use crate::images::Found;
use crate::run::Args;

/// Found, and nothing changed for it yet.
#[derive(Debug)]
pub(in crate::run) enum Base {
    /// What the driver takes as it is.
    Root(Root),
    /// An image, which may still have to be unpacked.
    Image(Box<Found>, Store),
}

impl Base {
    /// # Errors
    /// What was named is not there or cannot be used.
    pub(super) fn find(args: &Args) -> Result<Self, Problem> {
        let Some(reference) = &args.image else { return Ok(Self::Root(root(args.root_dir.as_deref())?)) };
        let store = args.store.open()?;
        let registry = (!args.offline.offline).then_some(&args.registry);
        let found = Found::find(reference, &store, registry).map_err(|problem| problem.within("--image"))?;
        Ok(Self::Image(Box::new(found), store))
    }

    /// How the image wants to be run, if it is one.
    pub(super) fn config(&self) -> Option<&Config> {
        match self {
            Self::Root(_) => None,
            Self::Image(found, _) => Some(found.config()),
        }
    }

    /// Where programs come from once this is ready.
    ///
    /// # Errors
    /// `image_store_unusable`: its path is none that can be told.
    pub(super) fn root(&self) -> Result<Root, Problem> {
        match self {
            Self::Root(root) => Ok(root.clone()),
            Self::Image(found, store) => {
                let path = store.root_of(found.id()).into_os_string().into_string();
                path.map(Root::Directory).map_err(|_| {
                    Problem::new(
                        ErrorCode::ImageStoreUnusable,
                        "the path of the store of images is not UTF-8",
                    )
                })
            }
        }
    }

    /// Unpacks the image if it is not there yet; it stays while both the result and this live.
    ///
    /// # Errors
    /// It cannot be unpacked.
    pub(in crate::run) fn ready(&self) -> Result<Option<Held>, Problem> {
        match self {
            Self::Root(_) => Ok(None),
            Self::Image(found, store) => found.ready(store).map_err(|problem| problem.within("--image")),
        }
    }

    /// The image, where it was unpacked already.
    pub(in crate::run) fn here(&self) -> Option<&Held> {
        match self {
            Self::Root(_) => None,
            Self::Image(found, _) => found.here(),
        }
    }
}

fn root(directory: Option<&Path>) -> Result<Root, Problem> {
    let Some(directory) = directory else { return Ok(Root::Host) };
    let shown = directory.to_string_lossy();
    let refuse = |why: &str| {
        let expected = "a directory with a root file system";
        Problem::refused(ErrorCode::RootUnusable, &shown, why, expected).within("--root-dir")
    };
    let path = directory.canonicalize().map_err(|error| refuse(&format!("cannot be used ({error})")))?;
    if !path.is_dir() {
        return Err(refuse("is not a directory"));
    }
    if path == Path::new("/") {
        return Err(refuse("is the host's own root"));
    }
    let path = path.into_os_string().into_string().map_err(|_| refuse("is not UTF-8"))?;
    Ok(Root::Directory(path))
}
