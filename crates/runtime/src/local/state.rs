//! Our own directory on the host: `/run/sandkeep` for root, a private one for everybody else.

use std::fs;
use std::hash::{Hash as _, Hasher as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use sandkeep_core::code::{ErrorCode, Problem};

use super::ID_BASE;

/// A directory that exists, is ours alone, and can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateDirectory(PathBuf);

impl StateDirectory {
    /// Where it is unless told otherwise.
    #[must_use]
    pub fn default_path() -> PathBuf {
        let uid = rustix::process::geteuid().as_raw();
        if uid == 0 {
            return PathBuf::from("/run/sandkeep");
        }
        let private = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let private = private.filter(|path| path.is_absolute() && path.is_dir());
        private.map_or_else(|| PathBuf::from(format!("/tmp/sandkeep-{uid}")), |path| path.join("sandkeep"))
    }

    /// Makes sure of `path`, private to us.
    ///
    /// # Errors
    /// `state_dir_unusable`: it cannot be made, or somebody else owns it (in /tmp anyone could have put it there).
    pub fn open(path: &Path) -> Result<Self, Problem> {
        let unusable = |why: String| {
            let shown = path.display();
            Problem::new(ErrorCode::StateDirUnusable, format!("{shown}: {why}"))
                .expecting("a directory of your own")
        };
        let slots = path.join("slots");
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&slots)
            .map_err(|error| unusable(format!("cannot be made: {error}")))?;
        let meta = fs::symlink_metadata(path).map_err(|error| unusable(error.to_string()))?;
        let us = rustix::process::geteuid().as_raw();
        if !meta.is_dir() || meta.uid() != us || meta.mode() & 0o022 != 0 {
            return Err(unusable(format!(
                "belongs to user {} with mode {:o}",
                meta.uid(),
                meta.mode() & 0o7777
            )));
        }
        Ok(Self(path.to_owned()))
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

/// Where slots are locked, and what the control group above theirs is called.
///
/// Whoever shares the locks shares the groups, and nobody else: two that name groups by the same numbers, each sure
/// to hold the number alone, would end each other's sandboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slots {
    /// One file for each slot.
    pub directory: PathBuf,
    /// Name of the group.
    pub group: String,
}

impl Slots {
    /// Of sandboxes with ids from `id_base` on, for whoever has their own directory at `state`.
    #[must_use]
    pub fn of(state: &Path, id_base: u32) -> Self {
        let ours = "sandkeep";
        if rustix::process::geteuid().is_root() {
            // Ranges of ids are the host's, whatever directory is whose.
            return if id_base == ID_BASE {
                Self { directory: Self::below(&StateDirectory::default_path()), group: ours.to_owned() }
            } else {
                let directory = StateDirectory::default_path().join(format!("slots-{id_base}"));
                Self { directory, group: format!("{ours}-{id_base}") }
            };
        }
        let directory = Self::below(state);
        if state == StateDirectory::default_path() {
            return Self { directory, group: ours.to_owned() };
        }
        let mut hasher = std::hash::DefaultHasher::new();
        directory.hash(&mut hasher);
        Self { group: format!("{ours}-{:016x}", hasher.finish()), directory }
    }

    fn below(state: &Path) -> PathBuf {
        state.join("slots")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_shares_no_locks_shares_no_groups() {
        let default = Slots::of(&StateDirectory::default_path(), ID_BASE);
        let elsewhere = Slots::of(Path::new("/elsewhere"), ID_BASE);
        assert_eq!(default.group, "sandkeep");
        if rustix::process::geteuid().is_root() {
            assert_eq!(elsewhere, default, "ids are the host's");
            let other = Slots::of(&StateDirectory::default_path(), 1 << 30);
            assert!(other.directory != default.directory && other.group != default.group);
        } else {
            assert!(elsewhere.directory != default.directory && elsewhere.group != default.group);
        }
    }
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("state");
        assert_eq!(StateDirectory::open(&path).unwrap().path(), path);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(StateDirectory::open(&path).unwrap_err().code, ErrorCode::StateDirUnusable);
    }

    #[test]
    fn a_link_to_elsewhere_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (parent.path().join("state"), parent.path().join("elsewhere"));
        fs::create_dir(&elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &path).unwrap();
        assert_eq!(StateDirectory::open(&path).unwrap_err().code, ErrorCode::StateDirUnusable);
    }
}
