//! `/errors/{code}`: the page of an error code, where a problem document's `type` leads.

use axum::extract::Path;
use axum::http::{HeaderName, header};
use sandkeep_core::code::{ErrorCode, Problem};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::refusal::Answer;
use crate::state::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(page))
}

/// What an error code means and what to do, as Markdown.
#[utoipa::path(
    get,
    path = "/errors/{code}",
    tag = "errors",
    params(("code" = String, Path, example = "invalid_size")),
    responses(
        (status = 200, body = String, content_type = "text/markdown"),
        (status = 404, body = sandkeep_api::Document, content_type = "application/problem+json"),
    )
)]
async fn page(Path(code): Path<String>) -> Answer<([(HeaderName, &'static str); 1], &'static str)> {
    let code: ErrorCode = code.parse().map_err(|_| {
        let expected = "a code as a problem document has it, like invalid_size";
        Problem::refused(ErrorCode::NotFound, &code, "is not an error code", expected)
    })?;
    Ok(([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], code.page()))
}
