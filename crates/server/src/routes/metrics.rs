//! `/metrics`: OpenMetrics text. Not in the OpenAPI document, since it may be on another listener.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::routing::get;

use crate::refusal::{Answer, Refusal};
use crate::state::App;

pub(super) fn routes() -> Router<App> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(app): State<App>) -> Answer<([(HeaderName, &'static str); 1], String)> {
    let text = app.metrics.encode().map_err(|_| Refusal::internal())?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}
