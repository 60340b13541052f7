//! `sandkeep serve` in a process of its own, and a bare route of axum.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::client::Client;

pub(crate) struct Served {
    child: Child,
    address: String,
    key: String,
    _directory: tempfile::TempDir,
}

impl Served {
    pub(crate) fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("sandkeep-bench")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        let program = std::env::var_os("SANDKEEP_BIN").expect("SANDKEEP_BIN names the program");
        let mut child = Command::new(program)
            .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
            .arg(directory.path().join("data"))
            // As one runs it for speed: a line for each request is the terminal's time, not the server's.
            .envs([("SANDKEEP_LOG_LEVEL", "warn"), ("SANDKEEP_END_SANDBOXES", "true")])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let address = lines.by_ref().find_map(|line| {
            let line = line.unwrap();
            Some(line.split_once("serving at http://")?.1.split_once(',')?.0.to_owned())
        });
        // Else it would wait for us to read.
        std::thread::spawn(move || lines.for_each(|line| eprintln!("{}", line.unwrap())));
        let key = std::fs::read_to_string(directory.path().join("data/admin.key")).unwrap();
        let key = key.trim().to_owned();
        Self { child, address: address.expect("it serves"), key, _directory: directory }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.address, &self.key)
    }

    fn proc(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }

    pub(crate) fn resident_mb(&self) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }

    pub(crate) fn cpu_ticks(&self) -> u64 {
        let stat = self.proc("stat");
        let after = stat.rsplit_once(')').unwrap().1;
        // Fields 14 and 15 of proc(5), of which two are before the name's end.
        let fields: Vec<&str> = after.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _reaped = self.child.wait();
    }
}

/// A route that answers with `body` as JSON, on a runtime like the server's. Where it listens.
pub(crate) fn bare(body: String) -> String {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async move {
            let value: serde_json::Value = serde_json::from_str(&body).unwrap();
            let route = axum::routing::get(move || std::future::ready(axum::Json(value.clone())));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap().to_string()).unwrap();
            axum::serve(listener, axum::Router::new().route("/", route)).await.unwrap();
        });
    });
    told.recv().unwrap()
}
