//! What every request goes through, from the outside in: [`shape`] (id, log line, error documents), CORS, [`origin`] when
//! there are no keys, the panic catcher, and for the API [`bound`]. What one caller may ask for ([`callers`]) is looked at when the
//! caller is known.

pub(crate) mod bound;
pub(crate) mod callers;
pub(crate) mod client;
pub(crate) mod origin;
mod request_id;
pub(crate) mod shape;

use std::any::Any;

use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse as _, Response};
use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::refusal::Refusal;
use crate::state::App;

pub(crate) use client::Peer;
pub(crate) use request_id::RequestId;

/// Puts everything around `router` that all its requests go through.
pub(crate) fn around(router: Router, app: &App) -> Router {
    let panics = app.clone();
    let mut router = router.layer(CatchPanicLayer::custom(move |_: Box<dyn Any + Send>| caught(&panics)));
    if app.config.insecure_no_auth {
        router = router.layer(middleware::from_fn_with_state(app.clone(), origin::loopback_only));
    }
    if !app.config.cors_origins.is_empty() {
        router = router.layer(cors(&app.config.cors_origins));
    }
    router.layer(middleware::from_fn_with_state(app.clone(), shape::shape))
}

/// The panic itself was told by the hook, with its place.
fn caught(app: &App) -> Response {
    app.metrics.panics.inc();
    Refusal::internal().into_response()
}

/// No credentials in the sense of browsers: keys travel in headers that a page sets itself.
fn cors(origins: &[String]) -> CorsLayer {
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    let name = axum::http::HeaderName::from_static;
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            name("x-api-key"),
            name("x-request-id"),
            name("idempotency-key"),
            name("last-event-id"),
        ])
        .expose_headers([name("x-request-id"), header::RETRY_AFTER])
        .max_age(std::time::Duration::from_secs(600))
}
