//! The loops that make what is written so: sandboxes are made and removed, executions run and end.
//!
//! Each loop is woken by what was written, looks at rows, and starts a task for each thing to be done; tasks are counted, so
//! that the end of the server waits for them. A slow period is the net under the wake-ups. What a task does is guarded by
//! the claim it acts under, so a task that is late changes nothing.
//!
//! Where the driver's sandboxes outlive this process, its end leaves them and what runs in them alone; whoever comes next
//! finds them again ([`find`]).

mod accept;
mod executions;
mod find;
mod follow;
mod sandboxes;
mod stray;
mod watch;

pub(crate) use accept::{Entry, tell_queued};
pub(crate) use sandboxes::Failure;

use std::collections::{HashMap, hash_map};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sandkeep_core::code::chain;
use sandkeep_core::id::{ExecutionId, ProjectId, SandboxId, ServerId};
use sandkeep_core::limits::Limits;
use sandkeep_runtime::driver::ExecutionSpec;
use sandkeep_runtime::{Driver, Sandbox};
use sandkeep_store::wake::Channel;
use sandkeep_store::{Durability, Store, servers};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::ends::{Bells, Ends};
use crate::offset;
use crate::output::Outputs;
use crate::request::ExecutionRequest;
use crate::seal::Sealer;

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
    /// Opens what was sealed when it was accepted.
    pub sealer: Sealer,
    /// How long an ephemeral sandbox lives at most.
    pub life: Duration,
}

/// A server that was not heard of for this long may be taken over.
pub const LEASE: Duration = Duration::from_secs(15);
/// How often a server is heard of: a lease survives two lost heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How often the rows are looked at though nothing woke anybody, and nothing was due.
const PERIOD: Duration = Duration::from_secs(5);
/// Rows that are looked at in one pass; a full pass is followed by another.
const PASS_MOST: u32 = 64;
/// While stopping: how soon what came late is looked for.
const STOP_AGAIN: Duration = Duration::from_millis(50);

/// An engine. Clones are the same.
#[derive(Debug, Clone)]
pub struct Engine {
    /// What it works with.
    pub parts: Parts,
    pub(crate) ends: Ends,
    server_id: ServerId,
    /// Sandboxes that this server holds, running.
    held: Arc<Mutex<HashMap<SandboxId, Held>>>,
    busy: Arc<Busy<SandboxId>>,
    /// Executions that a task here runs.
    working: Arc<Busy<ExecutionId>>,
    /// Held while sandboxes are taken over, until all of them are busy.
    adopting: Arc<tokio::sync::Mutex<()>>,
    following: Arc<Mutex<HashMap<ExecutionId, follow::Lever>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    /// After `stop`: what runs is left for whoever comes next.
    leave: CancellationToken,
}

/// A live sandbox and the claim it is held under.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) sandbox: Arc<dyn Sandbox>,
    pub(crate) project_id: ProjectId,
    pub(crate) limits: Limits,
    pub(crate) incarnation: i64,
    /// Of the claim: what every command to the sandbox carries.
    pub(crate) token: u64,
    pub(crate) env: Arc<std::collections::BTreeMap<String, String>>,
    pub(crate) once: bool,
}

impl Held {
    /// What its driver is told of an execution in it.
    pub(crate) fn spec(&self, id: ExecutionId, request: &ExecutionRequest) -> ExecutionSpec {
        request.spec(id, self.token, &self.env)
    }
}

impl Engine {
    /// An engine that holds nothing yet, in the name of a server that has entered the books
    /// ([`Session::open`](crate::session::Session::open)).
    #[must_use]
    pub fn new(parts: Parts, server_id: ServerId) -> Self {
        Self {
            parts,
            ends: Ends::default(),
            server_id,
            held: Arc::default(),
            busy: Arc::default(),
            working: Arc::default(),
            adopting: Arc::default(),
            following: Arc::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            leave: CancellationToken::new(),
        }
    }

    /// Starts the loops. Once.
    pub fn start(&self) {
        self.tasks.spawn(self.clone().sweep());
        self.tasks.spawn(self.clone().heartbeat());
        self.tasks.spawn(self.clone().look_for_strays());
        self.tasks.spawn(self.clone().each(Channel::Sandboxes, |engine| Box::pin(engine.sandbox_pass())));
        self.tasks.spawn(self.clone().each(Channel::Executions, |engine| Box::pin(engine.execution_pass())));
    }

    /// Stops taking things up. Sandboxes that outlive this process go on, and what runs in them does too, for whoever comes
    /// next. Where they do not, this is [`Engine::stop_all`].
    pub async fn stop(&self, patience: Duration) {
        if !self.parts.driver.outlives() {
            return self.stop_all(patience).await;
        }
        self.take_nothing_up();
        self.tasks.close();
        self.tasks.wait().await;
        // Their supervisors see at once that nobody is there.
        lock(&self.held).clear();
    }

    /// Begins to stop; what outlives us is left.
    fn take_nothing_up(&self) {
        self.stop.cancel();
        if self.parts.driver.outlives() {
            self.leave.cancel();
        }
    }

    /// Stops taking things up, gives what runs until `patience` is over to end, then ends what this server holds. Returns
    /// when all of that is written down. What did not end by itself is `lost`.
    pub async fn stop_all(&self, patience: Duration) {
        self.stop.cancel();
        self.tasks.close();
        let _late = tokio::time::timeout(patience, self.tasks.wait()).await;
        loop {
            // One that was being made may come now.
            let held: Vec<Held> = lock(&self.held).drain().map(|(_, held)| held).collect();
            futures_util::future::join_all(held.iter().map(|held| held.sandbox.stop())).await;
            if tokio::time::timeout(STOP_AGAIN, self.tasks.wait()).await.is_ok()
                && lock(&self.held).is_empty()
            {
                return;
            }
        }
    }

    /// Passes of one loop, until the engine stops. A pass says how long there is nothing to be done that is known now.
    async fn each(
        self,
        channel: Channel,
        pass: impl for<'a> Fn(&'a Self) -> std::pin::Pin<Box<dyn Future<Output = Duration> + Send + 'a>>,
    ) {
        let mut wakeups = self.parts.store.wakeups(channel);
        while !self.stop.is_cancelled() {
            let pause = pass(&self).await;
            if pause.is_zero() {
                continue;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                open = wakeups.next() => if !open { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn heartbeat(self) {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(HEARTBEAT) => {}
            }
            if let Err(problem) = offset::measure(&self.parts.store, &self.parts.clock).await {
                tracing::warn!(error.code = %problem.code, "the database's clock is taken to go on as before: {problem}");
            }
            let seen = (self.server_id, self.parts.clock.now_us());
            let seen = self
                .parts
                .store
                .write(Durability::Relaxed, seen, |tx, of| Box::pin(servers::seen(tx, of.0, of.1)));
            if let Some(false) = self.told("say that we are here", seen.await) {
                // Somebody voided us: what we hold is theirs now, and every write of ours is refused.
                self.take_nothing_up();
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
        result.inspect_err(|error| tracing::error!(error = chain(error), "cannot {doing}")).ok()
    }
}

/// Things that a task is at work on, and whether somebody else came to do so meanwhile.
#[derive(Debug)]
struct Busy<K> {
    keys: Mutex<HashMap<K, bool>>,
    given_back: tokio::sync::Notify,
}

impl<K> Default for Busy<K> {
    fn default() -> Self {
        Self { keys: Mutex::default(), given_back: tokio::sync::Notify::new() }
    }
}

impl<K: Copy + Eq + Hash> Busy<K> {
    /// Takes `key`. Whoever has it already hears that it is to look again ([`Taken::again`]).
    fn take(self: &Arc<Self>, key: K) -> Option<Taken<K>> {
        match lock(&self.keys).entry(key) {
            hash_map::Entry::Occupied(mut taken) => {
                taken.insert(true);
                None
            }
            hash_map::Entry::Vacant(free) => {
                free.insert(false);
                Some(Taken { busy: Arc::clone(self), key, is_given_back: false })
            }
        }
    }

    /// Whether somebody has `key`.
    fn has(&self, key: K) -> bool {
        lock(&self.keys).contains_key(&key)
    }

    /// Returns when nobody has `key`.
    async fn until_free(&self, key: K) {
        loop {
            let given_back = self.given_back.notified();
            tokio::pin!(given_back);
            // From here on nothing that is given back is missed.
            given_back.as_mut().enable();
            if !self.has(key) {
                return;
            }
            given_back.await;
        }
    }
}

/// Gives its key back when it goes.
#[derive(Debug)]
struct Taken<K: Copy + Eq + Hash> {
    busy: Arc<Busy<K>>,
    key: K,
    is_given_back: bool,
}

impl<K: Copy + Eq + Hash> Taken<K> {
    /// Keeps the key if somebody came for it since the last call, who then need not come again; else gives it back.
    fn again(mut self) -> Option<Self> {
        let mut keys = lock(&self.busy.keys);
        if keys.get_mut(&self.key).is_some_and(std::mem::take) {
            drop(keys);
            return Some(self);
        }
        keys.remove(&self.key);
        drop(keys);
        self.is_given_back = true;
        None
    }
}

impl<K: Copy + Eq + Hash> Drop for Taken<K> {
    fn drop(&mut self) {
        if !self.is_given_back {
            lock(&self.busy.keys).remove(&self.key);
        }
        self.busy.given_back.notify_waiters();
    }
}

/// A lock that a panic elsewhere does not take away: what it guards is changed in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_comes_for_what_is_taken_is_not_forgotten() {
        let busy = Arc::new(Busy::default());
        let taken = busy.take(1).unwrap();
        assert!(busy.take(1).is_none() && busy.take(1).is_none() && busy.take(2).is_some());
        let taken = taken.again().expect("somebody came");
        assert!(taken.again().is_none(), "nobody came since");
        drop(busy.take(1).expect("it was given back"));
        assert!(busy.take(1).is_some());
    }
}
