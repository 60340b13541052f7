//! The server that is killed: its tasks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sandkeep_blob::Blobs;
use sandkeep_control::clock::Clock;
use sandkeep_control::ends::Bells;
use sandkeep_control::engine::{Engine, Parts};
use sandkeep_control::executions::Executions;
use sandkeep_control::ids;
use sandkeep_control::master_key::{Given, settle};
use sandkeep_control::output::Outputs;
use sandkeep_control::request::{Lifetime, NewExecution, SandboxSpec};
use sandkeep_control::seal::Sealer;
use sandkeep_control::session::{Books, Session};
use sandkeep_core::defaults;
use sandkeep_core::execution::Work;
use sandkeep_core::id::{ExecutionId, PrincipalId, ProjectId, SandboxId, TokenId};
use sandkeep_core::identity::{Principal, Role, Scopes};
use sandkeep_core::size::ByteSize;
use sandkeep_runtime::local::{Config, ID_BASE, Local, StateDirectory};
use sandkeep_store::executions::Before;
use sandkeep_store::{Durability, crash, executions, projects, sandboxes, servers};

pub(crate) const TASK: &str = "SANDKEEP_TEST_TASK";
pub(crate) const DIRECTORY: &str = "SANDKEEP_TEST_DIRECTORY";
pub(crate) const URL: &str = "SANDKEEP_TEST_URL";
pub(crate) const OWNER: &str = "SANDKEEP_TEST_OWNER";

/// Lines of every execution.
pub(crate) const LINES: u32 = 400;
/// Sandboxes that stay, to run more than one execution.
const SHARED: usize = 2;

/// The driver of servers with this owner.
pub(crate) fn driver(owner: &str) -> Local {
    let state = StateDirectory::open(&StateDirectory::default_path()).unwrap();
    let local = Local::new(Config { state, id_base: ID_BASE, ceiling: ByteSize::from_gib(4) });
    local.outliving(owner, Duration::from_secs(120)).unwrap()
}

pub(crate) fn books(directory: &Path, url: Option<&str>) -> Books {
    match url {
        Some(url) => Books::Postgres(url.to_owned()),
        None => Books::Directory(directory.join("data")),
    }
}

/// A server and what it works with.
struct Server {
    session: Session,
    parts: Parts,
    engine: Engine,
    project_id: ProjectId,
    marker: String,
}

/// Does what the environment says, in a process of its own.
pub(crate) fn run(task: &str) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let server = Server::open().await;
        match task.split_once(' ').unwrap_or((task, "")) {
            ("work", _) => server.work().await,
            ("drain", _) => server.drain().await,
            ("once", point) => server.once(point.parse().unwrap()).await,
            ("live", point) => server.live(point.parse().unwrap()).await,
            ("leave", _) => {
                server.one_that_says_something().await;
                server.engine.stop(Duration::ZERO).await;
                server.session.leave().await.unwrap();
            }
            ("end", _) => {
                server.one_that_says_something().await;
                server.engine.stop_all(Duration::ZERO).await;
                server.session.leave().await.unwrap();
            }
            _ => unreachable!("{task}"),
        }
    });
}

impl Server {
    async fn open() -> Self {
        let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
        let (url, owner) = (std::env::var(URL).ok(), std::env::var(OWNER).unwrap());
        let session = Session::open(&books(&directory, url.as_deref()), Clock::new(), "0.1.0").await.unwrap();
        let (store, clock) = (session.store.clone(), session.clock.clone());
        // On PostgreSQL a server cannot know that it is alone and would wait for a lease to run out.
        let alone =
            store.write(Durability::Durable, session.id, |tx, id| Box::pin(servers::void_others(tx, *id)));
        alone.await.unwrap();
        let id: ProjectId = ids::fresh(&clock);
        let made =
            store.write(Durability::Durable, id, |tx, id| Box::pin(projects::ensure_default(tx, *id, 1)));
        let project_id = made.await.unwrap().id;
        let given = Given::Text("5".repeat(64).into());
        let sealer = Sealer::new(settle(&store, &clock, &directory, Some(&given)).await.unwrap().key);
        let outputs = Outputs::new(store.clone(), Blobs::local(&directory.join("blobs")).unwrap());
        let driver = Arc::new(driver(&owner));
        let (bells, life) = (Bells::default(), Duration::from_secs(3600));
        let parts = Parts { store, outputs, driver, clock, bells, sealer, life };
        let engine = Engine::new(parts.clone(), session.id);
        engine.start();
        Self { session, parts, engine, project_id, marker: owner }
    }

    /// Accepts executions, in sandboxes that are there and in fresh ones, until it is killed.
    async fn work(&self) {
        let mut shared = self.sandboxes().await;
        let once = |spec: &str| serde_json::from_str::<SandboxSpec>(spec).unwrap().once;
        shared.retain(|sandbox| sandbox.desired == "running" && !once(&sandbox.spec));
        let shared = match shared.first().filter(|_| shared.len() >= SHARED) {
            Some(sandbox) => sandbox.id,
            None => self.sandbox(false).await,
        };
        self.execution(shared).await;
        let own = self.sandbox(true).await;
        self.execution(own).await;
        std::future::pending::<()>().await;
    }

    /// One sandbox, one execution, both to their ends; aborted at a point of all that.
    async fn once(&self, point: u64) {
        crash::at(point);
        let sandbox_id = self.sandbox(true).await;
        self.execution(sandbox_id).await;
        while !self.sandboxes().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(crash::is_ahead(), "every point that was met aborted");
    }

    /// One execution, to its end, in a sandbox that is there; aborted at a point of the execution's life.
    async fn live(&self, point: u64) {
        let sandbox_id = self.sandbox(false).await;
        while self.sandboxes().await.iter().any(|sandbox| sandbox.state != "running") {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let service = Executions::new(&self.engine);
        crash::at(point);
        let made = service.create(&principal(), sandbox_id, self.lines(), None, "rq").await.unwrap();
        println!("\naccepted {}", made.result.id);
        let ended = service.ended(&principal(), made, Duration::from_secs(60)).await.unwrap();
        assert!(ended.status.is_end());
        assert!(crash::is_ahead(), "every point that was met aborted");
        self.engine.stop(Duration::ZERO).await;
    }

    /// Lets everything that was accepted end, then ends the sandboxes, but for those that were made for what has ended: they go
    /// by themselves.
    async fn drain(&self) {
        let now = self.parts.clock.now_us();
        for sandbox in self.sandboxes().await {
            while self.is_at_work(sandbox.id).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if self.goes_by_itself(&sandbox).await {
                continue;
            }
            let wish = (sandbox.id, now);
            let wished = self.parts.store.write(Durability::Durable, wish, |tx, of| {
                Box::pin(async move {
                    let Some(found) = sandboxes::get(tx, of.0).await? else { return Ok(()) };
                    sandboxes::want(tx, of.0, found.generation, "deleted", of.1).await.map(drop)
                })
            });
            wished.await.unwrap();
        }
        while !self.sandboxes().await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // What is in no books goes too.
        while !self.parts.driver.list_owned().await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.engine.stop(Duration::ZERO).await;
        self.session.leave().await.unwrap();
    }

    async fn one_that_says_something(&self) {
        let sandbox_id = self.sandbox(false).await;
        let id = self.execution(sandbox_id).await;
        while self.parts.outputs.reach(id).await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn sandboxes(&self) -> Vec<sandboxes::Sandbox> {
        let mut reader = self.parts.store.reader().await.unwrap();
        sandboxes::list(&mut reader, self.project_id, &Before::nothing(), 10_000).await.unwrap()
    }

    async fn is_at_work(&self, id: SandboxId) -> bool {
        let mut reader = self.parts.store.reader().await.unwrap();
        !executions::live_of(&mut reader, id, &Before::nothing(), 1).await.unwrap().is_empty()
    }

    async fn goes_by_itself(&self, sandbox: &sandboxes::Sandbox) -> bool {
        let mut reader = self.parts.store.reader().await.unwrap();
        let ended = executions::finished_of(&mut reader, sandbox.id, &Before::nothing(), 1).await.unwrap();
        serde_json::from_str::<SandboxSpec>(&sandbox.spec).unwrap().once && !ended.is_empty()
    }

    async fn sandbox(&self, once: bool) -> SandboxId {
        let spec = SandboxSpec {
            template: "host".to_owned(),
            lifetime: Lifetime::Ephemeral,
            profile: defaults::PROFILE,
            limits: defaults::limits(),
            asked: Vec::new(),
            sealed_env: None,
            labels: BTreeMap::new(),
            once,
        };
        let id: SandboxId = ids::fresh(&self.parts.clock);
        let spec = serde_json::to_string(&spec).unwrap();
        let accepted =
            sandboxes::Accepted { id, project_id: self.project_id, name: None, spec, expires_us: None };
        let input = (accepted, self.parts.clock.now_us());
        let write = self
            .parts
            .store
            .write(Durability::Durable, input, |tx, new| Box::pin(sandboxes::accept(tx, &new.0, new.1)));
        write.await.unwrap();
        id
    }

    /// One that writes its numbered lines to both streams, with pauses.
    fn lines(&self) -> NewExecution {
        let line = format!(
            "i=0; while [ $i -lt {LINES} ]; do echo $i; echo $i >&2; i=$((i+1));
             [ $((i % 25)) -ne 0 ] || sleep 0.01; done; : {}",
            self.marker
        );
        let argv = ["sh", "-c", &line].map(str::to_owned).to_vec();
        NewExecution {
            work: Work::Command { argv },
            env: BTreeMap::new(),
            cwd: None,
            stdin: Vec::new(),
            timeout: None,
        }
    }

    /// Accepted to be claimed later; told to the parent then.
    async fn execution(&self, sandbox_id: SandboxId) -> ExecutionId {
        let request = self.lines().within(&defaults::limits()).unwrap();
        let id: ExecutionId = ids::fresh(&self.parts.clock);
        let accepted = executions::Accepted {
            id,
            project_id: self.project_id,
            sandbox_id,
            kind: "command",
            language: None,
            request: request.seal(&self.parts.sealer, self.project_id, id).unwrap(),
        };
        let input = (accepted, self.parts.clock.now_us());
        let write = self
            .parts
            .store
            .write(Durability::Durable, input, |tx, new| Box::pin(executions::accept(tx, &new.0, new.1)));
        write.await.unwrap();
        println!("\naccepted {id}");
        id
    }
}

/// Whoever may do everything.
fn principal() -> Principal {
    Principal {
        id: PrincipalId::new(1, [1; 10]),
        admin: true,
        roles: BTreeMap::new(),
        token_id: TokenId::new(1, [1; 10]),
        bound: None,
        at_most: Role::Owner,
        scopes: Scopes::All,
        expires_us: None,
    }
}
