//! From settings to an open server, and from a signal to its end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use sandkeep_blob::Blobs;
use sandkeep_control::clock::Clock;
use sandkeep_control::ends::Bells;
use sandkeep_control::engine::{Engine, Parts};
use sandkeep_control::first_start;
use sandkeep_control::identity::WRITE_USED_EVERY;
use sandkeep_control::master_key::{Given, MasterKey};
use sandkeep_control::output::Outputs;
use sandkeep_control::retention::Retention;
use sandkeep_control::seal::Sealer;
use sandkeep_control::session::{Books, Session};
use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_runtime::Driver;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::listener::Listener;
use crate::listener::tls::Certificates;
use crate::middleware::shape::NO_AUTH_WARNING;
use crate::routes;
use crate::state::App;

/// A server that has all it needs.
#[derive(Debug)]
pub struct Server {
    pub(crate) app: App,
    engine: Engine,
    listener: Listener,
    metrics: Option<Listener>,
    certificates: Option<Arc<Certificates>>,
    made: Vec<PathBuf>,
}

/// How a shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Everything that was begun was brought to its end.
    InTime,
    /// So many tasks were still busy, and were left.
    Late {
        /// Connections and requests.
        tasks: usize,
    },
}

impl Server {
    /// Files with keys that this start made, because it was the first: the master key, the administrator's token.
    #[must_use]
    pub fn made(&self) -> &[PathBuf] {
        &self.made
    }

    /// Takes certificate, addresses and store, in this order, so that what is refused has changed nothing. Sandboxes are made
    /// by `driver`, from [`run`](Self::run) on.
    ///
    /// # Errors
    /// `tls_unusable`, `listener_unusable`, and what [`Session::open`] and [`first_start::begin`] say.
    pub async fn start(config: Config, driver: Arc<dyn Driver>) -> Result<Self, Problem> {
        let certificates = config.tls.as_ref().map(Certificates::read).transpose()?.map(Arc::new);
        let listener = Listener::bind("listen", config.listen, certificates.clone()).await?;
        let metrics = match config.metrics_listen {
            Some(address) => Some(Listener::bind("metrics.listen", address, None).await?),
            None => None,
        };
        let session = Session::open(&books(&config), Clock::new(), env!("CARGO_PKG_VERSION")).await?;
        let given = Given::of_environment(|name| std::env::var_os(name))?;
        let begun =
            first_start::begin(&session.store, &session.clock, &config.data_dir, given.as_ref()).await?;
        let without_keys = match config.insecure_no_auth {
            true => Some(first_start::without_keys(&session.store).await?),
            false => None,
        };
        let parts = parts(&config, &session, begun.master_key, driver)?;
        let made = [begun.made_master_key, begun.made_admin_key].into_iter().flatten().collect();
        let engine = Engine::new(parts, session.id);
        let app = App::new(config, session, &engine, without_keys);
        Ok(Server { app, engine, listener, metrics, certificates, made })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.address()
    }

    /// Where it tells its metrics, if not where it listens.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn metrics_address(&self) -> std::io::Result<Option<SocketAddr>> {
        self.metrics.as_ref().map(Listener::address).transpose()
    }

    /// The address as a client writes it.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn url(&self) -> std::io::Result<String> {
        let scheme = if self.listener.is_encrypted() { "https" } else { "http" };
        Ok(format!("{scheme}://{}{}", self.address()?, self.app.config.base_path))
    }

    /// Serves until `stop` is cancelled and what is open has ended, or the time for that is over.
    pub async fn run(self, stop: CancellationToken) -> Drained {
        let router = routes::router(&self.app);
        self.serve(router, stop).await
    }

    /// [`Self::run`] with other routes.
    pub(crate) async fn serve(self, router: Router, stop: CancellationToken) -> Drained {
        let Server { app, engine, listener, metrics, certificates, made: _ } = self;
        if app.config.insecure_no_auth {
            tracing::warn!("{NO_AUTH_WARNING}");
        }
        let end = CancellationToken::new();
        if let Some(metrics) = metrics {
            app.tasks.spawn(metrics.serve(routes::metrics_router(&app), app.clone(), end.clone()));
        }
        if let Some(certificates) = certificates {
            app.tasks.spawn(certificates.watch(app.clone()));
        }
        app.tasks.spawn(write_used(app.clone()));
        let Parts { store, outputs, clock, .. } = engine.parts.clone();
        let retention = Retention::new(store, outputs, clock, app.config.keep, app.session.id);
        app.tasks.spawn(forget_old(app.clone(), retention));
        engine.start();
        app.tasks.spawn(listener.serve(router, app.clone(), end.clone()));
        stop.cancelled().await;
        drain(&app, &engine, &end).await
    }
}

/// Where these settings have a server keep its books.
pub(crate) fn books(config: &Config) -> Books {
    match &config.database_url {
        Some(url) => Books::Postgres(url.reveal().to_owned()),
        None => Books::Directory(config.data_dir.clone()),
    }
}

/// What the engine and the services beside it work with.
fn parts(
    config: &Config,
    session: &Session,
    master_key: MasterKey,
    driver: Arc<dyn Driver>,
) -> Result<Parts, Problem> {
    let (store, clock) = (session.store.clone(), session.clock.clone());
    let blobs = Blobs::local(&config.data_dir.join(OUTPUT)).map_err(|error| {
        Problem::new(ErrorCode::DataDirUnusable, sandkeep_core::code::chain(&error))
            .expecting("a directory on a local disk that this user may write to")
    })?;
    let outputs = Outputs::new(store.clone(), blobs);
    let (bells, sealer, life) = (Bells::default(), Sealer::new(master_key), config.sandbox_life);
    Ok(Parts { store, outputs, driver, clock, bells, sealer, life })
}

/// In the data directory: output that is too large for rows.
const OUTPUT: &str = "output";
/// Between two batches of what is old, while there is more, and otherwise.
const FORGET_AGAIN: Duration = Duration::from_millis(20);
const FORGET_EVERY: Duration = Duration::from_secs(300);

/// Deletes what is old, in batches.
async fn forget_old(app: App, retention: Retention) {
    loop {
        let forgotten = retention.forget_old().await;
        let pause = match forgotten {
            Ok(0) => FORGET_EVERY,
            Ok(_) => FORGET_AGAIN,
            Err(problem) => {
                tracing::warn!(error.code = %problem.code, "what is old was not deleted: {}", problem.message);
                FORGET_EVERY
            }
        };
        if app.stopping.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}

/// Writes down now and then which tokens were used, and once more at the end.
async fn write_used(app: App) {
    let mut tick = tokio::time::interval(WRITE_USED_EVERY);
    loop {
        let goes_on = app.stopping.run_until_cancelled(tick.tick()).await.is_some();
        if let Err(problem) = app.identity.write_used().await {
            tracing::warn!(error.code = %problem.code, "which tokens were used was not written: {}", problem.message);
        }
        if !goes_on {
            return;
        }
    }
}

/// How long ending what did not end by itself may take, after the time for that is over.
const END_WITHIN: Duration = Duration::from_secs(5);

/// Takes nothing new, and leaves the books. What runs is left to the next server, where the driver's sandboxes outlive this one;
/// else it may end, and the rest is ended.
async fn drain(app: &App, engine: &Engine, end: &CancellationToken) -> Drained {
    tracing::info!(
        timeout_ms = u64::try_from(app.config.drain_timeout.as_millis()).unwrap_or(u64::MAX),
        "stopping"
    );
    app.stopping.cancel();
    app.tasks.close();
    let within = app.config.drain_timeout;
    let stopping = async {
        if app.config.end_sandboxes { engine.stop_all(within).await } else { engine.stop(within).await }
    };
    let (answered, ended) = tokio::join!(
        tokio::time::timeout(within, app.tasks.wait()),
        tokio::time::timeout(within + END_WITHIN, stopping),
    );
    let drained = match (answered, ended) {
        (Ok(()), Ok(())) => Drained::InTime,
        (_, ended) => Drained::Late { tasks: app.tasks.len() + usize::from(ended.is_err()) },
    };
    if let Drained::Late { tasks } = drained {
        tracing::warn!(tasks, "what was still open is closed");
    }
    end.cancel();
    if let Err(problem) = app.session.leave().await {
        tracing::warn!(error.code = %problem.code, "the server could not take itself out of the books: {}", problem.message);
    }
    drained
}

/// The OpenAPI document, as it is committed: indented, with a line's end.
#[must_use]
pub fn openapi_json() -> String {
    let mut json = routes::document().to_pretty_json().expect("maps of texts have a JSON form");
    json.push('\n');
    json
}
