//! A registry of the tests' own, which may answer anything: bytes written to a connection, one request each.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::image::{Image, digest};

/// A request: method and path, headers with lower-case names.
#[derive(Debug, Clone)]
pub struct Asked {
    pub line: String,
    pub headers: HashMap<String, String>,
}

/// A server that lives as long as the test.
pub struct Server {
    pub name: String,
    pub asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Answers with what `answer` writes; the number counts requests from 0.
    pub fn start(answer: impl Fn(&Asked, usize, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = listener.local_addr().unwrap().to_string();
        let (asked, answer, count) = (Arc::default(), Arc::new(answer), Arc::new(AtomicUsize::new(0)));
        let all: Arc<Mutex<Vec<Asked>>> = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (answer, all, count) = (Arc::clone(&answer), Arc::clone(&all), Arc::clone(&count));
                std::thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let Some(asked) = read(&stream) else { return };
                    all.lock().unwrap().push(asked.clone());
                    answer(&asked, count.fetch_add(1, Ordering::SeqCst), &mut stream);
                });
            }
        });
        Self { name, asked }
    }

    /// Serves an image under any name, but for what `other` answers itself.
    pub fn of(
        image: &Image,
        other: impl Fn(&Asked, usize, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        let files = Files::of(image);
        Self::start(move |asked, number, stream| {
            if !other(asked, number, stream) {
                files.answer(asked, stream);
            }
        })
    }

    pub fn asked_for(&self, what: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|asked| asked.line.contains(what)).count()
    }
}

/// The blobs and the manifest of an image.
pub struct Files {
    blobs: HashMap<String, Vec<u8>>,
    manifest: String,
}

impl Files {
    pub fn of(image: &Image) -> Self {
        let mut files = Vec::new();
        let manifest = image.manifest(&mut files)["digest"].as_str().unwrap().to_owned();
        Self { blobs: files.into_iter().map(|(_, bytes)| (digest(&bytes), bytes)).collect(), manifest }
    }

    /// With another document where a tag leads.
    pub fn led_by(mut self, document: &[u8]) -> Self {
        self.manifest = digest(document);
        self.blobs.insert(self.manifest.clone(), document.to_vec());
        self
    }

    pub fn answer(&self, asked: &Asked, stream: &mut TcpStream) {
        let wanted = asked.line.rsplit('/').next().unwrap();
        let wanted = if wanted.starts_with("sha256:") { wanted } else { &self.manifest };
        match self.blobs.get(wanted) {
            None => respond(stream, "404 Not Found", &[], b"{}"),
            Some(_) if asked.line.starts_with("HEAD") => {
                respond(stream, "200 OK", &[("docker-content-digest", wanted)], b"");
            }
            Some(bytes) => respond(stream, "200 OK", &[], bytes),
        }
    }
}

/// Writes an answer. Whoever reads may have had enough.
pub fn respond(stream: &mut TcpStream, status: &str, headers: &[(&str, &str)], body: &[u8]) {
    let mut head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    let _gone = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(b"\r\n"))
        .and_then(|()| stream.write_all(body));
}

/// Writes the head of an answer that says nothing of its length, and then `piece` until nobody reads.
pub fn endless(stream: &mut TcpStream, piece: &[u8], between: std::time::Duration) {
    let head = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n";
    if stream.write_all(head).is_err() {
        return;
    }
    while stream.write_all(piece).is_ok() {
        std::thread::sleep(between);
    }
}

fn read(stream: &TcpStream) -> Option<Asked> {
    let mut lines = BufReader::new(stream).lines();
    let line = lines.next()?.ok()?.trim_end_matches(" HTTP/1.1").to_owned();
    let mut headers = HashMap::new();
    for line in lines {
        let line = line.ok()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    Some(Asked { line, headers })
}
