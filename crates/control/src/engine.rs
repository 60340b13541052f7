//! The loops that make what is written so: sandboxes are made and removed, executions run and end.
//!
//! Each loop is woken by what was written, looks at rows, and starts a task for each thing to be done; tasks are counted, so
//! that the end of the server waits for them. A slow period is the net under the wake-ups. What a task does is guarded by
//! the claim it acts under, so a task that is late changes nothing.

mod executions;
mod follow;
mod sandboxes;

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sandkeep_core::id::{ExecutionId, SandboxId, ServerId};
use sandkeep_runtime::{Driver, Sandbox};
use sandkeep_store::wake::Channel;
use sandkeep_store::{Durability, Store, servers};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::ends::Bells;
use crate::fault;
use crate::ids;
use crate::output::Outputs;

/// What an engine works with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Where everything is written.
    pub store: Store,
    /// Where output goes.
    pub outputs: Outputs,
    /// What makes sandboxes.
    pub driver: Arc<dyn Driver>,
    /// The time.
    pub clock: Clock,
    /// Whom to tell what has changed.
    pub bells: Bells,
}

/// A server that was not heard of for this long may be taken over.
pub const LEASE: Duration = Duration::from_secs(15);
/// How often a server is heard of: a lease survives two lost heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often the rows are looked at though nothing woke anybody.
const PERIOD: Duration = Duration::from_secs(5);
/// Rows that are looked at in one pass; a full pass is followed by another.
const PASS_MOST: u32 = 64;

/// A running engine. Clones are the same.
#[derive(Debug, Clone)]
pub struct Engine {
    parts: Parts,
    server_id: ServerId,
    /// Sandboxes that this server holds, running.
    held: Arc<Mutex<HashMap<SandboxId, Held>>>,
    busy: Arc<Busy<SandboxId>>,
    following: Arc<Mutex<HashMap<ExecutionId, follow::Lever>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A live sandbox and the claim it is held under.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) sandbox: Arc<dyn Sandbox>,
    pub(crate) incarnation: i64,
    pub(crate) env: Arc<std::collections::BTreeMap<String, String>>,
    pub(crate) once: bool,
}

impl Engine {
    /// Enters the books as a server and starts the loops. Whoever holds a data directory is `alone` and voids all earlier
    /// sessions at once.
    ///
    /// # Errors
    /// The store's.
    pub async fn start(parts: Parts, version: &str, alone: bool) -> sandkeep_store::Result<Self> {
        let now_us = parts.clock.now_us();
        let server = servers::Server {
            id: ids::fresh(&parts.clock),
            version: version.to_owned(),
            host: read_line("/proc/sys/kernel/hostname"),
            boot_id: read_line("/proc/sys/kernel/random/boot_id"),
            started_us: now_us,
            seen_us: now_us,
        };
        let server_id = server.id;
        let enter = parts.store.write(Durability::Durable, (server, alone), |tx, input| {
            Box::pin(async move {
                servers::enter(tx, &input.0).await?;
                if input.1 {
                    servers::void_others(tx, input.0.id).await?;
                }
                Ok(())
            })
        });
        enter.await?;
        let engine = Self {
            parts,
            server_id,
            held: Arc::default(),
            busy: Arc::default(),
            following: Arc::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        };
        engine.tasks.spawn(engine.clone().heartbeat());
        engine.tasks.spawn(engine.clone().each(Channel::Sandboxes, |engine| Box::pin(engine.sandbox_pass())));
        engine
            .tasks
            .spawn(engine.clone().each(Channel::Executions, |engine| Box::pin(engine.execution_pass())));
        Ok(engine)
    }

    /// Stops taking things up, ends what this server holds, and leaves the books; returns when that is done.
    pub async fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        let sandboxes: Vec<Held> = lock(&self.held).drain().map(|(_, held)| held).collect();
        for held in sandboxes {
            held.sandbox.stop().await;
        }
        let left = self
            .parts
            .store
            .write(Durability::Durable, self.server_id, |tx, id| Box::pin(servers::leave(tx, *id)));
        self.told("leave the books", left.await);
    }

    /// Passes of one loop, until the engine stops.
    async fn each(
        self,
        channel: Channel,
        pass: impl for<'a> Fn(&'a Self) -> std::pin::Pin<Box<dyn Future<Output = bool> + Send + 'a>>,
    ) {
        let mut wakeups = self.parts.store.wakeups(channel);
        loop {
            while pass(&self).await {
                if self.stop.is_cancelled() {
                    return;
                }
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                open = wakeups.next() => if !open { return },
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    }

    async fn heartbeat(self) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(HEARTBEAT) => {}
            }
            let seen = (self.server_id, self.parts.clock.now_us());
            let seen = self
                .parts
                .store
                .write(Durability::Relaxed, seen, |tx, of| Box::pin(servers::seen(tx, of.0, of.1)));
            if let Some(false) = self.told("say that we are here", seen.await) {
                // Somebody voided us: what we hold is theirs now, and every write of ours is refused.
                self.stop.cancel();
                return;
            }
        }
    }

    /// Servers heard of since then are alive.
    fn alive_since_us(&self) -> i64 {
        self.parts.clock.now_us() - i64::try_from(LEASE.as_micros()).unwrap_or(i64::MAX)
    }

    /// The value, or `None` after the failure was told.
    #[expect(clippy::unused_self, reason = "what an engine tells will name the server")]
    fn told<T, E: std::error::Error>(&self, doing: &'static str, result: Result<T, E>) -> Option<T> {
        result.inspect_err(|error| tracing::error!(error = fault::chain(error), "cannot {doing}")).ok()
    }
}

/// Things that a task is at work on.
#[derive(Debug)]
struct Busy<K>(Mutex<HashSet<K>>);

impl<K> Default for Busy<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Copy + Eq + Hash> Busy<K> {
    /// Takes `key`, unless somebody has it.
    fn take(self: &Arc<Self>, key: K) -> Option<Taken<K>> {
        lock(&self.0).insert(key).then(|| Taken { busy: Arc::clone(self), key })
    }
}

/// Gives its key back when it goes.
#[derive(Debug)]
struct Taken<K: Copy + Eq + Hash> {
    busy: Arc<Busy<K>>,
    key: K,
}

impl<K: Copy + Eq + Hash> Drop for Taken<K> {
    fn drop(&mut self) {
        lock(&self.busy.0).remove(&self.key);
    }
}

/// A lock that a panic elsewhere does not take away: what it guards is changed in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read_line(path: &str) -> String {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default()
}
