//! `/api/v1/sandboxes`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use sandkeep_api::sandboxes::{
    CreateSandbox, Failure, Lifetime, ListSandboxes, Sandbox, SandboxStatus, UpdateSandbox, WaitFor,
    WaitSandbox, labels,
};
use sandkeep_api::{Document, Page, page};
use sandkeep_control::request::{Lifetime as KeptLifetime, SandboxSpec};
use sandkeep_control::sandboxes::{Description, Filter, Known, NewSandbox};
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::id::{ProjectId, SandboxId};
use sandkeep_core::sandbox::SandboxState;
use sandkeep_core::time::Timestamp;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{before, next, time};
use crate::extract::{Body, Caller, Id, Query, Repeat};
use crate::middleware::bound::Place;
use crate::refusal::Answer;
use crate::state::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, update, delete))
}

/// Makes a sandbox. The answer is there at once, before the sandbox is; with `?wait=running` when it is, or has failed, or the
/// time is over.
#[utoipa::path(
    post,
    path = "/sandboxes",
    tag = "sandboxes",
    params(
        WaitSandbox,
        ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$", description = "The same key and body make one sandbox."),
    ),
    request_body = CreateSandbox,
    security(("bearer" = []), ("key" = [])),
    responses(
        (status = 201, body = Sandbox),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
        (status = "5XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn create(
    State(app): State<App>,
    caller: Caller,
    place: Place,
    repeat: Repeat,
    Query(wait): Query<WaitSandbox>,
    Body(wanted, body): Body<CreateSandbox>,
) -> Answer<(StatusCode, [(HeaderName, String); 1], Json<Sandbox>)> {
    let within = page::wait(wait.timeout_ms)?;
    let project_id = app.projects.of_request(&caller.0, wanted.project.as_deref()).await?.id;
    let again = repeat.of(&caller.0, project_id, "POST /api/v1/sandboxes", &body)?;
    let new = new(wanted)?;
    let (doing, principal) = (app.clone(), caller.0.clone());
    let made = app.complete(async move {
        let made = doing.sandboxes.create(&principal, project_id, new, again, &repeat.request_id).await?;
        Ok(made)
    });
    let mut made = made.await?;
    if let Some(WaitFor::Running) = wait.wait {
        place.give_back();
        let waiting = app.sandboxes.wait(&caller.0, made.key().1, within, |known| {
            !matches!(known.state(), SandboxState::Creating | SandboxState::Starting)
        });
        // A shutdown does not wait for who waits.
        if let Some(settled) = app.stopping.run_until_cancelled(waiting).await {
            made = settled?;
        }
    }
    let at = format!("{}/api/v1/sandboxes/{}", app.config.base_path, made.key().1);
    Ok((StatusCode::CREATED, [(header::LOCATION, at)], Json(shown(&made)?)))
}

/// Sandboxes, newest first.
#[utoipa::path(
    get,
    path = "/sandboxes",
    tag = "sandboxes",
    params(ListSandboxes),
    security(("bearer" = []), ("key" = [])),
    responses(
        (status = 200, body = Page<Sandbox>),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
        (status = "5XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(wanted): Query<ListSandboxes>,
) -> Answer<Json<Page<Sandbox>>> {
    let limit = page::limit(wanted.limit)?;
    let before = before(wanted.cursor.as_deref())?;
    let project_id = app.projects.of_request(&caller.0, wanted.project.as_deref()).await?.id;
    let us = |at: Timestamp| i64::try_from(at.unix_ms()).unwrap_or(i64::MAX / 1000).saturating_mul(1000);
    let nothing = Filter::default();
    let filter = Filter {
        status: wanted.status.map(SandboxStatus::as_str),
        template: wanted.template,
        name: wanted.name,
        labels: wanted.labels.as_deref().map(labels).transpose()?.unwrap_or_default(),
        // To the end of that millisecond: what is shown of a time is what is compared.
        created_after_us: wanted
            .created_after
            .map_or(nothing.created_after_us, |at| us(at).saturating_add(999)),
        created_before_us: wanted.created_before.map_or(nothing.created_before_us, us),
    };
    let listed = app.sandboxes.list(&caller.0, project_id, &filter, before, limit).await?;
    let items = listed.items.iter().map(shown).collect::<Result<_, _>>()?;
    Ok(Json(Page { items, next_cursor: listed.more.map(next) }))
}

/// One sandbox, also after its end.
#[utoipa::path(
    get,
    path = "/sandboxes/{id}",
    tag = "sandboxes",
    params(("id" = String, Path, pattern = "^sb[0-7][0-9a-v]{25}$")),
    security(("bearer" = []), ("key" = [])),
    responses(
        (status = 200, body = Sandbox),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
        (status = "5XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn get(State(app): State<App>, caller: Caller, Id(id): Id<SandboxId>) -> Answer<Json<Sandbox>> {
    Ok(Json(shown(&app.sandboxes.get(&caller.0, id).await?)?))
}

/// Changes name and labels.
#[utoipa::path(
    patch,
    path = "/sandboxes/{id}",
    tag = "sandboxes",
    params(("id" = String, Path, pattern = "^sb[0-7][0-9a-v]{25}$")),
    request_body = UpdateSandbox,
    security(("bearer" = []), ("key" = [])),
    responses(
        (status = 200, body = Sandbox),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
        (status = "5XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn update(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SandboxId>,
    repeat: Repeat,
    Body(wanted, _): Body<UpdateSandbox>,
) -> Answer<Json<Sandbox>> {
    let change = Description { name: wanted.name, labels: wanted.labels };
    app.clone()
        .complete(async move {
            let changed = app.sandboxes.describe(&caller.0, id, change, &repeat.request_id).await?;
            Ok(Json(shown(&changed)?))
        })
        .await
}

/// Ends a sandbox and all that runs in it. The answer is there at once; it is gone when its status is `terminated`.
#[utoipa::path(
    delete,
    path = "/sandboxes/{id}",
    tag = "sandboxes",
    params(("id" = String, Path, pattern = "^sb[0-7][0-9a-v]{25}$")),
    security(("bearer" = []), ("key" = [])),
    responses(
        (status = 200, body = Sandbox, description = "It had ended already."),
        (status = 202, body = Sandbox, description = "It is being ended."),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
        (status = "5XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn delete(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SandboxId>,
    repeat: Repeat,
) -> Answer<(StatusCode, Json<Sandbox>)> {
    app.clone()
        .complete(async move {
            let known = app.sandboxes.delete(&caller.0, id, &repeat.request_id).await?;
            let status = match &known {
                Known::Live(_) => StatusCode::ACCEPTED,
                Known::Ended(_) => StatusCode::OK,
            };
            Ok((status, Json(shown(&known)?)))
        })
        .await
}

fn new(wanted: CreateSandbox) -> Result<NewSandbox, Problem> {
    let CreateSandbox { project: _, template, lifetime, name, labels, env, limits, profile } = wanted;
    if lifetime == Some(Lifetime::Persistent) {
        let (why, expected) = ("is not a lifetime that this release has", "`ephemeral`");
        let problem = Problem::refused(ErrorCode::InvalidValue, "persistent", why, expected);
        return Err(problem.within("lifetime"));
    }
    Ok(NewSandbox { name, template, profile, limits: limits.into(), env, labels })
}

/// What both kinds of rows have in common.
struct Row<'a> {
    id: SandboxId,
    project_id: ProjectId,
    name: Option<&'a String>,
    created_us: i64,
    active_us: i64,
    expires_us: Option<i64>,
    ended_us: Option<i64>,
}

impl<'a> From<&'a Known> for Row<'a> {
    fn from(known: &'a Known) -> Self {
        match known {
            Known::Live(of) => Row {
                id: of.id,
                project_id: of.project_id,
                name: of.name.as_ref(),
                created_us: of.created_us,
                active_us: of.active_us,
                expires_us: of.expires_us,
                ended_us: None,
            },
            Known::Ended(of) => Row {
                id: of.id,
                project_id: of.project_id,
                name: of.name.as_ref(),
                created_us: of.created_us,
                active_us: of.ended_us,
                expires_us: None,
                ended_us: Some(of.ended_us),
            },
        }
    }
}

fn shown(known: &Known) -> Result<Sandbox, Problem> {
    let (row, state) = (Row::from(known), known.state());
    let SandboxSpec { template, lifetime: KeptLifetime::Ephemeral, profile, limits, labels, .. } =
        known.spec()?;
    let status = SandboxStatus::from(&state);
    let (reason, failure) = match state {
        SandboxState::Terminating(reason) | SandboxState::Terminated(reason) => (Some(reason), None),
        SandboxState::Error(failure) => (None, Some(failure)),
        SandboxState::Creating
        | SandboxState::Starting
        | SandboxState::Running
        | SandboxState::Updating
        | SandboxState::Stopping
        | SandboxState::Stopped
        | SandboxState::Paused => (None, None),
    };
    Ok(Sandbox {
        id: row.id,
        project_id: row.project_id,
        name: row.name.cloned(),
        status,
        reason: reason.map(|reason| reason.as_str().to_owned()),
        failure: failure.map(|failure| Failure {
            reason: failure.reason,
            attempt: failure.attempt,
            next_try_at: Timestamp::from_unix_ms(failure.next_try_ms),
        }),
        template,
        lifetime: Lifetime::Ephemeral,
        profile,
        labels,
        limits,
        enforcement: known.enforcement(),
        created_at: time(row.created_us),
        active_at: time(row.active_us),
        expires_at: row.expires_us.map(time),
        ended_at: row.ended_us.map(time),
    })
}
