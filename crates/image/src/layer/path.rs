//! Paths in layers: what they may be, and what their last part says.

use crate::error::{Error, Result, shown};
use crate::limits::{DEPTH, NAME_BYTES, PATH_BYTES};

/// A path from the root of the image: parts joined by single slashes, none of them `.` or `..`. Empty for the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InRoot(Vec<u8>);

/// What a name in a layer asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Marker<'a> {
    /// To be made.
    None,
    /// Hide what lower layers have at this name.
    Whiteout(&'a [u8]),
    /// Hide what lower layers have in this directory.
    Opaque,
    /// Bookkeeping of the file system that first had whiteouts (aufs); of no use here.
    Bookkeeping,
}

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
const BOOKKEEPING: &[u8] = b".wh..wh.";

impl InRoot {
    /// Reads a path as archives have them. A leading slash means the image's root, as everything does.
    ///
    /// # Errors
    /// It has `..` or a NUL, or is too long or too deep.
    pub(crate) fn parse(what: &str, path: &[u8]) -> Result<Self> {
        let refuse = |why: &str| Err(Error::invalid(what, format!("the path `{}` {why}", shown(path))));
        let mut clean = Vec::with_capacity(path.len());
        let mut depth = 0;
        for part in path.split(|byte| *byte == b'/') {
            match part {
                b"" | b"." => continue,
                b".." => return refuse("leads upwards"),
                part if part.len() > NAME_BYTES => return refuse("has a part that is too long"),
                part if part.contains(&0) => return refuse("has a NUL byte"),
                part => {
                    if !clean.is_empty() {
                        clean.push(b'/');
                    }
                    clean.extend_from_slice(part);
                    depth += 1;
                }
            }
        }
        if clean.len() > PATH_BYTES {
            return refuse("is too long");
        }
        if depth > DEPTH {
            return refuse("is too deep");
        }
        Ok(Self(clean))
    }

    /// Directory and name; `None` for the root itself.
    pub(crate) fn split(&self) -> Option<(&[u8], &[u8])> {
        match self.0.iter().rposition(|byte| *byte == b'/') {
            Some(slash) => Some((&self.0[..slash], &self.0[slash + 1..])),
            None if self.0.is_empty() => None,
            None => Some((b"", &self.0)),
        }
    }

    /// What a layer means by an entry of this path.
    ///
    /// # Errors
    /// It is a whiteout of nothing, or lies below one.
    pub(crate) fn marker(&self, what: &str) -> Result<Marker<'_>> {
        let refuse = |why: &str| Err(Error::invalid(what, format!("`{}` {why}", shown(&self.0))));
        let Some((directory, name)) = self.split() else { return Ok(Marker::None) };
        match directory.split(|byte| *byte == b'/').find(|part| part.starts_with(WHITEOUT)) {
            Some(part) if part.starts_with(BOOKKEEPING) => return Ok(Marker::Bookkeeping),
            Some(_) => return refuse("lies in what it hides"),
            None => {}
        }
        if name == OPAQUE {
            return Ok(Marker::Opaque);
        }
        if name.starts_with(BOOKKEEPING) {
            return Ok(Marker::Bookkeeping);
        }
        match name.strip_prefix(WHITEOUT) {
            None => Ok(Marker::None),
            Some(b"" | b"." | b"..") => refuse("hides nothing"),
            Some(hidden) => Ok(Marker::Whiteout(hidden)),
        }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandkeep_core::code::ErrorCode;

    #[test]
    fn paths_are_cleaned_or_refused() {
        let long = vec![b'x'; NAME_BYTES];
        let check = |path: &[u8], expected: Option<&[u8]>| match InRoot::parse("a layer", path) {
            Ok(path) => assert_eq!(Some(path.as_bytes()), expected),
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::ImageInvalid);
                assert_eq!(None, expected, "{error}");
            }
        };
        check(b"a/b", Some(b"a/b"));
        check(b"./a//b/./", Some(b"a/b"));
        check(b"/etc/passwd", Some(b"etc/passwd"));
        check(b"///", Some(b""));
        check(b"", Some(b""));
        check(b"...", Some(b"..."));
        check(b"\xff\x01", Some(b"\xff\x01"));
        check(b"..", None);
        check(b"a/../b", None);
        check(b"a/..", None);
        check(b"/..", None);
        check(b"a\0b", None);
        check(&long, Some(&long));
        check(&[b'x'; NAME_BYTES + 1], None);
        check(&[&long[..], b"/"].concat().repeat(16), Some(&[&long[..], b"/"].concat().repeat(16)[..4095]));
        check(&[&long[..], b"/"].concat().repeat(17), None);
        check(&b"a/".repeat(DEPTH), Some(&b"a/".repeat(DEPTH)[..2 * DEPTH - 1]));
        check(&b"a/".repeat(DEPTH + 1), None);
    }

    #[test]
    fn whiteouts_are_told_from_names() {
        let check = |path: &str, expected: Option<Marker<'_>>| {
            let path = InRoot::parse("a layer", path.as_bytes()).unwrap();
            assert_eq!(path.marker("a layer").ok(), expected, "{path:?}");
        };
        check("", Some(Marker::None));
        check("a/b", Some(Marker::None));
        check("a/.whx", Some(Marker::None));
        check("a/.wh.b", Some(Marker::Whiteout(b"b")));
        check(".wh.b", Some(Marker::Whiteout(b"b")));
        check("a/.wh..b", Some(Marker::Whiteout(b".b")));
        check("a/.wh..wh..opq", Some(Marker::Opaque));
        check(".wh..wh.aufs", Some(Marker::Bookkeeping));
        check(".wh..wh.plnk/1.2", Some(Marker::Bookkeeping));
        check("a/.wh.", None);
        check("a/.wh..", None);
        check("a/.wh...", None);
        check(".wh.a/b", None);
    }
}
