//! Clients that take their time, or too much room.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::bed::Bed;
use crate::http::{PATIENCE, ask, get, raw};

/// Long enough that a busy machine answers what came whole.
const SHORT: &str = "2s";

#[tokio::test]
async fn whoever_sends_no_head_is_let_go() {
    let bed = Bed::start(&[("limits.header_timeout", SHORT), ("limits.connections", "3")]).await;
    for sent in ["", "GET / HT", "GET /live HTTP/1.1\r\nHost: a\r\nX-Half: "] {
        let begun = std::time::Instant::now();
        let stream = TcpStream::connect(bed.address).await.unwrap();
        let answer = raw(stream, sent.as_bytes()).await;
        assert!(begun.elapsed() >= Duration::from_millis(1_900), "{sent:?}: {answer:?}");
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{sent:?}: {answer:?}");
    }
    // One that is idle after a request is let go too, so that idle ones do not keep others out.
    let mut idle = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(bed.address).await.unwrap();
        stream.write_all(b"GET /live HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut some = [0; 12];
        stream.read_exact(&mut some).await.unwrap();
        assert_eq!(&some, b"HTTP/1.1 204");
        idle.push(stream);
    }
    assert_eq!(get(bed.address, "/live").await.status, 204, "the fourth waits for a place");
    for mut stream in idle {
        let mut rest = Vec::new();
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    }
    bed.stop().await;
}

#[tokio::test]
async fn a_head_has_a_size() {
    let bed = Bed::start(&[("limits.header", "8Ki")]).await;
    let fits = "a".repeat(4_000);
    assert_eq!(ask(bed.address, "GET", "/live", &[("X-Long", &fits)], b"").await.status, 204);
    let long = "a".repeat(9_000);
    assert_eq!(ask(bed.address, "GET", "/live", &[("X-Long", &long)], b"").await.status, 431);
    let path = format!("/{long}");
    assert!(matches!(get(bed.address, &path).await.status, 414 | 431));
    let many: Vec<(String, &str)> = (0..200).map(|n| (format!("X-{n}"), "1")).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    assert_eq!(ask(bed.address, "GET", "/live", &many, b"").await.status, 431);
    bed.stop().await;
}

#[tokio::test]
async fn nonsense_harms_nobody() {
    let bed = Bed::start(&[]).await;
    for sent in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET /live HTTP/9.9\r\n\r\n",
        b"GET  /live  HTTP/1.1\r\n\r\n",
        b"\0\0\0\0\r\n\r\n",
        b"POST /live HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"GET /live HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ] {
        let stream = TcpStream::connect(bed.address).await.unwrap();
        let mut stream = stream;
        let _refused = stream.write_all(sent).await;
        let _refused = stream.shutdown().await;
        let mut answer = Vec::new();
        let _ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end");
    }
    assert_eq!(get(bed.address, "/live").await.status, 204);
    bed.stop().await;
}
