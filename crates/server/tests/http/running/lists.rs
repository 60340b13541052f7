//! Lists: what they have, in which order, page by page.

use serde_json::{Value, json};

use super::both;
use super::client::Client;

both! { filters_and_pages_of_sandboxes pages_of_executions_have_each_once }

fn names(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

mod cases {
    use super::*;

    pub(super) async fn filters_and_pages_of_sandboxes(client: &Client) {
        let mut made = Vec::new();
        for (name, labels) in
            [("a", json!({"n": "1"})), ("b", json!({"n": "2", "m": "x"})), ("c", json!({"n": "2"}))]
        {
            made.push(client.made("/sandboxes?wait=running", &json!({"name": name, "labels": labels})).await);
        }
        let at = |n: usize| made[n]["created_at"].as_str().unwrap();
        let list = async |query: &str| names(&client.get(&format!("/sandboxes?{query}")).await);
        assert_eq!(list("").await, ["c", "b", "a"]);
        assert_eq!(list("labels=n=2").await, ["c", "b"]);
        assert_eq!(list("labels=n=2,m=x").await, ["b"]);
        assert_eq!(list("name=a").await, ["a"]);
        assert_eq!(list("name=a&labels=n=2").await, [""; 0]);
        assert_eq!(list("template=host&status=running").await.len(), 3);
        assert_eq!(list("status=stopped").await, [""; 0]);
        assert_eq!(list(&format!("created_before={}", at(1))).await, ["a"]);
        assert_eq!(
            list(&format!("created_after={}&created_before={}", at(0), at(2))).await.last().unwrap(),
            "b"
        );
        let first = client.get("/sandboxes?limit=2").await;
        let cursor = first["next_cursor"].as_str().unwrap();
        assert_eq!(names(&first), ["c", "b"]);
        assert_eq!(list(&format!("limit=2&cursor={cursor}")).await, ["a"]);

        let of = |n: usize| format!("/sandboxes/{}", made[n]["id"].as_str().unwrap());
        let change = json!({"name": "z", "labels": {"n": null, "k": "v"}}).to_string();
        let changed = client.ask("PATCH", &of(0), &[], &change).await.json();
        assert_eq!((&changed["name"], &changed["labels"]), (&"z".into(), &json!({"k": "v"})));
        client.ask("PATCH", &of(1), &[], r#"{"name":"z"}"#).await.problem(409, "name_taken");
        client.ask("DELETE", &of(2), &[], "").await;
        client.until(&of(2), |sandbox| sandbox["status"] == "terminated").await;
        assert_eq!(list("status=terminated").await, ["c"]);
        assert_eq!(list("").await, ["b", "z"]);
        client.ask("PATCH", &of(2), &[], &change).await.problem(409, "sandbox_ended");
        assert!(
            client.made("/sandboxes", &json!({"name": "c"})).await["id"] != made[2]["id"],
            "the name is free"
        );
    }

    pub(super) async fn pages_of_executions_have_each_once(client: &Client) {
        let sandbox = client.sandbox().await;
        // What runs is older than what has ended.
        let running = client.begin(&sandbox, "exec sleep 1000").await;
        let mut expected = Vec::new();
        for _ in 0..3 {
            expected.insert(0, client.begin(&sandbox, "true").await);
            client.until(&expected[0], |execution| execution["status"] == "succeeded").await;
        }
        expected.push(running);
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = client.get(&format!("/sandboxes/{sandbox}/executions?limit=1{cursor}")).await;
            let items = page["items"].as_array().unwrap();
            found.extend(items.iter().map(|item| format!("/executions/{}", item["id"].as_str().unwrap())));
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(found, expected);
        let page = client.get(&format!("/sandboxes/{sandbox}/executions?status=running")).await;
        assert_eq!(page["items"].as_array().unwrap().len(), 1);
    }
}
