//! `/openapi.json`, and `/docs` to read it with: Swagger UI, out of this program, so that it needs no network.

use axum::Router;
use axum::http::{HeaderName, header};
use axum::response::Redirect;
use axum::routing::get;
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::state::App;

/// The document.
pub(super) fn document(document: utoipa::openapi::OpenApi) -> Router<App> {
    let json = document.to_json().expect("maps of texts have a JSON form");
    let headers: [(HeaderName, &str); 1] = [(header::CONTENT_TYPE, "application/json")];
    Router::new().route("/openapi.json", get(move || async move { (headers, json) }))
}

/// The reader, below `base_path`; it links by whole paths.
pub(super) fn reader(base_path: &str) -> Router {
    let docs = format!("{base_path}/docs");
    let slash = format!("{docs}/");
    let reader = SwaggerUi::new(docs).config(Config::from(format!("{base_path}/openapi.json")));
    let front = get(move || async move { Redirect::temporary(&slash) });
    let root = if base_path.is_empty() { "/" } else { base_path };
    Router::from(reader).route(root, front)
}
