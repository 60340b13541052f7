//! What every route gets from around it, shown on routes that only exist here: bodies, bounds, panics, streams.

#[path = "../tests/support/driver.rs"]
mod driver;
#[path = "../tests/support/http.rs"]
mod http;

mod around;
mod bodies;

use std::net::SocketAddr;

use axum::Router;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Sources, Values};
use crate::middleware::around as put_around;
use crate::serve::{Drained, Server};
use crate::state::App;

/// A server with other routes.
struct Bed {
    address: SocketAddr,
    app: App,
    stop: CancellationToken,
    running: JoinHandle<Drained>,
    _directory: tempfile::TempDir,
}

impl Bed {
    async fn start(flags: &[(&'static str, &str)], routes: impl FnOnce(&App) -> Router<App>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data").display().to_string();
        let mut all = vec![("data_dir", data), ("listen", "127.0.0.1:0".to_owned())];
        all.extend(flags.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let sources = Sources { flags: all, ..Sources::default() };
        let config = Config::of(&Values::collect(&sources).unwrap()).unwrap();
        let server = Server::start(config, driver::driver()).await.unwrap();
        let (address, app, stop) = (server.address().unwrap(), server.app.clone(), CancellationToken::new());
        let router = put_around(routes(&app).with_state(app.clone()), &app);
        let running = tokio::spawn(server.serve(router, stop.clone()));
        Bed { address, app, stop, running, _directory: directory }
    }

    async fn stop(self) -> Drained {
        self.stop.cancel();
        self.running.await.unwrap()
    }
}
