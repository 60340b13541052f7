//! Values of options that are more than a number: read once, at the edge, into what they mean.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::sandbox::MountTarget;

/// A file of ours, or our standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// `-`.
    Ours,
    /// A path.
    File(PathBuf),
}

impl FromStr for Source {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "-" { Source::Ours } else { Source::File(text.into()) })
    }
}

/// Where an event comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EventArg {
    /// As it stands.
    Text(String),
    /// `@FILE`, or `-`.
    From(Source),
}

impl FromStr for EventArg {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix('@') {
            Some(path) => EventArg::From(Source::File(path.into())),
            None if text == "-" => EventArg::From(Source::Ours),
            None => EventArg::Text(text.to_owned()),
        })
    }
}

/// `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: String,
    pub(super) value: String,
}

impl FromStr for Variable {
    type Err = Problem;

    /// # Errors
    /// `env_invalid`. The message never holds the value, which may be a secret.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let refuse = |what: &str, why: &str| {
            Problem::refused(ErrorCode::EnvInvalid, what, why, "NAME=value, like LANG=C")
        };
        let Some((name, value)) = text.split_once('=') else {
            return Err(refuse(text, "has no value"));
        };
        if !is_name(name) {
            return Err(refuse(name, "is not a name of letters, digits and underscores"));
        }
        if value.contains('\0') {
            return Err(refuse(name, "has a NUL byte in its value"));
        }
        Ok(Variable { name: name.to_owned(), value: value.to_owned() })
    }
}

fn is_name(name: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    name.bytes().all(is_word) && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
}

/// `SRC:DEST[:rw|:ro]`. The source may hold colons; the target starts at the last `:/`, and has none: it would be taken for
/// a misspelt `rw`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MountArg {
    pub(super) source: PathBuf,
    pub(super) target: MountTarget,
    pub(super) writable: bool,
}

impl FromStr for MountArg {
    type Err = Problem;

    /// # Errors
    /// `mount_refused`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let refuse = |why: &str| {
            Problem::refused(ErrorCode::MountRefused, text, why, "SRC:DEST[:rw], like ./data:/data")
        };
        let (paths, writable) = match (text.strip_suffix(":rw"), text.strip_suffix(":ro")) {
            (Some(paths), _) => (paths, true),
            (None, Some(paths)) => (paths, false),
            (None, None) => (text, false),
        };
        let (source, below_root) = paths.rsplit_once(":/").ok_or_else(|| refuse("has no absolute target"))?;
        if source.is_empty() {
            return Err(refuse("has no source"));
        }
        if below_root.contains(':') {
            return Err(refuse("has something else than rw or ro behind its target"));
        }
        Ok(MountArg { source: source.into(), target: format!("/{below_root}").parse()?, writable })
    }
}

/// `SRC[:DEST]`; which colon divides them is decided where files can be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CopyArg(pub(super) String);

impl FromStr for CopyArg {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(CopyArg(text.to_owned()))
    }
}

/// Who the code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UserArg {
    /// 1000.
    User,
    /// 0, inside.
    Root,
}

impl FromStr for UserArg {
    type Err = Problem;

    /// # Errors
    /// `invalid_value`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        match text {
            "user" => Ok(UserArg::User),
            "root" => Ok(UserArg::Root),
            _ => Err(Problem::refused(
                ErrorCode::InvalidValue,
                text,
                "is not a user of a sandbox",
                "user, or root with --profile dev",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_and_events() {
        assert_eq!("-".parse(), Ok(Source::Ours));
        assert_eq!("a".parse(), Ok(Source::File("a".into())));
        assert_eq!("-".parse(), Ok(EventArg::From(Source::Ours)));
        assert_eq!("@-x".parse(), Ok(EventArg::From(Source::File("-x".into()))));
        assert_eq!("{}".parse(), Ok(EventArg::Text("{}".to_owned())));
        assert_eq!("-1".parse(), Ok(EventArg::Text("-1".to_owned())));
    }

    #[test]
    fn variables() {
        let cases = [("A=1", "A", "1"), ("a_1=", "a_1", ""), ("_=x=y", "_", "x=y"), ("A= b\n", "A", " b\n")];
        for (text, name, value) in cases {
            assert_eq!(text.parse(), Ok(Variable { name: name.to_owned(), value: value.to_owned() }));
        }
        for text in ["", "A", "=1", "1A=1", "a-b=1", "é=1", "a b=1", "A=a\0b"] {
            assert_eq!(text.parse::<Variable>().expect_err(text).code, ErrorCode::EnvInvalid, "{text}");
        }
        let told = "A=sec\0ret".parse::<Variable>().unwrap_err().to_string();
        assert!(!told.contains("ret"), "{told}");
    }

    #[test]
    fn mounts() {
        let cases = [
            ("a:/b", "a", "/b", false),
            ("./a:/b/c/:rw", "./a", "/b/c", true),
            ("/a:b:/c//d/.:ro", "/a:b", "/c/d", false),
            ("a:/b:/c", "a:/b", "/c", false),
        ];
        for (text, source, target, writable) in cases {
            let expected = MountArg { source: source.into(), target: target.parse().unwrap(), writable };
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in [
            "",
            "a",
            "a:b",
            "a:rw",
            ":/b",
            "a:/",
            "a:/b/../c",
            "a:/proc",
            "a:/sys/x:rw",
            "a:/b:rx",
            "a:/b:rw:z",
        ] {
            assert_eq!(text.parse::<MountArg>().expect_err(text).code, ErrorCode::MountRefused, "{text}");
        }
    }

    #[test]
    fn users() {
        assert_eq!("root".parse(), Ok(UserArg::Root));
        assert_eq!("user".parse(), Ok(UserArg::User));
        assert_eq!("0".parse::<UserArg>().unwrap_err().code, ErrorCode::InvalidValue);
    }
}
