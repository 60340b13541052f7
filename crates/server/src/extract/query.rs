//! Query parameters.

use axum::extract::FromRequestParts;
use axum::http::Uri;
use axum::http::request::Parts;
use sandkeep_core::code::{ErrorCode, Problem};
use serde::de::DeserializeOwned;

use crate::refusal::Refusal;

/// The parameters after the `?`, as a type that refuses unknown ones.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let read = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        read.map(|axum::extract::Query(value)| Query(value)).map_err(|error| {
            let text = error.body_text();
            let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            refused(&parts.uri, text).into()
        })
    }
}

/// A value of `core` says its own code, value and what would be right behind the parameter's name, and the reader has made one
/// text of it.
fn refused(uri: &Uri, text: &str) -> Problem {
    let Some((name, why)) = text.split_once(": ") else {
        return Problem::new(ErrorCode::InvalidQuery, text).expecting("the parameters that /docs lists");
    };
    let told = Problem::of_text(why).or_else(|| super::unknown(ErrorCode::InvalidQuery, why));
    told.unwrap_or_else(|| unread(&given(uri, name), why)).within(name)
}

fn unread(value: &str, why: &str) -> Problem {
    let why = format!("cannot be read: {why}");
    Problem::refused(ErrorCode::InvalidQuery, value, &why, "a value as /docs describes it")
}

/// What the request says of a parameter.
fn given(uri: &Uri, name: &str) -> String {
    let all = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri);
    let found = all.ok().and_then(|all| all.0.into_iter().find(|(parameter, _)| parameter == name));
    found.map(|(_, value)| value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandkeep_api::sandboxes::ListSandboxes;

    #[test]
    fn what_is_wrong_is_told_with_its_value_and_what_would_be_right() {
        let check = |query: &str, says: &str, value: Option<&str>, expected: &str| {
            let uri: Uri = format!("/api/v1/sandboxes?{query}").parse().unwrap();
            let error = axum::extract::Query::<ListSandboxes>::try_from_uri(&uri).unwrap_err().body_text();
            let text = error.strip_prefix("Failed to deserialize query string: ").unwrap();
            let problem = refused(&uri, text);
            assert_eq!((problem.message.as_str(), problem.value.as_deref()), (says, value));
            let right = problem.expected.unwrap_or_default();
            assert!(right.starts_with(expected), "{query}: {right}");
        };
        check("nam=x", "nam: `nam` is not known here", Some("nam"), "one of `project`, `status`");
        check("status=no", "status: `no` is not a word that stands here", Some("no"), "one of `creating`");
        let why = "limit: `1 0` cannot be read: invalid digit found in string";
        check("name=a&limit=1%200", why, Some("1 0"), "a value as /docs");
        check("created_after=now", "created_after: `now` is not a time", Some("now"), "RFC 3339");
    }
}
