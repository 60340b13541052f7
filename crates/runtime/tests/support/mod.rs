//! What every test of a live sandbox needs: specifications with one line, an execution followed to its end, and a
//! bounded wait for a condition. Knows the driver's seam and no particular driver; the suites of the command use it too.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sandkeep_core::code::Problem;
use sandkeep_core::defaults;
use sandkeep_core::duration::Span;
use sandkeep_core::execution::{CodeSource, End, Exit, Language, Work, conclude};
use sandkeep_core::id::{ExecutionId, RANDOM_BYTES, SandboxId};
use sandkeep_core::limits::Limits;
use sandkeep_core::output::{Mask, Stream};
use sandkeep_core::size::ByteSize;
use sandkeep_runtime::driver::{Ended, ExecutionSpec, SandboxSpec, Stdin, User};
use sandkeep_runtime::{Driver, Event, Running, Sandbox};

/// Longer than anything takes on a busy machine; a test that needs this long has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `work` on a runtime of its own, with a deadline: a hang is a failure with a name.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    block_on_for(PATIENCE, work)
}

/// [`block_on`] with another deadline.
pub fn block_on_for<T>(patience: Duration, work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(patience, work).await.unwrap_or_else(|_| panic!("not done after {patience:?}"))
    })
}

/// Polls until `condition` holds; panics with `what` when it does not hold in time.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2)); // the pause between two looks, not the wait
    }
}

/// Ten bytes that no other id of this or another process has.
fn unique() -> (u64, [u8; RANDOM_BYTES]) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut bytes = [0; RANDOM_BYTES];
    bytes[..4].copy_from_slice(&std::process::id().to_le_bytes());
    bytes[4..].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes()[..6]);
    (u64::try_from(now.as_millis()).unwrap(), bytes)
}

pub fn new_execution_id() -> ExecutionId {
    let (now, random) = unique();
    ExecutionId::new(now, random)
}

/// A sandbox of the host's programs with the default limits.
pub fn sandbox_spec() -> SandboxSpec {
    let (now, random) = unique();
    let limits = Limits { disk: ByteSize::from_bytes(defaults::MEMORY.bytes() / 2), ..defaults::limits() };
    SandboxSpec::of_host(SandboxId::new(now, random), limits)
}

pub fn execution_spec(work: Work) -> ExecutionSpec {
    ExecutionSpec {
        id: new_execution_id(),
        token: 1,
        work,
        env: BTreeMap::new(),
        cwd: None,
        user: User::User,
        stdin: Stdin::Empty,
        merge_stderr: false,
        mask: Mask::default(),
        limits: sandbox_spec().limits,
        files: Vec::new(),
        artifacts: false,
    }
}

/// A program with arguments.
pub fn command(argv: &[&str]) -> ExecutionSpec {
    execution_spec(Work::Command { argv: argv.iter().map(|&arg| arg.to_owned()).collect() })
}

/// A line for the shell.
pub fn shell(line: &str) -> ExecutionSpec {
    command(&["/bin/sh", "-c", line])
}

/// Code run from its first line.
pub fn script(language: Language, code: &str) -> ExecutionSpec {
    let name = language.file_name().to_owned();
    let code = CodeSource::Inline { name, code: code.as_bytes().to_vec() };
    execution_spec(Work::Script { language, code, args: Vec::new() })
}

pub fn with_timeout(mut spec: ExecutionSpec, timeout: Span) -> ExecutionSpec {
    spec.limits.timeout = timeout;
    spec
}

/// Everything that a listener heard of an execution.
#[derive(Debug)]
pub struct Heard {
    pub started: bool,
    /// Where it was listened from.
    pub from: u64,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    /// Ranges of the merged log that were not kept.
    pub gaps: Vec<(u64, u64)>,
    /// First position after all that was heard.
    pub position: u64,
    pub ended: Option<Box<Ended>>,
    /// Why nobody knows how it ended.
    pub problem: Option<Problem>,
}

impl Heard {
    fn nothing() -> Self {
        Heard {
            started: false,
            from: 0,
            stdout: Vec::new(),
            stderr: Vec::new(),
            gaps: Vec::new(),
            position: 0,
            ended: None,
            problem: None,
        }
    }

    /// Takes one event and holds it against what came before: positions neither repeat nor skip.
    fn take(&mut self, event: Event) {
        assert!(self.ended.is_none(), "{event:?} came after the end");
        match event {
            Event::Started => {
                assert!(!self.started && self.position == self.from, "started twice, or after output");
                self.started = true;
            }
            Event::Output { offset, stream, bytes } => {
                assert_eq!(offset, self.position, "output is not where the last piece ended");
                assert!(!bytes.is_empty(), "an empty piece");
                self.position += bytes.len() as u64;
                match stream {
                    Stream::Stdout => self.stdout.extend(bytes),
                    Stream::Stderr => self.stderr.extend(bytes),
                }
            }
            Event::Gap { from, to } => {
                assert!(from == self.position && to > from, "gap {from}..{to} at {}", self.position);
                self.position = to;
                self.gaps.push((from, to));
            }
            Event::Ended(ended) => self.ended = Some(ended),
        }
    }

    /// The same, for whoever goes on to listen: the start is told to every listener.
    pub fn again(self) -> Self {
        Heard { started: false, from: self.position, ..self }
    }

    #[track_caller]
    pub fn ended(&self) -> &Ended {
        self.ended.as_ref().unwrap_or_else(|| panic!("no end was told: {:?}", self.problem))
    }

    #[track_caller]
    pub fn end(&self) -> End {
        conclude(&self.ended().facts)
    }

    #[track_caller]
    pub fn exit(&self) -> Option<Exit> {
        self.end().exit
    }

    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// It ended by itself with 0; shows what it said when it did not.
    #[track_caller]
    pub fn assert_succeeded(&self) -> &Self {
        let (out, err, limit) = (self.out(), self.err(), self.end().limit);
        let said = format!("limit: {limit:?}\nstdout: {out:.2000}\nstderr: {err:.2000}");
        assert_eq!(self.exit(), Some(Exit::Code(0)), "{said}");
        self
    }
}

/// Listens until standard output has `text`; what follows is left for [`to_end`].
pub async fn until_output(running: &mut dyn Running, text: &str) -> Heard {
    let mut heard = Heard::nothing();
    while !heard.out().contains(text) {
        match running.next().await {
            Ok(Some(event)) => heard.take(event),
            other => panic!("it ended before it said {text:?}: {other:?} {heard:?}"),
        }
        assert!(heard.ended.is_none(), "it ended before it said {text:?}: {heard:?}");
    }
    heard
}

/// Listens until the log has `position`, or to the end, going on from `heard`.
pub async fn until_position(running: &mut dyn Running, mut heard: Heard, position: u64) -> Heard {
    while heard.position < position && heard.ended.is_none() {
        match running.next().await {
            Ok(Some(event)) => heard.take(event),
            other => panic!("it ended before position {position}: {other:?} {heard:?}"),
        }
    }
    heard
}

/// Listens to the end, going on from `heard`.
pub async fn to_end(running: &mut dyn Running, mut heard: Heard) -> Heard {
    loop {
        match running.next().await {
            Ok(Some(event)) => heard.take(event),
            Ok(None) => return heard,
            Err(problem) => {
                heard.problem = Some(problem);
                return heard;
            }
        }
    }
}

/// Listens from the start to the end.
pub async fn all_of(running: &mut dyn Running) -> Heard {
    to_end(running, Heard::nothing()).await
}

/// Runs `spec` to its end.
pub async fn run(sandbox: &dyn Sandbox, spec: &ExecutionSpec) -> Heard {
    let mut running = sandbox.start(spec).await.unwrap();
    all_of(running.as_mut()).await
}

/// A sandbox of the default kind.
pub async fn fresh(driver: &dyn Driver) -> Box<dyn Sandbox> {
    driver.create(&sandbox_spec()).await.unwrap()
}
