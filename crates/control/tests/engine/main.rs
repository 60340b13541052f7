//! The engine on a real store and the real driver `local`: what is accepted runs and ends once.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it skips"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sandkeep_blob::Blobs;
use sandkeep_control::clock::Clock;
use sandkeep_control::ends::Bells;
use sandkeep_control::engine::{Engine, Parts};
use sandkeep_control::ids;
use sandkeep_control::master_key::{Given, settle};
use sandkeep_control::output::{Outputs, Piece};
use sandkeep_control::request::{Lifetime, NewExecution, SandboxSpec};
use sandkeep_control::seal::Sealer;
use sandkeep_control::session::{Books, Session};
use sandkeep_core::defaults;
use sandkeep_core::execution::{ExecutionResult, ExecutionState, Work};
use sandkeep_core::id::{ExecutionId, ProjectId, SandboxId};
use sandkeep_core::size::ByteSize;
use sandkeep_runtime::local::{Config, ID_BASE, Local, StateDirectory};
use sandkeep_store::{Durability, executions, projects, sandboxes};

#[path = "../../../store/tests/support/postgres.rs"]
mod postgres;

mod accepting;
mod clocks;

struct Bed {
    parts: Parts,
    engine: Engine,
    project_id: ProjectId,
    _directory: tempfile::TempDir,
}

async fn parts(session: &Session, directory: &Path) -> Parts {
    let (store, clock) = (session.store.clone(), session.clock.clone());
    let given = Given::Text("5".repeat(64).into());
    let sealer = Sealer::new(settle(&store, &clock, directory, Some(&given)).await.unwrap().key);
    let outputs = Outputs::new(store.clone(), Blobs::local(&directory.join("blobs")).unwrap());
    let state = StateDirectory::open(&StateDirectory::default_path()).unwrap();
    let driver = Local::new(Config { state, id_base: ID_BASE, ceiling: ByteSize::from_gib(4) });
    let (driver, bells, life) = (Arc::new(driver), Bells::default(), Duration::from_secs(3600));
    Parts { store, outputs, driver, clock, bells, sealer, life }
}

impl Bed {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let books = Books::Directory(directory.path().join("data"));
        Self::on(Session::open(&books, Clock::new(), "0.1.0").await.unwrap(), directory).await
    }

    async fn postgres(name: &str) -> Option<Self> {
        let books = Books::Postgres(postgres::fresh_database(name).await?);
        let session = Session::open(&books, Clock::new(), "0.1.0").await.unwrap();
        Some(Self::on(session, tempfile::tempdir().unwrap()).await)
    }

    async fn on(session: Session, directory: tempfile::TempDir) -> Self {
        let parts = parts(&session, directory.path()).await;
        let id: ProjectId = ids::fresh(&parts.clock);
        let made = parts
            .store
            .write(Durability::Durable, id, |tx, id| Box::pin(projects::ensure_default(tx, *id, 1)));
        let project_id = made.await.unwrap().id;
        let engine = Engine::new(parts.clone(), session.id);
        engine.start();
        Self { parts, engine, project_id, _directory: directory }
    }

    async fn sandbox(&self, once: bool) -> SandboxId {
        let mut spec = SandboxSpec {
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
        let env = BTreeMap::from([("GREETING".to_owned(), "hello".to_owned())]);
        spec.seal_env(&self.parts.sealer, self.project_id, id, &env).unwrap();
        let accepted = sandboxes::Accepted {
            id,
            project_id: self.project_id,
            name: None,
            spec: serde_json::to_string(&spec).unwrap(),
            expires_us: None,
        };
        let input = (accepted, self.parts.clock.now_us());
        let write = self
            .parts
            .store
            .write(Durability::Durable, input, |tx, new| Box::pin(sandboxes::accept(tx, &new.0, new.1)));
        write.await.unwrap();
        id
    }

    fn accepted(&self, sandbox_id: SandboxId, argv: &[&str]) -> executions::Accepted {
        let request = command(argv).within(&defaults::limits()).unwrap();
        let id: ExecutionId = ids::fresh(&self.parts.clock);
        let request = request.seal(&self.parts.sealer, self.project_id, id).unwrap();
        let (project_id, kind, language) = (self.project_id, "command", None);
        executions::Accepted { id, project_id, sandbox_id, kind, language, request }
    }

    async fn execution(&self, sandbox_id: SandboxId, argv: &[&str]) -> ExecutionId {
        let accepted = self.accepted(sandbox_id, argv);
        let id = accepted.id;
        let input = (accepted, self.parts.clock.now_us());
        let write = self
            .parts
            .store
            .write(Durability::Durable, input, |tx, new| Box::pin(executions::accept(tx, &new.0, new.1)));
        write.await.unwrap();
        id
    }

    async fn cancel(&self, id: ExecutionId) {
        let write = self
            .parts
            .store
            .write(Durability::Durable, id, |tx, id| Box::pin(executions::request_cancel(tx, *id, 2)));
        write.await.unwrap();
    }

    /// Waits for its end.
    async fn ended(&self, id: ExecutionId) -> ExecutionResult {
        let found = until(async || {
            let mut reader = self.parts.store.reader().await.unwrap();
            executions::finished(&mut reader, id).await.unwrap()
        });
        serde_json::from_str(&found.await.result).unwrap()
    }

    async fn output(&self, id: ExecutionId) -> Vec<u8> {
        let (mut tail, mut all) = (self.parts.outputs.tail(id, 0), Vec::new());
        while let Some(piece) = tail.next().await.unwrap() {
            let Piece::Bytes { bytes, .. } = piece else { unreachable!("nothing is missing") };
            all.extend(bytes);
        }
        all
    }
}

fn command(argv: &[&str]) -> NewExecution {
    NewExecution {
        work: Work::Command { argv: argv.iter().map(|&word| word.to_owned()).collect() },
        env: BTreeMap::new(),
        cwd: None,
        stdin: Vec::new(),
        timeout: None,
    }
}

/// Asks until there is an answer.
async fn until<T>(ask: impl AsyncFn() -> Option<T>) -> T {
    let asked = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), asked).await.expect("within a minute")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_runs_and_its_output_is_there() {
    let bed = Bed::new().await;
    let sandbox_id = bed.sandbox(false).await;
    let id = bed.execution(sandbox_id, &["sh", "-c", "echo $GREETING; echo late >&2; exit 3"]).await;
    let result = bed.ended(id).await;
    assert_eq!((result.status, result.exit_code), (ExecutionState::Failed, Some(3)));
    assert_eq!(result.sandbox_id, sandbox_id);
    let output = bed.output(id).await;
    assert_eq!(String::from_utf8(output).unwrap(), "hello\nlate\n");
    bed.engine.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_made_for_one_execution_goes_with_it() {
    let bed = Bed::new().await;
    let sandbox_id = bed.sandbox(true).await;
    let id = bed.execution(sandbox_id, &["true"]).await;
    assert_eq!(bed.ended(id).await.status, ExecutionState::Succeeded);
    let ended = until(async || {
        let mut reader = bed.parts.store.reader().await.unwrap();
        sandboxes::ended(&mut reader, sandbox_id).await.unwrap()
    });
    assert_eq!(ended.await.reason, "deleted");
    bed.engine.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_ends_what_runs_and_what_waits() {
    let bed = Bed::new().await;
    let sandbox_id = bed.sandbox(false).await;
    let running = bed.execution(sandbox_id, &["sh", "-c", "echo here; exec sleep 1000"]).await;
    until(async || (bed.parts.outputs.reach(running).await.unwrap() > 0).then_some(())).await;
    bed.cancel(running).await;
    assert_eq!(bed.ended(running).await.status, ExecutionState::Cancelled);
    assert_eq!(bed.output(running).await, b"here\n");
    // One whose sandbox will never be.
    let nowhere = bed.execution(ids::fresh(&bed.parts.clock), &["true"]).await;
    bed.cancel(nowhere).await;
    assert_eq!(bed.ended(nowhere).await.status, ExecutionState::Cancelled);
    bed.engine.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_at_once_end_once_each() {
    let bed = Bed::new().await;
    let sandboxes = futures_util::future::join_all((0..4).map(|_| bed.sandbox(false))).await;
    let mut all = Vec::new();
    for round in 0..25 {
        for sandbox_id in &sandboxes {
            all.push(bed.execution(*sandbox_id, &["sh", "-c", &format!("echo {round}")]).await);
        }
    }
    for id in &all {
        assert_eq!(bed.ended(*id).await.status, ExecutionState::Succeeded);
    }
    let mut reader = bed.parts.store.reader().await.unwrap();
    let told = sandkeep_store::events::after(&mut reader, bed.project_id, 0, 1000).await.unwrap();
    let mut ends: Vec<_> =
        told.iter().filter(|event| event.kind == "execution.ended").map(|event| &event.subject).collect();
    assert_eq!(ends.len(), all.len());
    ends.sort();
    ends.dedup();
    assert_eq!(ends.len(), all.len(), "one end each");
    drop(reader);
    bed.engine.stop(Duration::ZERO).await;
}
