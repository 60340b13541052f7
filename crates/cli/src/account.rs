//! Whose process this is, and which files are nobody else's.

use std::fs::Metadata;

/// Our user's number; none where users have none.
#[cfg(unix)]
pub(crate) fn user() -> Option<u32> {
    Some(rustix::process::geteuid().as_raw())
}

/// Our user's number; none where users have none.
#[cfg(not(unix))]
pub(crate) fn user() -> Option<u32> {
    None
}

/// Whether we may do everything on this machine.
pub(crate) fn is_root() -> bool {
    user() == Some(0)
}

/// Why the file of `about` is not ours alone, if it is not.
#[cfg(unix)]
pub(crate) fn shared(about: &Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    let is_shared = about.mode() & 0o077 != 0 || Some(about.uid()) != user();
    is_shared.then(|| format!("mode {:o}", about.mode() & 0o777))
}

/// Nothing to say: on Windows a file has the access list of its directory, and that of a home names its owner only.
#[cfg(not(unix))]
pub(crate) fn shared(_about: &Metadata) -> Option<String> {
    None
}
