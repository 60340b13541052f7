//! The same request, however often it comes, does one thing.

use serde_json::{Value, json};

use super::both;
use super::client::Client;

both! { a_repeated_request_makes_one_thing }

async fn with_key(client: &Client, path: &str, body: &Value) -> crate::http::Reply {
    client.ask("POST", path, &[("Idempotency-Key", "k1")], &body.to_string()).await
}

mod cases {
    use super::*;

    pub(super) async fn a_repeated_request_makes_one_thing(client: &Client) {
        let (body, other) = (json!({"name": "one"}), json!({"name": "two"}));
        // At once: one makes it, the rest wait for that one.
        let all = futures_util::future::join_all((0..8).map(|_| with_key(client, "/sandboxes", &body))).await;
        let ids: std::collections::BTreeSet<_> =
            all.iter().map(|reply| (reply.status, reply.json()["id"].as_str().map(str::to_owned))).collect();
        assert_eq!(ids.len(), 1, "{ids:?}");
        with_key(client, "/sandboxes", &other).await.problem(409, "idempotency_key_reused");
        let second = client.made("/sandboxes?wait=running", &other).await;
        let (one, two) = (all[0].json()["id"].as_str().unwrap().to_owned(), second["id"].as_str().unwrap());

        let (run, first) = (json!({"command": ["true"]}), format!("/sandboxes/{one}/executions"));
        let made = with_key(client, &format!("{first}?wait=true"), &run).await.json();
        assert_eq!(with_key(client, &first, &run).await.json()["id"], made["id"]);
        assert_eq!(client.get(&first).await["items"].as_array().unwrap().len(), 1);
        let elsewhere = with_key(client, &format!("/sandboxes/{two}/executions"), &run).await;
        elsewhere.problem(409, "idempotency_key_reused");

        // Also when the sandbox is gone, the repeat is the first; and something new is refused.
        client.ask("DELETE", &format!("/sandboxes/{one}"), &[], "").await;
        client.until(&format!("/sandboxes/{one}"), |sandbox| sandbox["status"] == "terminated").await;
        assert_eq!(with_key(client, &first, &run).await.json()["id"], made["id"]);
        client.post(&first, &run).await.problem(409, "sandbox_ended");
        assert_eq!(with_key(client, "/executions?wait=true", &run).await.json()["status"], "succeeded");
    }
}
