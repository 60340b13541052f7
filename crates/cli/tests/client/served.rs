//! A server of the test's own, and commands that talk to it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Served {
    directory: tempfile::TempDir,
    child: Child,
    // Open until the server ends: it writes into it.
    _lines: Receiver<String>,
    pub(crate) url: String,
}

fn binary() -> PathBuf {
    std::env::var_os("SANDKEEP_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_sandkeep").into()).into()
}

/// A command without anything of our own environment but where its programs and its run directory are.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(binary());
    let kept = ["PATH", "XDG_RUNTIME_DIR", "SANDKEEP_STATE_DIR"];
    command.env_clear().envs(kept.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.args(args).stdin(Stdio::null());
    command
}

#[expect(clippy::zombie_processes, reason = "where it is not given back, the test has failed")]
fn spawn(data: &Path, listen: &str) -> (Child, Receiver<String>, String) {
    let mut command = command(&["serve", "--listen", listen, "--data-dir"]);
    // No sandbox is left to a next server, which may not come.
    command.env("SANDKEEP_END_SANDBOXES", "true");
    let mut child = command.arg(data).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let (send, lines) = channel();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(send.send(line))));
    let mut seen = Vec::new();
    loop {
        let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it does not serve: {seen:#?}"));
        if let Some(rest) = line.split_once("serving at ") {
            let url = rest.1.split(',').next().unwrap().to_owned();
            return (child, lines, url);
        }
        seen.push(line);
    }
}

impl Served {
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (child, lines, url) = spawn(&directory.path().join("data"), "127.0.0.1:0");
        Served { directory, child, _lines: lines, url }
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Where it was, on what it kept.
    pub(crate) fn start_again(&mut self) {
        let listen = self.url.strip_prefix("http://").unwrap().to_owned();
        let (child, lines, url) = spawn(&self.directory.path().join("data"), &listen);
        assert_eq!(url, self.url);
        (self.child, self._lines) = (child, lines);
    }

    pub(crate) fn key(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("data/admin.key")).unwrap().trim().to_owned()
    }

    /// A command that finds the server by its address and the key in its data directory.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = command(args);
        command.env("SANDKEEP_URL", &self.url).env("SANDKEEP_DATA_DIR", self.directory.path().join("data"));
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Standard output of a command that succeeds.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The server's answer.
    #[track_caller]
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        // What stands behind `--` is not ours.
        let ours = args.iter().position(|arg| *arg == "--").unwrap_or(args.len());
        let args = [&args[..ours], &["--output", "json"], &args[ours..]].concat();
        serde_json::from_str(&self.ok(&args)).unwrap()
    }

    /// A sandbox that runs.
    #[track_caller]
    pub(crate) fn sandbox(&self, name: &str) -> String {
        self.json(&["sandbox", "create", "--name", name])["id"].as_str().unwrap().to_owned()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // In order, so that it ends its sandboxes.
        let pid = rustix::process::Pid::from_child(&self.child);
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _gone = self.child.wait();
    }
}
