//! One layer: from its stored bytes to what is kept of it, and from that to changes of a root file system.
//!
//! Bytes are read once: hashed as they are stored, decompressed, hashed again as the plain archive, and taken apart
//! ([`take_apart`]) into what is [`kept`]: files, and an index of what to do with them. That both digests are right is
//! known only at the end, so the store makes it under another name. What is kept is applied ([`apply`]) to the root of
//! every image that has the layer.

pub(crate) mod apply;
mod compression;
pub(crate) mod kept;
pub(crate) mod member;
pub(crate) mod path;
mod take_apart;
mod zstd;

use std::io::{self, Read};

use crate::digest::{Digest, Hashing};
use crate::error::{Error, Result, shown};
use crate::limits::Budget;
use compression::Decompressed;
use kept::Writer;
use member::Members;
pub(crate) use take_apart::Tally;

/// What the bytes of a layer have to be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected {
    /// Digest as it is stored, where the image names it.
    pub(crate) stored: Option<Digest>,
    /// Digest of the plain archive. Every image names it; only [`crate::unpack_unchecked`] has none.
    pub(crate) diff_id: Option<Digest>,
}

/// Takes the layer apart that `from` gives. `what` names it in errors.
///
/// # Errors
/// It is damaged, is not what was expected, or breaks a rule; what was written is then good for nothing.
pub(crate) fn keep(
    what: &str,
    from: impl Read,
    expected: Expected,
    mut into: Writer,
    budget: &mut Budget,
) -> Result<Tally> {
    let damaged = |error| damaged(what, error);
    let stored = Hashing::new(from, expected.stored.is_some());
    let plain = Decompressed::open(stored, budget.limits).map_err(damaged)?;
    let mut archive = tar::Archive::new(Hashing::new(plain, expected.diff_id.is_some()));
    let entries = archive.entries().map_err(damaged)?.raw(true);
    let tally = take_apart::take_apart(what, &mut Members::new(entries), &mut into, budget)?;
    into.finish()?;
    // What follows the end of the archive is part of the digests all the same.
    let mut plain = archive.into_inner();
    io::copy(&mut plain, &mut io::sink()).map_err(damaged)?;
    let (diff_id, plain) = plain.finish();
    let mut stored = plain.into_inner();
    io::copy(&mut stored, &mut io::sink()).map_err(damaged)?;
    same(what, "", stored.finish().0, expected.stored)?;
    same(what, "unpacked ", diff_id, expected.diff_id)?;
    Ok(tally)
}

fn same(what: &str, how: &str, found: Option<Digest>, expected: Option<Digest>) -> Result<()> {
    match (found, expected) {
        (Some(found), Some(expected)) if found != expected => {
            Err(Error::invalid(what, format!("{how}its digest is {found}, and it should be {expected}")))
        }
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

/// What a failed read of a layer means: the host's fault, our own bound, or bytes that are no layer.
pub(crate) fn damaged(what: &str, error: io::Error) -> Error {
    if error.raw_os_error().is_some() {
        return Error::read(what, error);
    }
    match error.downcast::<Error>() {
        Ok(ours) => ours,
        Err(other) => Error::invalid(what, format!("is damaged ({})", shown(other.to_string().as_bytes()))),
    }
}
