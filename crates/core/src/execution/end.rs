//! Which end the facts add up to.
//!
//! Supervisor, agent and caller each know a part: how the first process went, which limit was hit,
//! whether a cancel was accepted. [`conclude`] is the one place that weighs them, so that the same facts
//! never end two ways.

use super::state::ExecutionState;
use crate::limits::LimitKind;

/// How the first process of an execution ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It exited with this code, `0..=255`.
    Code(u8),
    /// This signal ended it, `1..=64`.
    Signal(u8),
    /// There is no such program in the sandbox; nothing ran.
    NotFound,
    /// The program is there but the kernel would not execute it; nothing ran.
    NotRunnable,
}

/// What is known when an execution is over. `Default` is "nothing is known", which concludes as lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndFacts {
    /// An end that is stored already; nothing changes it.
    pub stored: Option<End>,
    /// A cancel was accepted.
    pub cancelled: bool,
    /// The supervisor killed the tree because its time was over.
    pub timed_out: bool,
    /// The kernel, or the watch, killed something in the tree for its memory.
    pub out_of_memory: bool,
    /// The supervisor killed the tree for its output.
    pub output_killed: bool,
    /// The supervisor killed the tree for another limit (disk, inodes, processes, CPU).
    pub killed_for: Option<LimitKind>,
    /// How the first process ended; `None` when nobody saw it.
    pub exit: Option<Exit>,
}

/// The one end of an execution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct End {
    /// A state for which [`ExecutionState::is_end`] holds.
    pub state: ExecutionState,
    /// The limit that ended it.
    pub limit: Option<LimitKind>,
    /// How its first process ended, where that was seen.
    pub exit: Option<Exit>,
}

/// Weighs the facts. First rule that fits: a stored end; an accepted cancel; time; memory; output; another
/// limit; exit code 0 → succeeded; any other exit → failed; nothing seen → lost.
pub fn conclude(facts: &EndFacts) -> End {
    let end = |state, limit| End { state, limit, exit: facts.exit };
    if let Some(stored) = facts.stored {
        return stored;
    }
    if facts.cancelled {
        return end(ExecutionState::Cancelled, None);
    }
    if facts.timed_out {
        return end(ExecutionState::TimedOut, Some(LimitKind::Timeout));
    }
    let limit = if facts.out_of_memory {
        Some(LimitKind::Memory)
    } else if facts.output_killed {
        Some(LimitKind::Output)
    } else {
        facts.killed_for
    };
    match (limit, facts.exit) {
        (Some(LimitKind::Timeout), _) => end(ExecutionState::TimedOut, limit),
        (Some(_), _) => end(ExecutionState::Failed, limit),
        (None, Some(Exit::Code(0))) => end(ExecutionState::Succeeded, None),
        (None, Some(_)) => end(ExecutionState::Failed, None),
        (None, None) => end(ExecutionState::Lost, None),
    }
}

impl End {
    /// The exit code, if the first process exited.
    pub const fn exit_code(&self) -> Option<u8> {
        match self.exit {
            Some(Exit::Code(code)) => Some(code),
            Some(Exit::Signal(_) | Exit::NotFound | Exit::NotRunnable) | None => None,
        }
    }

    /// The signal, if one ended the first process.
    pub const fn signal(&self) -> Option<u8> {
        match self.exit {
            Some(Exit::Signal(signal)) => Some(signal),
            Some(Exit::Code(_) | Exit::NotFound | Exit::NotRunnable) | None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ExecutionState::{Cancelled, Failed, Lost, Succeeded, TimedOut};

    const NOTHING: EndFacts = EndFacts {
        stored: None,
        cancelled: false,
        timed_out: false,
        out_of_memory: false,
        output_killed: false,
        killed_for: None,
        exit: None,
    };
    const KILLED: Option<Exit> = Some(Exit::Signal(9));

    #[track_caller]
    fn check(facts: EndFacts, state: ExecutionState, limit: Option<LimitKind>) {
        assert_eq!(conclude(&facts), End { state, limit, exit: facts.exit });
    }

    #[test]
    fn the_exit_decides_when_nothing_else_happened() {
        check(NOTHING, Lost, None);
        check(EndFacts { exit: Some(Exit::Code(0)), ..NOTHING }, Succeeded, None);
        for exit in [Exit::Code(1), Exit::Code(255), Exit::Signal(11), Exit::NotFound, Exit::NotRunnable] {
            check(EndFacts { exit: Some(exit), ..NOTHING }, Failed, None);
        }
    }

    #[test]
    fn a_limit_beats_the_exit() {
        for exit in [KILLED, Some(Exit::Code(0)), None] {
            check(EndFacts { timed_out: true, exit, ..NOTHING }, TimedOut, Some(LimitKind::Timeout));
            check(EndFacts { out_of_memory: true, exit, ..NOTHING }, Failed, Some(LimitKind::Memory));
            check(EndFacts { output_killed: true, exit, ..NOTHING }, Failed, Some(LimitKind::Output));
            for kind in [LimitKind::Disk, LimitKind::Inodes, LimitKind::Processes, LimitKind::Cpu] {
                check(EndFacts { killed_for: Some(kind), exit, ..NOTHING }, Failed, Some(kind));
            }
        }
        let other_way = EndFacts { killed_for: Some(LimitKind::Timeout), ..NOTHING };
        check(other_way, TimedOut, Some(LimitKind::Timeout));
    }

    #[test]
    fn limits_that_meet_have_an_order() {
        let all = EndFacts {
            timed_out: true,
            out_of_memory: true,
            output_killed: true,
            killed_for: Some(LimitKind::Disk),
            exit: KILLED,
            ..NOTHING
        };
        check(all, TimedOut, Some(LimitKind::Timeout));
        let all = EndFacts { timed_out: false, ..all };
        check(all, Failed, Some(LimitKind::Memory));
        let all = EndFacts { out_of_memory: false, ..all };
        check(all, Failed, Some(LimitKind::Output));
    }

    #[test]
    fn an_accepted_cancel_beats_all_but_a_stored_end() {
        let facts = EndFacts {
            cancelled: true,
            timed_out: true,
            out_of_memory: true,
            exit: Some(Exit::Code(0)),
            ..NOTHING
        };
        check(facts, Cancelled, None);
        check(EndFacts { cancelled: true, ..NOTHING }, Cancelled, None);
        let stored = End { state: Succeeded, limit: None, exit: Some(Exit::Code(0)) };
        assert_eq!(conclude(&EndFacts { stored: Some(stored), ..facts }), stored);
    }
}
