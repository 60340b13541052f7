//! What is looked at while no server runs: the books, and the host.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process};
use sandkeep_blob::Blobs;
use sandkeep_control::output::{Outputs, Piece};
use sandkeep_core::defaults;
use sandkeep_core::execution::ExecutionResult;
use sandkeep_core::id::{ExecutionId, SandboxId};
use sandkeep_core::output::Stream;
use sandkeep_runtime::driver::SandboxSpec;
use sandkeep_runtime::local::StateDirectory;
use sandkeep_runtime::{Driver as _, Sandbox};
use sandkeep_store::executions::Before;
use sandkeep_store::{Options, Place, Store, events, executions, projects, sandboxes};

use crate::{postgres, server};

/// The books of one server after another.
pub(crate) struct Bed {
    directory: tempfile::TempDir,
    pub(crate) url: Option<String>,
    pub(crate) owner: String,
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), work).await.expect("within a minute")
    })
}

impl Bed {
    pub(crate) fn sqlite() -> Self {
        Self::with(None)
    }

    pub(crate) fn postgres(name: &str) -> Option<Self> {
        Some(Self::with(Some(block_on(postgres::fresh_database(name))?)))
    }

    fn with(url: Option<String>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let owner = format!("tests-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self { directory: tempfile::tempdir().unwrap(), url, owner }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Sandboxes whose supervisors live.
    pub(crate) fn living(&self) -> usize {
        block_on(async { server::driver(&self.owner).list_owned().await.unwrap().len() })
    }

    /// Kills every supervisor.
    pub(crate) fn kill_all(&self) {
        block_on(async {
            let driver = server::driver(&self.owner);
            for owned in driver.list_owned().await.unwrap() {
                let sandbox = driver.attach(owned, 1_000).await.unwrap();
                let pid = Pid::from_raw(sandbox.facts().supervisor_pid.cast_signed()).unwrap();
                kill_process(pid, Signal::KILL).unwrap();
            }
        });
        while self.living() > 0 {
            std::thread::yield_now();
        }
    }

    /// Makes a sandbox that stands in no books.
    pub(crate) fn leave_one_behind(&self) {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let id = SandboxId::new(u64::try_from(since.as_millis()).unwrap(), [7; 10]);
        let spec = SandboxSpec::of_host(id, defaults::limits());
        let made: Box<dyn Sandbox> =
            block_on(async { server::driver(&self.owner).create(&spec).await.unwrap() });
        drop(made);
    }

    async fn store(&self) -> Store {
        let place = match &self.url {
            Some(url) => Place::postgres(url).unwrap(),
            None => Place::Directory(self.directory().join("data")),
        };
        Store::open(&Options { place, readers: 2 }, 1).await.unwrap()
    }

    /// Every execution of `accepted`, and any other, has one end, which is as it should be, and all of its output up to
    /// there. How many there were.
    pub(crate) fn assert_all_ended(
        &self,
        accepted: &[String],
        should: impl Fn(&str, &ExecutionResult) -> bool,
    ) -> usize {
        block_on(async {
            let store = self.store().await;
            let outputs = Outputs::new(store.clone(), Blobs::local(&self.directory().join("blobs")).unwrap());
            let ends = ends(&store).await;
            for id in accepted {
                assert!(ends.contains_key(id), "{id} was accepted and has no end");
            }
            for (id, count) in &ends {
                assert_eq!(*count, 1, "{id} has one end");
                let id: ExecutionId = id.parse().unwrap();
                let mut reader = store.reader().await.unwrap();
                assert!(executions::live(&mut reader, id).await.unwrap().is_none(), "{id} lives on");
                let finished = executions::finished(&mut reader, id).await.unwrap().unwrap();
                let result: ExecutionResult = serde_json::from_str(&finished.result).unwrap();
                assert!(should(&id.to_string(), &result), "{id} ended as {result:?}");
                let whole = result.status == sandkeep_core::execution::ExecutionState::Succeeded;
                assert_lines(&outputs, id, whole).await;
            }
            ends.len()
        })
    }

    /// No sandbox in the books, no supervisor, no socket, no process of any execution.
    pub(crate) fn assert_nothing_is_left(&self) {
        let ids = block_on(async {
            let store = self.store().await;
            let mut reader = store.reader().await.unwrap();
            let project = projects::named(&mut reader, projects::DEFAULT).await.unwrap().unwrap();
            let left = sandboxes::list(&mut reader, project.id, &Before::nothing(), 10).await.unwrap();
            assert_eq!(left, [], "no sandbox in the books");
            let ended = sandboxes::list_ended(&mut reader, project.id, &Before::nothing(), 10_000).await;
            ended.unwrap().into_iter().map(|sandbox| sandbox.id.to_string()).collect::<Vec<_>>()
        });
        let doors = StateDirectory::default_path().join("supervisors").join(&self.owner);
        assert_eq!(self.living(), 0);
        // Fails when anything is in it.
        std::fs::remove_dir(&doors).unwrap();
        let sockets = std::fs::read_to_string("/proc/net/unix").unwrap();
        for id in ids {
            assert!(!sockets.contains(&id), "somebody still listens for {id}");
        }
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line);
            assert!(!line.contains(&self.owner), "{:?} still runs {line:?}", entry.file_name());
        }
    }
}

/// How many ends each execution has.
async fn ends(store: &Store) -> BTreeMap<String, usize> {
    let mut reader = store.reader().await.unwrap();
    let project = projects::named(&mut reader, projects::DEFAULT).await.unwrap().unwrap();
    let (mut ends, mut position) = (BTreeMap::new(), 0);
    loop {
        let told = events::after(&mut reader, project.id, position, 1_000).await.unwrap();
        let Some(last) = told.last() else { return ends };
        position = last.position;
        for event in told.iter().filter(|event| event.kind == "execution.ended") {
            *ends.entry(event.subject.clone()).or_insert(0) += 1;
        }
    }
}

/// Each stream has every line once and in order: all of them, or the first ones.
async fn assert_lines(outputs: &Outputs, id: ExecutionId, whole: bool) {
    let (mut tail, mut at) = (outputs.tail(id, 0), 0);
    let mut streams = [String::new(), String::new()];
    while let Some(piece) = tail.next().await.unwrap() {
        let Piece::Bytes { position, stream, bytes } = piece else { panic!("{id}: something is missing") };
        assert_eq!(position, at, "{id}: neither a gap nor a repeat");
        at += bytes.len() as u64;
        streams[usize::from(stream == Stream::Stderr)].push_str(std::str::from_utf8(&bytes).unwrap());
    }
    let all: String = (0..server::LINES).map(|n| format!("{n}\n")).collect();
    for text in streams {
        assert!(all.starts_with(&text), "{id}: {text}");
        assert!(!whole || text == all, "{id}: only {} bytes", text.len());
    }
}
