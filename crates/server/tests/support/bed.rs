//! A server in this process, on a port of its own, with a data directory that goes with it.

use std::net::SocketAddr;

use sandkeep_core::code::Problem;
use sandkeep_server::config::{Sources, Values};
use sandkeep_server::{Config, Drained, Server};
use tokio::task::JoinHandle;

use crate::driver::driver;
use tokio_util::sync::CancellationToken;

pub(crate) struct Bed {
    pub(crate) address: SocketAddr,
    pub(crate) metrics_address: Option<SocketAddr>,
    pub(crate) url: String,
    pub(crate) stop: CancellationToken,
    running: JoinHandle<Drained>,
    pub(crate) directory: tempfile::TempDir,
}

/// Settings as flags would have them, on port 0 and in `directory`.
pub(crate) fn config(directory: &tempfile::TempDir, flags: &[(&'static str, &str)]) -> Config {
    let data = directory.path().join("data").display().to_string();
    let mut all = vec![("data_dir", data), ("listen", "127.0.0.1:0".to_owned())];
    all.extend(flags.iter().map(|(key, value)| (*key, (*value).to_owned())));
    let sources = Sources { flags: all, ..Sources::default() };
    Config::of(&Values::collect(&sources).unwrap()).unwrap()
}

impl Bed {
    pub(crate) async fn start(flags: &[(&'static str, &str)]) -> Self {
        Self::try_start(flags).await.unwrap()
    }

    pub(crate) async fn try_start(flags: &[(&'static str, &str)]) -> Result<Self, Problem> {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::start(config(&directory, flags), driver()).await?;
        let (address, url) = (server.address().unwrap(), server.url().unwrap());
        let metrics_address = server.metrics_address().unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(server.run(stop.clone()));
        Ok(Bed { address, metrics_address, url, stop, running, directory })
    }

    /// Waits until it has stopped, and gives what it leaves.
    pub(crate) async fn stopped(self) -> (Drained, tempfile::TempDir) {
        (self.running.await.unwrap(), self.directory)
    }

    /// Asks it to stop and waits until it has.
    pub(crate) async fn stop(self) -> Drained {
        self.stop.cancel();
        self.running.await.unwrap()
    }
}
