//! What is asked for over HTTP runs in real sandboxes, on SQLite and on PostgreSQL.

mod callers;
mod client;
mod dying;
mod ends;
mod excerpts;
mod lists;
mod refusals;
mod repeats;
mod streams;

use serde_json::json;

use self::client::{Client, Events};

/// Both databases, for cases that are the same on each.
macro_rules! both {
    ($($name:ident)+) => {
        $(
            mod $name {
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn sqlite() {
                    let client = crate::running::client::Client::sqlite(&[]).await;
                    super::cases::$name(&client).await;
                    client.stop().await;
                }

                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn postgres() {
                    let name = stringify!($name);
                    let Some(client) = crate::running::client::Client::postgres(name).await else { return };
                    super::cases::$name(&client).await;
                    client.stop().await;
                }
            }
        )+
    };
}
use both;

both! { from_a_sandbox_to_the_end_of_what_ran_in_it one_call_makes_runs_and_cleans_up }

mod cases {
    use super::*;

    pub(super) async fn from_a_sandbox_to_the_end_of_what_ran_in_it(client: &Client) {
        let sandbox = client.made("/sandboxes?wait=running", &json!({"env": {"GREETING": "hello"}})).await;
        assert_eq!(sandbox["status"], "running");
        let id = sandbox["id"].as_str().unwrap();
        let code =
            "import os, sys\nprint(os.environ['GREETING'], flush=True)\nprint(input(), file=sys.stderr)";
        let asked = json!({"language": "python", "code": code, "stdin": "late\n"});
        let made = client.made(&format!("/sandboxes/{id}/executions"), &asked).await;
        assert_eq!((&made["status"], &made["sandbox_id"]), (&"queued".into(), &id.into()));
        let execution = format!("/executions/{}", made["id"].as_str().unwrap());

        let mut events = Events::open(client, &format!("{execution}/stream"), None).await;
        let told = events.rest().await;
        assert_eq!(told.bytes(), b"hello\nlate\n");
        assert_eq!(told.last().name, "end");
        assert_eq!(told.last().json()["status"], "succeeded");

        let result = client.get(&execution).await;
        assert_eq!((&result["stdout"], &result["stderr"]), (&"hello\n".into(), &"late\n".into()));
        assert_eq!(client.get(&format!("/sandboxes/{id}/executions")).await["items"][0]["id"], made["id"]);
        let kinds: Vec<_> = client.get("/events").await["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|event| event["kind"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(kinds, ["sandbox.creating", "sandbox.running", "execution.queued", "execution.ended"]);

        let gone = client.ask("DELETE", &format!("/sandboxes/{id}"), &[], "").await;
        assert_eq!((gone.status, &gone.json()["status"]), (202, &"terminating".into()));
        let gone =
            client.until(&format!("/sandboxes/{id}"), |sandbox| sandbox["status"] == "terminated").await;
        assert_eq!(gone["reason"], "deleted");
    }

    pub(super) async fn one_call_makes_runs_and_cleans_up(client: &Client) {
        let code = "def handler(event, context): return event['a'] + 1";
        let asked = json!({"language": "python", "code": code, "kind": "handler", "event": {"a": 41}});
        let result = client.made("/executions?wait=true", &asked).await;
        assert_eq!(
            (&result["status"], &result["return_value"]),
            (&"succeeded".into(), &42.into()),
            "{result}"
        );
        let sandbox = format!("/sandboxes/{}", result["sandbox_id"].as_str().unwrap());
        client.until(&sandbox, |sandbox| sandbox["status"] == "terminated").await;
    }
}
