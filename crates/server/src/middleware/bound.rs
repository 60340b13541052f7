//! How many requests of the API are worked on at once, and for how long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use sandkeep_core::code::{ErrorCode, Problem};
use tokio::sync::OwnedSemaphorePermit;

use super::callers::{Open, Share};
use crate::refusal::{Answer, Refusal};
use crate::state::App;

/// A request's place among those that are worked on, and among those of its caller. Whoever only waits gives it back.
#[derive(Debug, Clone)]
pub(crate) struct Place(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    /// While it is worked on.
    working: Option<(OwnedSemaphorePermit, Option<OwnedSemaphorePermit>)>,
    open: Option<Open>,
}

impl Place {
    fn new(permit: OwnedSemaphorePermit) -> Self {
        Place(Arc::new(Mutex::new(Held { working: Some((permit, None)), open: None })))
    }

    /// Adds what it takes of its caller's share.
    pub(crate) fn add(&self, share: Share) {
        let mut held = self.lock();
        held.working = held.working.take().map(|(permit, _)| (permit, Some(share.working)));
        held.open = Some(share.open);
    }

    /// Makes room for another request: this one waits for something from here on, and does nothing else.
    pub(crate) fn give_back(&self) {
        drop(self.lock().working.take());
    }

    /// For a stream: what it is to hold until its end.
    pub(crate) fn stay_open(&self) -> Option<Open> {
        self.lock().open.take()
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Sync> FromRequestParts<S> for Place {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        parts.extensions.get::<Place>().cloned().ok_or_else(Refusal::internal)
    }
}

/// Refuses at once what would only wait, and gives up on what takes too long. The place is held until the head of the
/// answer is there; a stream that follows holds its connection only.
pub(crate) async fn bound(State(app): State<App>, mut request: Request, next: Next) -> Answer<Response> {
    let limits = app.config.limits;
    let Ok(place) = Arc::clone(&app.requests).try_acquire_owned() else {
        let message = format!("{} requests are being worked on, and no more are taken", limits.requests);
        let problem = Problem::new(ErrorCode::Overloaded, message);
        return Err(problem.expecting("the same request again in a moment").into());
    };
    let place = Place::new(place);
    request.extensions_mut().insert(place.clone());
    let answered = tokio::time::timeout(limits.answer_timeout, next.run(request)).await;
    // Also where a stream that follows still holds the request.
    place.give_back();
    drop(place.stay_open());
    answered.map_err(|_| {
        let message = format!("no answer within {} s", limits.answer_timeout.as_secs_f64());
        Problem::new(ErrorCode::AnswerTimeout, message).into()
    })
}
