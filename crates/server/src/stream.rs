//! Answers that go on: server-sent events, the same over a WebSocket, and bytes out of the store.
//!
//! A stream pulls: nothing is read for a client that has not taken what came before, so a slow one holds one piece. It ends
//! when its source does, when the client leaves, and when the server stops; its client then comes back with the last id.

pub(crate) mod socket;

use std::convert::Infallible;
use std::str::FromStr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use sandkeep_control::executions::Stored;
use sandkeep_control::output::Piece;
use sandkeep_core::code::{ErrorCode, Problem};
use serde::Serialize;
use serde_json::json;

use crate::middleware::callers::Open;
use crate::refusal::Refusal;
use crate::state::App;

/// Between two signs of life where nothing happens: shorter than what proxies wait.
const ALIVE_EVERY: Duration = Duration::from_secs(15);

/// One thing that is told.
#[derive(Debug)]
pub(crate) struct Event {
    /// Where to go on after it; nothing where there is nowhere.
    pub(crate) id: Option<String>,
    /// What it is.
    pub(crate) name: String,
    /// JSON.
    pub(crate) data: String,
}

impl Event {
    fn sse(self) -> sse::Event {
        let event = sse::Event::default().event(self.name).data(self.data);
        match self.id {
            Some(id) => event.id(id),
            None => event,
        }
    }
}

/// Something that events come from.
pub(crate) trait Source: Send + 'static {
    /// What comes next; `None` at the end. Cancel-safe.
    fn next(&mut self) -> impl Future<Output = Result<Option<Vec<Event>>, Problem>> + Send;
}

/// The answer that tells all of `source`.
pub(crate) fn events(app: &App, source: impl Source) -> Response {
    let begin = (app.clone(), Some(source));
    let groups = stream::unfold(begin, |(app, source)| async move {
        let mut source = source?;
        match app.stopping.run_until_cancelled(source.next()).await {
            Some(Ok(Some(events))) => Some((events, (app, Some(source)))),
            Some(Err(problem)) => Some((vec![failed(&problem)], (app, None))),
            Some(Ok(None)) | None => None,
        }
    });
    let events = futures_util::StreamExt::flat_map(groups, |events| {
        stream::iter(events.into_iter().map(Event::sse).map(Ok::<_, Infallible>))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(ALIVE_EVERY)).into_response()
}

/// What a client is told in the middle of a stream, before it ends. It comes back then.
fn failed(problem: &Problem) -> Event {
    let told = json!({ "code": problem.code.as_str(), "detail": problem.message });
    Event { id: None, name: "error".to_owned(), data: told.to_string() }
}

/// Text of something that has a JSON form.
pub(crate) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts, numbers and maps of them have a JSON form")
}

/// A body of what is stored, which holds `open` to its end.
pub(crate) fn bytes(stored: Stored, open: Option<Open>) -> Body {
    Body::from_stream(stream::unfold(Some((stored, open)), |reading| async move {
        let (mut stored, open) = reading?;
        loop {
            match stored.next().await {
                Ok(Some(Piece::Bytes { bytes, .. })) => return Some((Ok(bytes), Some((stored, open)))),
                Ok(Some(Piece::Gap { .. })) => {}
                Ok(None) => return None,
                // The connection breaks off: what came is not all.
                Err(problem) => return Some((Err(std::io::Error::other(problem)), None)),
            }
        }
    }))
}

/// Whether the client names `media_type`. One that takes anything has not.
pub(crate) fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let given = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    given
        .flat_map(|text| text.split(','))
        .any(|one| one.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media_type))
}

/// The header `Last-Event-ID`.
#[derive(Debug)]
pub(crate) struct Resume(Option<String>);

/// Where a stream begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum At<T> {
    /// Nothing was seen.
    Begin,
    /// After this position.
    After(T),
    /// The end was seen.
    End,
}

impl Resume {
    /// Where to begin, in a stream whose ids are positions and, at its end, `end`.
    ///
    /// # Errors
    /// `invalid_query`.
    pub(crate) fn of<T: FromStr>(&self, end: &str) -> Result<At<T>, Problem> {
        match self.0.as_deref() {
            None | Some("") => Ok(At::Begin),
            Some(id) if id == end => Ok(At::End),
            Some(id) => {
                // No sign: that is not how ids are written.
                let position = Some(id).filter(|id| id.bytes().all(|byte| byte.is_ascii_digit()));
                position.and_then(|id| id.parse().ok()).map(At::After).ok_or_else(|| {
                    let (why, expected) = ("is not an id of this stream", "the last id that was seen");
                    Problem::refused(ErrorCode::InvalidQuery, id, why, expected).within("Last-Event-ID")
                })
            }
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Resume {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let given = parts.headers.get("last-event-id");
        Ok(Resume(given.map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_goes_on_where_it_was() {
        let at = |id: Option<&str>| Resume(id.map(str::to_owned)).of::<u64>("end");
        assert_eq!(at(None), Ok(At::Begin));
        assert_eq!(at(Some("")), Ok(At::Begin));
        assert_eq!(at(Some("17")), Ok(At::After(17)));
        assert_eq!(at(Some("end")), Ok(At::End));
        assert!(at(Some("+17")).is_err());
        for id in ["-1", "x", "1 "] {
            assert_eq!(at(Some(id)).unwrap_err().code, ErrorCode::InvalidQuery, "{id}");
        }
    }

    #[test]
    fn a_media_type_is_asked_for_by_its_name() {
        let accepts = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, text.parse().unwrap());
            super::accepts(&headers, "text/event-stream")
        };
        assert!(accepts("text/event-stream") && accepts("text/html, Text/Event-Stream;q=0.9"));
        assert!(!accepts("*/*") && !accepts("text/*") && !accepts("application/json"));
    }
}
