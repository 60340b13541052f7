//! One connection.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::patience::Patient;
use super::tls::Certificates;
use crate::middleware::Peer;
use crate::state::App;

/// Requests at once on one connection of HTTP/2.
const STREAMS_MOST: u32 = 128;

/// What a connection keeps of an answer that its peer does not take: two pieces of a stream. A thousand slow readers keep so much
/// each (hyper's own bound is 408 KiB).
const BUFFER_MOST: usize = 64 * 1024;

/// What serves a connection.
pub(super) struct Connection {
    pub(super) router: Router,
    pub(super) app: App,
    pub(super) peer: SocketAddr,
}

/// Counts a connection while it is open.
struct Open<'a>(&'a App);

impl<'a> Open<'a> {
    fn begin(app: &'a App) -> Self {
        app.metrics.connections.inc();
        Open(app)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
    }
}

impl Connection {
    /// Serves until the peer is done, breaks a limit, or the app is stopping and what was begun is answered.
    pub(super) async fn serve(self, stream: TcpStream, certificates: Option<Arc<Certificates>>) {
        let app = self.app.clone();
        let _open = Open::begin(&app);
        let peer = self.peer;
        // Answers are small and awaited; the kernel need not wait for more to send along.
        let _unheard = stream.set_nodelay(true);
        if let Err(error) = self.dispatch(stream, certificates).await {
            app.metrics.connections_failed.inc();
            tracing::debug!(client.address = %peer.ip(), "a connection ended early: {error}");
        }
    }

    async fn dispatch(
        self,
        stream: TcpStream,
        certificates: Option<Arc<Certificates>>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Some(certificates) = certificates else { return self.http1(stream).await.map_err(Into::into) };
        let handshake = certificates.acceptor().accept(stream);
        let stream = tokio::time::timeout(self.app.config.limits.header_timeout, handshake).await??;
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => self.http2(stream).await.map_err(Into::into),
            _ => self.http1(stream).await.map_err(Into::into),
        }
    }

    async fn http1(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> hyper::Result<()> {
        let limits = self.app.config.limits;
        let service = service_fn(|request| self.answer(request));
        let io = TokioIo::new(Patient::new(stream, limits.write_timeout));
        let serving = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_header_size(limits.header)
            .max_buf_size(limits.header.max(BUFFER_MOST))
            .serve_connection(io, service)
            .with_upgrades();
        let mut serving = pin!(serving);
        tokio::select! {
            done = serving.as_mut() => return done,
            () = self.app.stopping.cancelled() => serving.as_mut().graceful_shutdown(),
        }
        serving.await
    }

    async fn http2(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> hyper::Result<()> {
        let limits = self.app.config.limits;
        let shared = Arc::new((self, Activity::default()));
        let service = service_fn(|request| {
            let shared = Arc::clone(&shared);
            async move {
                let _request = shared.1.begin();
                shared.0.answer(request).await
            }
        });
        let (Connection { app, .. }, activity) = shared.as_ref();
        let io = TokioIo::new(Patient::new(stream, limits.write_timeout));
        let serving = hyper::server::conn::http2::Builder::new(Tracked(app.tasks.clone()))
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS_MOST)
            .max_header_list_size(u32::try_from(limits.header).unwrap_or(u32::MAX))
            // For a peer that is gone without a word.
            .keep_alive_interval(limits.header_timeout)
            .keep_alive_timeout(limits.header_timeout)
            .serve_connection(io, service);
        let mut serving = pin!(serving);
        tokio::select! {
            done = serving.as_mut() => return done,
            () = app.stopping.cancelled() => serving.as_mut().graceful_shutdown(),
            () = activity.idle_for(limits.header_timeout) => serving.as_mut().graceful_shutdown(),
        }
        serving.await
    }

    async fn answer(&self, request: hyper::Request<Incoming>) -> Result<Response, Infallible> {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(self.peer));
        self.router.clone().oneshot(request).await
    }
}

/// Whether a connection of HTTP/2 is used: there the head of a request is not what its timer watches.
#[derive(Debug, Default)]
struct Activity {
    active: AtomicUsize,
    begun: AtomicUsize,
}

/// A request that is being answered.
struct Active<'a>(&'a Activity);

impl Activity {
    fn begin(&self) -> Active<'_> {
        self.active.fetch_add(1, Ordering::Relaxed);
        self.begun.fetch_add(1, Ordering::Relaxed);
        Active(self)
    }

    /// Returns when no request was there for all of `time`.
    async fn idle_for(&self, time: Duration) {
        loop {
            let begun = self.begun.load(Ordering::Relaxed);
            tokio::time::sleep(time).await;
            let quiet = begun == self.begun.load(Ordering::Relaxed);
            if quiet && self.active.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs what HTTP/2 spawns where the shutdown waits for it.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Tracked {
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
