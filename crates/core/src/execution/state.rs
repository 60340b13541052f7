//! The life of an execution.
//!
//! ```text
//! queued ──▶ starting ──▶ running ──▶ succeeded | failed | timed_out | cancelled | lost
//!    │          │
//!    └──────────┴──▶ cancelled | timed_out | lost
//! ```
//!
//! One end each, written once: from an end, every event is illegal. `running` is recorded before the first
//! instruction of foreign code, so a program that is not there or cannot be executed fails from `running`.

use serde::{Deserialize, Serialize};

/// Where an execution is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionState {
    /// Accepted; nothing has begun.
    Queued,
    /// A place is being made ready; no foreign code has run.
    Starting,
    /// Foreign code may have run.
    Running,
    /// It ended by itself with exit code 0.
    Succeeded,
    /// It ended by itself otherwise, or a limit other than time ended it.
    Failed,
    /// Its time was over.
    TimedOut,
    /// Somebody cancelled it.
    Cancelled,
    /// The place where it ran is gone, and with it what happened.
    Lost,
}

impl ExecutionState {
    /// Every state.
    pub const ALL: [ExecutionState; 8] = [
        ExecutionState::Queued,
        ExecutionState::Starting,
        ExecutionState::Running,
        ExecutionState::Succeeded,
        ExecutionState::Failed,
        ExecutionState::TimedOut,
        ExecutionState::Cancelled,
        ExecutionState::Lost,
    ];

    /// The name used in JSON and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            ExecutionState::Queued => "queued",
            ExecutionState::Starting => "starting",
            ExecutionState::Running => "running",
            ExecutionState::Succeeded => "succeeded",
            ExecutionState::Failed => "failed",
            ExecutionState::TimedOut => "timed_out",
            ExecutionState::Cancelled => "cancelled",
            ExecutionState::Lost => "lost",
        }
    }

    /// Whether nothing more can happen.
    pub const fn is_end(self) -> bool {
        match self {
            ExecutionState::Queued | ExecutionState::Starting | ExecutionState::Running => false,
            ExecutionState::Succeeded
            | ExecutionState::Failed
            | ExecutionState::TimedOut
            | ExecutionState::Cancelled
            | ExecutionState::Lost => true,
        }
    }
}

impl std::fmt::Display for ExecutionState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// What happens to an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A worker took it up.
    Start,
    /// Everything is ready, and foreign code runs next.
    Run,
    /// It ended with exit code 0.
    Succeed,
    /// It ended otherwise.
    Fail,
    /// Its time was over.
    TimeOut,
    /// A cancel was accepted.
    Cancel,
    /// Its place is proven gone.
    Lose,
}

impl Event {
    /// Every event.
    pub const ALL: [Event; 7] =
        [Event::Start, Event::Run, Event::Succeed, Event::Fail, Event::TimeOut, Event::Cancel, Event::Lose];
}

/// An event that has no meaning in a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an execution that is {state} cannot {event:?}")]
pub struct Illegal {
    /// Where it was.
    pub state: ExecutionState,
    /// What should have happened.
    pub event: Event,
}

/// The state after `event`.
///
/// # Errors
/// [`Illegal`] when the diagram has no such arrow.
pub fn transition(state: ExecutionState, event: Event) -> Result<ExecutionState, Illegal> {
    use ExecutionState as S;
    match (state, event) {
        (S::Queued, Event::Start) => Ok(S::Starting),
        (S::Starting, Event::Run) => Ok(S::Running),
        (S::Running, Event::Succeed) => Ok(S::Succeeded),
        (S::Running, Event::Fail) => Ok(S::Failed),
        (S::Queued | S::Starting | S::Running, Event::TimeOut) => Ok(S::TimedOut),
        (S::Queued | S::Starting | S::Running, Event::Cancel) => Ok(S::Cancelled),
        (S::Queued | S::Starting | S::Running, Event::Lose) => Ok(S::Lost),
        (S::Queued, Event::Run)
        | (S::Starting, Event::Start)
        | (S::Running, Event::Start | Event::Run)
        | (S::Queued | S::Starting, Event::Succeed | Event::Fail)
        | (
            S::Succeeded | S::Failed | S::TimedOut | S::Cancelled | S::Lost,
            Event::Start
            | Event::Run
            | Event::Succeed
            | Event::Fail
            | Event::TimeOut
            | Event::Cancel
            | Event::Lose,
        ) => Err(Illegal { state, event }),
    }
}

#[cfg(test)]
mod tests {
    use super::ExecutionState::*;
    use super::*;

    /// Every state and event; what is not listed is illegal.
    #[test]
    fn has_exactly_these_arrows() {
        let arrows = [
            (Queued, Event::Start, Starting),
            (Queued, Event::TimeOut, TimedOut),
            (Queued, Event::Cancel, Cancelled),
            (Queued, Event::Lose, Lost),
            (Starting, Event::Run, Running),
            (Starting, Event::TimeOut, TimedOut),
            (Starting, Event::Cancel, Cancelled),
            (Starting, Event::Lose, Lost),
            (Running, Event::Succeed, Succeeded),
            (Running, Event::Fail, Failed),
            (Running, Event::TimeOut, TimedOut),
            (Running, Event::Cancel, Cancelled),
            (Running, Event::Lose, Lost),
        ];
        for state in ExecutionState::ALL {
            for event in Event::ALL {
                let arrow = arrows.iter().find(|(from, by, _)| (*from, *by) == (state, event));
                let expected = arrow.map(|(_, _, to)| *to).ok_or(Illegal { state, event });
                assert_eq!(transition(state, event), expected);
            }
        }
    }

    #[test]
    fn an_end_is_where_no_arrow_leaves() {
        for state in ExecutionState::ALL {
            let leaves = Event::ALL.into_iter().any(|event| transition(state, event).is_ok());
            assert_eq!(state.is_end(), !leaves, "{state}");
        }
    }

    #[test]
    fn names_are_those_of_json() {
        for state in ExecutionState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
    }

    #[test]
    fn a_refusal_says_what_was_asked() {
        let illegal = transition(Succeeded, Event::Cancel).unwrap_err();
        assert_eq!(illegal.to_string(), "an execution that is succeeded cannot Cancel");
    }
}
