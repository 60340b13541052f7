//! Without keys, whoever reaches the server may use it; so a web page in a browser on this machine must not. A page's
//! owner can let a name of theirs point to 127.0.0.1 and so reach the server as "their own" origin. The browser then
//! sends that name as `Host`, and, for a page of another origin, `Origin`.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Uri, header};
use axum::middleware::Next;
use axum::response::Response;
use sandkeep_core::code::{ErrorCode, Problem};

use crate::refusal::Answer;
use crate::state::App;

/// Refuses requests that are addressed to another name than this machine's, or come from a page of another origin.
pub(crate) async fn loopback_only(State(app): State<App>, request: Request, next: Next) -> Answer<Response> {
    check(request.uri(), request.headers(), &app.config.cors_origins)?;
    Ok(next.run(request).await)
}

fn check(uri: &Uri, headers: &HeaderMap, allowed: &[String]) -> Result<(), Problem> {
    let refused = |value: &str, why: &str| {
        Err(Problem::refused(ErrorCode::OriginRefused, value, why, "localhost, 127.0.0.1 or [::1]"))
    };
    // HTTP/2 has it in the address.
    let host = uri.authority().map(|authority| authority.as_str().as_bytes());
    let host = host.or_else(|| headers.get(header::HOST).map(|host| host.as_bytes()));
    let host = String::from_utf8_lossy(host.unwrap_or_default());
    if !is_loopback(&host) {
        return refused(&host, "is not a name of this machine");
    }
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = String::from_utf8_lossy(origin.as_bytes());
    let ours = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    if ours.is_some_and(is_loopback) || allowed.iter().any(|allowed| *allowed == origin) {
        return Ok(());
    }
    refused(&origin, "is a page of another machine")
}

/// Whether `authority`, with or without a port, is this machine.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(host: Option<&str>, origin: Option<&str>, passes: bool) {
        let mut headers = HeaderMap::new();
        let fields = [(header::HOST, host), (header::ORIGIN, origin)];
        for (name, value) in fields {
            if let Some(value) = value {
                headers.insert(name, value.parse().unwrap());
            }
        }
        let allowed = ["https://console.example".to_owned()];
        let answer = super::check(&Uri::from_static("/x"), &headers, &allowed);
        assert_eq!(answer.is_ok(), passes, "{host:?} {origin:?}");
    }

    #[test]
    fn only_names_of_this_machine_pass() {
        for host in ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "127.9.9.9", "[::1]:8000", "[::1]"] {
            check(Some(host), None, true);
        }
        for host in [
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "10.0.0.1:80",
            "",
            "127.0.0.1.evil.example",
        ] {
            check(Some(host), None, false);
        }
        check(None, None, false);
        check(Some("localhost"), Some("http://localhost:3000"), true);
        check(Some("localhost"), Some("https://console.example"), true);
        for origin in ["https://evil.example", "null", "file://", "http://localhost.evil.example"] {
            check(Some("localhost"), Some(origin), false);
        }
    }
}
