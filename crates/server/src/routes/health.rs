//! `/health`, `/live`, `/ready`: for whoever watches the server. They need no key and tell nothing of its use.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sandkeep_api::health::{Health, Ready, Status};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::middleware::shape::NO_AUTH_WARNING;
use crate::state::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(health)).routes(routes!(live)).routes(routes!(ready))
}

/// That the server answers, and what should be known of it.
#[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, body = Health)))]
async fn health(State(app): State<App>) -> Json<Health> {
    let warnings = app.config.insecure_no_auth.then(|| NO_AUTH_WARNING.to_owned());
    Json(Health {
        status: "ok".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        warnings: warnings.into_iter().collect(),
    })
}

/// That the process is not stuck: whoever gets no answer may kill it.
#[utoipa::path(get, path = "/live", tag = "health", responses((status = 204, description = "It is not.")))]
async fn live() -> StatusCode {
    StatusCode::NO_CONTENT
}

/// Whether requests will be served, component by component. Looked at once a second at most.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "health",
    responses(
        (status = 200, body = Ready),
        (status = 503, body = Ready, description = "A component does not answer, or the server is stopping."),
    )
)]
async fn ready(State(app): State<App>) -> (StatusCode, Json<Ready>) {
    let ready = app.ready.look(&app.metrics, app.stopping.is_cancelled()).await;
    let status = match ready.status {
        Status::Ready => StatusCode::OK,
        Status::NotReady | Status::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(ready))
}
