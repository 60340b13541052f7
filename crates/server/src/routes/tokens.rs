//! `/api/v1/tokens`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use sandkeep_api::tokens::{CreateToken, CreatedToken, ListTokens, Token};
use sandkeep_api::{Document, Page, page};
use sandkeep_control::tokens::{NewToken, Token as Row};
use sandkeep_core::id::TokenId;
use sandkeep_core::identity::{Asked, Scopes};
use sandkeep_core::time::Timestamp;
use secrecy::ExposeSecret as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{before, named, time};
use crate::extract::{Body, Caller, Id, Query, Repeat};
use crate::refusal::Answer;
use crate::state::App;

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(revoke))
}

/// Makes a token for the caller, good for at most what the caller's own is. Its text is shown this once.
#[utoipa::path(
    post,
    path = "/tokens",
    tag = "tokens",
    params(("Idempotency-Key" = Option<String>, Header, pattern = "^[!-~]{1,255}$", description = "The same key and body make one token.")),
    request_body = CreateToken,
    security(("bearer" = []), ("key" = [])),
    responses(
        (status = 201, body = CreatedToken),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn create(
    State(app): State<App>,
    caller: Caller,
    repeat: Repeat,
    Body(wanted, body): Body<CreateToken>,
) -> Answer<(StatusCode, Json<CreatedToken>)> {
    let project = named(&app, &caller.0, wanted.project.as_deref()).await?;
    let made_in = match project {
        Some(project) => project,
        None => app.projects.of_request(&caller.0, None).await?.id,
    };
    let again = repeat.of(&caller.0, made_in, "POST /api/v1/tokens", &body)?;
    let expires_us =
        wanted.expires_at.map(|at| i64::try_from(at.unix_ms()).unwrap_or(i64::MAX / 1000) * 1000);
    let scopes = wanted.scopes.map(|scopes| scopes.into_iter().collect::<Scopes>());
    let asked = Asked { project, role: wanted.role, scopes, expires_us };
    let new = NewToken { name: wanted.name, asked, format: wanted.format.unwrap_or_default() };
    app.clone()
        .complete(async move {
            let made = app.tokens.create(&caller.0, new, again, &repeat.request_id).await?;
            let token = made.text.map(|text| text.expose_secret().to_owned());
            Ok((StatusCode::CREATED, Json(CreatedToken { id: made.token.id, token })))
        })
        .await
}

/// Tokens, newest first: the caller's own, and for an owner everybody's.
#[utoipa::path(
    get,
    path = "/tokens",
    tag = "tokens",
    params(ListTokens),
    security(("bearer" = []), ("key" = [])),
    responses(
        (status = 200, body = Page<Token>),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    Query(wanted): Query<ListTokens>,
) -> Answer<Json<Page<Token>>> {
    let limit = page::limit(wanted.limit)?;
    let before = before(wanted.cursor.as_deref())?;
    let project = named(&app, &caller.0, wanted.project.as_deref()).await?;
    let found = app.tokens.list(&caller.0, project, &before, limit + 1).await?;
    let page = Page::of(found, limit, |row| format!("{}:{}", row.created_us, row.id));
    let Page { items, next_cursor } = page;
    Ok(Json(Page { items: items.into_iter().map(shown).collect(), next_cursor }))
}

/// Revokes a token: at once for requests to this server, within five seconds for those to others.
#[utoipa::path(
    delete,
    path = "/tokens/{id}",
    tag = "tokens",
    params(("id" = String, Path, pattern = "^tk[0-7][0-9a-v]{25}$")),
    security(("bearer" = []), ("key" = [])),
    responses(
        (status = 204, description = "It is good for nothing any more."),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn revoke(
    State(app): State<App>,
    caller: Caller,
    Id(id): Id<TokenId>,
    repeat: Repeat,
) -> Answer<StatusCode> {
    app.clone()
        .complete(async move {
            app.tokens.revoke(&caller.0, id, &repeat.request_id).await?;
            Ok(StatusCode::NO_CONTENT)
        })
        .await
}

fn shown(row: Row) -> Token {
    let at = |us: Option<i64>| -> Option<Timestamp> { us.map(time) };
    Token {
        id: row.id,
        name: row.name,
        project_id: row.project_id,
        principal_id: row.principal_id,
        role: row.role,
        scopes: row.scopes.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect(),
        format: row.format,
        created_at: time(row.created_us),
        expires_at: at(row.expires_us),
        used_at: at(row.used_us),
    }
}
