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

impl SandboxState {
    /// The name used in JSON and messages.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            SandboxState::Creating => "creating",
            SandboxState::Starting => "starting",
            SandboxState::Running => "running",
            SandboxState::Updating => "updating",
            SandboxState::Stopping => "stopping",
            SandboxState::Stopped => "stopped",
            SandboxState::Paused => "paused",
            SandboxState::Error(_) => "error",
            SandboxState::Terminating(_) => "terminating",
            SandboxState::Terminated(_) => "terminated",
        }
    }
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

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 5] =
        [Reason::Deleted, Reason::Idle, Reason::Expired, Reason::Lost, Reason::Replaced];

    /// The name used in JSON and messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::Deleted => "deleted",
            Reason::Idle => "idle",
            Reason::Expired => "expired",
            Reason::Lost => "lost",
            Reason::Replaced => "replaced",
        }
    }
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

#[cfg(test)]
mod tests {
    use super::SandboxState as S;
    use super::*;

    const ALL_DOING: [Doing; 4] = [Doing::Creating, Doing::Starting, Doing::Updating, Doing::Stopping];

    fn failure(doing: Doing) -> Failure {
        Failure { doing, reason: "no space".to_owned(), attempt: 2, next_try_ms: 7 }
    }

    fn fail() -> Event {
        Event::Fail { reason: "no space".to_owned(), attempt: 2, next_try_ms: 7 }
    }

    fn states() -> Vec<SandboxState> {
        let mut states =
            vec![S::Creating, S::Starting, S::Running, S::Updating, S::Stopping, S::Stopped, S::Paused];
        states.extend(ALL_DOING.map(|doing| S::Error(failure(doing))));
        states.extend([S::Terminating(Reason::Idle), S::Terminated(Reason::Idle)]);
        states
    }

    fn events() -> Vec<Event> {
        vec![
            Event::Created,
            Event::Start,
            Event::Started,
            Event::Update,
            Event::Updated,
            Event::Stop,
            Event::Stopped,
            Event::Pause,
            Event::Resume,
            fail(),
            Event::Retry,
            Event::Delete(Reason::Lost),
            Event::Gone,
        ]
    }

    fn arrows() -> Vec<(SandboxState, Event, SandboxState)> {
        let mut arrows = vec![
            (S::Creating, Event::Created, S::Starting),
            (S::Creating, fail(), S::Error(failure(Doing::Creating))),
            (S::Starting, Event::Started, S::Running),
            (S::Starting, fail(), S::Error(failure(Doing::Starting))),
            (S::Running, Event::Update, S::Updating),
            (S::Running, Event::Stop, S::Stopping),
            (S::Running, Event::Pause, S::Paused),
            (S::Running, fail(), S::Error(failure(Doing::Starting))),
            (S::Updating, Event::Updated, S::Running),
            (S::Updating, fail(), S::Error(failure(Doing::Updating))),
            (S::Stopping, Event::Stopped, S::Stopped),
            (S::Stopping, fail(), S::Error(failure(Doing::Stopping))),
            (S::Stopped, Event::Start, S::Starting),
            (S::Paused, Event::Resume, S::Running),
            (S::Paused, Event::Stop, S::Stopping),
            (S::Paused, fail(), S::Error(failure(Doing::Starting))),
            (S::Terminating(Reason::Idle), Event::Delete(Reason::Lost), S::Terminating(Reason::Idle)),
            (S::Terminating(Reason::Idle), Event::Gone, S::Terminated(Reason::Idle)),
        ];
        let back = [S::Creating, S::Starting, S::Updating, S::Stopping];
        for (doing, back) in ALL_DOING.into_iter().zip(back) {
            arrows.push((S::Error(failure(doing)), Event::Retry, back));
            arrows.push((S::Error(failure(doing)), Event::Start, S::Starting));
            arrows.push((S::Error(failure(doing)), Event::Stop, S::Stopping));
        }
        for state in states() {
            if !matches!(state, S::Terminating(_) | S::Terminated(_)) {
                arrows.push((state, Event::Delete(Reason::Lost), S::Terminating(Reason::Lost)));
            }
        }
        arrows
    }

    #[test]
    fn has_exactly_these_arrows() {
        let arrows = arrows();
        for state in states() {
            for event in events() {
                let arrow = arrows.iter().find(|(from, by, _)| (from, by) == (&state, &event));
                let expected = arrow
                    .map(|(_, _, to)| to.clone())
                    .ok_or_else(|| Illegal { state: state.clone(), event: event.clone() });
                assert_eq!(transition(state.clone(), event.clone()), expected, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn nothing_but_terminated_is_a_dead_end() {
        for state in states() {
            let leaves = events().into_iter().any(|event| transition(state.clone(), event).is_ok());
            assert_eq!(leaves, !matches!(state, S::Terminated(_)), "{state:?}");
        }
    }
}
