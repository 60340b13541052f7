//! A root from a directory: an overlay over it, with our own places in it before anything else is done there.
//!
//! The directory is not trusted. Our places (`/dev`, `/tmp`, `/etc`…) are made in the upper layer before the overlay is
//! mounted: a directory there covers whatever the lower layer has under its name, be it a link that leads nowhere or
//! a file, and it belongs to us where all below belongs to nobody we know. What the lower layer has in a real
//! directory of the name still shows.

use std::os::fd::OwnedFd;
use std::path::Path;

use super::{Plan, Result, enter, make, make_dir, own_dir};
use crate::mount::{self, Access};

/// Directories that a sandbox has in any case.
const OWN: [&str; 7] = ["dev", "etc", "home/user", "proc", "run", "tmp", "workspace"];
/// Where programs of ours are shown in profile `dev`; only where it is a directory, since programs may lie behind a link.
const PROGRAMS: [&str; 2] = ["usr", "usr/bin"];

/// Lays the overlay over `image` and makes it the current directory. `.data` is where it can be written.
///
/// # Errors
/// What the kernel refused.
pub(super) fn lay(image: &OwnedFd, plan: &Plan) -> Result<()> {
    make_dir(".lower", 0o755)?;
    mount::attach(image, ".lower", Access::ReadOnly)?;
    own_dir(".data/upper", 0o755, |_| Ok(()))?;
    own_dir(".data/work", 0o700, |_| Ok(()))?;
    for place in OWN {
        own_place(place)?;
    }
    if plan.writable {
        for place in PROGRAMS.iter().take_while(|place| is_real_directory(&format!(".lower/{place}"))) {
            own_place(place)?;
        }
    }
    make_dir(".root", 0o755)?;
    mount::overlay(".root", ".lower", ".data/upper", ".data/work")?;
    enter(".root")
}

/// Makes the directories of `place` in the upper layer. A kept one is what code left: a link of its making on the way would
/// lead out to the host from here, so whatever is no directory gives way.
fn own_place(place: &str) -> Result<()> {
    let mut path = ".data/upper".to_owned();
    for name in place.split('/') {
        path = format!("{path}/{name}");
        if is_real_directory(&path) {
            continue;
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => make(&path, Err(error))?,
            _ => make_dir(&path, 0o755)?,
        }
    }
    Ok(())
}

/// Not a link to one: here links would still lead to the host. (Each of the names on the way is asked for before.)
fn is_real_directory(path: &str) -> bool {
    make(path, Path::new(path).symlink_metadata()).is_ok_and(|there| there.is_dir())
}
