//! Replays a layer that was taken apart on a root file system.

use super::kept::{Change, Entry, Reader};
use super::path::Marker;
use crate::error::Result;
use crate::limits::Budget;
use crate::root::Root;

/// Makes `root` show what `layer` says over what it showed before. Files are not written again: they become further
/// names of those that are kept with the layer.
///
/// # Errors
/// An entry that cannot stand where it should, or the store's.
pub(crate) fn apply(what: &str, layer: &mut Reader, root: &mut Root, budget: &mut Budget) -> Result<()> {
    root.next_layer();
    while let Some(Entry { path, attributes, change }) = layer.next(what)? {
        budget.take(path.as_bytes().len(), change.size())?;
        match change {
            Change::Directory => root.directory(&path, attributes)?,
            Change::File { number, .. } => root.adopt(&path, attributes, layer.files(), number)?,
            Change::Symlink(target) => root.symlink(&path, attributes, &target)?,
            Change::Link(target) => root.link(&path, &target)?,
            // What it replaces is gone all the same.
            Change::Nothing => root.remove(&path)?,
            Change::Marker => match path.marker(what)? {
                Marker::Whiteout(name) => root.hide(&path, name)?,
                Marker::Opaque => root.hide_all(&path)?,
                Marker::Bookkeeping | Marker::None => {}
            },
        }
    }
    Ok(())
}
