//! Query parameters.

use axum::extract::FromRequestParts;
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
            Problem::new(ErrorCode::InvalidQuery, text).expecting("the parameters that /docs lists").into()
        })
    }
}
