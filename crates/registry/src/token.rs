//! Tokens of a registry's token service, as Docker's registries have them.

use reqwest::{Client, StatusCode, Url};
use sandkeep_core::code::{ErrorCode, Problem};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::auth::Credentials;
use crate::client::{document, unavailable};
use crate::endpoint::Endpoint;

/// Largest answer; tokens have a few KiB.
const BYTES: u64 = 256 * 1024;

#[derive(Deserialize)]
struct Answer {
    token: Option<SecretString>,
    access_token: Option<SecretString>,
}

/// A token that lets `credentials` pull from `repository`.
///
/// # Errors
/// `registry_denied`, `registry_invalid`, `registry_unavailable`.
pub(crate) async fn token(
    http: &Client,
    endpoint: &Endpoint,
    (realm, service): (&str, Option<&str>),
    repository: &str,
    credentials: Option<&Credentials>,
) -> Result<SecretString, Problem> {
    let invalid = |why: &str| Problem::new(ErrorCode::RegistryInvalid, format!("{} {why}", endpoint.name));
    let mut url = Url::parse(realm).map_err(|_| invalid("names a token service that has no address"))?;
    // Or whoever stands in between would have the password.
    if url.scheme() != "https" && !endpoint.plain {
        return Err(invalid("names a token service without TLS"));
    }
    let scope = format!("repository:{repository}:pull");
    let mut parameters = vec![("scope", scope.as_str())];
    parameters.extend(service.map(|service| ("service", service)));
    let request = match credentials {
        Some(Credentials::Identity(token)) => {
            parameters.extend([("grant_type", "refresh_token"), ("client_id", "sandkeep")]);
            parameters.push(("refresh_token", token.expose_secret()));
            let mut form = url.clone();
            form.query_pairs_mut().clear().extend_pairs(parameters);
            let body = form.query().unwrap_or_default().to_owned();
            http.post(url).header("content-type", "application/x-www-form-urlencoded").body(body)
        }
        Some(Credentials::Password { user, password }) => {
            url.query_pairs_mut().extend_pairs(parameters);
            http.get(url).basic_auth(user, Some(password.expose_secret()))
        }
        None => {
            url.query_pairs_mut().extend_pairs(parameters);
            http.get(url)
        }
    };
    let answer = request.send().await.map_err(|error| unavailable(&endpoint.name, &error))?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => {
            return Err(denied(endpoint, repository, credentials.is_some()));
        }
        other => {
            let text =
                format!("the token service of {} answers with status {}", endpoint.name, other.as_u16());
            return Err(Problem::new(ErrorCode::RegistryUnavailable, text));
        }
    }
    let text = document(answer, BYTES, &endpoint.name).await?;
    let Answer { token, access_token } =
        serde_json::from_slice(&text).map_err(|_| invalid("gives a token that is none"))?;
    token.or(access_token).ok_or_else(|| invalid("gives no token"))
}

/// Somebody else may read that, or nobody: registries do not tell.
pub(crate) fn denied(endpoint: &Endpoint, repository: &str, had_credentials: bool) -> Problem {
    let name = &endpoint.name;
    let (why, expected) = if had_credentials {
        ("does not accept the credentials for", format!("credentials that may read it: docker login {name}"))
    } else {
        ("does not show without credentials", format!("a name that is there, or docker login {name}"))
    };
    Problem::new(ErrorCode::RegistryDenied, format!("{name} {why} {repository}")).expecting(expected)
}
