//! What a layer's archive holds, one member at a time, with the extended headers that belong to it.
//!
//! The `tar` crate reads blocks and plain headers. Extended ones (long names of GNU, records of pax) are read here: the
//! crate would take any amount of them into memory, and it splits records at line ends instead of by their length, so
//! that a record with a line end in it hides those behind it. Where two readers could see different files in the same
//! bytes, the archive is refused.

use std::io::Read;

use tar::{Entry, EntryType};

use super::damaged;
use crate::error::{Error, Result, shown};
use crate::limits::EXTENSION_BYTES;

/// One file, directory, link or device of a layer.
pub(crate) struct Member<'a, R: Read> {
    /// As the archive has it.
    pub(crate) path: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u64,
    pub(crate) gid: u64,
    /// Seconds since 1970.
    pub(crate) mtime: i64,
    /// Bytes of a file; 0 for everything else.
    pub(crate) size: u64,
    /// Gives the bytes.
    pub(crate) content: Entry<'a, R>,
}

/// What a member is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    /// With what it leads to.
    Symlink(Vec<u8>),
    /// Another name of a file: its first one, as the archive has it.
    Link(Vec<u8>),
    /// A device or FIFO.
    Special,
}

/// The members of an archive.
pub(crate) struct Members<'a, R: Read> {
    entries: tar::Entries<'a, R>,
}

/// Types that extend what follows: GNU's for names and for targets of links, those of pax.
const LONG_NAME: u8 = b'L';
const LONG_LINK: u8 = b'K';
const PAX: u8 = b'x';
const PAX_GLOBAL: u8 = b'g';
const SPARSE: u8 = b'S';

/// What extended headers say of the member that follows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Extended {
    gnu_path: Option<Vec<u8>>,
    gnu_link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

/// The records that matter; a member has at most one header of them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Pax {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<i64>,
}

impl<'a, R: Read> Members<'a, R> {
    /// `entries` are raw.
    pub(crate) fn new(entries: tar::Entries<'a, R>) -> Self {
        Self { entries }
    }

    /// The next member; `None` at the end of the archive. `what` names it in errors.
    ///
    /// # Errors
    /// It is no archive, or an ambiguous one.
    pub(crate) fn next(&mut self, what: &str) -> Result<Option<Member<'a, R>>> {
        let mut extended = Extended::default();
        loop {
            let Some(entry) = self.entries.next() else {
                return if extended == Extended::default() {
                    Ok(None)
                } else {
                    Err(Error::invalid(what, "ends after an extended header"))
                };
            };
            let mut entry = entry.map_err(|error| damaged(what, error))?;
            let twice = match entry.header().entry_type().as_byte() {
                LONG_NAME => {
                    let text = c_text(extension(what, &mut entry)?);
                    extended.gnu_path.replace(text).is_some()
                }
                LONG_LINK => {
                    let text = c_text(extension(what, &mut entry)?);
                    extended.gnu_link.replace(text).is_some()
                }
                PAX => {
                    let records = Pax::parse(what, &extension(what, &mut entry)?)?;
                    extended.pax.replace(records).is_some()
                }
                // Comments of tools; nothing that they may say of all members is heeded by what made the image.
                PAX_GLOBAL => false,
                _ => return member(what, entry, extended).map(Some),
            };
            if twice {
                return Err(Error::invalid(what, "has two extended headers for one member"));
            }
        }
    }
}

/// All bytes of an extended header.
fn extension(what: &str, entry: &mut Entry<'_, impl Read>) -> Result<Vec<u8>> {
    let size = entry.size();
    if size > EXTENSION_BYTES {
        return Err(Error::too_large(
            what,
            format!("has an extended header of {size} bytes, at most {EXTENSION_BYTES}"),
        ));
    }
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).map_err(|error| damaged(what, error))?;
    if bytes.len() as u64 != size {
        return Err(Error::invalid(what, "ends within an extended header"));
    }
    Ok(bytes)
}

/// Up to the first NUL.
fn c_text(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

fn member<'a, R: Read>(what: &str, entry: Entry<'a, R>, extended: Extended) -> Result<Member<'a, R>> {
    let header = entry.header();
    let pax = extended.pax.unwrap_or_default();
    let path = extended.gnu_path.or(pax.path).unwrap_or_else(|| header.path_bytes().into_owned());
    let named = |why: &str| Error::invalid(what, format!("`{}` {why}", shown(&path)));
    let number = |result: std::io::Result<u64>| result.map_err(|_| named("has a number that is none"));
    let link = extended.gnu_link.or(pax.link).or_else(|| header.link_name_bytes().map(Into::into));
    let size = entry.size();
    // Readers that heed one of two sizes that differ see other members from here on.
    if pax.size.is_some_and(|said| said != size) {
        return Err(named("has two sizes"));
    }
    let kind = kind(what, header.entry_type(), &path, link)?;
    if kind != Kind::File && size != 0 {
        return Err(named("is no file and has contents"));
    }
    let mtime = || number(header.mtime()).map(|mtime| i64::try_from(mtime).unwrap_or(i64::MAX));
    Ok(Member {
        kind,
        mode: header.mode().map_err(|_| named("has a mode that is none"))?,
        uid: pax.uid.map_or_else(|| number(header.uid()), Ok)?,
        gid: pax.gid.map_or_else(|| number(header.gid()), Ok)?,
        mtime: pax.mtime.map_or_else(mtime, Ok)?,
        size,
        path,
        content: entry,
    })
}

fn kind(what: &str, entry_type: EntryType, path: &[u8], link: Option<Vec<u8>>) -> Result<Kind> {
    let named = |why: &str| Error::invalid(what, format!("`{}` {why}", shown(path)));
    let target = || link.filter(|link| !link.is_empty()).ok_or_else(|| named("is a link to nothing"));
    Ok(match entry_type.as_byte() {
        // Archives older than directories have them as files with a slash at the end.
        b'0' if path.ends_with(b"/") => Kind::Directory,
        // The second is for files in one piece, of systems that made a difference.
        b'0' | b'7' => Kind::File,
        b'1' => Kind::Link(target()?),
        b'2' => Kind::Symlink(target()?),
        b'3' | b'4' | b'6' => Kind::Special,
        b'5' => Kind::Directory,
        SPARSE => return Err(sparse(what)),
        other => return Err(named(&format!("is of the unknown type {other:#04x}"))),
    })
}

fn sparse(what: &str) -> Error {
    Error::unsupported(what, "has a sparse file, which layers do not have")
}

impl Pax {
    /// Reads records of the form `LENGTH KEY=VALUE\n`, LENGTH counting all of it (pax in POSIX).
    fn parse(what: &str, bytes: &[u8]) -> Result<Self> {
        let mut pax = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let record = record(rest).ok_or_else(|| Error::invalid(what, "has a broken extended header"))?;
            rest = record.rest;
            pax.take(what, record.key, record.value)?;
        }
        Ok(pax)
    }

    /// The last record of a key counts; an empty one takes back what was said.
    fn take(&mut self, what: &str, key: &[u8], value: &[u8]) -> Result<()> {
        let text = || std::str::from_utf8(value).ok();
        let number = || match value {
            b"" => Ok(None),
            _ => text()
                .and_then(|text| text.parse().ok())
                .map(Some)
                .ok_or_else(|| Error::invalid(what, format!("has `{}` for a number", shown(value)))),
        };
        let bytes = || (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = bytes(),
            b"linkpath" => self.link = bytes(),
            b"size" => self.size = number()?,
            b"uid" => self.uid = number()?,
            b"gid" => self.gid = number()?,
            b"mtime" => self.mtime = text().and_then(seconds),
            key if key.starts_with(b"GNU.sparse.") => return Err(sparse(what)),
            _ => {}
        }
        Ok(())
    }
}

struct Record<'a> {
    key: &'a [u8],
    value: &'a [u8],
    rest: &'a [u8],
}

fn record(bytes: &[u8]) -> Option<Record<'_>> {
    let blank = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..blank]).ok()?.parse().ok()?;
    let body = bytes.get(blank + 1..length)?.strip_suffix(b"\n")?;
    let equals = body.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
    Some(Record { key: &body[..equals], value: &body[equals + 1..], rest: &bytes[length..] })
}

/// Whole seconds of a time with or without a fraction; a time that is none is none.
fn seconds(text: &str) -> Option<i64> {
    text.split_once('.').map_or(text, |(whole, _)| whole).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandkeep_core::code::ErrorCode;

    #[test]
    fn records_are_read_by_their_length() {
        let pax = Pax::parse(
            "x",
            b"9 path=a\n30 SCHILY.xattr.user.x=a\nb=\nc\n12 path=b/c\n21 mtime=1.700000000\n9 uid=70\n",
        )
        .unwrap();
        let expected = Pax { path: Some(b"b/c".to_vec()), mtime: Some(1), uid: Some(70), ..Pax::default() };
        assert_eq!(pax, expected);
        let taken_back = Pax::parse("x", b"9 path=a\n8 path=\n").unwrap();
        assert_eq!(taken_back, Pax::default());
    }

    #[test]
    fn broken_records_are_refused() {
        let broken: [&[u8]; 10] = [
            b"9 path=a",
            b"11 path=a\n",
            b"8 path=a\n",
            b"999 path=a\n",
            b"-9 path=a\n",
            b" path=a\n",
            b"path",
            b"9 path:a\n",
            b"5 =a\n",
            b"99999999999999999999999 path=a\n",
        ];
        for bytes in broken {
            assert_eq!(Pax::parse("x", bytes).unwrap_err().code(), ErrorCode::ImageInvalid, "{bytes:?}");
        }
        for number in ["9 uid=-1\n", "11 size=x1\n", "28 gid=99999999999999999999\n"] {
            assert!(Pax::parse("x", number.as_bytes()).is_err(), "{number}");
        }
        let sparse = Pax::parse("x", b"22 GNU.sparse.major=1\n").unwrap_err();
        assert_eq!(sparse.code(), ErrorCode::ImageUnsupported);
    }
}
