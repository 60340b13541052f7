//! The life of a sandbox.
//!
//! ```text
//! creating ──▶ starting ──▶ running ⇄ updating
//!                 ▲          │  ⇅
//!                 │          │ paused
//!                 │          ▼   │ (its hour is over)
//!              stopped ◀── stopping ◀┘
//!
//! creating, starting, running, updating, paused, stopping ──▶ error ──▶ retry, start, stop, delete
//! any ──▶ terminating ──▶ terminated
//! ```
//!
//! `error` is never a dead end: it remembers what failed, so that a retry goes back there. Starting ensures
//! place and disk, so a start also works when creating had failed. Removing is
//! retried until it is done, so `terminating` has no error of its own; and the first reason for it stays.

/// Where a sandbox is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxState {
    /// Its place and disk are being made.
    Creating,
    /// Its first process is being started.
    Starting,
    /// Code can run in it.
    Running,
    /// It runs, and a changed definition is being applied.
    Updating,
    /// Its processes are being ended; its disk stays.
    Stopping,
    /// No process; the disk is kept.
    Stopped,
    /// Its processes are frozen.
    Paused,
    /// Something failed; the next try is known.
    Error(Failure),
    /// Everything of it is being removed.
    Terminating(Reason),
    /// Nothing of it is left.
    Terminated(Reason),
}

/// A failure, and when it is tried again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What was being done.
    pub doing: Doing,
    /// Why it failed: safe to show.
    pub reason: String,
    /// Which try this was, from 1.
    pub attempt: u32,
    /// When the next one is due, in milliseconds since 1970.
    pub next_try_ms: u64,
}

/// What can fail and be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Doing {
    /// Making it.
    Creating,
    /// Starting it; also what a running one goes back to when its processes died.
    Starting,
    /// Applying a change.
    Updating,
    /// Stopping it.
    Stopping,
}

/// Why a sandbox is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Somebody deleted it.
    Deleted,
    /// It was idle for too long.
    Idle,
    /// Its life was over.
    Expired,
    /// Its place is gone.
    Lost,
    /// Another took its place.
    Replaced,
}

/// What happens to a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Place and disk are there.
    Created,
    /// Start it (again).
    Start,
    /// It is up.
    Started,
    /// Its definition changed.
    Update,
    /// The change is applied.
    Updated,
    /// Stop it.
    Stop,
    /// Its processes are gone.
    Stopped,
    /// Freeze it.
    Pause,
    /// Thaw it.
    Resume,
    /// What was being done failed.
    Fail {
        /// Why: safe to show.
        reason: String,
        /// Which try this was, from 1.
        attempt: u32,
        /// When the next one is due, in milliseconds since 1970.
        next_try_ms: u64,
    },
    /// The next try is due.
    Retry,
    /// Remove it.
    Delete(Reason),
    /// Nothing of it is left.
    Gone,
}

/// An event that has no meaning in a state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a sandbox that is {state:?} cannot take {event:?}")]
pub struct Illegal {
    /// Where it was.
    pub state: SandboxState,
    /// What should have happened.
    pub event: Event,
}

/// The state after `event`.
///
/// # Errors
/// [`Illegal`] when the diagram has no such arrow; both operands come back in it.
pub fn transition(state: SandboxState, event: Event) -> Result<SandboxState, Illegal> {
    let next = match &event {
        Event::Created => matches!(state, SandboxState::Creating).then_some(SandboxState::Starting),
        Event::Start => {
            matches!(state, SandboxState::Stopped | SandboxState::Error(_)).then_some(SandboxState::Starting)
        }
        Event::Started => matches!(state, SandboxState::Starting).then_some(SandboxState::Running),
        Event::Update => matches!(state, SandboxState::Running).then_some(SandboxState::Updating),
        Event::Updated => matches!(state, SandboxState::Updating).then_some(SandboxState::Running),
        Event::Stop => matches!(state, SandboxState::Running | SandboxState::Paused | SandboxState::Error(_))
            .then_some(SandboxState::Stopping),
        Event::Stopped => matches!(state, SandboxState::Stopping).then_some(SandboxState::Stopped),
        Event::Pause => matches!(state, SandboxState::Running).then_some(SandboxState::Paused),
        Event::Resume => matches!(state, SandboxState::Paused).then_some(SandboxState::Running),
        Event::Fail { reason, attempt, next_try_ms } => doing(&state).map(|doing| {
            let (reason, attempt, next_try_ms) = (reason.clone(), *attempt, *next_try_ms);
            SandboxState::Error(Failure { doing, reason, attempt, next_try_ms })
        }),
        Event::Retry => retried(&state),
        Event::Delete(reason) => deleted(&state, *reason),
        Event::Gone => gone(&state),
    };
    next.ok_or(Illegal { state, event })
}

/// What fails when a sandbox in `state` fails.
fn doing(state: &SandboxState) -> Option<Doing> {
    match state {
        SandboxState::Creating => Some(Doing::Creating),
        SandboxState::Starting | SandboxState::Running | SandboxState::Paused => Some(Doing::Starting),
        SandboxState::Updating => Some(Doing::Updating),
        SandboxState::Stopping => Some(Doing::Stopping),
        SandboxState::Stopped
        | SandboxState::Error(_)
        | SandboxState::Terminating(_)
        | SandboxState::Terminated(_) => None,
    }
}

fn retried(state: &SandboxState) -> Option<SandboxState> {
    let SandboxState::Error(failure) = state else { return None };
    Some(match failure.doing {
        Doing::Creating => SandboxState::Creating,
        Doing::Starting => SandboxState::Starting,
        Doing::Updating => SandboxState::Updating,
        Doing::Stopping => SandboxState::Stopping,
    })
}

fn deleted(state: &SandboxState, reason: Reason) -> Option<SandboxState> {
    match state {
        SandboxState::Creating
        | SandboxState::Starting
        | SandboxState::Running
        | SandboxState::Updating
        | SandboxState::Stopping
        | SandboxState::Stopped
        | SandboxState::Paused
        | SandboxState::Error(_) => Some(SandboxState::Terminating(reason)),
        SandboxState::Terminating(first) => Some(SandboxState::Terminating(*first)),
        SandboxState::Terminated(_) => None,
    }
}

fn gone(state: &SandboxState) -> Option<SandboxState> {
    let SandboxState::Terminating(reason) = state else { return None };
    Some(SandboxState::Terminated(*reason))
}
