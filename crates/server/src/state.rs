//! What all handlers share.

use std::future::Future;
use std::sync::Arc;

use sandkeep_control::audit::Audit;
use sandkeep_control::engine::Engine;
use sandkeep_control::events::Events;
use sandkeep_control::executions::Executions;
use sandkeep_control::identity::Identity;
use sandkeep_control::projects::Projects;
use sandkeep_control::sandboxes::Sandboxes;
use sandkeep_control::session::Session;
use sandkeep_control::tokens::Tokens;
use sandkeep_core::identity::Principal;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use crate::config::Config;
use crate::metrics::Metrics;
use crate::middleware::callers::Callers;
use crate::ready::Readiness;
use crate::refusal::{Answer, Refusal};

/// The server's state. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct App(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) session: Session,
    pub(crate) identity: Identity,
    pub(crate) tokens: Tokens,
    pub(crate) projects: Projects,
    pub(crate) sandboxes: Sandboxes,
    pub(crate) executions: Executions,
    pub(crate) events: Events,
    pub(crate) audit: Audit,
    /// As whom everybody acts, where nobody is asked for a key.
    pub(crate) without_keys: Option<Arc<Principal>>,
    pub(crate) metrics: Metrics,
    pub(crate) ready: Readiness,
    /// Everything that was spawned.
    pub(crate) tasks: TaskTracker,
    /// Cancelled when the server is to end: no new connections, open streams end.
    pub(crate) stopping: CancellationToken,
    /// Requests of the API that may still come in.
    pub(crate) requests: Arc<Semaphore>,
    /// What each caller may ask for.
    pub(crate) callers: Callers,
    /// Open ends of the kind `WebSocket` that there may still be: they are no connections of HTTP any more.
    pub(crate) sockets: Arc<Semaphore>,
    /// Kibibytes of bodies that may still be read.
    pub(crate) bodies: Semaphore,
}

impl std::ops::Deref for App {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl App {
    pub(crate) fn new(
        config: Config,
        session: Session,
        engine: &Engine,
        without_keys: Option<Principal>,
    ) -> Self {
        let (store, clock) = (session.store.clone(), session.clock.clone());
        let identity = Identity::new(store.clone(), clock.clone());
        let bodies = usize::try_from(config.limits.bodies / 1024).unwrap_or(Semaphore::MAX_PERMITS);
        let tasks = TaskTracker::new();
        App(Arc::new(Inner {
            ready: Readiness::new(&session, &engine.parts, config.data_dir.clone(), tasks.clone()),
            metrics: Metrics::new(),
            tasks,
            stopping: CancellationToken::new(),
            requests: Arc::new(Semaphore::new(config.limits.requests)),
            callers: Callers::new(config.limits),
            sockets: Arc::new(Semaphore::new(config.limits.connections)),
            bodies: Semaphore::new(bodies.min(Semaphore::MAX_PERMITS)),
            tokens: Tokens::new(store.clone(), clock.clone(), identity.clone()),
            sandboxes: Sandboxes::new(&engine.parts),
            executions: Executions::new(engine),
            events: Events::new(store.clone()),
            audit: Audit::new(store.clone()),
            projects: Projects::new(store, clock, identity.clone()),
            identity,
            without_keys: without_keys.map(Arc::new),
            config,
            session,
        }))
    }

    /// Runs `work` to its end even when the client leaves, which drops the handler: for whatever changes something in more
    /// than one step. The shutdown waits for it.
    pub(crate) async fn complete<T: Send + 'static>(
        &self,
        work: impl Future<Output = Answer<T>> + Send + 'static,
    ) -> Answer<T> {
        self.tasks.spawn(work.in_current_span()).await.unwrap_or_else(|_panicked| Err(Refusal::internal()))
    }
}
