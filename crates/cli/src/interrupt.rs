//! The signals by which people end a command.

use std::io;

use sandkeep_core::code::Problem;
#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::out;

/// SIGINT, SIGTERM and SIGHUP from now on; they no longer end us by themselves.
#[cfg(unix)]
#[derive(Debug)]
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

#[cfg(unix)]
impl Interrupts {
    /// # Errors
    /// `internal`: the kernel refuses handlers.
    pub(crate) fn listen() -> Result<Self, Problem> {
        let on = |kind| signal(kind).map_err(|error| unheard(&error));
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

/// Ctrl-C and Ctrl-Break from now on, and the end of the console window.
#[cfg(windows)]
#[derive(Debug)]
pub(crate) struct Interrupts {
    interrupt: tokio::signal::windows::CtrlC,
    stop: tokio::signal::windows::CtrlBreak,
    close: tokio::signal::windows::CtrlClose,
}

#[cfg(windows)]
impl Interrupts {
    /// # Errors
    /// `internal`: the system refuses handlers.
    pub(crate) fn listen() -> Result<Self, Problem> {
        use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close};
        Ok(Self {
            interrupt: ctrl_c().map_err(|error| unheard(&error))?,
            stop: ctrl_break().map_err(|error| unheard(&error))?,
            close: ctrl_close().map_err(|error| unheard(&error))?,
        })
    }

    /// Returns at the next one. Cancel-safe.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.stop.recv() => {}
            _ = self.close.recv() => {}
        }
    }
}

fn unheard(error: &io::Error) -> Problem {
    out::failed("signals cannot be heard", error)
}
