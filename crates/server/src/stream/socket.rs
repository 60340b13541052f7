//! A stream as messages of a WebSocket: one JSON object for each event, and then the close.

use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::http::request::Parts;
use axum::response::Response;
use sandkeep_core::code::{ErrorCode, Problem};

use super::{ALIVE_EVERY, Event, Source, failed};
use crate::refusal::Refusal;
use crate::state::App;

/// The request to become a WebSocket, if it is one.
#[derive(Debug)]
pub(crate) struct Upgrade(pub(crate) Option<WebSocketUpgrade>);

impl<S: Send + Sync> FromRequestParts<S> for Upgrade {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        Ok(Upgrade(WebSocketUpgrade::from_request_parts(parts, state).await.ok()))
    }
}

/// A client has nothing to say: what it sends is a close, a pong, or let go of.
const MESSAGE_MOST: usize = 4096;
/// What is read at once, and kept for it as long as the WebSocket is open; 128 KiB unless said.
const READ_MOST: usize = 4096;
/// For the other side to answer the close.
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Becomes a WebSocket that tells all of `source`. It has a place of its own as long as it is open, and the shutdown waits for
/// it.
///
/// # Errors
/// `overloaded`.
pub(crate) fn open(app: &App, upgrade: WebSocketUpgrade, source: impl Source) -> Result<Response, Problem> {
    let place = std::sync::Arc::clone(&app.sockets).try_acquire_owned().map_err(|_| {
        let message = format!("{} WebSockets are open, and no more are taken", app.config.limits.connections);
        Problem::new(ErrorCode::Overloaded, message).expecting("the same request again in a moment")
    })?;
    let (app, counted) = (app.clone(), app.tasks.token());
    let upgrade =
        upgrade.max_message_size(MESSAGE_MOST).max_frame_size(MESSAGE_MOST).read_buffer_size(READ_MOST);
    Ok(upgrade.on_upgrade(move |mut socket| async move {
        let (_place, _counted) = (place, counted);
        if let Some(why) = tell(&app, &mut socket, source).await {
            let closing = async {
                // What else it sends is let go of.
                if socket.send(Message::Close(Some(why))).await.is_ok() {
                    while socket.recv().await.is_some_and(|message| message.is_ok()) {}
                }
            };
            let _silent = tokio::time::timeout(CLOSE_WITHIN, closing).await;
        }
    }))
}

/// Tells all there is. Why it is to be closed; `None` when the other side is gone.
async fn tell(app: &App, socket: &mut WebSocket, mut source: impl Source) -> Option<CloseFrame> {
    let close = |code, reason: &'static str| Some(CloseFrame { code, reason: reason.into() });
    let mut alive = tokio::time::interval(ALIVE_EVERY);
    loop {
        let events = tokio::select! {
            () = app.stopping.cancelled() => return close(close_code::AWAY, "the server stops"),
            heard = socket.recv() => match heard? {
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(Message::Text(_) | Message::Binary(_) | Message::Ping(_) | Message::Pong(_)) => continue,
            },
            // For a peer that is gone without a word: the write fails in the end.
            _ = alive.tick() => {
                socket.send(Message::Ping(axum::body::Bytes::new())).await.ok()?;
                continue;
            }
            events = source.next() => events,
        };
        match events {
            Ok(Some(events)) => {
                for event in events {
                    socket.send(message(&event)).await.ok()?;
                }
            }
            Ok(None) => return close(close_code::NORMAL, "the end"),
            Err(problem) => {
                socket.send(message(&failed(&problem))).await.ok()?;
                return close(close_code::ERROR, "it broke off");
            }
        }
    }
}

fn message(event: &Event) -> Message {
    let [name, id] = [Some(&event.name), event.id.as_ref()].map(|text| super::json(&text));
    // What is told is JSON already.
    Message::text(format!("{{\"event\":{name},\"id\":{id},\"data\":{}}}", event.data))
}
