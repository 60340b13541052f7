//! Where a server is.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use reqwest::Url;
use sandkeep_core::code::{ErrorCode, Problem};

/// The address of a server: `http://127.0.0.1:8000`, `https://example.org/sandkeep`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(Url);

impl Address {
    /// Whether it is this machine, so that no proxy is wanted and a key of this machine may be shown.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// The port, given or the scheme's.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.0.port_or_known_default()
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The address of a path of the API, like `sandboxes/sb…`, whose parts are written so that none becomes two.
    pub(crate) fn api(&self, path: &[&str]) -> Url {
        let mut url = self.0.clone();
        if let Ok(mut parts) = url.path_segments_mut() {
            parts.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        url
    }
}

impl FromStr for Address {
    type Err = Problem;

    /// # Errors
    /// `invalid_value`. The problem does not repeat a password that stands in the text.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let refused = |why: &str| {
            let expected = "http://HOST:PORT or https://HOST, with a path if the server has one";
            Problem::new(ErrorCode::InvalidValue, format!("the address of the server {why}"))
                .expecting(expected)
        };
        let url = Url::parse(text).map_err(|error| refused(&format!("cannot be read: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(refused("is not one of HTTP"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("has a user in it; a key stands in SANDKEEP_API_KEY"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refused("has a query in it"));
        }
        Ok(Address(url))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stand_behind_the_base_and_stay_one_part() {
        let api = |text: &str| text.parse::<Address>().unwrap().api(&["sandboxes", "a/../b?c"]).to_string();
        assert_eq!(api("http://[::1]:8000"), "http://[::1]:8000/api/v1/sandboxes/a%2F..%2Fb%3Fc");
        assert_eq!(api("https://x.org/keep/"), "https://x.org/keep/api/v1/sandboxes/a%2F..%2Fb%3Fc");
    }

    #[test]
    fn this_machine_is_known_by_its_names() {
        let is = |text: &str| text.parse::<Address>().unwrap().is_loopback();
        assert!(
            is("http://127.0.0.1:1")
                && is("http://[::1]:1")
                && is("http://localhost:1")
                && is("http://127.9.9.9")
        );
        assert!(
            !is("http://10.0.0.1")
                && !is("http://localhost.example.org")
                && !is("http://127.0.0.1.example.org")
        );
    }

    #[test]
    fn what_is_no_address_is_refused_without_its_secrets() {
        for text in [
            "",
            "x",
            "127.0.0.1:8000",
            "ftp://x",
            "http://",
            "http://me:hunter2@x",
            "http://x/?a=1",
            "unix:/x",
        ] {
            let problem = text.parse::<Address>().unwrap_err();
            assert_eq!(problem.code, ErrorCode::InvalidValue, "{text}");
            assert!(!problem.to_string().contains("hunter2"), "{problem}");
        }
    }
}
