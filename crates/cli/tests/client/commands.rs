//! Each command once, as people use it.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::served::Served;

#[test]
fn a_sandbox_is_made_listed_changed_and_ended() {
    let served = Served::start();
    let made =
        served.json(&["sandbox", "create", "--name", "box", "--label", "team=search", "--memory", "64Mi"]);
    assert_eq!((&made["status"], &made["labels"]["team"]), (&"running".into(), &"search".into()), "{made}");
    let id = made["id"].as_str().unwrap();
    for which in [id, "box"] {
        assert_eq!(served.json(&["sandbox", "get", which])["id"], id);
    }
    let table = served.ok(&["sandbox", "list", "--label", "team=search"]);
    let lines: Vec<&str> = table.lines().collect();
    assert!(
        lines[0].starts_with("ID ") && lines[1].starts_with(id) && lines[1].contains("team=search"),
        "{table}"
    );
    assert_eq!(served.json(&["sandbox", "list", "--label", "team=ads"])["items"], serde_json::json!([]));
    let yaml = served.ok(&["sandbox", "get", "box", "--output", "yaml"]);
    assert!(yaml.contains(&format!("id: {id}\n")) && yaml.contains("\nname: box\n"), "{yaml}");
    let changed =
        served.json(&["sandbox", "update", "box", "--name", "jar", "--unlabel", "team", "--label", "a=b"]);
    assert_eq!((&changed["name"], &changed["labels"]), (&"jar".into(), &serde_json::json!({"a": "b"})));
    served.ok(&["sandbox", "rm", "jar"]);
    served.ok(&["sandbox", "rm", id]);
    let gone = served.run(&["sandbox", "get", "box"]);
    assert_eq!(gone.status.code(), Some(125), "{gone:?}");
    assert!(String::from_utf8_lossy(&gone.stderr).contains("not_found: `box`"), "{gone:?}");
}

#[test]
fn projects_and_tokens() {
    let served = Served::start();
    let made = served.json(&["project", "create", "search"]);
    let id = made["id"].as_str().unwrap();
    served.ok(&["project", "rename", id, "find"]);
    assert!(served.ok(&["project", "list"]).contains(" find "));
    let made = served.json(&["token", "create", "reader", "--role", "viewer", "--project", "find"]);
    let (token_id, token) = (made["id"].as_str().unwrap(), made["token"].as_str().unwrap());
    let listed = served.ok(&["token", "list", "--project", "find", "--output", "json"]);
    assert!(listed.contains(token_id) && !listed.contains(token), "{listed}");
    let with = |args: &[&str]| served.command(args).env("SANDKEEP_API_KEY", token).output().unwrap();
    let list = ["sandbox", "list", "--project", "find"];
    assert_eq!(with(&list).status.code(), Some(0));
    let refused = with(&["sandbox", "create", "--project", "find"]);
    assert!(String::from_utf8_lossy(&refused.stderr).starts_with("sandkeep: forbidden: "), "{refused:?}");
    assert_eq!(served.ok(&["token", "revoke", token_id]), "");
    let log = served.ok(&["audit", "--project", "find"]);
    assert!(log.contains("token.revoke") && log.contains(token_id), "{log}");
    let refused = with(&list);
    assert_eq!(refused.status.code(), Some(125), "{refused:?}");
    assert!(!String::from_utf8_lossy(&refused.stderr).contains(token), "{refused:?}");
}

#[test]
fn only_env_shows_the_key_and_a_shell_reads_it() {
    let served = Served::start();
    let shown = served.ok(&["env"]);
    let expected =
        format!("export SANDKEEP_URL='{}'\nexport SANDKEEP_API_KEY='{}'\n", served.url, served.key());
    assert_eq!(shown, expected);
    assert_eq!(served.json(&["env"])["SANDKEEP_API_KEY"], served.key());
    for args in [&["top"][..], &["token", "list"], &["project", "list"], &["events"], &["audit"]] {
        assert!(!served.ok(args).contains(&served.key()), "{args:?}");
    }
}

#[test]
fn events_are_shown_and_followed() {
    let served = Served::start();
    let mut command = served.command(&["events", "-f", "--kind", "sandbox.running", "--output", "json"]);
    let mut following = command.stdout(Stdio::piped()).spawn().unwrap();
    let id = served.sandbox("box");
    let mut line = String::new();
    BufReader::new(following.stdout.take().unwrap()).read_line(&mut line).unwrap();
    following.kill().unwrap();
    following.wait().unwrap();
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&event["kind"], &event["subject"]),
        (&"sandbox.running".into(), &id.clone().into()),
        "{line}"
    );
    let table = served.ok(&["events", "--subject", &id, "--limit", "1"]);
    assert!(table.starts_with("POSITION ") && table.lines().count() == 2, "{table}");
}

#[test]
fn top_shows_what_runs_now_and_once_without_a_terminal() {
    let served = Served::start();
    let id = served.sandbox("box");
    let made = served.json(&["exec", "box", "--detach", "--", "sleep", "1000"]);
    let execution = made["id"].as_str().unwrap();
    let is_shown = || served.ok(&["top"]).contains(execution);
    // Accepted is not yet running.
    while !is_shown() {
        assert_ne!(served.json(&["executions", "get", execution])["status"], "failed");
    }
    let now = served.json(&["top"]);
    assert_eq!((&now["sandboxes"][0]["id"], &now["sandboxes"][0]["running"]), (&id.into(), &1.into()));
}
