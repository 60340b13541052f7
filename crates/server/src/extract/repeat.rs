//! Which request it is: its id, and the name under which a client may repeat it.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use sandkeep_control::idempotency::Idempotent;
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::id::ProjectId;
use sandkeep_core::identity::Principal;

use crate::middleware::RequestId;
use crate::refusal::Refusal;

/// The request's id, and the header `Idempotency-Key`.
#[derive(Debug)]
pub(crate) struct Repeat {
    /// As it stands in the log.
    pub(crate) request_id: String,
    key: Option<String>,
}

impl Repeat {
    /// Whether the client gave it a name.
    pub(crate) fn is_named(&self) -> bool {
        self.key.is_some()
    }

    /// The record of the request, if the client gave it a name.
    ///
    /// # Errors
    /// `invalid_value`.
    pub(crate) fn of(
        &self,
        principal: &Principal,
        project_id: ProjectId,
        route: &str,
        body: &[u8],
    ) -> Result<Option<Idempotent>, Problem> {
        self.key.as_ref().map(|key| Idempotent::new(principal, project_id, route, key, body)).transpose()
    }
}

impl<S: Sync> FromRequestParts<S> for Repeat {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
        let mut keys = parts.headers.get_all("idempotency-key").into_iter();
        let key = keys.next().map(|key| String::from_utf8_lossy(key.as_bytes()).into_owned());
        if keys.next().is_some() {
            return Err(
                Problem::new(ErrorCode::InvalidValue, "Idempotency-Key: there is more than one").into()
            );
        }
        Ok(Repeat { request_id, key })
    }
}
