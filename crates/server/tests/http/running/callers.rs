//! One caller who asks for too much is told so; nothing is changed then, and nobody else notices.

use serde_json::json;

use super::client::{Client, Events};
use crate::http::{Reply, ask};

#[track_caller]
fn too_many(reply: &Reply) -> String {
    let document = reply.problem(429, "too_many_requests");
    assert_eq!(reply.header("retry-after"), Some("1"));
    document["detail"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_bounded_by_the_second() {
    let client = Client::sqlite(&[("limits.caller_changes", "1")]).await;
    let mut made = 0;
    let refused = loop {
        let reply = client.post("/projects", &json!({"name": format!("p{made}")})).await;
        if reply.status != 201 {
            break reply;
        }
        made += 1;
        assert!(made < 100, "nobody is refused");
    };
    assert!(too_many(&refused).contains("1 changes in a second"));
    let listed = client.get("/projects").await["items"].as_array().unwrap().len();
    assert_eq!(listed, 1 + made, "what was refused changed nothing, and reading goes on");
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_count_until_they_are_over() {
    let client = Client::sqlite(&[("limits.caller_open", "2")]).await;
    let first = Events::open(&client, "/events", None).await;
    let second = Events::open(&client, "/events", None).await;
    assert!(
        too_many(&client.ask("GET", "/projects", &[], "").await).contains("2 requests of this caller wait")
    );
    drop((first, second));
    let noticed = async { while client.ask("GET", "/projects", &[], "").await.status == 429 {} };
    tokio::time::timeout(crate::http::PATIENCE, noticed).await.expect("who left is noticed");
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_keys_are_bounded_by_address_and_lock_nobody_out_who_works() {
    let flags = [("limits.wrong_keys", "1"), ("trusted_proxies", "127.0.0.1")];
    let client = Client::sqlite(&flags).await;
    let with = async |key: &str, from: &str| {
        let headers = [("X-API-Key", key), ("X-Forwarded-For", from)];
        ask(client.bed.address, "GET", "/api/v1/projects", &headers, b"").await
    };
    // A key is only refused while it is new here, and one second after a wrong one; a slow machine may miss that.
    for number in 0..20 {
        let made = client.made("/tokens", &json!({"name": format!("t{number}")})).await;
        let new = made["token"].as_str().unwrap();
        assert_eq!(with(&client.key, "10.0.0.1").await.status, 200);
        let wrong = with("e2b_0000000000000000000000000000000000000000", "10.0.0.1").await;
        assert!(matches!(wrong.status, 401 | 429), "{wrong:?}");
        let refused = with(new, "10.0.0.1").await;
        if refused.status == 200 {
            continue;
        }
        assert!(too_many(&refused).contains("1 wrong keys in a second"));
        assert_eq!(with(&client.key, "10.0.0.1").await.status, 200, "whoever works there goes on");
        assert_eq!(with(new, "10.0.0.2").await.status, 200, "other addresses do not notice");
        return client.stop().await;
    }
    panic!("no wrong key had an effect");
}
