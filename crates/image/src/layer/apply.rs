//! Applies the members of a layer to a root file system.

use std::io::Read;

use super::damaged;
use super::member::{Kind, Member, Members};
use super::path::{InRoot, Marker};
use crate::error::{Error, Result, shown};
use crate::limits::{Budget, PATH_BYTES};
use crate::root::{Attributes, Root};

/// What was not taken over as it is in the image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Devices and FIFOs, which a sandbox has of its own.
    pub(crate) left_out: u64,
    /// Entries with owners beyond the ids of a sandbox: nobody's now.
    pub(crate) clamped: u64,
}

/// Ids that sandboxes have are below.
const IDS: u64 = 65_536;
/// Nobody's id.
const NOBODY: u32 = 65_534;
/// The last second of the year 9999.
const LATEST: i64 = 253_402_300_799;

/// # Errors
/// A member that breaks a rule, or the store's.
pub(crate) fn apply<R: Read>(
    what: &str,
    members: &mut Members<'_, R>,
    root: &mut Root,
    budget: &mut Budget,
) -> Result<Tally> {
    root.next_layer();
    let mut tally = Tally::default();
    while let Some(mut member) = members.next(what)? {
        let path = InRoot::parse(what, &member.path)?;
        budget.take(path.as_bytes().len(), member.size)?;
        match path.marker(what)? {
            Marker::Whiteout(name) => root.hide(&path, name)?,
            Marker::Opaque => root.hide_all(&path)?,
            Marker::Bookkeeping => {}
            Marker::None => make(what, &path, &mut member, root, &mut tally)?,
        }
    }
    Ok(tally)
}

fn make(
    what: &str,
    path: &InRoot,
    member: &mut Member<'_, impl Read>,
    root: &mut Root,
    tally: &mut Tally,
) -> Result<()> {
    let attributes = attributes(member, tally);
    match &member.kind {
        Kind::Directory => root.directory(path, attributes),
        Kind::File => {
            root.file(path, attributes, member.size, &mut member.content, |error| damaged(what, error))
        }
        Kind::Symlink(target) if target.len() > PATH_BYTES || target.contains(&0) => {
            Err(Error::invalid(what, format!("`{}` is a link that cannot be", shown(path.as_bytes()))))
        }
        Kind::Symlink(target) => root.symlink(path, attributes, target),
        Kind::Link(target) => root.link(path, &InRoot::parse(what, target)?),
        Kind::Special => {
            tally.left_out += 1;
            // What it replaces is gone all the same.
            root.remove(path)
        }
    }
}

fn attributes(member: &Member<'_, impl Read>, tally: &mut Tally) -> Attributes {
    let id = |id: u64| if id < IDS { u32::try_from(id).unwrap_or(NOBODY) } else { NOBODY };
    if member.uid >= IDS || member.gid >= IDS {
        tally.clamped += 1;
    }
    Attributes {
        mode: member.mode,
        uid: id(member.uid),
        gid: id(member.gid),
        mtime: member.mtime.clamp(0, LATEST),
    }
}
