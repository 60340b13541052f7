//! Paths as clients of the envd services write them: absolute, or from the caller's home.

use sandkeep_protocol::envelope::{Code, ConnectError};

/// The absolute path that `path` means for somebody whose home is `home`: `~` is the home, what is relative is below it,
/// and `.`, `..` and doubled slashes are worked out in the text, before any link is looked at.
///
/// # Errors
/// `invalid_argument` for the home of another user, and for what no path can hold.
pub(crate) fn expand(path: &str, home: &str) -> Result<String, ConnectError> {
    let invalid = |text: &str| ConnectError::new(Code::InvalidArgument, format!("{text}: {path:?}"));
    if path.contains('\0') {
        return Err(invalid("a path cannot hold a NUL"));
    }
    let rest = match path.strip_prefix('~') {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => Some(rest),
        Some(_) => return Err(invalid("the home of another user cannot be named so")),
        None if path.starts_with('/') => None,
        None => Some(path),
    };
    Ok(clean(&rest.map_or_else(|| path.to_owned(), |rest| format!("{home}/{rest}"))))
}

fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

/// The directory that holds what a clean path names, and its name there; none for the root.
pub(crate) fn split(path: &str) -> Option<(&str, &str)> {
    let (directory, name) = path.rsplit_once('/').filter(|(_, name)| !name.is_empty())?;
    Some((if directory.is_empty() { "/" } else { directory }, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_write_becomes_an_absolute_path() {
        let check = |path: &str, expect: Option<&str>| {
            assert_eq!(expand(path, "/home/user").ok().as_deref(), expect, "{path:?}");
        };
        check("/tmp/a", Some("/tmp/a"));
        check("/tmp//a/./b/../c/", Some("/tmp/a/c"));
        check("/../..", Some("/"));
        check("/", Some("/"));
        check("", Some("/home/user"));
        check("~", Some("/home/user"));
        check("~/x", Some("/home/user/x"));
        check("~//x", Some("/home/user/x"));
        check("a/b", Some("/home/user/a/b"));
        check("../other", Some("/home/other"));
        check("./~", Some("/home/user/~"));
        check("~root", None);
        check("/a\0b", None);
    }

    #[test]
    fn the_root_has_no_name() {
        assert_eq!(split("/a/b"), Some(("/a", "b")));
        assert_eq!(split("/a"), Some(("/", "a")));
        assert_eq!(split("/"), None);
    }
}
