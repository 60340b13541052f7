//! Against servers that break off, are busy, or are none: scripted answers on a real socket.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::thread::JoinHandle;

use sandkeep_client::{Address, Client, IdempotencyKey, Stream};
use serde_json::json;

/// Gives one answer per connection and closes it; gives back the requests that came.
fn scripted(answers: Vec<String>) -> (Client, JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address: Address = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let serving = std::thread::spawn(move || answers.iter().map(|answer| serve(&listener, answer)).collect());
    (Client::new(address, Some("hunter2")).unwrap(), serving)
}

fn serve(listener: &TcpListener, answer: &str) -> String {
    let (mut stream, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut request).unwrap() > 0, "{request}");
    }
    let length = request.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    stream.write_all(answer.as_bytes()).unwrap();
    request + std::str::from_utf8(&body).unwrap()
}

fn header<'r>(request: &'r str, name: &str) -> Option<&'r str> {
    request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Connection: close\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn what_makes_something_is_sent_again_under_its_first_name() {
    let busy = r#"{"type":"","title":"","status":503,"code":"overloaded","detail":"x","request_id":""}"#;
    let (client, serving) = scripted(vec![
        answer("503 Service Unavailable", "Retry-After: 0\r\n", busy),
        // The connection breaks in the head of the answer, then in its body.
        "HTTP/1.1 20".to_owned(),
        "HTTP/1.1 201 Created\r\nContent-Length: 100\r\n\r\n{".to_owned(),
        answer("201 Created", "", r#"{"id": 7}"#),
    ]);
    let key = IdempotencyKey::fresh().unwrap();
    let made =
        client.create(&["sandboxes"], &[("wait", "running".to_owned())], &json!({"name": "a"}), &key).await;
    assert_eq!(made.unwrap().value["id"], 7);
    let requests = serving.join().unwrap();
    let names: Vec<_> = requests.iter().map(|request| header(request, "idempotency-key").unwrap()).collect();
    assert!(names.iter().all(|name| *name == names[0] && name.len() == 32), "{names:?}");
    for request in &requests {
        assert!(request.starts_with("POST /api/v1/sandboxes?wait=running HTTP/1.1\r\n"), "{request}");
        assert!(request.ends_with(r#"{"name":"a"}"#) && header(request, "x-api-key") == Some("hunter2"));
    }
}

#[tokio::test]
async fn a_stream_goes_on_after_the_last_id_and_ends_when_all_was_seen() {
    let begin = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    let (client, serving) = scripted(vec![
        // The second message is cut; then the server cannot go on; then nothing at all comes.
        format!("{begin}id: 3\nevent: output\ndata: a\n\nid: 5\ndata: b\n"),
        format!("{begin}event: error\ndata: {{\"code\": \"store_unavailable\", \"detail\": \"x\"}}\n\n"),
        String::new(),
        format!("{begin}: alive\n\nid: 5\nevent: output\ndata: b\n\n"),
        "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_owned(),
    ]);
    let mut stream = Stream::new(&client, &["events"], &[("after", "1".to_owned())]);
    let mut seen = Vec::new();
    while let Some(message) = stream.next().await.unwrap() {
        seen.push(message.data);
    }
    assert_eq!(seen, ["a", "b"]);
    let ids: Vec<_> =
        serving.join().unwrap().iter().map(|it| header(it, "last-event-id").map(str::to_owned)).collect();
    let [three, five] = [Some("3".to_owned()), Some("5".to_owned())];
    assert_eq!(ids, [None, three.clone(), three.clone(), three, five]);
}

#[tokio::test]
async fn what_will_not_help_is_not_tried_again_and_a_key_is_not_sent_on() {
    let (client, serving) = scripted(vec![answer("302 Found", "Location: http://127.0.0.1:1/\r\n", "")]);
    let problem = client.get(&["events"], &[]).await.unwrap_err();
    assert_eq!(problem.code.as_str(), "protocol_error", "{problem}");
    assert_eq!(serving.join().unwrap().len(), 1);
}

#[tokio::test]
async fn nobody_there_is_said_at_once_with_what_helps() {
    let address: Address = "http://127.0.0.1:1".parse().unwrap();
    let client = Client::new(address, None).unwrap();
    let problem = client.get(&["events"], &[]).await.unwrap_err().to_string();
    assert!(
        problem.starts_with("server_unreachable: no server answers at http://127.0.0.1:1: "),
        "{problem}"
    );
    assert!(problem.contains("sandkeep serve"), "{problem}");
    let problem = Stream::new(&client, &["events"], &[]).next().await.unwrap_err();
    assert_eq!(problem.code.as_str(), "server_unreachable");
}
