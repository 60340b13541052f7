//! What is asked of the server, all the time, by several at once: executions with every kind of end, in sandboxes that stay, go
//! under them or are made for them, and readers that leave. Whoever asks for something goes on asking, with the same key, until
//! it is answered: whatever becomes of the server, it is made once.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::Random;
use crate::support::server::{At, PATIENCE, Reply};

/// Between two tries while no server is there.
const AGAIN: Duration = Duration::from_millis(20);

/// Everything that was accepted.
#[derive(Debug, Default)]
pub(crate) struct Accepted {
    /// Executions, with the states that each may end in.
    pub(crate) executions: BTreeMap<String, &'static [&'static str]>,
    pub(crate) sandboxes: Vec<String>,
}

/// Somebody at work.
pub(crate) struct Worker<'a> {
    pub(crate) at: watch::Receiver<At>,
    pub(crate) accepted: &'a Mutex<Accepted>,
    pub(crate) random: Random,
    /// Stands in every command line, and in every key.
    pub(crate) marker: String,
}

const WELL: &[&str] = &["succeeded"];
const BADLY: &[&str] = &["failed"];
const CANCELLED: &[&str] = &["cancelled"];
/// What was cancelled while it ended may have ended.
const CANCELLED_OR_WELL: &[&str] = &["cancelled", "succeeded"];

impl Worker<'_> {
    /// Does one thing, of any kind.
    pub(crate) async fn once(&mut self) {
        match self.random.below(10) {
            0 => drop(self.alone("seq 50", WELL).await),
            1 => drop(self.alone("echo no >&2; exit 3", BADLY).await),
            2 => drop(self.alone("kill -9 $$", BADLY).await),
            3 => drop(
                self.made(
                    "/executions",
                    &json!({"command": self.line("exec sleep 1000"), "timeout_ms": 100}),
                    &["timed_out"],
                )
                .await,
            ),
            4 => self.a_handler().await,
            5 => self.cancelled().await,
            6 => self.sandbox_with_several().await,
            7 => self.sandbox_deleted_under_it().await,
            8 => self.short_and_cancelled().await,
            _ => self.read().await,
        }
    }

    fn line(&self, line: &str) -> Value {
        json!(["sh", "-c", format!(": {}; {line}", self.marker)])
    }

    fn accepted(&self) -> std::sync::MutexGuard<'_, Accepted> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks whoever serves until somebody answers.
    async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Reply {
        let begun = Instant::now();
        loop {
            let at = self.at.borrow().clone();
            if let Ok(reply) = at.ask(method, path, headers, body).await
                && reply.status != 503
            {
                return reply;
            }
            assert!(begun.elapsed() < PATIENCE, "{method} {path}: nobody answers");
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn create(&mut self, path: &str, body: &Value) -> String {
        let key = format!("Idempotency-Key: {}-{}\r\n", self.marker, self.random.next());
        let reply = self.ask("POST", path, &key, &body.to_string()).await;
        assert_eq!(reply.status, 201, "{path} {body}: {}", String::from_utf8_lossy(&reply.body));
        reply.json()["id"].as_str().unwrap().to_owned()
    }

    async fn made(&mut self, path: &str, body: &Value, ends: &'static [&'static str]) -> String {
        let id = self.create(path, body).await;
        let earlier = self.accepted().executions.insert(id.clone(), ends);
        assert_eq!(earlier, None, "{id} was made by two requests");
        id
    }

    async fn alone(&mut self, line: &str, ends: &'static [&'static str]) -> String {
        let body = json!({"command": self.line(line)});
        self.made("/executions", &body, ends).await
    }

    async fn sandbox(&mut self) -> String {
        let id = self.create("/sandboxes", &json!({"labels": {"by": self.marker}})).await;
        self.accepted().sandboxes.push(id.clone());
        id
    }

    async fn until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let found = self.ask("GET", path, "", "").await.json();
            if is_so(&found) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "{path}: {found}");
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn a_handler(&mut self) {
        let code = format!("def handler(event, context): return event['a'] + 1 # {}", self.marker);
        let body = json!({"language": "python", "kind": "handler", "code": code, "event": {"a": 41}});
        let id = self.made("/executions", &body, WELL).await;
        let ended = self.until(&format!("/executions/{id}"), |found| found["finished_at"].is_string()).await;
        assert_eq!(ended["return_value"], 42, "{ended}");
    }

    async fn cancelled(&mut self) {
        let id = self.alone("echo here; exec sleep 1000", CANCELLED).await;
        let path = format!("/executions/{id}");
        if self.random.below(2) == 0 {
            self.until(&path, |found| found["stdout"] == "here\n").await;
        }
        self.ask("DELETE", &path, "", "").await;
    }

    async fn short_and_cancelled(&mut self) {
        let id = self.alone("echo here", CANCELLED_OR_WELL).await;
        self.ask("DELETE", &format!("/executions/{id}"), "", "").await;
    }

    async fn sandbox_with_several(&mut self) {
        let sandbox = self.sandbox().await;
        let path = format!("/sandboxes/{sandbox}/executions");
        for n in 0..3 {
            let id = self.made(&path, &json!({"command": self.line(&format!("echo {n}"))}), WELL).await;
            self.until(&format!("/executions/{id}"), |found| found["status"] == "succeeded").await;
        }
        self.ask("DELETE", &format!("/sandboxes/{sandbox}"), "", "").await;
    }

    async fn sandbox_deleted_under_it(&mut self) {
        let sandbox = self.sandbox().await;
        let path = format!("/sandboxes/{sandbox}/executions");
        let id =
            self.made(&path, &json!({"command": self.line("echo here; exec sleep 1000")}), CANCELLED).await;
        if self.random.below(2) == 0 {
            self.until(&format!("/executions/{id}"), |found| found["stdout"] == "here\n").await;
        }
        self.ask("DELETE", &format!("/sandboxes/{sandbox}"), "", "").await;
    }

    /// Lines that come slowly, to somebody who leaves after a few and comes back, to whatever server is there.
    async fn read(&mut self) {
        let id = self
            .alone("for i in $(seq 300); do echo $i; [ $((i % 30)) -ne 0 ] || sleep 0.02; done", WELL)
            .await;
        let expected: String = (1..=300).map(|n| format!("{n}\n")).collect();
        let (mut text, mut last, begun) = (String::new(), None::<String>, Instant::now());
        while last.as_deref() != Some("end") {
            assert!(begun.elapsed() < PATIENCE, "{id}: no end after {last:?}");
            let most = 1 + self.random.below(6);
            let at = self.at.borrow().clone();
            // Whatever broke off is read on from the last whole event.
            if read_some(&at, &id, most, &mut last, &mut text).await.is_err() {
                tokio::time::sleep(AGAIN).await;
            }
        }
        assert!(text == expected, "{id}: {text:?}");
        // Somebody else begins to read and goes.
        let at = self.at.borrow().clone();
        let _broken = read_some(&at, &id, 1, &mut None, &mut String::new()).await;
    }
}

/// Reads so many events of a stream, from after the last that was seen.
async fn read_some(
    at: &At,
    id: &str,
    most: u64,
    last: &mut Option<String>,
    text: &mut String,
) -> std::io::Result<()> {
    let from = last.as_ref().map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
    let mut stream = TcpStream::connect(&at.address).await?;
    let request = at.request("GET", &format!("/executions/{id}/stream"), &from, "");
    stream.write_all(request.as_bytes()).await?;
    let mut lines = BufReader::new(stream).lines();
    let (mut count, mut name, mut position, mut data) = (0, String::new(), String::new(), String::new());
    while count < most {
        let line =
            tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("something within the time")?;
        let Some(line) = line else { return Err(std::io::ErrorKind::UnexpectedEof.into()) };
        match line.split_once(": ") {
            Some(("event", is)) => name = is.to_owned(),
            Some(("id", is)) => position = is.to_owned(),
            Some(("data", is)) => data = is.to_owned(),
            _ if line.is_empty() && !data.is_empty() => {
                match name.as_str() {
                    "output" => {
                        let chunk: Value = serde_json::from_str(&data).unwrap();
                        assert_eq!(chunk["position"], text.len(), "{id}: neither a gap nor a repeat");
                        text.push_str(chunk["data"].as_str().unwrap());
                    }
                    "end" => {}
                    // The store was away for a moment: it comes back.
                    _ => return Err(std::io::Error::other(data)),
                }
                *last = Some(std::mem::take(&mut position));
                if name == "end" {
                    return Ok(());
                }
                data.clear();
                count += 1;
            }
            _ => {}
        }
    }
    Ok(())
}
