//! Names of images as people write them, by the rules that Docker has for them.

use std::fmt;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_image::Digest;

/// `[REGISTRY/]REPOSITORY[:TAG][@sha256:DIGEST]`, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// The registry of names that name none.
const DEFAULT: &str = "docker.io";
/// Where its names without an owner are.
const DEFAULT_OWNER: &str = "library/";
/// Longest repository, as registries have it.
const REPOSITORY_BYTES: usize = 255;
const TAG_BYTES: usize = 128;
/// Longest name of a host (RFC 1035) with a port.
const REGISTRY_BYTES: usize = 253 + 6;

impl Reference {
    /// Takes `text` apart. Without a registry it is Docker's, without tag and digest the tag is `latest`.
    ///
    /// # Errors
    /// `image_unknown`: no image can have that name.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        take_apart(text).map_err(|why| {
            let expected = "a name like python:3.12-slim, ghcr.io/owner/name:tag or name@sha256:DIGEST";
            Problem::refused(ErrorCode::ImageUnknown, text, why, expected)
        })
    }

    /// Host and port of the registry.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The name within it.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// What is asked for if no digest is.
    #[must_use]
    pub fn tag(&self) -> &str {
        self.tag.as_deref().unwrap_or("latest")
    }

    /// What is wanted exactly.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        self.digest
    }
}

/// As people write it: without what Docker's registry adds, with its tag or, where there is one, its digest.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.repository.strip_prefix(DEFAULT_OWNER).filter(|last| !last.contains('/'));
        let short = short.unwrap_or(&self.repository);
        // Else it would read as another registry's.
        let is_plain = !short.split_once('/').is_some_and(|(first, _)| names_host(first));
        if self.registry == DEFAULT && is_plain {
            f.write_str(short)?;
        } else {
            write!(f, "{}/{}", self.registry, self.repository)?;
        }
        match self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None => write!(f, ":{}", self.tag()),
        }
    }
}

fn take_apart(text: &str) -> Result<Reference, &'static str> {
    let (text, digest) = match text.split_once('@') {
        Some((text, digest)) => (text, Some(Digest::parse(digest).map_err(|_| "has a digest that is none")?)),
        None => (text, None),
    };
    let (name, tag) = match text.rsplit_once(':') {
        // Else it is the port of a registry.
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        Some(_) | None => (text, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err("has a tag that cannot be one");
    }
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest)) if names_host(first) => (first, rest),
        Some(_) | None => (DEFAULT, name),
    };
    let registry = if registry == "index.docker.io" { DEFAULT } else { registry };
    if !is_registry(registry) {
        return Err("names a registry that cannot be one");
    }
    let owner = if registry == DEFAULT && !repository.contains('/') { DEFAULT_OWNER } else { "" };
    let repository = format!("{owner}{repository}");
    if repository.len() > REPOSITORY_BYTES || !repository.split('/').all(is_component) {
        return Err("is not a name that images have");
    }
    Ok(Reference { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
}

fn names_host(first: &str) -> bool {
    first == "localhost" || first.contains(['.', ':'])
}

/// A host name, or an address (one of version 6 in brackets), and perhaps a port.
pub(crate) fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) if port.starts_with(':') => (host, Some(&port[1..])),
            Some(_) | None => return false,
        },
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let host_is = if text.starts_with('[') {
        host.parse::<std::net::Ipv6Addr>().is_ok()
    } else {
        let label = |part: &str| {
            !part.is_empty()
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        host.split('.').all(label)
    };
    let port_is = port.is_none_or(|port| {
        port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    text.len() <= REGISTRY_BYTES && host_is && port_is
}

/// Lower-case words, joined by one `.`, one or two `_`, or any number of `-`.
fn is_component(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    let ends =
        bytes.first().is_some_and(|byte| plain(*byte)) && bytes.last().is_some_and(|byte| plain(*byte));
    let joint =
        |joint: &[u8]| matches!(joint, b"" | b"." | b"_" | b"__") || joint.iter().all(|byte| *byte == b'-');
    ends && bytes.iter().all(|byte| plain(*byte) || b"._-".contains(byte))
        && bytes.split(|byte| plain(*byte)).all(joint)
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let first = text.bytes().next().is_some_and(word);
    first && text.len() <= TAG_BYTES && text.bytes().all(|byte| word(byte) || b".-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_mean_what_docker_means_by_them() {
        let check = |text: &str, registry: &str, repository: &str, tag: &str, shown: &str| {
            let reference = Reference::parse(text).unwrap();
            let parts =
                (reference.registry(), reference.repository(), reference.tag(), reference.to_string());
            assert_eq!(parts, (registry, repository, tag, shown.to_owned()), "{text}");
        };
        check("python", "docker.io", "library/python", "latest", "python:latest");
        check("python:3.12-slim", "docker.io", "library/python", "3.12-slim", "python:3.12-slim");
        check("docker.io/library/python:3", "docker.io", "library/python", "3", "python:3");
        check("index.docker.io/python", "docker.io", "library/python", "latest", "python:latest");
        check("grafana/grafana:11", "docker.io", "grafana/grafana", "11", "grafana/grafana:11");
        check("ghcr.io/a/b/c:x", "ghcr.io", "a/b/c", "x", "ghcr.io/a/b/c:x");
        check("localhost/a", "localhost", "a", "latest", "localhost/a:latest");
        check("localhost:5000/a:1", "localhost:5000", "a", "1", "localhost:5000/a:1");
        check("[::1]:5000/a", "[::1]:5000", "a", "latest", "[::1]:5000/a:latest");
        check("127.0.0.1:5000/a", "127.0.0.1:5000", "a", "latest", "127.0.0.1:5000/a:latest");
        // Not to be taken for other registries.
        check("docker.io/x.y/a", "docker.io", "x.y/a", "latest", "docker.io/x.y/a:latest");
        check("library/x.y/a", "docker.io", "library/x.y/a", "latest", "library/x.y/a:latest");
        let pinned = format!("python:3@{DIGEST}");
        check(&pinned, "docker.io", "library/python", "3", &format!("python@{DIGEST}"));
        assert_eq!(Reference::parse(&pinned).unwrap().digest().unwrap().to_string(), DIGEST);
    }

    #[test]
    fn what_cannot_be_a_name_is_refused() {
        let long = "x".repeat(256);
        for text in [
            "",
            ":",
            "/",
            "@",
            "a:",
            "a:b:c",
            "A",
            "a/B",
            "a//b",
            "/a",
            "a/",
            "../a",
            "./a.tar",
            "a b",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "a@sha256:00",
            "a@md5:00",
            "a:-x",
            "host:99999/a",
            "host:/a",
            "host:0/a",
            "ho_st.x/a",
            "[::1/a",
            "[x]:1/a",
            "-h.x/a",
            "a\u{e9}",
            "a?b",
            "a#b",
            "user@host.x/a",
            "http://host/a",
            &long,
        ] {
            assert_eq!(
                Reference::parse(text).map_err(|problem| problem.code),
                Err(ErrorCode::ImageUnknown),
                "{text}"
            );
        }
    }

    proptest! {
        /// Any text is a name or none; a name reads the same when it is written again, and leads to no other host.
        #[test]
        fn any_text_is_taken_apart(text in "[a-zA-Z0-9:/@._\\[\\]?#% -]{0,60}|.{0,60}") {
            if let Ok(reference) = Reference::parse(&text) {
                let again = Reference::parse(&reference.to_string()).unwrap();
                prop_assert_eq!((again.registry(), again.repository()), (reference.registry(), reference.repository()));
                let url = reqwest::Url::parse(&format!("https://{}/v2/{}/manifests/{}", reference.registry(), reference.repository(), reference.tag()));
                if let Ok(url) = url {
                    prop_assert!(url.username().is_empty() && url.query().is_none() && url.fragment().is_none());
                    prop_assert_eq!(url.path(), format!("/v2/{}/manifests/{}", reference.repository(), reference.tag()));
                }
            }
        }
    }
}
