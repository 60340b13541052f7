//! Cancels, sandboxes that go, servers that stop.

use sandkeep_server::{Drained, Server};
use serde_json::json;
use sqlx::Connection as _;
use tokio_util::sync::CancellationToken;

use super::both;
use super::client::{Client, Events};
use crate::bed::{Bed, config};
use crate::driver::driver;
use crate::http::ask;
use crate::postgres::support;

both! { a_cancel_keeps_what_was_written what_runs_in_a_sandbox_ends_with_it }

mod cases {
    use super::*;

    pub(super) async fn a_cancel_keeps_what_was_written(client: &Client) {
        let sandbox = client.sandbox().await;
        let execution = client.begin(&sandbox, "echo here; exec sleep 1000").await;
        let mut events = Events::open(client, &format!("{execution}/stream"), None).await;
        assert_eq!(events.next().await.unwrap().json()["data"], "here\n");
        assert_eq!(client.ask("DELETE", &execution, &[], "").await.status, 202);
        assert_eq!(events.rest().await.last().json()["status"], "cancelled");
        let again = client.ask("DELETE", &execution, &[], "").await;
        assert_eq!((again.status, &again.json()["stdout"]), (200, &"here\n".into()));
        assert_eq!(again.json()["status"], "cancelled");
    }

    pub(super) async fn what_runs_in_a_sandbox_ends_with_it(client: &Client) {
        let sandbox = client.sandbox().await;
        let execution = client.begin(&sandbox, "echo here; exec sleep 1000").await;
        let mut events = Events::open(client, &format!("{execution}/stream"), None).await;
        events.next().await.unwrap();
        client.ask("DELETE", &format!("/sandboxes/{sandbox}"), &[], "").await;
        assert_eq!(events.rest().await.last().json()["status"], "cancelled");
        assert_eq!(client.get(&execution).await["error"]["name"], "sandbox_ended");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sandbox_ends_when_its_life_is_over() {
    let client = Client::sqlite(&[("sandbox_life", "1s")]).await;
    let sandbox = client.sandbox().await;
    let execution = client.begin(&sandbox, "echo here; exec sleep 1000").await;
    let ended =
        client.until(&execution, |found| found["status"] != "running" && found["status"] != "queued").await;
    assert_eq!((&ended["status"], &ended["stdout"]), (&"cancelled".into(), &"here\n".into()), "{ended}");
    assert_eq!(ended["error"]["name"], "sandbox_ended", "{ended}");
    let path = format!("/sandboxes/{sandbox}");
    let gone = client.until(&path, |found| found["status"] == "terminated").await;
    assert_eq!(gone["reason"], "expired");
    let refused = client.post(&format!("{path}/executions"), &json!({"command": ["true"]})).await;
    assert_eq!((refused.status, &refused.json()["code"]), (409, &"sandbox_ended".into()));
    client.stop().await;
}

/// Begins something that does not end, and stops the server under it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_ends_streams_at_once_and_what_runs_within_its_time() {
    let client = Client::sqlite(&[("drain_timeout", "1s")]).await;
    let sandbox = client.sandbox().await;
    let execution = client.begin(&sandbox, "echo here; exec sleep 1000").await;
    let mut events = Events::open(&client, &format!("{execution}/stream"), None).await;
    events.next().await.unwrap();
    let (key, Client { bed, .. }) = (client.key.clone(), client);
    let begun = std::time::Instant::now();
    bed.stop.cancel();
    assert!(events.next().await.is_none(), "the stream ends without an end of the execution");
    let (drained, directory) = bed.stopped().await;
    assert_eq!(drained, Drained::InTime);
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());

    // Whoever comes next finds it ended, and its sandbox gone.
    let server = Server::start(config(&directory, &[]), driver()).await.unwrap();
    let (address, stop) = (server.address().unwrap(), CancellationToken::new());
    let running = tokio::spawn(server.run(stop.clone()));
    let get = async |path: String| ask(address, "GET", &path, &[("X-API-Key", &key)], b"").await.json();
    let found = get(format!("/api/v1{execution}")).await;
    assert_eq!((&found["status"], &found["stdout"]), (&"lost".into(), &"here\n".into()), "{found}");
    while get(format!("/api/v1/sandboxes/{sandbox}")).await["status"] != "terminated" {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_waits_takes_no_place() {
    let client = Client::sqlite(&[("limits.requests", "1")]).await;
    let sandbox = client.sandbox().await;
    let begin = json!({"command": ["sh", "-c", "while ! [ -e go ]; do sleep 0.01; done"]});
    let path = format!("/sandboxes/{sandbox}/executions?wait=true");
    // Whoever finds the only place taken comes again.
    let waits = async {
        loop {
            let reply = client.post(&path, &begin).await;
            if reply.status != 503 {
                return reply.json();
            }
        }
    };
    let (ended, ()) = tokio::join!(waits, async {
        // Until it waits, it has the only place.
        let list = format!("/sandboxes/{sandbox}/executions?status=running");
        loop {
            let reply = client.ask("GET", &list, &[], "").await;
            if reply.status == 200 && reply.json()["items"].as_array().is_some_and(|items| !items.is_empty())
            {
                break;
            }
        }
        client.begin(&sandbox, "touch go").await;
    });
    assert_eq!(ended["status"], "succeeded");
    client.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_kept_of_a_request_is_sealed() {
    let client = Client::sqlite(&[]).await;
    let new = json!({"env": {"A": "hunter2hunter"}, "labels": {"a": "plain-to-see"}});
    let sandbox = client.made("/sandboxes?wait=running", &new).await["id"].as_str().unwrap().to_owned();
    let asked = json!({
        "language": "python", "code": "# hunter3hunter\nimport time\nprint('here', flush=True)\ntime.sleep(1000)",
        "stdin": "hunter4hunter", "env": {"B": "hunter5hunter"},
    });
    let made = client.made(&format!("/sandboxes/{sandbox}/executions"), &asked).await;
    let execution = format!("/executions/{}", made["id"].as_str().unwrap());
    Events::open(&client, &format!("{execution}/stream"), None).await.next().await.unwrap();
    let data = client.bed.directory.path().join("data");
    let database =
        ["sandkeep.db", "sandkeep.db-wal"].map(|name| std::fs::read(data.join(name)).unwrap()).concat();
    let has = |text: &str| database.windows(text.len()).any(|found| found == text.as_bytes());
    assert!(has("plain-to-see"), "what is not secret can be found");
    assert!(!(2..=5).any(|n| has(&format!("hunter{n}"))));
    client.stop().await;
}

/// Of two wishes for one sandbox at the same moment, on the database that lets two servers wish at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_that_another_came_before_is_not_lost() {
    let Some(url) = support::fresh_database("a_wish_that_another_came_before").await else { return };
    let client = Client::of(Bed::start(&[("database_url", &url)]).await);
    let made =
        client.made("/executions", &json!({"command": ["sh", "-c", "echo here; exec sleep 1000"]})).await;
    let execution = format!("/executions/{}", made["id"].as_str().unwrap());
    client.until(&execution, |found| found["stdout"] == "here\n").await;
    let (mut other, mut watcher) =
        (sqlx::PgConnection::connect(&url).await.unwrap(), sqlx::PgConnection::connect(&url).await.unwrap());
    // The other server's wish, of which the first does not know yet.
    sqlx::raw_sql("BEGIN").execute(&mut other).await.unwrap();
    let wish = sqlx::query("UPDATE sandboxes SET generation = generation + 1 WHERE id = $1");
    wish.bind(made["sandbox_id"].as_str().unwrap()).execute(&mut other).await.unwrap();
    // It goes with its execution, which is ended now.
    client.ask("DELETE", &execution, &[], "").await;
    let waits = async {
        let blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted";
        while sqlx::query_scalar::<_, i64>(blocked).fetch_one(&mut watcher).await.unwrap() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::http::PATIENCE, waits).await.expect("the wish waits for the other");
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    let sandbox = format!("/sandboxes/{}", made["sandbox_id"].as_str().unwrap());
    client.until(&sandbox, |found| found["status"] == "terminated").await;
    client.stop().await;
}
