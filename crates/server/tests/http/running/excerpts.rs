//! What an answer holds of large output, and what it says of the rest.

use serde_json::{Value, json};

use super::both;
use super::client::Client;

both! { an_answer_holds_the_first_and_the_last_and_counts_the_rest what_was_not_kept_counts_too }

/// What is shown of both streams, and all that was written to them.
fn told(result: &Value) -> (usize, [u64; 2]) {
    let size = |name: &str| result[name].as_str().unwrap().len();
    let all = |name: &str| size(name) as u64 + result[format!("{name}_missing_bytes")].as_u64().unwrap();
    (size("stdout") + size("stderr"), [all("stdout"), all("stderr")])
}

mod cases {
    use super::*;

    pub(super) async fn an_answer_holds_the_first_and_the_last_and_counts_the_rest(client: &Client) {
        let sandbox = client.sandbox().await;
        // In turns, so that both streams are missing something.
        let code = "import os, sys, time
for turn in range(60):
    os.write(1 + turn % 2, b'%-65536d' % turn)
os.write(1, b'the end')
while not os.path.exists('go'): time.sleep(0.01)";
        let asked = json!({"language": "python", "code": code});
        let made = client.made(&format!("/sandboxes/{sandbox}/executions"), &asked).await;
        let execution = format!("/executions/{}", made["id"].as_str().unwrap());
        let whole = 60 * 65536 + 7;
        let check = |result: &Value| {
            let (shown, all) = told(result);
            assert_eq!(all, [30 * 65536 + 7, 30 * 65536]);
            assert_eq!(shown, 1 << 20);
            let gap = &result["output_gap"];
            let missing = gap["to"].as_u64().unwrap() - gap["from"].as_u64().unwrap();
            assert_eq!(missing, whole - (1 << 20), "{gap}");
            let stdout = result["stdout"].as_str().unwrap();
            assert!(stdout.starts_with("0 ") && stdout.ends_with("the end"));
            assert!(result["stderr"].as_str().unwrap().starts_with("1 "));
        };
        // While it runs, and when it has ended.
        check(&client.until(&execution, |result| told(result).1.iter().sum::<u64>() == whole).await);
        client.begin(&sandbox, "touch go").await;
        check(&client.until(&execution, |result| result["status"] == "succeeded").await);
        let bytes = [("Accept", "application/octet-stream")];
        let rest = client.ask("GET", &format!("{execution}/output"), &bytes, "").await;
        assert_eq!(rest.body.len() as u64, whole, "all of it is there");
        let listed = client.get(&format!("/sandboxes/{sandbox}/executions")).await;
        let listed =
            listed["items"].as_array().unwrap().iter().find(|item| item["id"] == made["id"]).unwrap();
        assert_eq!(told(listed), (0, [30 * 65536 + 7, 30 * 65536]));
    }

    pub(super) async fn what_was_not_kept_counts_too(client: &Client) {
        let sandbox =
            client.made("/sandboxes?wait=running", &json!({"limits": {"output_bytes": 1024}})).await;
        let line = "head -c 5000 /dev/zero | tr '\\0' a; head -c 3000 /dev/zero | tr '\\0' b >&2; printf end";
        let path = format!("/sandboxes/{}/executions?wait=true", sandbox["id"].as_str().unwrap());
        let result = client.made(&path, &json!({"command": ["sh", "-c", line]})).await;
        let (shown, all) = told(&result);
        assert_eq!((shown, all), (1024, [5003, 3000]), "{result}");
        assert_eq!(result["output_gap"], json!({"from": 820, "to": 8003 - 204}));
    }
}
