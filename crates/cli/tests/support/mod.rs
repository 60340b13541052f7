//! What the suites of the command share: who runs them, the binary under test, and looks at the host's processes.
//! Live sandboxes go through [`driver`], which the driver's own suite has too.
#![allow(dead_code, unreachable_pub, reason = "each suite uses its part of it")]

#[path = "../../../runtime/tests/support/mod.rs"]
pub mod driver;
pub mod host;
pub mod server;

use std::io::{Read, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sandkeep_core::size::ByteSize;
use sandkeep_runtime::local::{Config, ID_BASE, Local, StateDirectory};
use serde_json::Value;

/// Longer than any run of a test takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// Who the tests run as: `root`, `user` or `nosub`.
pub fn persona() -> String {
    let unsaid = || if rustix::process::geteuid().is_root() { "root" } else { "user" }.to_owned();
    std::env::var("SANDKEEP_TEST_PERSONA").unwrap_or_else(|_| unsaid())
}

/// Control groups and id ranges of its own.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Control groups hold the limits: as root, and as an ordinary user to whom `./dev` says that it has delegated some.
pub fn has_groups() -> bool {
    is_root() || std::env::var_os("SANDKEEP_TEST_DELEGATED").is_some()
}

/// True, and says so in the line that the closing table repeats, when this needs control groups and has none.
pub fn skipped_without_groups(name: &str, why: &str) -> bool {
    if !has_groups() {
        println!("SKIPPED {name} as {}: {why}", persona());
    }
    !has_groups()
}

/// Whether a test goes without what only root can make.
pub fn skipped_without_root(name: &str, why: &str) -> bool {
    if !is_root() {
        println!("SKIPPED {name} as {}: {why}", persona());
    }
    !is_root()
}

pub fn is_soak() -> bool {
    std::env::var_os("SANDKEEP_SOAK").is_some()
}

/// The driver `local`, with its state where the command has it: slots are of the host.
pub fn local() -> Local {
    let state = StateDirectory::open(&StateDirectory::default_path()).unwrap();
    Local::new(Config { state, id_base: ID_BASE, ceiling: ByteSize::from_gib(16) })
}

/// The binary under test.
pub fn binary() -> PathBuf {
    std::env::var_os("SANDKEEP_BIN").map_or_else(|| env!("CARGO_BIN_EXE_sandkeep").into(), PathBuf::from)
}

/// A directory that is removed afterwards and that sandboxes can be shown.
pub fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("sandkeep-test").tempdir().unwrap()
}

/// One run of the command, being prepared.
#[derive(Debug)]
pub struct Run {
    command: Command,
    stdin: Vec<u8>,
    patience: Duration,
}

/// `sandkeep run ARGS`.
pub fn run(args: &[&str]) -> Run {
    let mut command = Command::new(binary());
    command.arg("run").args(args);
    for name in ["PROFILE", "STATE_DIR", "TIMEOUT", "MEMORY", "CPU", "PIDS", "DISK", "OUTPUT", "OUTPUT_KILL"]
    {
        command.env_remove(format!("SANDKEEP_{name}"));
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Run { command, stdin: Vec::new(), patience: PATIENCE }
}

impl Run {
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// How long it may take; [`PATIENCE`] unless said.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// A variable of the command's own environment, which the code must never see.
    pub fn host_variable(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub fn directory(mut self, path: &std::path::Path) -> Self {
        self.command.current_dir(path);
        self
    }

    /// Starts it; its standard input is fed and ended in the background.
    pub fn start(mut self) -> Started {
        let mut child = self.command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // Code that does not read it all closes the pipe early.
        std::thread::spawn(move || drop(stdin.write_all(&self.stdin)));
        let stdout = Stream::read(child.stdout.take().unwrap());
        let stderr = Stream::read(child.stderr.take().unwrap());
        Started { child, stdout, stderr, patience: self.patience }
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn done(self) -> Done {
        self.start().done()
    }

    /// Runs it with `--json`; the exit status and the object.
    #[track_caller]
    pub fn json(mut self) -> (i32, Value) {
        // Options stand before a `--`, so this one goes first of all.
        let args: Vec<_> = self.command.get_args().skip(1).map(ToOwned::to_owned).collect();
        let mut command = Command::new(self.command.get_program());
        command.args(["run", "--json"]).args(args).stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::piped());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(directory) = self.command.get_current_dir() {
            command.current_dir(directory);
        }
        self.command = command;
        let done = self.done();
        let told = String::from_utf8_lossy(&done.stderr).into_owned();
        let value = serde_json::from_slice(&done.stdout);
        (done.status, value.unwrap_or_else(|error| panic!("{error}: status {}, stderr {told}", done.status)))
    }
}

/// What has come of a stream so far, and word of its end.
#[derive(Debug)]
struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    end: mpsc::Receiver<()>,
}

impl Stream {
    fn read(mut from: impl Read + Send + 'static) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (ended, end) = mpsc::channel();
        let into = Arc::clone(&bytes);
        std::thread::spawn(move || {
            let mut piece = vec![0; 64 * 1024];
            while let Ok(got @ 1..) = from.read(&mut piece) {
                into.lock().unwrap().extend_from_slice(&piece[..got]);
            }
            let _unheard = ended.send(());
        });
        Self { bytes, end }
    }

    fn so_far(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }
}

/// A run of the command that is under way.
#[derive(Debug)]
pub struct Started {
    child: Child,
    stdout: Stream,
    stderr: Stream,
    patience: Duration,
}

impl Started {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits until `text` stands in its standard output.
    #[track_caller]
    pub fn until(&self, text: &str) {
        let heard = || String::from_utf8_lossy(&self.stdout.so_far()).contains(text);
        driver::eventually(&format!("it says {text:?}"), heard);
    }

    /// Waits for its end and the end of its output; kills it when that takes too long.
    #[track_caller]
    pub fn done(mut self) -> Done {
        if self.stdout.end.recv_timeout(self.patience).is_err() {
            let _gone = self.child.kill();
            let stderr = String::from_utf8_lossy(&self.stderr.so_far()).into_owned();
            panic!("not done after {:?}; stderr: {stderr}", self.patience);
        }
        self.stderr.end.recv_timeout(PATIENCE).unwrap();
        let status = self.child.wait().unwrap();
        let by_signal = std::os::unix::process::ExitStatusExt::signal(&status);
        let status = status.code().unwrap_or_else(|| 1_000 + by_signal.unwrap_or(0));
        Done { status, stdout: self.stdout.so_far(), stderr: self.stderr.so_far() }
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Done {
    /// Exit status of the command; 1,000 more than the signal that ended it.
    pub status: i32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Done {
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    #[track_caller]
    pub fn assert_status(&self, status: i32) -> &Self {
        assert_eq!(self.status, status, "stdout: {:.2000}\nstderr: {:.2000}", self.out(), self.err());
        self
    }
}
