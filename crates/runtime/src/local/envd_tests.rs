//! The envd services against a real sandbox, as a client behind a proxy meets them: through the supervisor, with heads
//! and bodies as they come over HTTP, in both codecs.

mod client;
mod files;
mod process;
mod terminal;
mod watch;

use std::future::Future;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sandkeep_core::defaults;
use sandkeep_core::id::SandboxId;
use sandkeep_core::limits::Limits;
use sandkeep_core::sandbox::Profile;
use sandkeep_core::size::ByteSize;

use super::{Config, ID_BASE, Local, StateDirectory, handle::Handle};
use crate::driver::{Sandbox as _, SandboxSpec};
use client::Client;

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(40);

/// Runs `test` with a client of a fresh sandbox.
fn with<F: Future<Output = ()>>(profile: Profile, test: impl FnOnce(Client) -> F) {
    let limits = defaults::limits();
    with_limits(profile, limits, test);
}

fn with_limits<F: Future<Output = ()>>(profile: Profile, limits: Limits, test: impl FnOnce(Client) -> F) {
    with_patience(PATIENCE, profile, limits, test);
}

fn with_patience<F: Future<Output = ()>>(
    patience: Duration,
    profile: Profile,
    limits: Limits,
    test: impl FnOnce(Client) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let done = async {
        let client = Client::new(sandbox(profile, limits).await);
        test(client.clone()).await;
        client.sandbox().stop().await;
    };
    runtime.block_on(async {
        tokio::time::timeout(patience, done).await.unwrap_or_else(|_| panic!("not done after {patience:?}"));
    });
}

async fn sandbox(profile: Profile, limits: Limits) -> Handle {
    let state = StateDirectory::open(&StateDirectory::default_path()).unwrap();
    let local = Local::new(Config { state, id_base: ID_BASE, ceiling: ByteSize::from_gib(8) });
    let half = ByteSize::from_bytes(limits.memory.bytes() / 2);
    let id = SandboxId::new(1, [7; 10]);
    let spec = SandboxSpec { profile, ..SandboxSpec::of_host(id, Limits { disk: half, ..limits }) };
    local.make(&spec).await.unwrap()
}

/// Processes of the sandbox that the agent has started and that have not ended.
fn children(client: &Client) -> usize {
    let agent = client.sandbox().facts().agent_pid;
    let list = std::fs::read_to_string(format!("/proc/{agent}/task/{agent}/children")).unwrap();
    list.split_whitespace().count()
}

/// The agent of a sandbox, which stands still until this is dropped.
struct Stopped(Pid);

impl Stopped {
    /// Whether we may stop it, or look at what it holds: it has an id of its own. Says so if not.
    fn is_possible(test: &str) -> bool {
        let root = rustix::process::geteuid().is_root();
        if !root {
            println!("SKIPPED {test}: only root may stop the agent of a sandbox");
        }
        root
    }

    fn agent(client: &Client) -> Self {
        let agent = Pid::from_raw(client.sandbox().facts().agent_pid.cast_signed()).unwrap();
        kill_process(agent, Signal::STOP).unwrap();
        Self(agent)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).unwrap();
    }
}

/// Waits until all of them have ended.
async fn none_is_left(client: &Client) {
    eventually(|| children(client) == 0).await;
}

/// Polls until `condition` holds; the test's own deadline ends it.
async fn eventually(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(2)).await; // the pause between two looks, not the wait
    }
}

/// Whether executions get a PID namespace each, since no control group holds them.
fn is_namespaced(client: &Client) -> bool {
    client.sandbox().enforcement().memory != sandkeep_core::enforcement::Level::Kernel
}
