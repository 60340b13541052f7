//! Names of images: a small table beside them.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sandkeep_core::code::{ErrorCode, Problem};

use super::lock::Lock;
use crate::digest::Digest;
use crate::error::{Error, Result};

/// The table as it was read, and where it is.
#[derive(Debug)]
pub(super) struct Names {
    store: PathBuf,
    /// Name to the digits of an id.
    table: BTreeMap<String, String>,
}

impl Names {
    pub(super) fn open(store: &Path) -> Result<Self> {
        Ok(Self { table: read(store)?, store: store.to_owned() })
    }

    pub(super) fn of(&self, id: Digest) -> Vec<String> {
        let hex = id.hex();
        self.table.iter().filter(|(_, of)| **of == hex).map(|(name, _)| name.clone()).collect()
    }

    /// The image of that name.
    pub(super) fn get(&self, name: &str) -> Option<Digest> {
        Digest::from_hex(self.table.get(name)?)
    }

    pub(super) fn add(&mut self, names: &[String], id: Digest) -> Result<()> {
        self.change(|table| table.extend(names.iter().map(|name| (name.clone(), id.hex()))))
    }

    pub(super) fn forget(&mut self, id: Digest) -> Result<()> {
        let hex = id.hex();
        if self.table.values().all(|of| *of != hex) {
            return Ok(());
        }
        self.change(|table| table.retain(|_, of| *of != hex))
    }

    /// Changes the table as it is now, whatever others made of it meanwhile.
    fn change(&mut self, how: impl FnOnce(&mut BTreeMap<String, String>)) -> Result<()> {
        let _lock = Lock::exclusive(&self.store.join("locks/names"))?;
        self.table = read(&self.store)?;
        how(&mut self.table);
        let text = serde_json::to_vec_pretty(&self.table).map_err(io::Error::other);
        let new = self.store.join("names.json.new");
        let written =
            text.and_then(|text| fs::write(&new, text)).and_then(|()| fs::File::open(&new)?.sync_all());
        let kept = written.and_then(|()| fs::rename(&new, self.store.join(FILE)));
        kept.map_err(|error| Error::store("cannot keep the names of images", error))
    }
}

const FILE: &str = "names.json";

fn read(store: &Path) -> Result<BTreeMap<String, String>> {
    let failed = |error| Error::store("cannot read the names of images", error);
    match fs::read(store.join(FILE)) {
        Ok(text) => serde_json::from_slice(&text).map_err(|error| failed(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(failed(error)),
    }
}

/// Nothing of that name is there.
pub(super) fn unknown(reference: &str, why: &str) -> Error {
    let expected = "the path of an OCI layout or of an archive (docker save -o FILE REF makes one), or an image of \
                    `sandkeep image list`, or the name of one in a registry";
    Error::Unknown(Problem::refused(ErrorCode::ImageUnknown, reference, why, expected))
}
