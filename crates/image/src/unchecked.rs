//! Layers without an image around them: for tests and for the fuzzer, which has no digest that would be right.

use std::io::Read;
use std::path::Path;

use crate::error::Result;
use crate::layer::{self, Expected};
use crate::limits::{Budget, Limits};
use crate::root::{Owners, Root};

/// Applies `layers`, lowest first, to the directory `root` as an ordinary user would have them, whatever their digests.
/// Not for images: those go through [`crate::Store::ready`].
///
/// # Errors
/// As for images, but for digests.
pub fn unpack_unchecked<R: Read>(
    root: &Path,
    layers: impl IntoIterator<Item = R>,
    limits: Limits,
) -> Result<()> {
    let mut root = Root::open(root, Owners::Us)?;
    let mut budget = Budget::new(limits);
    for layer in layers {
        layer::unpack("a layer", layer, Expected { stored: None, diff_id: None }, &mut root, &mut budget)?;
    }
    Ok(())
}
