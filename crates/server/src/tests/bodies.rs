//! Requests with a body.

use axum::Router;
use axum::routing::{get, post};
use sandkeep_api::sandboxes::{CreateSandbox, ListSandboxes};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::Bed;
use super::http::{ask, exchange, post as post_json};
use crate::extract::{Body, Caller, Query};
use crate::state::App;

async fn create(Body(wanted, _): Body<CreateSandbox>) -> String {
    wanted.name.unwrap_or_default()
}

async fn list(Query(wanted): Query<ListSandboxes>) -> String {
    format!("{:?}", wanted.limit)
}

async fn guarded(caller: Caller, Body(_wanted, _): Body<CreateSandbox>) -> String {
    format!("{}", caller.0.id)
}

fn routes(_app: &App) -> Router<App> {
    Router::new().route("/made", post(create)).route("/list", get(list)).route("/guarded", post(guarded))
}

#[tokio::test]
async fn a_good_body_is_read_and_a_bad_one_is_told_where() {
    let bed = Bed::start(&[], routes).await;
    let made = post_json(bed.address, "/made", "{\"name\": \"a\"}").await;
    assert_eq!((made.status, made.text()), (200, "a"));
    let post = |json: &'static str| post_json(bed.address, "/made", json);
    let document = post("{\"name\": \"a\",}").await.problem(400, "invalid_body");
    assert!(document["detail"].as_str().unwrap().contains("line 1 column 14"), "{document}");
    let document = post("{\"nam\": \"a\"}").await.problem(400, "invalid_body");
    assert!(document["detail"].as_str().unwrap().contains("`nam` is not known here"), "{document}");
    assert_eq!(document["value"], "nam");
    let document = post("{\"limits\": {\"memory_bytes\": \"12q\"}}").await.problem(400, "invalid_size");
    assert_eq!((&document["value"], document["expected"].is_string()), (&"12q".into(), true), "{document}");
    post("").await.problem(400, "invalid_body");
    bed.stop().await;
}

#[tokio::test]
async fn a_body_says_what_it_is() {
    let bed = Bed::start(&[], routes).await;
    for (media_type, status) in [
        ("application/json", 200),
        ("Application/JSON; charset=utf-8", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/jsonx", 415),
    ] {
        let reply = ask(bed.address, "POST", "/made", &[("Content-Type", media_type)], b"{}").await;
        assert_eq!(reply.status, status, "{media_type}");
    }
    ask(bed.address, "POST", "/made", &[], b"{}").await.problem(415, "unsupported_media_type");
    bed.stop().await;
}

#[tokio::test]
async fn a_body_has_a_size() {
    let bed = Bed::start(&[("limits.body", "1Ki")], routes).await;
    let fits = format!("{{\"name\": \"{}\"}}", "a".repeat(1_000));
    assert_eq!(post_json(bed.address, "/made", &fits).await.status, 200);
    let large = format!("{{\"name\": \"{}\"}}", "a".repeat(2_000));
    let document = post_json(bed.address, "/made", &large).await.problem(413, "body_too_large");
    assert_eq!(document["expected"], "at most 1 KiB");
    // The same without saying so before.
    let chunked = format!(
        "POST /made HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    );
    let reply = exchange(TcpStream::connect(bed.address).await.unwrap(), chunked.as_bytes()).await;
    reply.problem(413, "body_too_large");
    bed.stop().await;
}

#[tokio::test]
async fn a_body_arrives_in_time_or_not_at_all() {
    let bed = Bed::start(&[("limits.body_timeout", "1s")], routes).await;
    let half = b"POST /made HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"na";
    let reply = exchange(TcpStream::connect(bed.address).await.unwrap(), half).await;
    reply.problem(408, "request_timeout");
    // And one that ends before its end.
    let mut stream = TcpStream::connect(bed.address).await.unwrap();
    stream.write_all(half).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut answer).await.unwrap();
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    bed.stop().await;
}

#[tokio::test]
async fn bodies_together_have_a_size_too() {
    let flags = [("limits.body", "64Ki"), ("limits.bodies", "64Ki"), ("limits.body_timeout", "30s")];
    let bed = Bed::start(&flags, routes).await;
    let head =
        "POST /made HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 65536\r\n\r\n{";
    let mut first = TcpStream::connect(bed.address).await.unwrap();
    first.write_all(head.as_bytes()).await.unwrap();
    while bed.app.bodies.available_permits() > 0 {
        tokio::task::yield_now().await;
    }
    let reply = post_json(bed.address, "/made", "{}").await;
    reply.problem(503, "overloaded");
    assert_eq!(reply.header("retry-after"), Some("1"));
    drop(first);
    while bed.app.bodies.available_permits() == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(post_json(bed.address, "/made", "{}").await.status, 200);
    bed.stop().await;
}

#[tokio::test]
async fn a_query_is_refused_like_a_body() {
    let bed = Bed::start(&[], routes).await;
    let at = |path: &'static str| super::http::get(bed.address, path);
    assert_eq!(at("/list?limit=7").await.text(), "Some(7)");
    assert_eq!(at("/list").await.text(), "None");
    for path in
        ["/list?limit=x", "/list?limt=1", "/list?limit=1&limit=2", "/list?status=gone", "/list?limit=-1"]
    {
        at(path).await.problem(400, "invalid_query");
    }
    bed.stop().await;
}

#[tokio::test]
async fn whoever_has_no_key_is_refused_before_the_body_is_read() {
    let bed = Bed::start(&[], routes).await;
    // Ten bytes are promised and none comes.
    let head = b"POST /guarded HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 10\r\n\r\n";
    let reply = exchange(TcpStream::connect(bed.address).await.unwrap(), head).await;
    reply.problem(401, "unauthenticated");
    assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    for headers in
        [("Authorization", "Bearer sk_nothing"), ("X-API-Key", "hunter2"), ("Authorization", "Basic dTpw")]
    {
        let reply = ask(bed.address, "POST", "/guarded", &[headers], b"").await;
        let document = reply.problem(401, "unauthenticated");
        assert!(!document.to_string().contains("hunter2"), "{document}");
    }
    bed.stop().await;
}
