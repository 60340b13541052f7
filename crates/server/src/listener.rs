//! Where connections come in.
//!
//! A connection has one task. It is HTTP/1, or HTTP/2 where TLS agreed on it; which one is known before the first byte,
//! so nobody can hold a connection open by not saying. Every wait for a peer has an end: the handshake and the head of a
//! request ([`crate::config::Limits::header_timeout`], which also ends idle connections), its body (in the extractor),
//! and taking an answer ([`patience`]).

mod connection;
mod patience;
pub(crate) mod tls;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use sandkeep_core::code::{ErrorCode, Problem};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::state::App;
use tls::Certificates;

/// How long the accept loop rests when the kernel gives no connection: mostly because descriptors are used up, and some
/// connection has to end first.
const REST: Duration = Duration::from_millis(50);

/// An open listener.
#[derive(Debug)]
pub(crate) struct Listener {
    tcp: TcpListener,
    certificates: Option<Arc<Certificates>>,
}

impl Listener {
    /// Takes `address` for `setting`.
    ///
    /// # Errors
    /// `listener_unusable`.
    pub(crate) async fn bind(
        setting: &str,
        address: SocketAddr,
        certificates: Option<Arc<Certificates>>,
    ) -> Result<Self, Problem> {
        let tcp = TcpListener::bind(address).await.map_err(|error| {
            let why = format!("cannot be listened at: {error}");
            let expected = "an address of this machine with a free port; port 0 takes any";
            Problem::refused(ErrorCode::ListenerUnusable, &address.to_string(), &why, expected)
                .within(setting)
        })?;
        Ok(Listener { tcp, certificates })
    }

    /// Where it listens: the port that it got when 0 was asked for.
    pub(crate) fn address(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Whether it speaks TLS.
    pub(crate) fn is_encrypted(&self) -> bool {
        self.certificates.is_some()
    }

    /// Serves `router` until the app is stopping; then takes no more connections. Those that are open go on in their tasks
    /// until they are done, or `end` is cancelled. More connections than the limit wait in the kernel until one ends.
    pub(crate) async fn serve(self, router: Router, app: App, end: CancellationToken) {
        let places = Arc::new(Semaphore::new(app.config.limits.connections));
        let stopping = app.stopping.clone();
        let accept = async {
            loop {
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                match self.tcp.accept().await {
                    Ok((stream, peer)) => {
                        let certificates = self.certificates.clone();
                        let connection =
                            connection::Connection { router: router.clone(), app: app.clone(), peer };
                        let end = end.clone();
                        app.tasks.spawn(async move {
                            let _place = place;
                            end.run_until_cancelled(connection.serve(stream, certificates)).await
                        });
                    }
                    Err(error) => {
                        tracing::warn!("no connection could be taken: {error}");
                        tokio::time::sleep(REST).await;
                    }
                }
            }
        };
        // Accepting is cancel-safe; a permit that was taken for nothing goes with the semaphore.
        stopping.run_until_cancelled(accept).await;
    }
}
