//! The routes: one file per resource. A route stands with its description, so that neither is without the other.

mod audit;
mod docs;
mod errors;
mod events;
mod executions;
mod health;
mod metrics;
mod output;
mod projects;
mod sandboxes;
mod tokens;

use axum::Router;
use axum::middleware::from_fn_with_state;
use sandkeep_api::Cursor;
use sandkeep_control::list::Before;
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::id::ProjectId;
use sandkeep_core::identity::Principal;
use sandkeep_core::time::Timestamp;
use utoipa::OpenApi;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;

use crate::middleware::{around, bound};
use crate::state::App;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sandkeep",
        description = "Runs code that nobody has reviewed, in sandboxes. Errors are problem documents (RFC 9457) with a \
                       stable code; every answer has the header `X-Request-Id`.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    components(schemas(sandkeep_api::Document)),
    modifiers(&Keys),
)]
struct Described;

/// The two places of a key.
struct Keys;

impl utoipa::Modify for Keys {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let header = ApiKeyValue::new("X-API-Key");
        components.add_security_scheme("key", SecurityScheme::ApiKey(ApiKey::Header(header)));
    }
}

/// The routes of the API, whose requests are bounded in number and time.
fn api() -> OpenApiRouter<App> {
    OpenApiRouter::new()
        .merge(sandboxes::routes())
        .merge(executions::routes())
        .merge(output::routes())
        .merge(events::routes())
        .merge(projects::routes())
        .merge(tokens::routes())
        .merge(audit::routes())
}

/// The routes beside it, which answer also when the API has too much to do.
fn beside() -> OpenApiRouter<App> {
    OpenApiRouter::new().merge(health::routes()).merge(errors::routes())
}

fn described(app: Option<&App>) -> (Router<App>, utoipa::openapi::OpenApi) {
    let mut api = api();
    if let Some(app) = app {
        api = api.layer(from_fn_with_state(app.clone(), bound::bound));
    }
    let all = OpenApiRouter::with_openapi(Described::openapi()).merge(beside()).nest("/api/v1", api);
    all.split_for_parts()
}

/// A time of the books as answers have it; before 1970 there was none.
fn time(us: i64) -> Timestamp {
    Timestamp::from_unix_ms(u64::try_from(us / 1000).unwrap_or(0))
}

/// The project of that id or name, if one is named.
async fn named(app: &App, principal: &Principal, name: Option<&str>) -> Result<Option<ProjectId>, Problem> {
    match name {
        Some(name) => app.projects.of_request(principal, Some(name)).await.map(|project| Some(project.id)),
        None => Ok(None),
    }
}

/// Where a page of a list begins that is ordered by time and id.
fn before(cursor: Option<&str>) -> Result<Before, Problem> {
    let Some(text) = cursor else { return Ok(Before::nothing()) };
    let cursor: Cursor = text.parse()?;
    let read = cursor
        .key()
        .split_once(':')
        .and_then(|(us, id)| Some(Before { created_us: us.parse().ok()?, id: id.to_owned() }));
    let expected = "the `next_cursor` of the page before, unchanged";
    read.ok_or_else(|| {
        Problem::refused(ErrorCode::InvalidQuery, text, "is not a cursor of this list", expected)
            .within("cursor")
    })
}

/// The cursor of the page that begins there.
fn next(at: Before) -> Cursor {
    Cursor::after(format!("{}:{}", at.created_us, at.id))
}

/// The OpenAPI document, as it is committed and served.
pub(crate) fn document() -> utoipa::openapi::OpenApi {
    described(None).1
}

/// The service for the main listener.
pub(crate) fn router(app: &App) -> Router {
    let base_path = &app.config.base_path;
    let (mut router, document) = described(Some(app));
    if app.config.metrics_listen.is_none() {
        router = router.merge(metrics::routes());
    }
    let router = router.merge(docs::document(document)).with_state(app.clone());
    let router = if base_path.is_empty() { router } else { Router::new().nest(base_path, router) };
    around(router.merge(docs::reader(base_path)), app)
}

/// The service for the listener of the metrics.
pub(crate) fn metrics_router(app: &App) -> Router {
    around(metrics::routes().with_state(app.clone()), app)
}
