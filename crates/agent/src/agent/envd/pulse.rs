//! The moments of a stream to a client: when it wants to hear that we are there, and when its time is over.

use sandkeep_protocol::envelope::{Code, ConnectError};

use crate::calls::Incoming;
use crate::clock;

/// See the module.
#[derive(Debug)]
pub(super) struct Pulse {
    /// How often it wants to hear something, and when it is to hear next.
    keepalive: Option<(u64, u64)>,
    deadline_us: Option<u64>,
}

impl Pulse {
    /// As the call's head says; its time limit may be not the stream's.
    ///
    /// # Errors
    /// `invalid_argument` for a time limit that is none.
    pub(super) fn new(call: &Incoming, limited: bool) -> Result<Self, ConnectError> {
        let now = clock::boot_us();
        let timeout = call.timeout_us()?.filter(|_| limited);
        Ok(Self {
            keepalive: call.keepalive_us().map(|every| (every, now + every)),
            deadline_us: timeout.map(|timeout| now + timeout),
        })
    }

    /// Something was said.
    pub(super) fn beat(&mut self) {
        if let Some((every, next)) = &mut self.keepalive {
            *next = clock::boot_us() + *every;
        }
    }

    pub(super) fn next_moment_us(&self) -> Option<u64> {
        [self.keepalive.map(|(_, next)| next), self.deadline_us].into_iter().flatten().min()
    }

    pub(super) fn is_over(&self, now: u64) -> bool {
        self.deadline_us.is_some_and(|moment| moment <= now)
    }

    pub(super) fn is_due(&self, now: u64) -> bool {
        self.keepalive.is_some_and(|(_, next)| next <= now)
    }
}

/// What a client hears whose time is over.
pub(super) fn out_of_time() -> ConnectError {
    ConnectError::new(Code::DeadlineExceeded, "the time that the call was given is over")
}
