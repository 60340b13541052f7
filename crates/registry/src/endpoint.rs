//! One registry or mirror, and how it is reached.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use reqwest::redirect::{Attempt, Policy};
use reqwest::{Certificate, Url};
use sandkeep_core::code::{ErrorCode, Problem};

use crate::settings::Times;

/// Where blobs are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Host and port as people write them.
    pub(crate) name: String,
    /// Without TLS.
    pub(crate) plain: bool,
    /// Files with certificates that are trusted besides the host's.
    pub(crate) ca: Vec<PathBuf>,
}

/// Most redirects of one request: registries need one, to where their blobs are stored.
const REDIRECTS: usize = 5;
/// Largest file of certificates; the host's own has about 200 KiB.
const CA_BYTES: u64 = 4 << 20;

impl Endpoint {
    /// Whether nothing that is sent there leaves this machine.
    pub(crate) fn is_loopback(name: &str) -> bool {
        // A port of its own, so that every name can be read as an address.
        let Ok(url) = Url::parse(&format!("http://{name}/")) else { return false };
        let host = url.host_str().unwrap_or_default();
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// The address of a part of the API.
    ///
    /// # Errors
    /// `image_unknown`: nothing can be reached under that name.
    pub(crate) fn url(&self, path: &str) -> Result<Url, Problem> {
        let host = if self.name == "docker.io" { "registry-1.docker.io" } else { &self.name };
        let scheme = if self.plain { "http" } else { "https" };
        Url::parse(&format!("{scheme}://{host}/v2/{path}")).map_err(|_| {
            Problem::new(ErrorCode::ImageUnknown, format!("{host} is not the name of a registry"))
        })
    }

    /// # Errors
    /// `config_invalid`: certificates cannot be read. `internal`: TLS cannot be set up.
    pub(crate) fn connect(&self, times: &Times) -> Result<reqwest::Client, Problem> {
        // There is one provider in this program; whoever was first installed the same.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("sandkeep/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(times.connect)
            .read_timeout(times.silence)
            .redirect(Policy::custom(follow));
        if Self::is_loopback(&self.name) {
            http = http.no_proxy();
        }
        let mut trusted = Vec::new();
        for path in &self.ca {
            trusted.extend(certificates(path)?);
        }
        // Without TLS no certificates are needed, and a host may have none.
        http = if self.plain { http.tls_certs_only([]) } else { http.tls_certs_merge(trusted) };
        http.build()
            .map_err(|error| Problem::new(ErrorCode::Internal, format!("TLS cannot be set up: {error}")))
    }
}

/// Credentials are left behind when a redirect leads to another host; that is the library's doing.
fn follow(attempt: Attempt<'_>) -> reqwest::redirect::Action {
    let downgraded = attempt.url().scheme() != "https"
        && attempt.previous().first().is_some_and(|first| first.scheme() == "https");
    if downgraded {
        return attempt.error("it redirects from TLS to plain text");
    }
    if attempt.previous().len() > REDIRECTS {
        return attempt.error("it redirects in circles");
    }
    attempt.follow()
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, Problem> {
    let wrong = |why: String| {
        Problem::new(ErrorCode::ConfigInvalid, why)
            .within(&path.display().to_string())
            .expecting("a file of certificates (PEM)")
    };
    let about = std::fs::metadata(path).map_err(|error| wrong(format!("it cannot be read: {error}")))?;
    if !about.is_file() || about.len() > CA_BYTES {
        return Err(wrong("it is no file of certificates".to_owned()));
    }
    let pem = std::fs::read(path).map_err(|error| wrong(format!("it cannot be read: {error}")))?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(wrong("it has no certificates".to_owned())),
    }
}
