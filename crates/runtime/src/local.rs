//! The driver `local`: sandboxes of Linux namespaces on this host, each held by a supervisor of its own.

mod connection;
mod convert;
mod embed;
mod handle;
pub mod probe;
mod reach;
mod resolve;
pub mod root;
mod state;

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::sandbox::Profile;
use sandkeep_core::size::ByteSize;
use sandkeep_protocol::routes::supervisor as routes;
use sandkeep_protocol::supervisor as proto;

use crate::driver::{BoxFuture, Driver, Root, Sandbox, SandboxSpec};
use connection::Connection;
pub use resolve::{Interpreter, interpreters};
pub use state::StateDirectory;

/// First host id of the ranges that root's sandboxes get: above what systemd gives to containers, and far from
/// people (systemd.io/UIDS-GIDS). 4,094 ranges of 65,536 fit below the ids it calls foreign.
pub const ID_BASE: u32 = 1_879_048_192;

/// How this host is used.
#[derive(Debug, Clone)]
pub struct Config {
    /// Our own directory: locks of slots, and a place to build on.
    pub state: StateDirectory,
    /// First host id of the ranges that slots hand out (root only).
    pub id_base: u32,
    /// Memory that all sandboxes together may use.
    pub ceiling: ByteSize,
}

/// The driver.
#[derive(Debug)]
pub struct Local {
    config: Config,
    /// Where the next sandbox begins to look for a slot, so that many of one process do not search long.
    next_slot: AtomicU32,
}

impl Local {
    /// A driver that uses this host as `config` says.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, next_slot: AtomicU32::new(0) }
    }

    async fn make(&self, spec: &SandboxSpec) -> Result<handle::Handle, Problem> {
        spec.check()?;
        if let Root::Directory(path) = &spec.root {
            root::check(Path::new(path))?;
        }
        let mut wanted = convert::sandbox_spec(spec, &self.config, self.slot_hint());
        if spec.profile == Profile::Dev {
            wanted.sudo_program = embed::as_file(self.config.state.path())?.to_string_lossy().into_owned();
        }
        let (connection, supervisor) = Connection::to_new_supervisor()?;
        let request = proto::BootRequest { spec: buffa::MessageField::some(wanted), token: spec.token };
        let booting = connection.call::<_, proto::BootResponse>(routes::BOOT, &request);
        let Ok(answer) = tokio::time::timeout(BOOTS_WITHIN, booting).await else {
            reach::Reach::of(supervisor.id(), None).kill();
            return Err(handle::silent(BOOTS_WITHIN));
        };
        match answer?.outcome {
            Some(proto::__buffa::oneof::boot_response::Outcome::Booted(booted)) => {
                self.remember_slot(booted.slot);
                Ok(handle::Handle::new(spec, connection, supervisor, &booted))
            }
            Some(proto::__buffa::oneof::boot_response::Outcome::Problem(problem)) => {
                Err(convert::problem(&problem))
            }
            None => Err(Problem::new(ErrorCode::ProtocolError, "the supervisor gave no answer to a boot")),
        }
    }

    fn slot_hint(&self) -> u32 {
        self.next_slot.load(Ordering::Relaxed)
    }

    /// The lowest free slots have the warmest control groups, so look on from there only while many are alive.
    fn remember_slot(&self, slot: u32) {
        self.next_slot.store(slot.saturating_sub(WARM_SLOTS) + 1, Ordering::Relaxed);
    }
}

/// A supervisor gives up on process 1 after half of this, and says so.
const BOOTS_WITHIN: Duration = Duration::from_secs(60);

/// Slots below the newest that are tried again first.
const WARM_SLOTS: u32 = 64;

impl Driver for Local {
    fn name(&self) -> &'static str {
        "local"
    }

    fn create<'a>(&'a self, spec: &'a SandboxSpec) -> BoxFuture<'a, Result<Box<dyn Sandbox>, Problem>> {
        Box::pin(async move { Ok(Box::new(self.make(spec).await?) as Box<dyn Sandbox>) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandkeep_core::defaults;
    use sandkeep_core::id::SandboxId;
    use sandkeep_protocol::process as envd;
    use sandkeep_protocol::process::__buffa::oneof::process_event::{Event, data_event::Output};
    use sandkeep_protocol::routes::process as envd_routes;

    use crate::driver::Mount;

    fn local() -> Local {
        let state = StateDirectory::open(&StateDirectory::default_path()).unwrap();
        Local::new(Config { state, id_base: ID_BASE, ceiling: ByteSize::from_gib(1) })
    }

    fn spec(mounts: usize) -> SandboxSpec {
        let mount = |n| Mount {
            source: "/usr".to_owned(),
            target: format!("/m/{n}").parse().unwrap(),
            writable: false,
        };
        SandboxSpec {
            id: SandboxId::new(1, [7; 10]),
            incarnation: 1,
            token: 1,
            profile: Profile::Strict,
            root: Root::Host,
            mounts: (0..mounts).map(mount).collect(),
            limits: defaults::limits(),
        }
    }

    async fn sandbox() -> handle::Handle {
        local().make(&spec(0)).await.unwrap()
    }

    #[tokio::test]
    async fn too_many_mounts_are_refused_by_driver_and_supervisor() {
        let (local, spec) = (local(), spec(300));
        assert_eq!(local.make(&spec).await.unwrap_err().code, ErrorCode::MountRefused);
        let (connection, _supervisor) = Connection::to_new_supervisor().unwrap();
        let wanted = convert::sandbox_spec(&spec, &local.config, 0);
        let request = proto::BootRequest { spec: buffa::MessageField::some(wanted), token: 1 };
        let answer: proto::BootResponse = connection.call(routes::BOOT, &request).await.unwrap();
        let Some(proto::__buffa::oneof::boot_response::Outcome::Problem(problem)) = answer.outcome else {
            panic!("{answer:?}")
        };
        assert_eq!(problem.code, "mount_refused", "{problem:?}");
    }

    fn start(cmd: &str, args: &[&str]) -> envd::StartRequest {
        let config = envd::ProcessConfig {
            cmd: cmd.to_owned(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            ..Default::default()
        };
        envd::StartRequest { process: buffa::MessageField::some(config), ..Default::default() }
    }

    /// What a process of the envd service said, and how it ended.
    async fn follow(
        connection: &Connection,
        request: &envd::StartRequest,
    ) -> Result<(Vec<u8>, i32), Problem> {
        let mut answers = connection.stream(envd_routes::START, request)?;
        let (mut out, mut code) = (Vec::new(), -1);
        while let Some(message) = answers.next::<envd::StartResponse>().await? {
            match message.event.into_option().and_then(|event| event.event) {
                Some(Event::Data(data)) => {
                    if let Some(Output::Stdout(bytes)) = data.output {
                        out.extend(bytes);
                    }
                }
                Some(Event::End(end)) => code = end.exit_code,
                Some(Event::Start(_) | Event::Keepalive(_)) | None => {}
            }
        }
        Ok((out, code))
    }

    #[tokio::test]
    async fn the_envd_process_service_answers_through_the_supervisor() {
        let sandbox = sandbox().await;
        if sandbox.enforcement().memory != sandkeep_core::enforcement::Level::Kernel {
            // Processes of that service are refused where no group holds them.
            assert!(follow(sandbox.connection(), &start("true", &[])).await.is_err());
            return sandbox.stop().await;
        }
        let said =
            follow(sandbox.connection(), &start("/bin/sh", &["-c", "echo $0-$HOME; exit 3"])).await.unwrap();
        assert_eq!(said, (b"/bin/sh-/home/user\n".to_vec(), 3));
        let absent = follow(sandbox.connection(), &start("/no/such/program", &[])).await.unwrap_err();
        assert!(absent.message.contains("cannot start"), "{absent}");
        let list: envd::ListResponse =
            sandbox.connection().call(envd_routes::LIST, &envd::ListRequest::default()).await.unwrap();
        assert!(list.processes.is_empty(), "all of them have ended: {list:?}");
        sandbox.stop().await;
    }
}
