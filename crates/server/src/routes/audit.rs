//! `/api/v1/audit`.

use axum::Json;
use axum::extract::State;
use sandkeep_api::audit::{AuditEntry, ListAudit};
use sandkeep_api::{Document, Page, page};
use sandkeep_control::audit::Entry;
use sandkeep_core::execution::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{before, named, time};
use crate::extract::{Caller, Query};
use crate::refusal::Answer;
use crate::state::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

/// Who changed what, newest first. For owners of a project, and for administrators.
#[utoipa::path(
    get,
    path = "/audit",
    tag = "audit",
    params(ListAudit),
    security(("bearer" = []), ("key" = [])),
    responses(
        (status = 200, body = Page<AuditEntry>),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(wanted): Query<ListAudit>,
) -> Answer<Json<Page<AuditEntry>>> {
    let limit = page::limit(wanted.limit)?;
    let before = before(wanted.cursor.as_deref())?;
    let project = named(&app, &caller.0, wanted.project.as_deref()).await?;
    let found = app.audit.list(&caller.0, project, &before, limit + 1).await?;
    let page = Page::of(found, limit, |row| format!("{}:{}", row.at_us, row.id));
    let Page { items, next_cursor } = page;
    Ok(Json(Page { items: items.into_iter().map(shown).collect(), next_cursor }))
}

fn shown(row: Entry) -> AuditEntry {
    // What is not JSON was not written by us.
    let detail = json::Json::parse(row.detail.as_bytes());
    AuditEntry {
        id: row.id,
        at: time(row.at_us),
        project_id: row.project_id,
        principal_id: row.principal_id,
        token_id: row.token_id,
        action: row.action,
        resource: row.resource,
        request_id: row.request_id,
        detail: detail.unwrap_or_else(|_| json::Json::from(serde_json::Value::Null)),
    }
}
