//! Readers that are late, early, slow, killed, or come back.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::both;
use super::client::{Client, Events, Told};

both! { a_killed_reader_comes_back_to_the_next_byte a_late_reader_gets_all_of_it }

mod cases {
    use super::*;

    pub(super) async fn a_killed_reader_comes_back_to_the_next_byte(client: &Client) {
        let sandbox = client.sandbox().await;
        // It goes on when a file is there, which another execution makes.
        let line = "echo first; while ! [ -e go ]; do sleep 0.01; done; echo second";
        let execution = client.begin(&sandbox, line).await;
        let stream = format!("{execution}/stream");
        let mut events = Events::open(client, &stream, None).await;
        let first = events.next().await.unwrap();
        assert_eq!(first.json()["data"], "first\n");
        drop(events);
        client.begin(&sandbox, "touch go").await;
        client.until(&execution, |execution| execution["status"] == "succeeded").await;
        let told = Events::open(client, &stream, Some(&first.id)).await.rest().await;
        assert_eq!(told.bytes(), b"second\n");
        assert_eq!(told.last().id, "end");
        let over = client.ask("GET", &stream, &[("Last-Event-ID", "end")], "").await;
        assert_eq!((over.status, over.body.len()), (204, 0));
    }

    pub(super) async fn a_late_reader_gets_all_of_it(client: &Client) {
        // From before its sandbox is there, live; and after its end, from the store.
        let made = client
            .made("/executions", &json!({"command": ["sh", "-c", "seq 200000; sleep 0.05; echo x"]}))
            .await;
        let execution = format!("/executions/{}", made["id"].as_str().unwrap());
        let live = Events::open(client, &format!("{execution}/stream"), None).await.rest().await;
        let stored = Events::open(client, &format!("{execution}/stream"), None).await.rest().await;
        let expected: String = (1..=200_000).map(|n| format!("{n}\n")).chain(["x\n".to_owned()]).collect();
        assert!(live.bytes() == expected.as_bytes() && stored.bytes() == expected.as_bytes());
        let headers = [("Accept", "application/octet-stream")];
        let bytes = client.ask("GET", &format!("{execution}/output?after=1288890"), &headers, "").await;
        assert_eq!(bytes.body, &expected.as_bytes()[1_288_890..]);
        assert_eq!(bytes.header("sandkeep-output-after"), Some(expected.len().to_string().as_str()));
        assert_eq!(bytes.header("sandkeep-output-complete"), Some("true"));
        assert_eq!(pages(client, &execution).await, expected);
    }
}

/// The output in JSON, page by page.
async fn pages(client: &Client, execution: &str) -> String {
    let (mut all, mut after, mut pages) = (String::new(), 0, 0);
    loop {
        let page = client.get(&format!("{execution}/output?after={after}")).await;
        let chunks = page["chunks"].as_array().unwrap();
        all.extend(chunks.iter().map(|chunk| chunk["data"].as_str().unwrap()));
        (after, pages) = (page["after"].as_u64().unwrap(), pages + 1);
        if page["complete"] == true {
            assert!(pages > 1, "it was more than a page");
            return all;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_kept_is_one_gap() {
    let client = Client::sqlite(&[]).await;
    let asked = json!({"limits": {"output_bytes": "2Ki"}, "command": ["sh", "-c", "seq 10000"]});
    let made = client.made("/executions?wait=true", &asked).await;
    let execution = format!("/executions/{}", made["id"].as_str().unwrap());
    let Told(events) = Events::open(&client, &format!("{execution}/stream"), None).await.rest().await;
    let gap = events.iter().find(|event| event.name == "gap").unwrap();
    assert_eq!(gap.json(), made["output_gap"]);
    assert_eq!(gap.id, gap.json()["to"].to_string());
    assert_eq!(client.get(&format!("{execution}/output")).await["gap"], made["output_gap"]);
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_of_one_execution_hold_nothing() {
    let client = Client::sqlite(&[("limits.requests", "8")]).await;
    let sandbox = client.sandbox().await;
    let execution = client.begin(&sandbox, "while ! [ -e go ]; do sleep 0.01; done; seq 100000").await;
    let stream = format!("{execution}/stream");
    let mut readers = Vec::new();
    for _ in 0..64 {
        readers.push(Events::open(&client, &stream, None).await);
    }
    // Those who take nothing: a reader that never reads holds neither the others nor the execution up.
    let mut idle = tokio::net::TcpStream::connect(client.bed.address).await.unwrap();
    let head = format!("GET /api/v1{stream} HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\n\r\n", client.key);
    idle.write_all(head.as_bytes()).await.unwrap();
    client.begin(&sandbox, "touch go").await;
    let expected: String = (1..=100_000).map(|n| format!("{n}\n")).collect();
    let told = futures_util::future::join_all(readers.iter_mut().map(Events::rest)).await;
    assert!(told.iter().all(|told| told.bytes() == expected.as_bytes() && told.last().name == "end"));
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_feed_goes_on_as_it_grows() {
    let client = Client::sqlite(&[]).await;
    let mut feed = Events::open(&client, "/events?kind=execution", None).await;
    let made = client.made("/executions", &json!({"command": ["true"]})).await;
    let (queued, ended) = (feed.next().await.unwrap(), feed.next().await.unwrap());
    assert_eq!((queued.name.as_str(), ended.name.as_str()), ("execution.queued", "execution.ended"));
    assert_eq!(ended.json()["subject"], made["id"]);
    let mut again = Events::open(&client, "/events?kind=execution", Some(&queued.id)).await;
    assert_eq!(again.next().await.unwrap(), ended);
    let page = client.get(&format!("/events?kind=execution&after={}&limit=1", queued.id)).await;
    assert_eq!(page["items"][0], ended.json());
    client.stop().await;
}

/// The payloads of a WebSocket's text messages, and the code of its close.
async fn messages(stream: &mut tokio::net::TcpStream) -> (Vec<serde_json::Value>, u16) {
    let mut texts = Vec::new();
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
            0x81 => texts.push(serde_json::from_slice(&payload).unwrap()),
            0x88 => return (texts, u16::from_be_bytes([payload[0], payload[1]])),
            0x89 => {}
            other => panic!("a frame of {other:#x}"),
        }
    }
}

/// Asks for a stream as a WebSocket.
async fn socket(client: &Client, path: &str) -> tokio::net::TcpStream {
    let mut stream = tokio::net::TcpStream::connect(client.bed.address).await.unwrap();
    let head = format!(
        "GET /api/v1{path} HTTP/1.1\r\nHost: a\r\nX-API-Key: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        client.key
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.unwrap());
    }
    let answer = String::from_utf8(answer).unwrap().to_lowercase();
    assert!(answer.starts_with("http/1.1 101"), "{answer}");
    // The answer to RFC 6455's own example.
    assert!(answer.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_tells_the_same() {
    let client = Client::sqlite(&[("drain_timeout", "1s")]).await;
    let sandbox = client.sandbox().await;
    let execution = client.begin(&sandbox, "echo a; while ! [ -e go ]; do sleep 0.01; done; echo b").await;
    let path = format!("{execution}/stream");
    // One that leaves holds nothing.
    drop(socket(&client, &path).await);
    let mut open = socket(&client, &path).await;
    client.begin(&sandbox, "touch go").await;
    let (told, code) = messages(&mut open).await;
    let told: Vec<_> =
        told.iter().map(|one| (one["event"].clone(), one["id"].clone(), one["data"].clone())).collect();
    let events = Events::open(&client, &path, None).await.rest().await.0;
    let output: String = told.iter().filter_map(|(_, _, data)| data["data"].as_str()).collect();
    assert_eq!((output.as_str(), code), ("a\nb\n", 1000));
    let (event, id, data) = told.last().unwrap();
    let last = events.last().unwrap();
    assert_eq!((event, id, data), (&last.name.as_str().into(), &last.id.as_str().into(), &last.json()));
    // One that is open when the server stops is told so.
    let waits = client.begin(&sandbox, "exec sleep 1000").await;
    let mut open = socket(&client, &format!("{waits}/stream")).await;
    client.ask("DELETE", &waits, &[], "").await;
    assert_eq!(messages(&mut open).await.1, 1000);
    let waits = client.begin(&sandbox, "echo here; exec sleep 1000").await;
    let mut open = socket(&client, &format!("{waits}/stream")).await;
    client.bed.stop.cancel();
    assert_eq!(messages(&mut open).await.1, 1001);
    client.stop().await;
}
