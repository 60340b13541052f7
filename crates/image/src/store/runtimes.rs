//! What an image can run: found by looking, and by asking the programs in a sandbox, which is not done here.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, openat2};
use serde::{Deserialize, Serialize};

use super::record::Record;
use super::{Held, Store};
use crate::digest::Digest;
use crate::error::{Error, Result};

/// An interpreter that an image has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runtime {
    /// What it interprets, like `python`.
    pub language: String,
    /// Where its image has it; perhaps a link.
    pub path: String,
    /// What it says of itself: numbers and dots.
    pub version: Option<String>,
}

const RUNTIMES: &str = "runtimes.json";
/// Most directories of a search path.
const DIRECTORIES: usize = 64;

impl Held {
    /// Where the search path of the image, or else `otherwise`, finds a program, as `execvp` would inside.
    #[must_use]
    pub fn program(&self, name: &str, otherwise: &str) -> Option<String> {
        let path = self.config.env.get("PATH").map_or(otherwise, String::as_str);
        let directories = path.split(':').filter(|directory| directory.starts_with('/')).take(DIRECTORIES);
        let mut candidates =
            directories.map(|directory| format!("{}/{name}", directory.trim_end_matches('/')));
        candidates.find(|candidate| is_program(&self.root, candidate))
    }

    /// Writes down what was found.
    ///
    /// # Errors
    /// The disk's.
    pub fn note_runtimes(&self, runtimes: &[Runtime]) -> Result<()> {
        let failed = |error| Error::store("cannot note what an image can run", error);
        let text = serde_json::to_vec(runtimes).map_err(|error| failed(error.into()))?;
        let path = self.root.with_file_name(RUNTIMES);
        Record::replace_with(&text, &path).map_err(failed)
    }

    /// What was found; `None` when nobody looked yet.
    #[must_use]
    pub fn runtimes(&self) -> Option<Vec<Runtime>> {
        read(&self.root.with_file_name(RUNTIMES))
    }
}

impl Store {
    pub(super) fn runtimes(&self, id: Digest) -> Option<Vec<Runtime>> {
        read(&self.unpacked(id).join(RUNTIMES))
    }
}

fn read(path: &Path) -> Option<Vec<Runtime>> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Links are followed as if the image's root were `/`; nothing is opened but as a place.
fn is_program(root: &Path, path: &str) -> bool {
    let found = || {
        let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let name = std::ffi::OsStr::from_bytes(path.as_bytes());
        fstat(openat2(&root, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)?)
    };
    found().is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & 0o111 != 0
    })
}
