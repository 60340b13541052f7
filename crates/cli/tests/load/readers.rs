//! Readers of one execution, each in its own way. Every one that comes to the end has had every byte once and in order.

use std::sync::Arc;

use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};

use crate::support::server::At;

/// How somebody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Server-sent events, from before the first byte.
    Events,
    /// The same as messages of a WebSocket.
    Socket,
    /// Pages of `/output`, as JSON.
    Pages,
    /// Bytes of `/output`.
    Bytes,
    /// Events; leaves again and again, and comes back with the last id.
    Returns,
    /// A WebSocket; leaves again and again, and comes back with `after`.
    SocketReturns,
    /// Events; takes nothing until the execution has ended.
    Slow,
    /// Events, from when the first bytes are there.
    Late,
    /// Events, from after the end.
    After,
    /// Events; goes in the middle, without a word.
    Vanishes,
}

impl Kind {
    /// Whether it is there before the first byte.
    pub(crate) fn is_early(self) -> bool {
        !matches!(self, Self::Late | Self::After)
    }
}

/// How far the execution is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Waiting,
    Running,
    Ended,
}

/// What all readers share.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) at: At,
    /// `/executions/ID`.
    pub(crate) execution: String,
    pub(crate) expected: Vec<u8>,
    pub(crate) phase: watch::Sender<Phase>,
    /// One for each early reader that is there.
    pub(crate) there: Semaphore,
    /// Those who may be asking for a stream at once: fewer than the server takes.
    pub(crate) asking: Semaphore,
}

#[derive(Deserialize)]
struct Chunk {
    position: u64,
    data: String,
}

#[derive(Deserialize)]
struct Page {
    chunks: Vec<Chunk>,
    after: u64,
    complete: bool,
}

/// The text of a WebSocket's message.
#[derive(Deserialize)]
struct Message {
    event: String,
    id: String,
    data: serde_json::Value,
}

/// What one reader has seen.
struct Seen<'a> {
    of: &'a Reading,
    position: usize,
    /// Where to go on, as the server said it.
    last: Option<String>,
    over: bool,
}

impl Seen<'_> {
    fn take(&mut self, chunk: &Chunk) {
        assert_eq!(chunk.position, self.position as u64, "neither a gap nor a repeat");
        let end = self.position + chunk.data.len();
        assert!(
            self.of.expected.get(self.position..end) == Some(chunk.data.as_bytes()),
            "at {}",
            self.position
        );
        self.position = end;
    }

    fn event(&mut self, name: &str, id: &str, data: &[u8]) {
        assert!(!self.over, "nothing comes after the end");
        match name {
            "output" => self.take(&serde_json::from_slice(data).unwrap()),
            "end" => self.over = true,
            _ => panic!("{name}: {}", String::from_utf8_lossy(data)),
        }
        self.last = Some(id.to_owned());
    }
}

/// How many events somebody sees before they leave.
const EVENTS_BEFORE_LEAVING: usize = 5;

impl Reading {
    /// Reads as `kind` does. How many bytes were seen.
    pub(crate) async fn read(self: Arc<Self>, kind: Kind) -> usize {
        let mut seen = Seen { of: &self, position: 0, last: None, over: false };
        if kind == Kind::Late {
            self.until(Phase::Running).await;
        } else if kind == Kind::After {
            self.until(Phase::Ended).await;
        }
        match kind {
            Kind::Pages => self.pages(&mut seen).await,
            Kind::Bytes => self.bytes(&mut seen).await,
            Kind::Socket => self.socket(&mut seen, usize::MAX).await,
            Kind::SocketReturns => {
                while !seen.over {
                    self.socket(&mut seen, EVENTS_BEFORE_LEAVING).await;
                }
            }
            Kind::Returns => {
                while !seen.over {
                    self.events(kind, &mut seen, EVENTS_BEFORE_LEAVING).await;
                }
            }
            Kind::Vanishes => self.events(kind, &mut seen, EVENTS_BEFORE_LEAVING).await,
            Kind::Events | Kind::Slow | Kind::Late | Kind::After => {
                self.events(kind, &mut seen, usize::MAX).await;
            }
        }
        assert!(
            kind == Kind::Vanishes || seen.over && seen.position == self.expected.len(),
            "{kind:?}: not all"
        );
        seen.position
    }

    async fn until(&self, phase: Phase) {
        self.phase.subscribe().wait_for(|at| *at >= phase).await.unwrap();
    }

    /// Says once that it is there.
    fn there(&self, seen: &Seen<'_>) {
        if seen.last.is_none() {
            self.there.add_permits(1);
        }
    }

    /// A connection on which `head` was said, up to the end of the answer's head.
    async fn opened(&self, request: &str, status: &str, buffer: Option<u32>) -> BufReader<TcpStream> {
        let _asking = self.asking.acquire().await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(size) = buffer {
            socket.set_recv_buffer_size(size).unwrap();
        }
        let mut stream = socket.connect(self.at.address.parse().unwrap()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        assert!(line.contains(status), "{line}");
        while line != "\r\n" {
            line.clear();
            assert!(stream.read_line(&mut line).await.unwrap() > 0, "a whole head");
        }
        stream
    }

    /// Server-sent events until the end, or until so many were seen.
    async fn events(&self, kind: Kind, seen: &mut Seen<'_>, most: usize) {
        let last = seen.last.as_ref().map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        let request = self.at.request("GET", &format!("{}/stream", self.execution), &last, "");
        let slow = kind == Kind::Slow;
        let mut stream = self.opened(&request, " 200 ", slow.then_some(4096)).await;
        self.there(seen);
        if slow {
            self.until(Phase::Ended).await;
        }
        let (mut line, mut event) = (Vec::new(), [Vec::new(), Vec::new(), Vec::new()]);
        let mut count = 0;
        while count < most {
            line.clear();
            if stream.read_until(b'\n', &mut line).await.unwrap() == 0 {
                break;
            }
            let text = line.strip_suffix(b"\n").expect("whole lines");
            let fields = [&b"event: "[..], b"id: ", b"data: "];
            if let Some(field) = fields.iter().position(|field| text.starts_with(field)) {
                event[field] = text[fields[field].len()..].to_vec();
            } else if text.is_empty() && !event[2].is_empty() {
                let [name, id, data] = std::mem::take(&mut event);
                seen.event(&String::from_utf8(name).unwrap(), &String::from_utf8(id).unwrap(), &data);
                count += 1;
            }
        }
        if kind == Kind::Vanishes {
            // As a machine that lost its power: the server hears of it when it writes.
            stream.get_ref().set_zero_linger().unwrap();
        }
    }

    /// A WebSocket until the end, or until so many messages were seen.
    async fn socket(&self, seen: &mut Seen<'_>, most: usize) {
        let after = seen.last.as_ref().map(|id| format!("?after={id}")).unwrap_or_default();
        let request = format!(
            "GET /api/v1{}/stream{after} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {}\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.execution, self.at.key
        );
        let mut stream = self.opened(&request, " 101 ", None).await;
        self.there(seen);
        for _ in 0..most {
            let Some(text) = message(&mut stream).await else { break };
            let Message { event, id, data } = serde_json::from_slice(&text).unwrap();
            seen.event(&event, &id, data.to_string().as_bytes());
        }
    }

    async fn pages(&self, seen: &mut Seen<'_>) {
        self.there(seen);
        loop {
            let page = self.output(seen.position, "").await;
            let page: Page = serde_json::from_slice(&page.body).unwrap();
            page.chunks.iter().for_each(|chunk| seen.take(chunk));
            assert_eq!(page.after, seen.position as u64);
            if page.complete {
                seen.over = true;
                return;
            }
            if page.chunks.is_empty() {
                tokio::time::sleep(POLL_EVERY).await;
            }
        }
    }

    async fn bytes(&self, seen: &mut Seen<'_>) {
        self.there(seen);
        loop {
            let reply = self.output(seen.position, "Accept: application/octet-stream\r\n").await;
            assert_eq!(
                self.expected.get(seen.position..seen.position + reply.body.len()),
                Some(&reply.body[..])
            );
            seen.position += reply.body.len();
            assert_eq!(reply.header("sandkeep-output-after"), Some(seen.position.to_string().as_str()));
            if reply.header("sandkeep-output-complete") == Some("true") {
                seen.over = true;
                return;
            }
            if reply.body.is_empty() {
                tokio::time::sleep(POLL_EVERY).await;
            }
        }
    }

    async fn output(&self, after: usize, headers: &str) -> crate::support::server::Reply {
        let _asking = self.asking.acquire().await.unwrap();
        let reply =
            self.at.ask("GET", &format!("{}/output?after={after}", self.execution), headers, "").await;
        let reply = reply.unwrap();
        assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
        reply
    }
}

/// Between two looks of somebody who polls and has seen nothing new.
const POLL_EVERY: std::time::Duration = std::time::Duration::from_millis(50);

/// The payload of the next text message; `None` at the close.
async fn message(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head).await.unwrap();
        let length = match head[1] {
            126 => usize::from(stream.read_u16().await.unwrap()),
            127 => usize::try_from(stream.read_u64().await.unwrap()).unwrap(),
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.unwrap();
        match head[0] {
            0x81 => return Some(payload),
            0x88 => {
                assert_eq!(payload[..2], 1000_u16.to_be_bytes(), "it was closed since it is over");
                return None;
            }
            0x89 => {}
            other => panic!("a frame of {other:#x}"),
        }
    }
}
