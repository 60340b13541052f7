//! `/api/v1/executions`, and those of a sandbox. Reading their output is in [`super::output`].

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use sandkeep_api::executions::{CreateExecution, Execution, ListExecutions, RunExecution, WaitExecution};
use sandkeep_api::{Document, Page, page};
use sandkeep_control::executions::Made;
use sandkeep_control::request::NewExecution;
use sandkeep_control::sandboxes::NewSandbox;
use sandkeep_core::id::{ExecutionId, SandboxId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{before, next};
use crate::extract::{Body, Caller, Id, Query, Repeat};
use crate::middleware::bound::Place;
use crate::refusal::Answer;
use crate::state::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(run)).routes(routes!(get, cancel))
}

type Created = (StatusCode, [(HeaderName, String); 1], Json<Execution>);

/// Runs something in a sandbox that is there. The answer is there at once, before the end; with `?wait=true` when it has
/// ended, or the time is over.
#[utoipa::path(
    post,
    path = "/sandboxes/{id}/executions",
    tag = "executions",
    params(
        ("id" = String, Path, pattern = "^sb[0-7][0-9a-v]{25}$"),
        WaitExecution,
        ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$", description = "The same key and body run it once."),
    ),
    request_body = CreateExecution,
    security(("bearer" = []), ("key" = [])),
    responses(
        (status = 201, body = Execution),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
        (status = "5XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn create(
    State(app): State<App>,
    caller: Caller,
    place: Place,
    Id(id): Id<SandboxId>,
    repeat: Repeat,
    Query(wait): Query<WaitExecution>,
    Body(wanted, body): Body<CreateExecution>,
) -> Answer<Created> {
    let within = page::wait(wait.timeout_ms)?;
    let again = if repeat.is_named() {
        let project_id = app.executions.project_of(&caller.0, id).await?;
        // The sandbox is part of what is asked for.
        let asked = [id.to_string().as_bytes(), b"\n", &body].concat();
        repeat.of(&caller.0, project_id, "POST /api/v1/sandboxes/{id}/executions", &asked)?
    } else {
        None
    };
    let CreateExecution { timeout_ms, ref env, ref cwd, .. } = wanted;
    let (work, stdin) = (wanted.work()?, wanted.stdin()?);
    let new = NewExecution { work, env: env.clone(), cwd: cwd.clone(), stdin, timeout: timeout_ms };
    let made = app.executions.create(&caller.0, id, new, again, &repeat.request_id).await?;
    answered(&app, &caller, &place, made, wait.wait.then_some(within)).await
}

/// Runs something in a sandbox that is made for it alone and goes with its end.
#[utoipa::path(
    post,
    path = "/executions",
    tag = "executions",
    params(
        WaitExecution,
        ("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$", description = "The same key and body run it once."),
    ),
    request_body = RunExecution,
    security(("bearer" = []), ("key" = [])),
    responses(
        (status = 201, body = Execution),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
        (status = "5XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn run(
    State(app): State<App>,
    caller: Caller,
    place: Place,
    repeat: Repeat,
    Query(wait): Query<WaitExecution>,
    Body(wanted, body): Body<RunExecution>,
) -> Answer<Created> {
    let within = page::wait(wait.timeout_ms)?;
    let project_id = app.projects.of_request(&caller.0, wanted.project.as_deref()).await?.id;
    let again = repeat.of(&caller.0, project_id, "POST /api/v1/executions", &body)?;
    let (work, stdin) = (wanted.work()?, wanted.stdin()?);
    let RunExecution { template, profile, limits, labels, env, cwd, timeout_ms, .. } = wanted;
    let sandbox = NewSandbox { template, profile, limits: limits.into(), labels, ..NewSandbox::default() };
    let new = NewExecution { work, env, cwd, stdin, timeout: timeout_ms };
    let of = &app.executions;
    let made = of.run(&caller.0, project_id, sandbox, new, again, &repeat.request_id).await?;
    answered(&app, &caller, &place, made, wait.wait.then_some(within)).await
}

/// What was made, at once or when it has ended.
async fn answered(
    app: &App,
    caller: &Caller,
    place: &Place,
    made: Made,
    wait: Option<Duration>,
) -> Answer<Created> {
    let at = format!("{}/api/v1/executions/{}", app.config.base_path, made.result.id);
    let mut told = made.result.clone();
    if let Some(within) = wait {
        place.give_back();
        // A shutdown does not wait for who waits.
        let waiting = app.executions.ended(&caller.0, made, within);
        if let Some(ended) = app.stopping.run_until_cancelled(waiting).await {
            told = ended?;
        }
    }
    Ok((StatusCode::CREATED, [(header::LOCATION, at)], Json(Execution(told))))
}

/// Executions of a sandbox, newest first, without their output.
#[utoipa::path(
    get,
    path = "/sandboxes/{id}/executions",
    tag = "executions",
    params(("id" = String, Path, pattern = "^sb[0-7][0-9a-v]{25}$"), ListExecutions),
    security(("bearer" = []), ("key" = [])),
    responses(
        (status = 200, body = Page<Execution>),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
        (status = "5XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<SandboxId>,
    Query(wanted): Query<ListExecutions>,
) -> Answer<Json<Page<Execution>>> {
    let limit = page::limit(wanted.limit)?;
    let before = before(wanted.cursor.as_deref())?;
    let listed = app.executions.list(&caller.0, id, wanted.status, before, limit).await?;
    let items = listed.items.into_iter().map(Execution).collect();
    Ok(Json(Page { items, next_cursor: listed.more.map(next) }))
}

/// One execution, with the first and the last of its output, 1 MiB at most. `/output` has all that is kept.
#[utoipa::path(
    get,
    path = "/executions/{id}",
    tag = "executions",
    params(("id" = String, Path, pattern = "^ex[0-7][0-9a-v]{25}$")),
    security(("bearer" = []), ("key" = [])),
    responses(
        (status = 200, body = Execution),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
        (status = "5XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn get(State(app): State<App>, caller: Caller, Id(id): Id<ExecutionId>) -> Answer<Json<Execution>> {
    Ok(Json(Execution(app.executions.get(&caller.0, id).await?)))
}

/// Cancels an execution. The answer is there at once; what it came to is known when it has ended.
#[utoipa::path(
    delete,
    path = "/executions/{id}",
    tag = "executions",
    params(("id" = String, Path, pattern = "^ex[0-7][0-9a-v]{25}$")),
    security(("bearer" = []), ("key" = [])),
    responses(
        (status = 200, body = Execution, description = "It had ended already, and stays as it is."),
        (status = 202, body = Execution, description = "It will end."),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
        (status = "5XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn cancel(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<ExecutionId>,
    repeat: Repeat,
) -> Answer<(StatusCode, Json<Execution>)> {
    app.clone()
        .complete(async move {
            let told = app.executions.cancel(&caller.0, id, &repeat.request_id).await?;
            let status = if told.status.is_end() { StatusCode::OK } else { StatusCode::ACCEPTED };
            Ok((status, Json(Execution(told))))
        })
        .await
}
