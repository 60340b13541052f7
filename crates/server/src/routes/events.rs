//! `/api/v1/events`.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use sandkeep_api::events::{Event, Events, ListEvents};
use sandkeep_api::{Document, page};
use sandkeep_control::events::{Event as Row, Filter, Follow};
use sandkeep_core::code::Problem;
use sandkeep_core::execution::json;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::time;
use crate::extract::{Caller, Query};
use crate::middleware::bound::Place;
use crate::middleware::callers::Open;
use crate::refusal::Answer;
use crate::state::App;
use crate::stream::{self, Resume};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(list))
}

/// What a client that comes back says.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by `Resume`; this describes it")]
struct Resumed {
    /// The last position that was seen; instead of `after`.
    #[param(rename = "Last-Event-ID", value_type = String, required = false, pattern = "^[0-9]{0,18}$")]
    last_event_id: Option<String>,
}

/// What happened in a project, in its order: a part of it as JSON; as it happens, as server-sent events, where `Accept` asks
/// for `text/event-stream`. Whoever gives the last position seen as `after` (or as `Last-Event-ID`) misses nothing.
#[utoipa::path(
    get,
    path = "/events",
    tag = "events",
    params(
        ListEvents,
        Resumed,
    ),
    security(("bearer" = []), ("key" = [])),
    responses(
        (status = 200, content((Events = "application/json"), (serde_json::Value = "text/event-stream"))),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
        (status = "5XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn list(
    State(app): State<App>,
    caller: Caller,
    place: Place,
    Query(wanted): Query<ListEvents>,
    resume: Resume,
    headers: HeaderMap,
) -> Answer<Response> {
    let limit = page::limit(wanted.limit)?;
    let project_id = app.projects.of_request(&caller.0, wanted.project.as_deref()).await?.id;
    let filter = Filter { kind: wanted.kind, subject: wanted.subject };
    let after = match resume.of::<i64>("")? {
        stream::At::After(position) => position,
        stream::At::Begin | stream::At::End => wanted.after.unwrap_or(0),
    };
    if stream::accepts(&headers, "text/event-stream") {
        let follow = app.events.follow(&caller.0, project_id, filter, after)?;
        return Ok(stream::events(&app, Reader { follow, _open: place.stay_open() }));
    }
    let part = app.events.after(&caller.0, project_id, &filter, after, limit).await?;
    let items = part.events.into_iter().map(shown).collect();
    Ok(Json(Events { items, after: part.after }).into_response())
}

struct Reader {
    follow: Follow,
    _open: Option<Open>,
}

impl stream::Source for Reader {
    async fn next(&mut self) -> Result<Option<Vec<stream::Event>>, Problem> {
        let event = |row: Row| {
            let event = shown(row);
            let (id, data) = (event.position.to_string(), stream::json(&event));
            stream::Event { id: Some(id), name: event.kind, data }
        };
        Ok(Some(self.follow.next().await?.into_iter().map(event).collect()))
    }
}

fn shown(row: Row) -> Event {
    // What is not JSON was not written by us.
    let data = json::Json::parse(row.data.as_bytes());
    Event {
        position: row.position,
        project_id: row.project_id,
        kind: row.kind,
        subject: row.subject,
        data: data.unwrap_or_else(|_| json::Json::from(serde_json::Value::Null)),
        happened_at: time(row.happened_us),
    }
}
