//! What an image says about itself: its layers, what it is for, and how it wants to be run.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::digest::Digest;
use crate::error::{Error, Result, shown};
use crate::{limits, platform};

/// How an image wants its programs to be run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Variables, checked to be names and values.
    pub env: BTreeMap<String, String>,
    /// What is run always; `command` are then its arguments.
    pub entrypoint: Vec<String>,
    /// What is run unless something else is asked for.
    pub command: Vec<String>,
    /// Where it is run: an absolute path. `None` when the image does not say.
    pub working_dir: Option<String>,
    /// Whom the image would run as, as it says it: `USER[:GROUP]`, names or numbers. For showing; sandboxes have users
    /// of their own.
    pub user: Option<String>,
}

/// A configuration with what it commits to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Document {
    pub(crate) config: Config,
    /// Digests of the layers as plain archives, lowest first.
    pub(crate) diff_ids: Vec<Digest>,
    os: String,
    architecture: String,
    variant: Option<String>,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default)]
    variant: Option<String>,
    #[serde(default)]
    config: Option<RawConfig>,
    rootfs: RawRootfs,
}

#[derive(Deserialize)]
struct RawRootfs {
    r#type: String,
    #[serde(default)]
    diff_ids: Option<Vec<String>>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RawConfig {
    env: Option<Vec<String>>,
    entrypoint: Option<Vec<String>>,
    cmd: Option<Vec<String>>,
    working_dir: Option<String>,
    user: Option<String>,
}

impl Document {
    /// Reads and checks a configuration.
    ///
    /// # Errors
    /// It is not one, or what it says cannot be used.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self> {
        let raw: Raw = document("the image's configuration", bytes)?;
        if raw.rootfs.r#type != "layers" {
            return Err(Error::unsupported(
                "the image's configuration",
                "its root file system is not of layers",
            ));
        }
        let diff_ids = raw.rootfs.diff_ids.unwrap_or_default();
        if diff_ids.len() > limits::LAYERS {
            let why = format!("has {} layers, at most {}", diff_ids.len(), limits::LAYERS);
            return Err(Error::too_large("the image", why));
        }
        Ok(Self {
            config: Config::from_raw(raw.config.unwrap_or_default())?,
            diff_ids: diff_ids.iter().map(|text| Digest::parse(text)).collect::<Result<_>>()?,
            os: raw.os,
            architecture: raw.architecture,
            variant: raw.variant,
        })
    }

    /// # Errors
    /// The image is not for this host.
    pub(crate) fn check_platform(&self) -> Result<()> {
        platform::check("the image", &self.os, &self.architecture, self.variant.as_deref())
    }
}

impl Config {
    fn from_raw(raw: RawConfig) -> Result<Self> {
        let words = [&raw.entrypoint, &raw.cmd].into_iter().flatten().flatten();
        let texts = words.chain(raw.working_dir.iter()).chain(raw.env.iter().flatten());
        for text in texts {
            if text.contains('\0') {
                let what = shown(text.as_bytes());
                return Err(Error::invalid("the image's configuration", format!("`{what}` has a NUL byte")));
            }
        }
        let working_dir = raw.working_dir.filter(|dir| !dir.is_empty());
        Ok(Self {
            env: raw.env.unwrap_or_default().iter().map(|entry| variable(entry)).collect::<Result<_>>()?,
            entrypoint: raw.entrypoint.unwrap_or_default(),
            command: raw.cmd.unwrap_or_default(),
            // Others take a path without its first slash as from the root, too.
            working_dir: working_dir.map(|dir| format!("/{}", dir.trim_start_matches('/'))),
            user: raw.user.filter(|user| !user.is_empty()),
        })
    }

    /// What the image runs when nothing else is asked for; empty when it has nothing.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        self.entrypoint.iter().chain(&self.command).cloned().collect()
    }
}

fn variable(entry: &str) -> Result<(String, String)> {
    match entry.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => {
            let why = format!("`{}` is not a variable with a value", shown(entry.as_bytes()));
            Err(Error::invalid("the image's configuration", why))
        }
    }
}

/// Reads JSON. The message has the place of a fault and nothing of the text, which need not be an image's.
///
/// # Errors
/// It is not JSON, or not of this shape.
pub(crate) fn document<'a, T: Deserialize<'a>>(what: &str, bytes: &'a [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        let place = format!("line {} column {}", error.line(), error.column());
        Error::invalid(what, format!("is not what it should be, from {place} on"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandkeep_core::code::ErrorCode;

    fn parse(config: &str) -> Result<Document> {
        let text = format!(
            r#"{{"os":"linux","architecture":"{}","config":{config},"rootfs":{{"type":"layers"}}}}"#,
            platform::host()
        );
        Document::parse(text.as_bytes())
    }

    #[test]
    fn what_an_image_says_is_read() {
        let text = r#"{"Env":["PATH=/a:/b","E=","X=a=b"],"Entrypoint":["/run"],"Cmd":["x","y"],"WorkingDir":"app","User":"7:7"}"#;
        let document = parse(text).unwrap();
        document.check_platform().unwrap();
        let config = document.config;
        let env: Vec<_> = config.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(env, [("E", ""), ("PATH", "/a:/b"), ("X", "a=b")]);
        assert_eq!(config.argv(), ["/run", "x", "y"]);
        assert_eq!(config.working_dir.as_deref(), Some("/app"));
        assert_eq!(config.user.as_deref(), Some("7:7"));
        for nothing in
            ["null", "{}", r#"{"Env":null,"Cmd":null,"Entrypoint":null,"WorkingDir":"","User":""}"#]
        {
            assert_eq!(parse(nothing).unwrap().config, Config::default(), "{nothing}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let cases = [
            r#"{"Env":["NOVALUE"]}"#,
            r#"{"Env":["=x"]}"#,
            r#"{"Env":["A=\u0000"]}"#,
            r#"{"Cmd":["a\u0000b"]}"#,
            r#"{"WorkingDir":"/\u0000"}"#,
            r#"{"Cmd":"sh"}"#,
            "7",
        ];
        for case in cases {
            assert_eq!(parse(case).unwrap_err().code(), ErrorCode::ImageInvalid, "{case}");
        }
        for text in ["", "{}", "secret", r#"{"rootfs":{"type":"layers","diff_ids":["x"]}}"#] {
            let error = Document::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.code(), ErrorCode::ImageInvalid, "{text}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let other = r#"{"rootfs":{"type":"squash"}}"#;
        assert_eq!(Document::parse(other.as_bytes()).unwrap_err().code(), ErrorCode::ImageUnsupported);
    }

    #[test]
    fn other_platforms_are_told_apart() {
        for (os, architecture, variant) in
            [("windows", platform::host(), ""), ("linux", "mips", ""), ("linux", platform::host(), "v3")]
        {
            let text = format!(
                r#"{{"os":"{os}","architecture":"{architecture}","variant":"{variant}","rootfs":{{"type":"layers"}}}}"#
            );
            let error = Document::parse(text.as_bytes()).unwrap().check_platform().unwrap_err();
            assert_eq!(error.code(), ErrorCode::ImageUnsupported, "{text}");
        }
    }
}
