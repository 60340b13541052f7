//! `/api/v1/executions/{id}/output` and `/stream`: what an execution wrote, and what it writes.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse as _, Response};
use sandkeep_api::Document;
use sandkeep_api::executions::{ExecutionEnd, Output, OutputChunk, ReadOutput, position};
use sandkeep_control::executions::{Follow, Stored, Told};
use sandkeep_control::output::Piece;
use sandkeep_core::code::Problem;
use sandkeep_core::id::ExecutionId;
use sandkeep_core::output::Gap;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::{Caller, Id, Query};
use crate::middleware::bound::Place;
use crate::middleware::callers::Open;
use crate::refusal::Answer;
use crate::state::App;
use crate::stream::socket::Upgrade;
use crate::stream::{self, Event, Resume};

pub(super) fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::new().routes(routes!(output)).routes(routes!(stream))
}

/// Bytes after which an answer in JSON ends; more is read with `after`. Of the size of a piece more at most.
const PAGE_BYTES: usize = 1 << 20;
/// Where a body of bytes says where to read on, and whether anything comes.
const AFTER: HeaderName = HeaderName::from_static("sandkeep-output-after");
const COMPLETE: HeaderName = HeaderName::from_static("sandkeep-output-complete");

/// What is kept of the output so far, from a position on: as JSON, about 1 MiB at a time; as bytes, all of it, where
/// `Accept` asks for `application/octet-stream`.
#[utoipa::path(
    get,
    path = "/executions/{id}/output",
    tag = "executions",
    params(("id" = String, Path, pattern = "^ex[0-7][0-9a-v]{25}$"), ReadOutput),
    security(("bearer" = []), ("key" = [])),
    responses(
        (
            status = 200,
            content((Output = "application/json"), (Vec<u8> = "application/octet-stream")),
            headers(
                ("Sandkeep-Output-After" = u64, description = "With bytes: give this as `after` to read on."),
                ("Sandkeep-Output-Complete" = bool, description = "With bytes: nothing comes after them any more."),
            ),
        ),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
        (status = "5XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn output(
    State(app): State<App>,
    caller: Caller,
    place: Place,
    Id(id): Id<ExecutionId>,
    Query(from): Query<ReadOutput>,
    headers: HeaderMap,
) -> Answer<Response> {
    let stored = app.executions.output(&caller.0, id, position(from.after)?).await?;
    if !stream::accepts(&headers, "application/octet-stream") {
        return Ok(Json(page(stored, from.after).await?).into_response());
    }
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (AFTER, stored.reach.to_string()),
        (COMPLETE, stored.ended.to_string()),
    ];
    Ok((headers, stream::bytes(stored, place.stay_open())).into_response())
}

async fn page(mut stored: Stored, position: u64) -> Result<Output, Problem> {
    let mut page = Output { chunks: Vec::new(), gap: None, after: position, complete: false };
    let mut bytes = 0;
    while bytes < PAGE_BYTES {
        let Some(piece) = stored.next().await? else {
            page.complete = stored.ended;
            break;
        };
        bytes += piece.bytes();
        page.after = piece.end();
        match piece {
            Piece::Bytes { position, stream, bytes } => {
                page.chunks.push(OutputChunk::of(position, stream, bytes));
            }
            Piece::Gap { from, to } => page.gap = Some(Gap { from, to }),
        }
    }
    Ok(page)
}

/// What a client that comes back says.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "read by `Resume`; this describes it")]
struct Resumed {
    /// The last id that was seen; instead of `after`.
    #[param(rename = "Last-Event-ID", value_type = String, required = false, pattern = "^([0-9]{0,19}|end)$")]
    last_event_id: Option<String>,
}

/// The output as it comes, then the end: server-sent events, or messages of a WebSocket where the request is to become one.
///
/// Events are `output` (an `OutputChunk`), `gap` (positions that were not kept) and, last, `end` (an `ExecutionEnd`). Their ids
/// are where to read on: a client that comes back with `Last-Event-ID` misses nothing and gets nothing twice, and one that
/// has seen the end is told so with 204. A message of a WebSocket is the same as one object, `{"event", "id", "data"}`.
#[utoipa::path(
    get,
    path = "/executions/{id}/stream",
    tag = "executions",
    params(
        ("id" = String, Path, pattern = "^ex[0-7][0-9a-v]{25}$"),
        ReadOutput,
        Resumed,
    ),
    security(("bearer" = []), ("key" = [])),
    responses(
        (status = 200, body = serde_json::Value, content_type = "text/event-stream"),
        (status = 101, description = "It goes on as a WebSocket."),
        (status = 204, description = "The end was seen."),
        (status = "4XX", body = Document, content_type = "application/problem+json"),
        (status = "5XX", body = Document, content_type = "application/problem+json"),
    )
)]
async fn stream(
    State(app): State<App>,
    caller: Caller,
    place: Place,
    Id(id): Id<ExecutionId>,
    Query(from): Query<ReadOutput>,
    resume: Resume,
    upgrade: Upgrade,
) -> Answer<Response> {
    let asked = position(from.after)?;
    let position = match resume.of::<u64>(END)? {
        stream::At::Begin => asked,
        stream::At::After(after) => position(after)?,
        stream::At::End => return Ok(axum::http::StatusCode::NO_CONTENT.into_response()),
    };
    let follow = app.executions.follow(&Arc::clone(&caller.0), id, position).await?;
    let reader = Reader { follow, _open: place.stay_open() };
    match upgrade.0 {
        Some(upgrade) => Ok(stream::socket::open(&app, upgrade, reader)?),
        None => Ok(stream::events(&app, reader)),
    }
}

/// The id of the last event.
const END: &str = "end";

struct Reader {
    follow: Follow,
    _open: Option<Open>,
}

impl stream::Source for Reader {
    async fn next(&mut self) -> Result<Option<Vec<Event>>, Problem> {
        let told = self.follow.next().await?;
        Ok(told.map(|told| vec![event(told)]))
    }
}

fn event(told: Told) -> Event {
    let (id, name, data) = match told {
        Told::Piece(piece) => {
            let id = piece.end().to_string();
            match piece {
                Piece::Bytes { position, stream, bytes } => {
                    (id, "output", stream::json(&OutputChunk::of(position, stream, bytes)))
                }
                Piece::Gap { from, to } => (id, "gap", stream::json(&Gap { from, to })),
            }
        }
        Told::End(result) => (END.to_owned(), "end", stream::json(&ExecutionEnd::from(&*result))),
    };
    Event { id: Some(id), name: name.to_owned(), data }
}
