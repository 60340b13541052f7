//! How many requests of the API are worked on at once, and for how long.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use sandkeep_core::code::{ErrorCode, Problem};

use crate::refusal::Answer;
use crate::state::App;

/// Refuses at once what would only wait, and gives up on what takes too long. The place is held until the head of the
/// answer is there; a stream that follows holds its connection only.
pub(crate) async fn bound(State(app): State<App>, request: Request, next: Next) -> Answer<Response> {
    let limits = app.config.limits;
    let Ok(_place) = app.requests.try_acquire() else {
        let message = format!("{} requests are being worked on, and no more are taken", limits.requests);
        let problem = Problem::new(ErrorCode::Overloaded, message);
        return Err(problem.expecting("the same request again in a moment").into());
    };
    tokio::time::timeout(limits.answer_timeout, next.run(request)).await.map_err(|_| {
        let message = format!("no answer within {} s", limits.answer_timeout.as_secs_f64());
        Problem::new(ErrorCode::AnswerTimeout, message).into()
    })
}
