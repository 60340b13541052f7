//! Errors on their way to the client. They are made here and written by [`crate::middleware::shape`], which knows the
//! request's id.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sandkeep_api::told;
use sandkeep_core::code::{ErrorCode, Problem};

/// Why a request gets no other answer.
#[derive(Debug, Clone)]
pub(crate) struct Refusal(pub(crate) Problem);

/// What a handler gives back.
pub(crate) type Answer<T> = Result<T, Refusal>;

impl Refusal {
    /// A fault of ours; what it was is for the log, which whoever noticed it has written.
    pub(crate) fn internal() -> Self {
        Refusal(Problem::new(ErrorCode::Internal, "the server failed to do this; its log says why"))
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Refusal(problem)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let told = told(self.0.code);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::from_u16(told.status).expect("from 400 to 599: a test says so");
        if let Some(seconds) = told.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if told.status == 401 {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(self);
        response
    }
}
