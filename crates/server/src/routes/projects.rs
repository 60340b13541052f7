//! `/api/v1/projects`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sandkeep_api::projects::{ListProjects, NameProject, Project};
use sandkeep_api::{Cursor, Document, Page, page};
use sandkeep_control::projects::Project as Row;
use sandkeep_core::id::ProjectId;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::time;
use crate::extract::{Body, Caller, Id, Query, Repeat};
use crate::refusal::Answer;
use crate::state::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, rename))
}

fn shown(row: Row) -> Project {
    Project { id: row.id, name: row.name, created_at: time(row.created_us) }
}

/// The projects that the caller has a role in, by name.
#[utoipa::path(
    get,
    path = "/projects",
    tag = "projects",
    params(ListProjects),
    security(("bearer" = []), ("key" = [])),
    responses(
        (status = 200, body = Page<Project>),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(wanted): Query<ListProjects>,
) -> Answer<Json<Page<Project>>> {
    let limit = page::limit(wanted.limit)?;
    let after = wanted.cursor.map(|cursor| cursor.parse::<Cursor>()).transpose()?;
    let after = after.as_ref().map_or("", Cursor::key);
    let found = app.projects.list(&caller.0, after, limit + 1).await?;
    Ok(Json(Page::of(found.into_iter().map(shown).collect(), limit, |project: &Project| {
        project.name.clone()
    })))
}

/// Makes a project. It takes an administrator of the server.
#[utoipa::path(
    post,
    path = "/projects",
    tag = "projects",
    params(("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$", description = "The same key and body make one project.")),
    request_body = NameProject,
    security(("bearer" = []), ("key" = [])),
    responses(
        (status = 201, body = Project),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn create(
    State(app): State<App>,
    caller: Caller,
    repeat: Repeat,
    Body(wanted, body): Body<NameProject>,
) -> Answer<(StatusCode, Json<Project>)> {
    let made_in = app.projects.of_request(&caller.0, None).await?;
    let again = repeat.of(&caller.0, made_in.id, "POST /api/v1/projects", &body)?;
    app.clone()
        .complete(async move {
            let made = app.projects.create(&caller.0, &wanted.name, again, &repeat.request_id).await?;
            Ok((StatusCode::CREATED, Json(shown(made))))
        })
        .await
}

/// One project.
#[utoipa::path(
    get,
    path = "/projects/{id}",
    tag = "projects",
    params(("id" = String, Path, pattern = "^pr[0-7][0-9a-v]{25}$")),
    security(("bearer" = []), ("key" = [])),
    responses(
        (status = 200, body = Project),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn get(State(app): State<App>, caller: Caller, Id(id): Id<ProjectId>) -> Answer<Json<Project>> {
    Ok(Json(shown(app.projects.get(&caller.0, id).await?)))
}

/// Gives a project another name.
#[utoipa::path(
    patch,
    path = "/projects/{id}",
    tag = "projects",
    params(("id" = String, Path, pattern = "^pr[0-7][0-9a-v]{25}$")),
    request_body = NameProject,
    security(("bearer" = []), ("key" = [])),
    responses(
        (status = 200, body = Project),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn rename(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<ProjectId>,
    repeat: Repeat,
    Body(wanted, _): Body<NameProject>,
) -> Answer<Json<Project>> {
    app.clone()
        .complete(async move {
            let renamed = app.projects.rename(&caller.0, id, &wanted.name, &repeat.request_id).await?;
            Ok(Json(shown(renamed)))
        })
        .await
}
