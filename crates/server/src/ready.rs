//! Whether the parts that a request needs answer: probed when somebody asks, at most once a second for all who ask.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, Instant};

use sandkeep_api::health::{Component, LastError, Ready, Status};
use sandkeep_control::engine::Parts;
use sandkeep_control::probe;
use sandkeep_control::session::Session;
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::time::Timestamp;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::metrics::{self, Metrics};

type Outcome = Pin<Box<dyn Future<Output = Result<(), Problem>> + Send>>;

/// A component and how it is asked.
struct Probe {
    name: &'static str,
    /// What it is told to be when it does not answer.
    silent: ErrorCode,
    ask: Box<dyn Fn() -> Outcome + Send + Sync>,
    /// One that has not answered yet is not asked again.
    asked: Mutex<Option<JoinHandle<Result<(), Problem>>>>,
}

impl Probe {
    fn new(name: &'static str, silent: ErrorCode, ask: impl Fn() -> Outcome + Send + Sync + 'static) -> Self {
        Self { name, silent, ask: Box::new(ask), asked: Mutex::new(None) }
    }

    /// Asks, or goes on waiting, as long as [`PATIENCE`]. Cancel-safe.
    async fn answer(&self, tasks: &TaskTracker) -> Result<(), Problem> {
        let mut asked = self.asked.lock().await;
        let answer = asked.get_or_insert_with(|| tasks.spawn((self.ask)()));
        let Ok(answered) = tokio::time::timeout(PATIENCE, answer).await else {
            let message = format!("no answer within {} s", PATIENCE.as_secs());
            return Err(Problem::new(self.silent, message));
        };
        *asked = None;
        answered.unwrap_or_else(|_panicked| Err(Problem::new(ErrorCode::Internal, "the probe failed")))
    }
}

/// All probes, and what they last said.
pub(crate) struct Readiness {
    probes: Vec<Probe>,
    session: Session,
    tasks: TaskTracker,
    last: Mutex<Option<Last>>,
}

struct Last {
    at: Instant,
    components: BTreeMap<&'static str, Component>,
}

/// How long what was found is told again. A probe writes to disk, and whoever asks has no key.
const KEEP: Duration = Duration::from_secs(1);
/// After this a component that does not answer counts as not answering.
const PATIENCE: Duration = Duration::from_secs(2);

impl Readiness {
    /// Probes that run among `tasks`.
    pub(crate) fn new(session: &Session, parts: &Parts, data_dir: PathBuf, tasks: TaskTracker) -> Self {
        let of_store = |name, ask: fn(Session) -> Outcome| {
            let session = session.clone();
            Probe::new(name, ErrorCode::StoreUnavailable, move || ask(session.clone()))
        };
        let (making, keeping) = (parts.clone(), parts.clone());
        let probes = vec![
            of_store("store_read", |session| Box::pin(async move { session.probe_read().await })),
            of_store("store_write", |session| Box::pin(async move { session.probe_write().await })),
            Probe::new("output", ErrorCode::DataDirUnusable, move || {
                let (parts, directory) = (keeping.clone(), data_dir.clone());
                Box::pin(async move { probe::output(&parts.outputs, &parts.clock, &directory).await })
            }),
            Probe::new("sandboxes", ErrorCode::SandboxFailed, move || {
                let parts = making.clone();
                Box::pin(async move { probe::sandboxes(&parts).await })
            }),
        ];
        Readiness { probes, session: session.clone(), tasks, last: Mutex::new(None) }
    }

    /// What there is to say. Those who ask while a probe runs wait for it. Cancel-safe.
    pub(crate) async fn look(&self, metrics: &Metrics, stopping: bool) -> Ready {
        let mut last = self.last.lock().await;
        let now = self.session.clock.monotonic();
        let fresh = last.as_ref().is_some_and(|last| now.duration_since(last.at) < KEEP);
        if !fresh {
            let before = last.as_ref().map(|last| &last.components);
            *last = Some(Last { at: now, components: self.probe(metrics, before).await });
        }
        let components = last.as_ref().map(|last| last.components.clone()).unwrap_or_default();
        Ready { status: status(&components, stopping), components: named(components) }
    }

    async fn probe(
        &self,
        metrics: &Metrics,
        before: Option<&BTreeMap<&'static str, Component>>,
    ) -> BTreeMap<&'static str, Component> {
        let asked = self
            .probes
            .iter()
            .map(|probe| self.ask(probe, metrics, before.and_then(|before| before.get(probe.name))));
        futures_util::future::join_all(asked).await.into_iter().collect()
    }

    async fn ask(
        &self,
        probe: &Probe,
        metrics: &Metrics,
        before: Option<&Component>,
    ) -> (&'static str, Component) {
        let begun = self.session.clock.monotonic();
        let answer = probe.answer(&self.tasks).await;
        let took = self.session.clock.monotonic().duration_since(begun);
        let label = metrics::Component { component: probe.name };
        metrics.probe_duration.get_or_create(&label).observe(took.as_secs_f64());
        metrics.component_ready.get_or_create(&label).set(i64::from(answer.is_ok()));
        let at = Timestamp::from_unix_ms(self.session.clock.now_ms());
        let failed = answer.as_ref().err().map(|problem| {
            tracing::warn!(component = probe.name, error.code = %problem.code, "a probe failed: {}", problem.message);
            LastError { code: problem.code.to_string(), message: problem.message.clone(), at }
        });
        let component = Component {
            ready: answer.is_ok(),
            latency_us: u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            checked_at: at,
            last_error: failed.or_else(|| before.and_then(|component| component.last_error.clone())),
        };
        (probe.name, component)
    }
}

fn status(components: &BTreeMap<&'static str, Component>, stopping: bool) -> Status {
    match (stopping, components.values().all(|component| component.ready)) {
        (true, _) => Status::Stopping,
        (false, true) => Status::Ready,
        (false, false) => Status::NotReady,
    }
}

fn named(components: BTreeMap<&'static str, Component>) -> BTreeMap<String, Component> {
    components.into_iter().map(|(name, component)| (name.to_owned(), component)).collect()
}

impl std::fmt::Debug for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names = self.probes.iter().map(|probe| probe.name);
        f.debug_list().entries(names).finish()
    }
}
