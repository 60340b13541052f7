//! A server with a key to it, and a reader of its streams.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use crate::bed::Bed;
use crate::http::{PATIENCE, Reply, ask};
use crate::postgres::support;

pub(super) struct Client {
    pub(super) bed: Bed,
    pub(super) key: String,
}

impl Client {
    pub(super) async fn sqlite(flags: &[(&'static str, &str)]) -> Self {
        Self::of(Bed::start(flags).await)
    }

    pub(super) async fn postgres(name: &str) -> Option<Self> {
        let url = support::fresh_database(name).await?;
        Some(Self::of(Bed::start(&[("database_url", &url)]).await))
    }

    pub(super) fn of(bed: Bed) -> Self {
        let key = std::fs::read_to_string(bed.directory.path().join("data/admin.key")).unwrap();
        Client { bed, key: key.trim().to_owned() }
    }

    pub(super) async fn stop(self) {
        self.bed.stop().await;
    }

    pub(super) async fn ask(&self, method: &str, path: &str, more: &[(&str, &str)], body: &str) -> Reply {
        let mut headers = vec![("X-API-Key", self.key.as_str()), ("Content-Type", "application/json")];
        headers.extend(more);
        ask(self.bed.address, method, &format!("/api/v1{path}"), &headers, body.as_bytes()).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.ask("POST", path, &[], &body.to_string()).await
    }

    /// `POST` of something that is made.
    pub(super) async fn made(&self, path: &str, body: &Value) -> Value {
        let reply = self.post(path, body).await;
        assert_eq!(reply.status, 201, "{path} {body}: {}", reply.text());
        reply.json()
    }

    pub(super) async fn get(&self, path: &str) -> Value {
        let reply = self.ask("GET", path, &[], "").await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        reply.json()
    }

    /// Asks until it is so.
    pub(super) async fn until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let asked = async {
            loop {
                let found = self.get(path).await;
                if is_so(&found) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.expect("it comes to be so")
    }

    /// A sandbox that runs.
    pub(super) async fn sandbox(&self) -> String {
        self.made("/sandboxes?wait=running", &serde_json::json!({})).await["id"].as_str().unwrap().to_owned()
    }

    /// A shell line in a sandbox, begun. The path of the execution.
    pub(super) async fn begin(&self, sandbox: &str, line: &str) -> String {
        let asked = serde_json::json!({"command": ["sh", "-c", line]});
        let made = self.made(&format!("/sandboxes/{sandbox}/executions"), &asked).await;
        format!("/executions/{}", made["id"].as_str().unwrap())
    }
}

/// A stream of server-sent events.
pub(super) struct Events(BufReader<TcpStream>);

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) data: String,
}

impl Event {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

impl Events {
    /// Asks for a stream. HTTP/1.0, so that what comes is the events and nothing else.
    pub(super) async fn open(client: &Client, path: &str, last: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(client.bed.address).await.unwrap();
        let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let head = format!(
            "GET /api/v1{path} HTTP/1.0\r\nHost: a\r\nX-API-Key: {}\r\nAccept: text/event-stream\r\n{last}\r\n",
            client.key
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut events = Events(BufReader::new(stream));
        let status = events.line().await.unwrap();
        assert!(status.contains(" 200 "), "{path}: {status}");
        while events.line().await.is_some_and(|line| !line.is_empty()) {}
        events
    }

    async fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = tokio::time::timeout(PATIENCE, self.0.read_line(&mut line)).await.expect("in time");
        (read.unwrap() > 0).then(|| line.trim_end_matches(['\r', '\n']).to_owned())
    }

    /// `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let line = self.line().await?;
            match line.split_once(": ") {
                Some(("id", id)) => event.id = id.to_owned(),
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("data", data)) => event.data = data.to_owned(),
                _ if line.is_empty() && !event.data.is_empty() => return Some(event),
                _ => {}
            }
        }
    }

    /// All until the end.
    pub(super) async fn rest(&mut self) -> Told {
        let mut told = Told(Vec::new());
        while let Some(event) = self.next().await {
            told.0.push(event);
        }
        told
    }
}

/// What was told.
#[derive(Debug)]
pub(super) struct Told(pub(super) Vec<Event>);

impl Told {
    pub(super) fn last(&self) -> &Event {
        self.0.last().unwrap()
    }

    /// The bytes of all output, which has to be without a break.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let mut reach = None;
        for event in self.0.iter().filter(|event| event.name == "output") {
            let chunk = event.json();
            let position = chunk["position"].as_u64().unwrap();
            assert_eq!(reach.unwrap_or(position), position, "no gap, no repeat");
            assert_eq!(chunk["encoding"], "utf-8");
            all.extend(chunk["data"].as_str().unwrap().bytes());
            reach = Some(position + chunk["data"].as_str().unwrap().len() as u64);
            assert_eq!(event.id, reach.unwrap().to_string());
        }
        all
    }
}
