//! Layers without an image around them: for tests and for the fuzzer, which has no digest that would be right.

use std::fs;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result};
use crate::layer::apply::apply;
use crate::layer::kept::{Reader, Writer};
use crate::layer::{self, Expected};
use crate::limits::{Budget, Limits};
use crate::root::{Owners, Root};

/// Applies `layers`, lowest first, to the directory `root` as an ordinary user would have them, whatever their digests;
/// they are kept in the directory `kept`. Not for images: those go through [`crate::Store::ready`].
///
/// # Errors
/// As for images, but for digests.
pub fn unpack_unchecked<R: Read>(
    kept: &Path,
    root: &Path,
    layers: impl IntoIterator<Item = R>,
    limits: Limits,
) -> Result<()> {
    let mut root = Root::open(root, Owners::Us)?;
    let mut budget = Budget::new(limits);
    for (number, from) in layers.into_iter().enumerate() {
        let directory = kept.join(number.to_string());
        fs::create_dir(&directory).map_err(|error| Error::store("cannot keep a layer", error))?;
        let into = Writer::create(&directory, Owners::Us)?;
        let expected = Expected { stored: None, diff_id: None };
        layer::keep("a layer", from, expected, into, &mut budget.clone())?;
        apply("a layer", &mut Reader::open(&directory)?, &mut root, &mut budget)?;
    }
    Ok(())
}
