//! Bytes that are too large for rows of a database: pieces of output now; files, snapshots and artifacts later.
//!
//! A place for whole values under names ([`Key`]) that we make, never a caller. Writing a name again with the same bytes
//! is harmless, which is what makes every writer here repeatable. What is written has survived power loss when `put`
//! returns. Local disk is behind the same interface as an object store, so that the second is a setting.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::{ObjectStore, ObjectStoreExt as _};
use sandkeep_core::id::ExecutionId;

/// What can go wrong with bytes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The place cannot be made or opened.
    #[error("the directory {} cannot be used for blobs", path.display())]
    Directory {
        /// Where.
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// There is no value of this name.
    #[error("there is no blob {key}")]
    Absent {
        /// Its name.
        key: String,
    },
    /// A value could not be written, read or removed.
    #[error("cannot {doing} blob {key}")]
    Store {
        /// What was tried.
        doing: &'static str,
        /// Its name.
        key: String,
        #[source]
        source: object_store::Error,
    },
}

/// What this crate's functions return.
pub type Result<T> = std::result::Result<T, Error>;

/// The name of a value. Made of ids and numbers alone, so no name can lead out of the place or to another's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key(object_store::path::Path);

impl Key {
    /// A piece of an execution's output, by the position of its first byte.
    #[must_use]
    pub fn output(id: ExecutionId, from: u64) -> Self {
        // Of one width, so that names sort as positions do.
        Self(object_store::path::Path::from(format!("executions/{id}/output/{from:020}")))
    }

    /// What is written to see whether anything can be.
    #[must_use]
    pub fn probe() -> Self {
        Self(object_store::path::Path::from("probe"))
    }

    fn all_of(id: ExecutionId) -> object_store::path::Path {
        object_store::path::Path::from(format!("executions/{id}/"))
    }
}

/// A place for values. Clones are the same place.
#[derive(Debug, Clone)]
pub struct Blobs(Arc<dyn ObjectStore>);

impl Blobs {
    /// A directory, made where it is missing.
    ///
    /// # Errors
    /// [`Error::Directory`].
    pub fn local(directory: &Path) -> Result<Self> {
        std::fs::create_dir_all(directory)
            .map_err(|source| Error::Directory { path: directory.to_owned(), source })?;
        let store = LocalFileSystem::new_with_prefix(directory);
        let store = store.map_err(|source| failed("open", &object_store::path::Path::from(""), source))?;
        // Without the second, every directory that was ever needed would stay.
        Ok(Self(Arc::new(store.with_fsync(true).with_automatic_cleanup(true))))
    }

    /// Writes a value, all of it or nothing.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn put(&self, key: &Key, bytes: Vec<u8>) -> Result<()> {
        self.0.put(&key.0, bytes.into()).await.map(drop).map_err(|source| failed("write", &key.0, source))
    }

    /// Reads a value.
    ///
    /// # Errors
    /// [`Error::Absent`], [`Error::Store`].
    pub async fn get(&self, key: &Key) -> Result<Vec<u8>> {
        let read = async { self.0.get(&key.0).await?.bytes().await };
        read.await.map(|bytes| bytes.to_vec()).map_err(|source| failed("read", &key.0, source))
    }

    /// Removes everything of an execution. What is not there is no error.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn remove_execution(&self, id: ExecutionId) -> Result<()> {
        let all = Key::all_of(id);
        let listed = self.0.list(Some(&all)).map_ok(|meta| meta.location).boxed();
        let removed: std::result::Result<Vec<_>, _> = self.0.delete_stream(listed).try_collect().await;
        match removed {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(failed("remove", &all, source)),
        }
    }
}

fn failed(doing: &'static str, key: &object_store::path::Path, source: object_store::Error) -> Error {
    let key = key.to_string();
    if matches!(source, object_store::Error::NotFound { .. }) {
        return Error::Absent { key };
    }
    Error::Store { doing, key, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn execution(number: u8) -> ExecutionId {
        ExecutionId::new(1, [number; 10])
    }

    #[tokio::test]
    async fn what_is_put_is_there_until_it_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::local(&directory.path().join("blobs")).unwrap();
        let (first, second) = (Key::output(execution(1), 0), Key::output(execution(1), 1 << 40));
        let others = Key::output(execution(2), 0);
        for key in [&first, &second, &others] {
            blobs.put(key, b"\x00bytes\xff".to_vec()).await.unwrap();
        }
        blobs.put(&first, Vec::new()).await.unwrap();
        assert_eq!(blobs.get(&first).await.unwrap(), b"");
        assert_eq!(blobs.get(&second).await.unwrap(), b"\x00bytes\xff");
        for _ in 0..2 {
            blobs.remove_execution(execution(1)).await.unwrap();
        }
        assert!(matches!(blobs.get(&second).await, Err(Error::Absent { .. })));
        assert_eq!(blobs.get(&others).await.unwrap(), b"\x00bytes\xff");
        let left = std::fs::read_dir(directory.path().join("blobs/executions")).unwrap().count();
        assert_eq!(left, 1, "no empty directory stays");
    }

    #[tokio::test]
    async fn names_sort_as_positions_do() {
        let mut names: Vec<_> =
            [0, 9, 10, 1 << 33, u64::MAX].map(|from| Key::output(execution(1), from).0.to_string()).to_vec();
        let sorted = names.clone();
        names.sort();
        assert_eq!(names, sorted);
    }
}
