//! The driver `local`: sandboxes of Linux namespaces on this host, each held by a supervisor of its own.

mod connection;
mod convert;
mod embed;
#[cfg(test)]
mod envd_tests;
mod handle;
pub mod probe;
mod reach;
mod resolve;
pub mod root;
mod state;

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::sandbox::Profile;
use sandkeep_core::size::ByteSize;
use sandkeep_protocol::routes::supervisor as routes;
use sandkeep_protocol::supervisor as proto;

use crate::driver::{BoxFuture, Driver, Root, Sandbox, SandboxSpec};
use connection::Connection;
pub use resolve::{Interpreter, interpreters};
pub use state::StateDirectory;

/// First host id of the ranges that root's sandboxes get: above what systemd gives to containers, and far from
/// people (systemd.io/UIDS-GIDS). 4,094 ranges of 65,536 fit below the ids it calls foreign.
pub const ID_BASE: u32 = 1_879_048_192;

/// How this host is used.
#[derive(Debug, Clone)]
pub struct Config {
    /// Our own directory: locks of slots, and a place to build on.
    pub state: StateDirectory,
    /// First host id of the ranges that slots hand out (root only).
    pub id_base: u32,
    /// Memory that all sandboxes together may use.
    pub ceiling: ByteSize,
}

/// The driver.
#[derive(Debug)]
pub struct Local {
    config: Config,
    /// Where the next sandbox begins to look for a slot, so that many of one process do not search long.
    next_slot: AtomicU32,
}

impl Local {
    /// A driver that uses this host as `config` says.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, next_slot: AtomicU32::new(0) }
    }

    async fn make(&self, spec: &SandboxSpec) -> Result<handle::Handle, Problem> {
        spec.check()?;
        if let Root::Directory(path) = &spec.root {
            root::check(Path::new(path))?;
        }
        let mut wanted = convert::sandbox_spec(spec, &self.config, self.slot_hint());
        if spec.profile == Profile::Dev {
            wanted.sudo_program = embed::as_file(self.config.state.path())?.to_string_lossy().into_owned();
        }
        let (connection, supervisor) = Connection::to_new_supervisor()?;
        let request = proto::BootRequest { spec: buffa::MessageField::some(wanted), token: spec.token };
        let booting = connection.call::<_, proto::BootResponse>(routes::BOOT, &request);
        let Ok(answer) = tokio::time::timeout(BOOTS_WITHIN, booting).await else {
            reach::Reach::of(supervisor.id(), None).kill();
            return Err(handle::silent(BOOTS_WITHIN));
        };
        match answer?.outcome {
            Some(proto::__buffa::oneof::boot_response::Outcome::Booted(booted)) => {
                self.remember_slot(booted.slot);
                Ok(handle::Handle::new(spec, connection, supervisor, &booted))
            }
            Some(proto::__buffa::oneof::boot_response::Outcome::Problem(problem)) => {
                Err(convert::problem(&problem))
            }
            None => Err(Problem::new(ErrorCode::ProtocolError, "the supervisor gave no answer to a boot")),
        }
    }

    fn slot_hint(&self) -> u32 {
        self.next_slot.load(Ordering::Relaxed)
    }

    /// The lowest free slots have the warmest control groups, so look on from there only while many are alive.
    fn remember_slot(&self, slot: u32) {
        self.next_slot.store(slot.saturating_sub(WARM_SLOTS) + 1, Ordering::Relaxed);
    }
}

/// A supervisor gives up on process 1 after half of this, and says so.
const BOOTS_WITHIN: Duration = Duration::from_secs(60);

/// Slots below the newest that are tried again first.
const WARM_SLOTS: u32 = 64;

impl Driver for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn create<'a>(&'a self, spec: &'a SandboxSpec) -> BoxFuture<'a, Result<Box<dyn Sandbox>, Problem>> {
        Box::pin(async move { Ok(Box::new(self.make(spec).await?) as Box<dyn Sandbox>) })
    }
}
