//! Takes the members of a layer apart: files to be kept once, and what is to be done with them.

use std::io::Read;

use super::damaged;
use super::kept::{Change, Entry, Writer};
use super::member::{Kind, Member, Members};
use super::path::{InRoot, Marker};
use crate::error::{Error, Result, shown};
use crate::limits::{Budget, PATH_BYTES};
use crate::root::Attributes;

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
pub(super) fn take_apart<R: Read>(
    what: &str,
    members: &mut Members<'_, R>,
    into: &mut Writer,
    budget: &mut Budget,
) -> Result<Tally> {
    let mut tally = Tally::default();
    while let Some(mut member) = members.next(what)? {
        let path = InRoot::parse(what, &member.path)?;
        budget.take(path.as_bytes().len(), member.size)?;
        let change = match path.marker(what)? {
            Marker::Bookkeeping => continue,
            Marker::Whiteout(_) | Marker::Opaque => Change::Marker,
            Marker::None => change(what, &path, &mut member, into, &mut tally)?,
        };
        let mut uncounted = Tally::default();
        let counted = if change == Change::Marker { &mut uncounted } else { &mut tally };
        let attributes = attributes(&member, counted);
        into.entry(&Entry { path, attributes, change })?;
    }
    Ok(tally)
}

fn change(
    what: &str,
    path: &InRoot,
    member: &mut Member<'_, impl Read>,
    into: &mut Writer,
    tally: &mut Tally,
) -> Result<Change> {
    Ok(match &member.kind {
        Kind::Directory => Change::Directory,
        Kind::File => {
            let (attributes, size) = (attributes(member, &mut Tally::default()), member.size);
            let number = into.file(attributes, size, &mut member.content, |error| damaged(what, error))?;
            Change::File { number, size }
        }
        Kind::Symlink(target) if target.len() > PATH_BYTES || target.contains(&0) => {
            return Err(Error::invalid(
                what,
                format!("`{}` is a link that cannot be", shown(path.as_bytes())),
            ));
        }
        Kind::Symlink(target) => Change::Symlink(target.clone()),
        Kind::Link(target) => Change::Link(InRoot::parse(what, target)?),
        Kind::Special => {
            tally.left_out += 1;
            Change::Nothing
        }
    })
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
