//! What is refused says its code, the offending value and what would be right, and changes nothing.

use serde_json::{Value, json};

use super::client::Client;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_is_refused_with_its_value() {
    let client = Client::sqlite(&[]).await;
    let sandbox = client.sandbox().await;
    let run = format!("/sandboxes/{sandbox}/executions");
    let long = "x".repeat(129);
    let cases: Vec<(&str, Value, &str, Option<&str>)> = vec![
        ("/sandboxes", json!({"limits": {"memory_bytes": "12q"}}), "invalid_size", Some("12q")),
        ("/sandboxes", json!({"limits": {"memory_bytes": 1}}), "limit_out_of_range", Some("1 B")),
        ("/sandboxes", json!({"limits": {"pids": 0}}), "limit_out_of_range", Some("0")),
        ("/sandboxes", json!({"limits": {"cpu": "0.5q"}}), "invalid_cpu", Some("0.5q")),
        ("/sandboxes", json!({"template": "nowhere"}), "invalid_value", Some("nowhere")),
        ("/sandboxes", json!({"lifetime": "persistent"}), "invalid_value", Some("persistent")),
        ("/sandboxes", json!({"lifetime": "eternal"}), "invalid_body", Some("eternal")),
        ("/sandboxes", json!({"name": long}), "invalid_value", Some(&long)),
        ("/sandboxes", json!({"env": {"A=": "b"}}), "env_invalid", Some("A=")),
        ("/sandboxes", json!({"labels": {"": "b"}}), "invalid_value", None),
        ("/sandboxes", json!({"profile": "lax"}), "invalid_value", Some("lax")),
        ("/sandboxes", json!({"sise": 1}), "invalid_body", Some("sise")),
        ("/sandboxes", json!({"project": "nowhere"}), "not_found", None),
        ("/sandboxes?wait=stopped", json!({}), "invalid_query", Some("stopped")),
        ("/sandboxes?wait=running&timeout_ms=300001", json!({}), "invalid_query", Some("300001")),
        (&run, json!({}), "invalid_value", None),
        (&run, json!({"command": []}), "invalid_value", None),
        (&run, json!({"language": "cobol", "code": "1"}), "unknown_language", Some("cobol")),
        (&run, json!({"language": "bash", "code": "1", "kind": "handler"}), "handler_unsupported", None),
        (&run, json!({"command": ["true"], "timeout_ms": "1q"}), "invalid_duration", Some("1q")),
        (&run, json!({"command": ["true"], "timeout_ms": 0}), "limit_out_of_range", None),
        (&run, json!({"command": ["true"], "cwd": "here"}), "invalid_value", Some("here")),
        (&run, json!({"command": ["true"], "env": {"A": "\u{0}"}}), "env_invalid", Some("A")),
        (&run, json!({"command": ["true"], "stdin": "%", "stdin_encoding": "base64"}), "invalid_value", None),
        (
            "/executions",
            json!({"command": ["true"], "limits": {"disk_bytes": "x"}}),
            "invalid_size",
            Some("x"),
        ),
        ("/sandboxes/sb1/executions", json!({"command": ["true"]}), "invalid_id", Some("sb1")),
    ];
    // What is refused is named as it was written.
    let named = [
        ("/sandboxes", json!({"limits": {"memory_bytes": 1}}), "limits.memory_bytes: "),
        ("/sandboxes", json!({"limits": {"pids": 0}}), "limits.pids: "),
        ("/sandboxes", json!({"limits": {"disk_bytes": "300Mi"}}), "limits.disk_bytes: "),
        ("/executions", json!({"command": ["true"], "limits": {"output_bytes": 1}}), "limits.output_bytes: "),
        (&run, json!({"command": ["true"], "timeout_ms": 0}), "timeout_ms: "),
        (&run, json!({"command": ["true"], "cwd": "here"}), "cwd: "),
        (&run, json!({"command": ["true"], "env": {"=": ""}}), "env: "),
    ];
    for (path, body, says) in named {
        let detail = client.post(path, &body).await.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with(says), "{path} {body}: {detail}");
    }
    for (path, body, code, value) in cases {
        let reply = client.post(path, &body).await;
        let document = reply.problem(reply.status, code);
        assert!((400..500).contains(&reply.status), "{path} {body}: {document}");
        if let Some(value) = value {
            let shown = document["value"].as_str().unwrap_or_default();
            assert!(
                shown == value || value.starts_with(shown.trim_end_matches('…')),
                "{path} {body}: {document}"
            );
            assert!(document["expected"].is_string(), "{path} {body}: {document}");
        }
    }
    let all = client.get("/sandboxes").await;
    assert_eq!(all["items"].as_array().unwrap().len(), 1, "nothing was made");
    assert_eq!(client.get(&run).await["items"].as_array().unwrap().len(), 0);
    let nowhere = "/executions/ex00000000000000000000000000";
    for path in [nowhere.to_owned(), format!("{nowhere}/output"), format!("{nowhere}/stream")] {
        client.ask("GET", &path, &[], "").await.problem(404, "not_found");
    }
    let reply = client.ask("GET", "/sandboxes?created_after=yesterday", &[], "").await;
    let document = reply.problem(400, "invalid_value");
    assert_eq!(
        (&document["value"], document["expected"].is_string()),
        (&"yesterday".into(), true),
        "{document}"
    );
    let execution = client.begin(&sandbox, "true").await;
    let most = "9223372036854775808";
    for path in ["output", "stream"] {
        let reply = client.ask("GET", &format!("{execution}/{path}?after={most}"), &[], "").await;
        assert_eq!(reply.problem(400, "invalid_query")["value"], most);
    }
    let last = [("Last-Event-ID", "x")];
    client.ask("GET", &format!("{execution}/stream"), &last, "").await.problem(400, "invalid_query");
    client.stop().await;
}
