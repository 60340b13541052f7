//! The files of a tar by name. Their places are found in one pass over the headers; their bytes stay where they are.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;

use super::Opened;
use crate::error::{Error, Result};
use crate::layer::damaged;
use crate::layer::member::{Kind, Members};
use crate::limits;

#[derive(Debug)]
pub(super) struct Archive {
    file: Arc<File>,
    places: HashMap<Vec<u8>, Place>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Bytes {
        at: u64,
        size: u64,
    },
    /// To the name of another. Old versions of Docker store equal layers once, and link.
    Link(Vec<u8>),
}

/// Longest chain of links that is followed.
const LINKS: usize = 8;
/// What is read ahead of headers; most of an archive are layers, which are jumped over.
const BUFFER_BYTES: usize = 4 * 1024;

impl Archive {
    /// # Errors
    /// It cannot be read, or is no tar.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let what = path.display().to_string();
        // A FIFO in its place must not make us wait.
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let opened = File::options().read(true).custom_flags(flags).open(path);
        let file = opened.map_err(|error| Error::read(&what, error))?;
        let meta = file.metadata().map_err(|error| Error::read(&what, error))?;
        if !meta.is_file() {
            return Err(Error::invalid(what, "is neither a file nor a directory"));
        }
        not_compressed(&what, &file)?;
        let places = places(&what, &file, meta.len())?;
        Ok(Self { file: Arc::new(file), places })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// `None` when there is no such file.
    pub(super) fn read(&self, name: &str) -> Option<Opened> {
        let (at, size) = self.find(name)?;
        Some(Opened { size, reader: Box::new(Section { file: Arc::clone(&self.file), at, left: size }) })
    }

    fn find(&self, name: &str) -> Option<(u64, u64)> {
        let mut name = clean(name.as_bytes(), b"")?;
        for _ in 0..LINKS {
            match self.places.get(&name)? {
                Place::Bytes { at, size } => return Some((*at, *size)),
                Place::Link(to) => name = to.clone(),
            }
        }
        None
    }
}

/// To be told from an archive that is damaged.
fn not_compressed(what: &str, file: &File) -> Result<()> {
    let mut magic = [0; 4];
    let _short = file.read_at(&mut magic, 0).map_err(|error| Error::read(what, error))?;
    let with = match magic {
        [0x1f, 0x8b, ..] => "gunzip",
        [0x28, 0xb5, 0x2f, 0xfd] => "unzstd",
        [0xfd, b'7', b'z', b'X'] => "unxz",
        [b'B', b'Z', b'h', _] => "bunzip2",
        _ => return Ok(()),
    };
    Err(Error::Unsupported {
        what: what.to_owned(),
        why: "is compressed as a whole, and would have to be unpacked for every look at it".to_owned(),
        expected: Some(format!("the plain archive: {with} it first")),
    })
}

fn places(what: &str, file: &File, size: u64) -> Result<HashMap<Vec<u8>, Place>> {
    let mut places = HashMap::new();
    let mut archive = tar::Archive::new(BufReader::with_capacity(BUFFER_BYTES, file));
    let mut members =
        Members::new(archive.entries_with_seek().map_err(|error| damaged(what, error))?.raw(true));
    while let Some(member) = members.next(what)? {
        if places.len() >= limits::ARCHIVE_ENTRIES {
            let why =
                format!("has more than {} files, which no archive of images has", limits::ARCHIVE_ENTRIES);
            return Err(Error::too_large(what, why));
        }
        let at = member.content.raw_file_position();
        if at.checked_add(member.size).is_none_or(|end| end > size) {
            return Err(Error::invalid(what, "ends within a file that it holds"));
        }
        let Some(name) = clean(&member.path, b"") else { continue };
        let place = match member.kind {
            Kind::File => Some(Place::Bytes { at, size: member.size }),
            // A symbolic link is seen from its directory, another name of a file from the top.
            Kind::Symlink(to) => clean(&to, parent(&name)).map(Place::Link),
            Kind::Link(to) => clean(&to, b"").map(Place::Link),
            Kind::Directory | Kind::Special => None,
        };
        if let Some(place) = place {
            places.insert(name, place);
        }
    }
    Ok(places)
}

fn parent(name: &[u8]) -> &[u8] {
    name.iter().rposition(|byte| *byte == b'/').map_or(b"", |slash| &name[..slash])
}

/// `path` seen from `directory` without `.`, `..` and doubled slashes; `None` when it leads out of the archive.
fn clean(path: &[u8], directory: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in directory.split(|byte| *byte == b'/').chain(path.split(|byte| *byte == b'/')) {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

/// A stretch of a file. It has no position in common with other readers of the file.
struct Section {
    file: Arc<File>,
    at: u64,
    left: u64,
}

impl Read for Section {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let got = self.file.read_at(&mut into[..most], self.at)?;
        self.at += got as u64;
        self.left -= got as u64;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_seen_from_where_they_stand() {
        let check = |path: &str, directory: &str, expected: Option<&str>| {
            let cleaned = clean(path.as_bytes(), directory.as_bytes());
            assert_eq!(cleaned.as_deref(), expected.map(str::as_bytes), "{path} from {directory}");
        };
        check("./a//b", "", Some("a/b"));
        check("../x/layer.tar", "y", Some("x/layer.tar"));
        check("../../x", "y", None);
        check("..", "", None);
    }
}
