//! Which of the images in an index is for this host.

use crate::error::{Error, Result, shown};

/// This host's architecture as images name it (Go's names).
pub(crate) fn host() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

/// Whether what is for `os` on `architecture` runs here. An index that does not say is asked again by its image.
pub(crate) fn fits(os: &str, architecture: &str, variant: Option<&str>) -> bool {
    // Later variants of amd64 (v2, v3) need newer processors than we ask for; arm64 has only v8 in practice.
    let plain = matches!(variant, None | Some("" | "v1" | "v8"));
    os == "linux" && architecture == host() && plain
}

/// # Errors
/// It is for something else than this host.
pub(crate) fn check(what: &str, os: &str, architecture: &str, variant: Option<&str>) -> Result<()> {
    if fits(os, architecture, variant) {
        return Ok(());
    }
    let variant = variant.filter(|variant| !variant.is_empty()).map(|variant| format!("/{variant}"));
    let is = format!("{os}/{architecture}{}", variant.unwrap_or_default());
    let why = format!("is for {}, and this host is linux/{}", shown(is.as_bytes()), host());
    let expected = format!("an image for linux/{0}: docker pull --platform linux/{0} REF", host());
    Err(Error::Unsupported { what: what.to_owned(), why, expected: Some(expected) })
}
