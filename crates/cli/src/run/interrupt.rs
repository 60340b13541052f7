//! The signals by which people end a command.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::host;
use sandkeep_core::code::Problem;

/// SIGINT, SIGTERM and SIGHUP from now on; they no longer end us by themselves.
#[derive(Debug)]
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Interrupts {
    /// # Errors
    /// `internal`: the kernel refuses handlers.
    pub(crate) fn listen() -> Result<Self, Problem> {
        let on = |kind| signal(kind).map_err(|error| host::failed("signals cannot be heard", &error));
        Ok(Self {
            interrupt: on(SignalKind::interrupt())?,
            terminate: on(SignalKind::terminate())?,
            hang_up: on(SignalKind::hangup())?,
        })
    }

    /// Returns at the next signal. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
