//! `sandkeep serve` as a process, and requests to it that may find it gone.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// No answer of a test takes so long, however busy the machine is.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Lets this process hold the other ends of many connections.
pub fn allow_descriptors() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
}

/// `sandkeep serve` on a free port, without anything of our own environment but where its programs and run directory are.
/// The shell in front of it takes away all but a few descriptors: that it gets more is the server's own doing.
pub fn serve(data: &Path) -> Command {
    let mut command = Command::new("/bin/sh");
    let kept = ["PATH", "XDG_RUNTIME_DIR", "SANDKEEP_STATE_DIR"];
    command.env_clear().envs(kept.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.args(["-c", "ulimit -Sn 128; exec \"$0\" \"$@\""]).arg(super::binary());
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    child: Child,
    log: PathBuf,
    /// Where it listens, and the administrator's key.
    pub at: At,
}

/// Whom to ask, and as whom.
#[derive(Debug, Clone)]
pub struct At {
    pub address: String,
    pub key: String,
}

/// What a process holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub rss_kib: u64,
    /// The most that `rss_kib` ever was.
    pub peak_kib: u64,
    pub threads: u64,
    pub descriptors: u64,
}

impl Server {
    /// Starts it with its log in `log` and waits until it serves.
    pub async fn start(mut command: Command, data: &Path, log: &Path) -> Self {
        let mut child = command.stderr(File::create(log).unwrap()).spawn().unwrap();
        let address = tokio::time::timeout(PATIENCE, async {
            loop {
                let said = fs::read_to_string(log).unwrap();
                // Whole lines only.
                if let Some((_, rest)) = said.split_once("serving at http://")
                    && let Some((address, _)) = rest.split_once(", described")
                {
                    return address.to_owned();
                }
                assert!(child.try_wait().unwrap().is_none(), "it does not serve: {said}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        let address = address.await.expect("it comes to serve");
        let key = fs::read_to_string(data.join("admin.key")).unwrap().trim().to_owned();
        Self { child, log: log.to_owned(), at: At { address, key } }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end, and gives its exit status.
    pub async fn ended(mut self) -> Option<i32> {
        let ended = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(status) = self.child.try_wait().unwrap() {
                    return status.code();
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        ended.await.unwrap_or_else(|_| panic!("it does not end: {}", self.said()))
    }

    /// The last of what it wrote.
    pub fn said(&self) -> String {
        let said = fs::read_to_string(&self.log).unwrap();
        let lines: Vec<&str> = said.lines().rev().take(40).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    pub fn usage(&self) -> Usage {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.trim_end_matches("kB").trim().parse().unwrap()
        };
        let descriptors = fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count() as u64;
        Usage {
            rss_kib: number("VmRSS:"),
            peak_kib: number("VmHWM:"),
            threads: number("Threads:"),
            descriptors,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that fails leaves no server; one that ends in order has waited for it already.
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        let told = || String::from_utf8_lossy(&self.body).into_owned();
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, told()))
    }

    /// The value of a header, named in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

impl At {
    /// One request on a connection of its own. In HTTP/1.0, so that the body is what comes until the end.
    ///
    /// # Errors
    /// The server went away, or never was there.
    pub async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> io::Result<Reply> {
        let asked = async {
            let mut stream = TcpStream::connect(&self.address).await?;
            stream.write_all(self.request(method, path, headers, body).as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            reply(answer)
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("{method} {path}: no answer"))
    }

    /// The value of a metric without labels, which counts something.
    pub async fn metric(&self, name: &str) -> u64 {
        let mut stream = TcpStream::connect(&self.address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// Waits until nobody else is connected.
    pub async fn until_alone(&self) {
        let begun = std::time::Instant::now();
        while self.metric("sandkeep_http_connections").await > 1 {
            assert!(begun.elapsed() < PATIENCE, "connections stay");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The text of a request under `/api/v1`.
    pub fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let (key, length) = (&self.key, body.len());
        format!(
            "{method} /api/v1{path} HTTP/1.0\r\nHost: localhost\r\nX-API-Key: {key}\r\n\
             Content-Type: application/json\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
        )
    }

    /// `POST` of something that is made, by a server that stays.
    pub async fn made(&self, path: &str, body: &Value) -> Value {
        let reply = self.ask("POST", path, "", &body.to_string()).await.unwrap();
        assert_eq!(reply.status, 201, "{path} {body}: {}", String::from_utf8_lossy(&reply.body));
        reply.json()
    }
}

fn reply(answer: Vec<u8>) -> io::Result<Reply> {
    let broken = || {
        let (size, begin) = (answer.len(), String::from_utf8_lossy(&answer[..answer.len().min(400)]));
        io::Error::new(io::ErrorKind::UnexpectedEof, format!("an answer of {size} bytes: {begin:?}"))
    };
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(broken)?;
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(broken)?;
    let reply = Reply { status, head, body: answer[end + 4..].to_vec() };
    // A server that is killed in the middle of an answer has not given one.
    let whole = reply.header("content-length").is_none_or(|length| length.parse() == Ok(reply.body.len()));
    if whole { Ok(reply) } else { Err(broken()) }
}
