//! `/metrics`: OpenMetrics text. Not in the OpenAPI document, since it may be on another listener.

use std::time::Duration;

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
    app.metrics.clock_offset.set(seconds(app.session.clock.offset_us()));
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    app.metrics.tasks.set(i64::try_from(tasks).unwrap_or(i64::MAX));
    let text = app.metrics.encode().map_err(|_| Refusal::internal())?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}

fn seconds(us: i64) -> f64 {
    let size = Duration::from_micros(us.unsigned_abs()).as_secs_f64();
    if us < 0 { -size } else { size }
}
