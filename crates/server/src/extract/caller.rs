//! Who asks, and whether they may ask for more.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use sandkeep_api::told;
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::identity::Principal;

use crate::middleware::bound::Place;
use crate::middleware::{Peer, client};
use crate::refusal::Refusal;
use crate::state::App;

/// The principal of a request. A handler that takes it is only reached by those who have one.
#[derive(Debug)]
pub(crate) struct Caller(pub(crate) Arc<Principal>);

impl FromRequestParts<App> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        if let Some(principal) = &app.without_keys {
            return Ok(Caller(Arc::clone(principal)));
        }
        let principal = authenticate(parts, app).await?;
        let now = app.session.clock.monotonic();
        let share = app.callers.begin(principal.id, !parts.method.is_safe(), now)?;
        if let Some(place) = parts.extensions.get::<Place>() {
            place.add(share);
        }
        Ok(Caller(principal))
    }
}

/// Where too many wrong keys come from, only keys are looked at that stood lately: whoever tries keys costs no look-up each,
/// and does not lock out who works from the same address.
async fn authenticate(parts: &Parts, app: &App) -> Result<Arc<Principal>, Problem> {
    let token = token(&parts.headers)?;
    let peer = parts.extensions.get::<Peer>();
    let address = peer.map(|peer| client::address(*peer, &parts.headers, &app.config.trusted_proxies));
    let is_suspect = |address| app.callers.is_suspect(address, app.session.clock.monotonic());
    if address.is_some_and(is_suspect) && !app.identity.stood_lately(token) {
        return Err(app.callers.suspect());
    }
    let found = app.identity.authenticate(token).await;
    let is_wrong = found.as_ref().is_err_and(|problem| told(problem.code).status == 401);
    if let Some(address) = address.filter(|_| is_wrong) {
        app.callers.wrong_key(address, app.session.clock.monotonic());
    }
    found
}

/// The one key of a request, in either of its two places.
fn token(headers: &HeaderMap) -> Result<&str, Problem> {
    let refused = |why: &str| {
        let expected = "`Authorization: Bearer KEY` or `X-API-Key: KEY`";
        Problem::new(ErrorCode::Unauthenticated, why).expecting(expected)
    };
    let bearer = headers.get_all(header::AUTHORIZATION);
    let keys = headers.get_all("x-api-key");
    let mut given = bearer.iter().map(|value| (true, value)).chain(keys.iter().map(|value| (false, value)));
    let (is_bearer, value) = given.next().ok_or_else(|| refused("the request has no key"))?;
    if given.next().is_some() {
        return Err(refused("the request has more than one key"));
    }
    // Neither is repeated: what stands there may be a secret in a wrong place.
    let text = value.to_str().map_err(|_| refused("the key has other characters than a key can have"))?;
    if !is_bearer {
        return Ok(text);
    }
    match text.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        Some(_) | None => Err(refused("the header Authorization has another scheme than Bearer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fields: &[(&'static str, &str)], expected: Result<&str, &str>) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, axum::http::HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        match (token(&headers), expected) {
            (Ok(token), Ok(expected)) => assert_eq!(token, expected),
            (Err(problem), Err(says)) => {
                assert_eq!(problem.code, ErrorCode::Unauthenticated);
                assert!(problem.message.contains(says), "{problem}");
                assert!(fields.iter().all(|(_, value)| !problem.to_string().contains(value)), "{problem}");
            }
            (found, expected) => panic!("{found:?} is not {expected:?}"),
        }
    }

    #[test]
    fn a_request_has_one_key_in_one_place() {
        check(&[("authorization", "Bearer abc")], Ok("abc"));
        check(&[("authorization", "bearer  abc ")], Ok("abc"));
        check(&[("x-api-key", "abc")], Ok("abc"));
        check(&[], Err("no key"));
        check(&[("authorization", "secret123")], Err("another scheme"));
        check(&[("authorization", "Basic dTpw")], Err("another scheme"));
        check(&[("authorization", "Bearer abc1"), ("x-api-key", "abc1")], Err("more than one"));
        check(&[("x-api-key", "key-one"), ("x-api-key", "key-one")], Err("more than one"));
        check(&[("x-api-key", "ключ")], Err("other characters"));
    }
}
