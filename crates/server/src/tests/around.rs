//! Panics, bounds, streams, and work that outlives whoever asked for it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use futures_util::{StreamExt as _, stream};
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::{Notify, Semaphore};

use super::Bed;
use super::http::{PATIENCE, get as ask};
use crate::middleware::bound;
use crate::serve::Drained;
use crate::state::App;

#[tokio::test]
async fn a_panic_is_an_answer() {
    async fn broken() -> String {
        panic!("a secret")
    }
    let bed = Bed::start(&[], |_| Router::new().route("/broken", get(broken))).await;
    let document = ask(bed.address, "/broken").await.problem(500, "internal");
    assert!(!document.to_string().contains("a secret"), "{document}");
    assert_eq!(bed.app.metrics.panics.get(), 1);
    ask(bed.address, "/broken").await.problem(500, "internal");
    assert_eq!(bed.stop().await, Drained::InTime);
}

/// A route that answers once it is let.
fn waiting(app: &App, gate: &Arc<Semaphore>) -> Router<App> {
    let gate = Arc::clone(gate);
    let wait = move || async move {
        gate.acquire().await.unwrap().forget();
        "done"
    };
    Router::new().route("/wait", get(wait)).layer(from_fn_with_state(app.clone(), bound::bound))
}

#[tokio::test]
async fn too_many_at_once_are_told_when_to_come_again() {
    let gate = Arc::new(Semaphore::new(0));
    let bed = Bed::start(&[("limits.requests", "2")], |app| waiting(app, &gate)).await;
    let address = bed.address;
    let two: Vec<_> = (0..2).map(|_| tokio::spawn(async move { ask(address, "/wait").await })).collect();
    while bed.app.requests.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let reply = ask(bed.address, "/wait").await;
    reply.problem(503, "overloaded");
    assert_eq!(reply.header("retry-after"), Some("1"));
    gate.add_permits(3);
    for waited in two {
        assert_eq!(waited.await.unwrap().status, 200);
    }
    assert_eq!(ask(bed.address, "/wait").await.status, 200);
    bed.stop().await;
}

#[tokio::test]
async fn an_answer_comes_in_time_or_says_so() {
    let gate = Arc::new(Semaphore::new(0));
    let bed = Bed::start(&[("limits.answer_timeout", "500ms")], |app| waiting(app, &gate)).await;
    let reply = ask(bed.address, "/wait").await;
    reply.problem(503, "answer_timeout");
    assert_eq!(reply.header("retry-after"), Some("1"));
    bed.stop().await;
}

/// A stream of which the server sends a first byte and then nothing.
fn endless(ends_with_the_server: bool) -> impl FnOnce(&App) -> Router<App> {
    let handler = move |State(app): State<App>| async move {
        type Chunk = Result<Frame<Bytes>, std::convert::Infallible>;
        let first: Chunk = Ok(Frame::data(Bytes::from_static(b"first\n")));
        let rest = async move {
            if ends_with_the_server {
                app.stopping.cancelled().await;
            } else {
                std::future::pending::<()>().await;
            }
            stream::empty::<Chunk>()
        };
        let rest = stream::once(rest).flatten();
        axum::body::Body::new(StreamBody::new(stream::iter([first]).chain(rest)))
    };
    move |_| Router::new().route("/stream", get(handler))
}

async fn open_stream(bed: &Bed) -> TcpStream {
    let mut stream = TcpStream::connect(bed.address).await.unwrap();
    stream.write_all(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(5).any(|five| five == b"first") {
        assert!(stream.read_buf(&mut seen).await.unwrap() > 0, "{seen:?}");
    }
    stream
}

#[tokio::test]
async fn open_streams_end_with_the_server() {
    let bed = Bed::start(&[], endless(true)).await;
    let mut stream = open_stream(&bed).await;
    assert_eq!(bed.stop().await, Drained::InTime);
    let mut rest = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.unwrap().unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "it ended in order: {rest:?}");
}

#[tokio::test]
async fn a_stream_that_does_not_end_is_ended_at_the_deadline() {
    let bed = Bed::start(&[("drain_timeout", "1s")], endless(false)).await;
    let mut stream = open_stream(&bed).await;
    let begun = std::time::Instant::now();
    assert!(matches!(bed.stop().await, Drained::Late { tasks: 1 }));
    assert!(begun.elapsed() >= Duration::from_secs(1), "it had its time");
    let mut rest = Vec::new();
    let _broken = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed");
    assert!(!rest.ends_with(b"0\r\n\r\n"), "it broke off, and does not look whole: {rest:?}");
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_let_go() {
    let flood = || async {
        let chunk = || Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(vec![b'x'; 65_536])));
        axum::body::Body::new(StreamBody::new(stream::repeat_with(chunk)))
    };
    let bed =
        Bed::start(&[("limits.write_timeout", "1s")], |_| Router::new().route("/flood", get(flood))).await;
    let mut stream = TcpStream::connect(bed.address).await.unwrap();
    stream.write_all(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let begun = std::time::Instant::now();
    while bed.app.metrics.connections_failed.get() == 0 {
        assert!(begun.elapsed() < PATIENCE, "it is still being served");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(bed.app.metrics.connections.get(), 0);
    bed.stop().await;
}

#[tokio::test]
async fn what_was_begun_is_finished_though_nobody_waits() {
    let (begun, go, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(Semaphore::new(0)));
    let handler = {
        let (begun, go, done) = (Arc::clone(&begun), Arc::clone(&go), Arc::clone(&done));
        move |State(app): State<App>| async move {
            app.complete(async move {
                begun.notify_one();
                go.notified().await;
                done.add_permits(1);
                Ok("done")
            })
            .await
        }
    };
    let bed = Bed::start(&[], |_| Router::new().route("/work", get(handler))).await;
    let mut stream = TcpStream::connect(bed.address).await.unwrap();
    stream.write_all(b"GET /work HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    begun.notified().await;
    drop(stream);
    while bed.app.metrics.connections.get() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    go.notify_one();
    let _done = tokio::time::timeout(PATIENCE, done.acquire()).await.expect("it was finished").unwrap();
    bed.stop().await;
}
