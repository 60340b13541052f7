//! The driver `local`: sandboxes of Linux namespaces on this host, each held by a supervisor of its own.

mod connection;
mod convert;
mod doors;
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
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::sandbox::Profile;
use sandkeep_core::size::ByteSize;
use sandkeep_protocol::routes::supervisor as routes;
use sandkeep_protocol::supervisor as proto;

use crate::driver::{BoxFuture, Driver, Layer, Owned, Root, Sandbox, SandboxSpec};
use connection::Connection;
use doors::{Doors, Met};
pub use resolve::{Interpreter, SEARCH_PATH, interpreters, names};
pub use state::{Slots, StateDirectory};

/// First host id of the ranges that root's sandboxes get: above what systemd gives to containers, and far from
/// people (systemd.io/UIDS-GIDS). 4,094 ranges of 65,536 fit below the ids it calls foreign.
pub const ID_BASE: u32 = 1_879_048_192;

/// How this host is used.
#[derive(Debug, Clone)]
pub struct Config {
    /// Our own directory: the agent as a file, and, except for root, locks of slots.
    pub state: StateDirectory,
    /// First host id of the ranges that slots hand out (root only). Another base has other slots, other groups and
    /// another ceiling; bases must be 4,094 × 65,536 apart.
    pub id_base: u32,
    /// Memory that all sandboxes in these slots together may use.
    pub ceiling: ByteSize,
}

/// The driver.
#[derive(Debug)]
pub struct Local {
    config: Config,
    /// Where the next sandbox begins to look for a slot, so that many of one process do not search long.
    next_slot: AtomicU32,
    /// Whether the last sandbox could be made, as far as that was this host's doing. Not before the first.
    works: AtomicBool,
    /// Where sandboxes that outlive us are found again; `None` where they end with their handles.
    doors: Option<Doors>,
    /// What a warm interpreter of Python has imported; `None` where none is kept.
    warm_python: Option<Arc<[String]>>,
}

impl Local {
    /// A driver that uses this host as `config` says. Its sandboxes end with their handles.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            next_slot: AtomicU32::new(0),
            works: AtomicBool::new(false),
            doors: None,
            warm_python: None,
        }
    }

    /// The same driver, with sandboxes that go on without it and are found again by whoever has the same state directory and
    /// `owner`: the name of the books in which they stand, of a-z, 0-9 and `-`. Without any such driver for `orphan_after` a
    /// sandbox ends itself.
    ///
    /// # Errors
    /// `invalid_value`, `state_dir_unusable`.
    pub fn outliving(self, owner: &str, orphan_after: Duration) -> Result<Self, Problem> {
        let doors = Doors::open(&self.config.state, owner, orphan_after)?;
        Ok(Self { doors: Some(doors), ..self })
    }

    /// The same driver, whose sandboxes keep a Python interpreter that has imported `modules` from the first use on. Programs in
    /// Python then run in forks of it, which takes a third of the time; where a fork would not be what a new interpreter is
    /// (another interpreter than the host's, profile `dev`, variables that change how one starts) they are started as ever.
    #[must_use]
    pub fn warming_python(self, modules: Vec<String>) -> Self {
        Self { warm_python: Some(modules.into()), ..self }
    }

    async fn make(&self, spec: &SandboxSpec) -> Result<handle::Handle, Problem> {
        spec.check()?;
        if let Layer::Persistent { directory } = &spec.layer {
            check_directory(directory)?;
        }
        if let Root::Directory(path) = &spec.root {
            root::check(Path::new(path))?;
        }
        let mut wanted = convert::sandbox_spec(spec, &self.config, self.slot_hint());
        if spec.profile == Profile::Dev {
            wanted.sudo_program = embed::as_file(self.config.state.path())?.to_string_lossy().into_owned();
        }
        let owned = Owned { id: spec.id, incarnation: spec.incarnation };
        wanted.outliving = self.doors.as_ref().map(|doors| doors.told(owned)).into();
        let (connection, supervisor) = Connection::to_new_supervisor(self.outlives())?;
        // Nothing else ends one that outlives its connection.
        let unfinished = self.doors.as_ref().map(|doors| Unfinished::new(doors, owned, supervisor.id()));
        let request = proto::BootRequest { spec: buffa::MessageField::some(wanted), token: spec.token };
        let booting = connection.call::<_, proto::BootResponse>(routes::BOOT, &request);
        let Ok(answer) = tokio::time::timeout(BOOTS_WITHIN, booting).await else {
            reach::Reach::of(supervisor.id(), None).kill();
            return Err(handle::silent(BOOTS_WITHIN));
        };
        match answer?.outcome {
            Some(proto::__buffa::oneof::boot_response::Outcome::Booted(booted)) => {
                self.remember_slot(booted.slot);
                unfinished.into_iter().for_each(Unfinished::done);
                let wanted = handle::Wanted::of(spec, self.warm_python.clone());
                Ok(handle::Handle::new(wanted, connection, supervisor, &booted, VERSIONS.1))
            }
            Some(proto::__buffa::oneof::boot_response::Outcome::Problem(problem)) => {
                Err(convert::problem(&problem))
            }
            None => Err(Problem::new(ErrorCode::ProtocolError, "the supervisor gave no answer to a boot")),
        }
    }

    /// Remembers what `made` says of this host.
    fn learn(&self, made: &Result<handle::Handle, Problem>) {
        match made {
            Ok(_) => self.works.store(true, Ordering::Relaxed),
            Err(problem) if is_of_host(problem.code) => self.works.store(false, Ordering::Relaxed),
            Err(_) => {}
        }
    }

    async fn can_make(&self, trial: &SandboxSpec) -> Result<(), Problem> {
        StateDirectory::open(self.config.state.path())?;
        if self.works.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.create(trial).await {
            Ok(sandbox) => sandbox.stop().await,
            Err(problem) if is_full(problem.code) => {}
            Err(problem) => return Err(problem),
        }
        Ok(())
    }

    /// Finds the supervisor of a sandbox and attaches to it.
    async fn find(&self, owned: Owned, token: u64) -> Result<handle::Handle, Problem> {
        let request = proto::AttachRequest {
            incarnation: owned.incarnation,
            token,
            min_version: VERSIONS.0,
            max_version: VERSIONS.1,
        };
        for _ in 0..ATTEMPTS {
            let met = match &self.doors {
                Some(doors) => doors.meet(owned).await?,
                None => None,
            };
            let Some(Met { socket, pid }) = met else {
                return Err(Problem::new(ErrorCode::SandboxLost, "the sandbox's supervisor is gone"));
            };
            let supervisor = embed::Supervisor::found(pid)?;
            let connection = Connection::over(socket)?;
            let asked = connection.call::<_, proto::AttachResponse>(routes::ATTACH, &request);
            match tokio::time::timeout(ATTACHES_WITHIN, asked).await {
                Ok(Ok(answer)) => {
                    return handle::Handle::found(
                        owned,
                        token,
                        connection,
                        supervisor,
                        answer,
                        self.warm_python.clone(),
                    );
                }
                // It is going, or made room for another caller: that shows at the next look.
                Ok(Err(problem)) if problem.code == ErrorCode::SandboxLost => {}
                Ok(Err(problem)) => return Err(problem),
                Err(_) => {
                    reach::Reach::of(pid, reach::first_child(pid)).kill();
                    return Err(handle::silent(ATTACHES_WITHIN));
                }
            }
        }
        Err(Problem::new(ErrorCode::SandboxFailed, "the sandbox's supervisor let nobody in"))
    }

    async fn remove(directory: &str) -> Result<(), Problem> {
        check_directory(directory)?;
        // Whoever did not make what is there needs what a supervisor can do: be root of its ids, outside of this process.
        let (connection, supervisor) = Connection::to_new_supervisor(false)?;
        let request = proto::RemoveLayerRequest { directory: directory.to_owned() };
        let answer: proto::RemoveLayerResponse = connection.call(routes::REMOVE_LAYER, &request).await?;
        drop((connection, supervisor));
        answer.problem.as_option().map_or(Ok(()), |problem| Err(convert::problem(problem)))
    }

    fn slot_hint(&self) -> u32 {
        self.next_slot.load(Ordering::Relaxed)
    }

    /// The lowest free slots have the warmest control groups, so look on from there only while many are alive.
    fn remember_slot(&self, slot: u32) {
        self.next_slot.store(slot.saturating_sub(WARM_SLOTS) + 1, Ordering::Relaxed);
    }
}

/// Whether a sandbox that could not be made tells that others cannot be either: the rest is what was asked for.
fn is_of_host(code: ErrorCode) -> bool {
    use ErrorCode as C;
    matches!(code, C::IsolationUnavailable | C::StateDirUnusable | C::SandboxFailed | C::ProtocolError)
}

fn is_full(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::TooManySandboxes | ErrorCode::NoSlot)
}

/// Whether a layer can be in `directory` at all.
fn check_directory(directory: &str) -> Result<(), Problem> {
    let why = if !directory.starts_with('/') {
        "is no absolute path"
    } else if directory.contains('\0') {
        "has a NUL byte"
    } else {
        return Ok(());
    };
    let expected = "an absolute path of a directory";
    Err(Problem::refused(ErrorCode::LayerUnusable, directory, why, expected))
}

/// A supervisor gives up on process 1 after half of this, and says so.
const BOOTS_WITHIN: Duration = Duration::from_secs(60);

/// A supervisor that holds a sandbox answers in microseconds, unless it is just being ended, which takes seconds at most. One
/// that stands still keeps no limits.
const ATTACHES_WITHIN: Duration = Duration::from_secs(15);
/// How often a supervisor that closes the connection is looked for again.
const ATTEMPTS: u32 = 5;
/// The versions of the protocol that we speak. A supervisor that we start is of this release, and speaks the newest.
const VERSIONS: (u32, u32) = (1, 2);

/// A sandbox that is being made and would outlive its maker: killed, unless it is [done](Unfinished::done).
struct Unfinished<'a> {
    doors: &'a Doors,
    owned: Owned,
    reach: Option<reach::Reach>,
}

impl<'a> Unfinished<'a> {
    fn new(doors: &'a Doors, owned: Owned, supervisor: u32) -> Self {
        Self { doors, owned, reach: Some(reach::Reach::of(supervisor, None)) }
    }

    fn done(mut self) {
        self.reach = None;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if let Some(reach) = &self.reach {
            reach.kill();
            self.doors.clear(self.owned);
        }
    }
}

/// Slots below the newest that are tried again first.
const WARM_SLOTS: u32 = 64;

impl Driver for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn create<'a>(&'a self, spec: &'a SandboxSpec) -> BoxFuture<'a, Result<Box<dyn Sandbox>, Problem>> {
        Box::pin(async move {
            let made = self.make(spec).await;
            self.learn(&made);
            Ok(Box::new(made?) as Box<dyn Sandbox>)
        })
    }

    fn check<'a>(&'a self, trial: &'a SandboxSpec) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(self.can_make(trial))
    }

    fn outlives(&self) -> bool {
        self.doors.is_some()
    }

    fn list_owned(&self) -> BoxFuture<'_, Result<Vec<Owned>, Problem>> {
        Box::pin(async { self.doors.as_ref().map_or(Ok(Vec::new()), Doors::list) })
    }

    fn attach(&self, owned: Owned, token: u64) -> BoxFuture<'_, Result<Box<dyn Sandbox>, Problem>> {
        Box::pin(async move { Ok(Box::new(self.find(owned, token).await?) as Box<dyn Sandbox>) })
    }

    fn remove_layer<'a>(&'a self, directory: &'a str) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(Self::remove(directory))
    }
}
