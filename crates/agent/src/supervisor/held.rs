//! Executions that are held: all that stands before code is done, and the code waits for its server to say that it is written
//! down.
//!
//! Its process waits at a [`Gate`]. Whatever happens to a server between asking and saying, code of which nobody knows does not
//! run.

use sandkeep_protocol::envelope::{Code, ConnectError};
use sandkeep_protocol::mux::StreamId;

use super::Supervisor;
use super::execution::{Execution, Killed, Phase};
use crate::calls::Incoming;
use sandkeep_sandbox::gate::Gate;

/// Whether the code of an execution may begin.
#[derive(Debug)]
pub(crate) enum Hold {
    /// It may.
    Released,
    /// Not before the call `by` says so. Without a gate where it has been killed meanwhile.
    Held { by: StreamId, gate: Option<Gate> },
    /// It never will: nothing of it is kept. Who has asked for it by its id meanwhile is served once its process is gone.
    Withheld { again: Option<(StreamId, Incoming)> },
}

impl Supervisor {
    /// The call has said all: what is held for it may begin.
    pub(super) fn release(&mut self, by: StreamId) {
        if let Some(execution) = self.executions.values_mut().find(|execution| execution.is_held_by(by)) {
            execution.release();
        }
    }

    /// Withholds what was held for that call, or forgets that it waits for what is withheld.
    pub(super) fn caller_gave_up(&mut self, call: StreamId) {
        self.withhold(|by| by == call);
    }

    /// The same for all calls of a connection.
    pub(super) fn callers_are_gone(&mut self) {
        self.withhold(|_| true);
    }

    fn withhold(&mut self, is_gone: impl Fn(StreamId) -> bool) {
        for execution in self.executions.values_mut() {
            match &mut execution.hold {
                Hold::Held { by, .. } if is_gone(*by) => execution.withhold(),
                Hold::Withheld { again } => drop(again.take_if(|(by, _)| is_gone(*by))),
                Hold::Held { .. } | Hold::Released => {}
            }
        }
        // Some had failed before they came to the gate.
        self.executions.retain(|_, execution| !execution.is_withheld() || !execution.is_ended());
    }

    /// Serves a start of what is withheld once that is gone; of several, the last.
    pub(super) fn start_again(&mut self, execution_id: &str, id: StreamId, call: &Incoming) {
        let Some(execution) = self.executions.get_mut(execution_id) else { return };
        let Hold::Withheld { again } = &mut execution.hold else { return };
        if let Some((earlier, call)) = again.replace((id, call.clone())) {
            let text = "already_started: it was asked for again";
            call.refuse(&mut self.server, earlier, &ConnectError::new(Code::Aborted, text));
        }
    }

    /// All that was there of what was withheld is gone.
    pub(super) fn withheld_is_gone(&mut self, again: Option<(StreamId, Incoming)>) {
        if let Some((id, call)) = again {
            self.start(id, &call);
        }
    }

    /// The sandbox is gone: who held code back is told so, and nothing stays of what was withheld.
    pub(super) fn end_holds(&mut self) {
        let mut asked_again = Vec::new();
        self.executions.retain(|_, execution| match std::mem::replace(&mut execution.hold, Hold::Released) {
            Hold::Withheld { again } => {
                asked_again.extend(again);
                false
            }
            Hold::Held { .. } | Hold::Released => true,
        });
        for (id, call) in asked_again {
            let text = "sandbox_lost: the sandbox has ended";
            call.refuse(&mut self.server, id, &ConnectError::new(Code::Unavailable, text));
        }
    }
}

impl Execution {
    fn is_held_by(&self, call: StreamId) -> bool {
        matches!(self.hold, Hold::Held { by, .. } if by == call)
    }

    /// Whether its code waits to be released.
    pub(crate) fn is_held(&self) -> bool {
        matches!(self.hold, Hold::Held { .. })
    }

    /// Whether its code was kept back for good.
    pub(crate) fn is_withheld(&self) -> bool {
        matches!(self.hold, Hold::Withheld { .. })
    }

    /// Keeps its code back, and its time.
    pub(crate) fn hold(&mut self, by: StreamId, gate: Gate) {
        self.hold = Hold::Held { by, gate: Some(gate) };
        self.deadline_us = None;
    }

    /// Lets its code begin, and its time, unless they have.
    pub(crate) fn release(&mut self) {
        if !self.is_held() {
            return;
        }
        let held = std::mem::replace(&mut self.hold, Hold::Released);
        if let (Hold::Held { gate: Some(gate), .. }, Phase::Starting) = (held, &self.phase) {
            self.begin_time();
            gate.open();
        }
    }

    /// What waits at the gate ends by itself, also where there is no handle on it yet.
    pub(crate) fn shut(&mut self) {
        if let Hold::Held { gate, .. } = &mut self.hold
            && let Some(gate) = gate.take()
        {
            gate.shut();
        }
    }

    fn withhold(&mut self) {
        self.kill(Killed::Cancelled);
        self.shut();
        self.hold = Hold::Withheld { again: None };
    }
}
