//! What is refused before anything is asked, and what is said when nobody answers.

use std::net::TcpListener;

use crate::served::command;

/// Exit status and standard error with an address at which nobody may be asked.
#[track_caller]
fn refused(args: &[&str], says: &str) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let output = command(args).env("SANDKEEP_URL", url).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{args:?}: {told}");
    assert!(told.contains(says), "{args:?}: {told}");
    assert!(listener.accept().is_err(), "{args:?}: the server was asked");
}

#[test]
fn what_cannot_be_meant_never_reaches_the_server() {
    refused(&["sandbox", "create", "--memory", "12q"], "invalid_size: --memory: ");
    refused(&["sandbox", "create", "--memory", "1"], "limit_out_of_range: --memory: `1 B`");
    refused(&["sandbox", "create", "--keep-output", "1"], "limit_out_of_range: --keep-output: ");
    refused(&["exec", "box", "--timeout", "0s", "--", "true"], "limit_out_of_range: --timeout: ");
    refused(&["sandbox", "create", "--label", "x"], "invalid_value: --label: `x` is not a pair");
    refused(&["sandbox", "create", "--profile", "lax"], "--profile: `lax`");
    refused(&["sandbox", "list", "--status", "gone"], "--status: `gone` is not a state of a sandbox");
    refused(&["sandbox", "list", "--limit", "0"], "invalid_value: ");
    refused(&["sandbox", "list", "--created-after", "yesterday"], "--created-after: `yesterday`");
    refused(&["sandbox", "update", "box"], "invalid_value: ");
    refused(&["exec", "box"], "invalid_value: ");
    refused(&["exec", "box", "--timeout", "30", "--", "true"], "invalid_duration: --timeout: ");
    refused(&["exec", "box", "--stdin", "/no/such", "--", "cat"], "file_unreadable: --stdin: /no/such");
    refused(&["exec", "box", "--", ""], "invalid_value: ");
    refused(&["executions", "get", "sb1"], "invalid_id: ");
    refused(&["executions", "list", "box", "--status", "x"], "--status: `x`");
    refused(&["logs", "1"], "invalid_id: ");
    refused(&["logs", "-f", &format!("ex{:026}", 0), "--output", "yaml"], "what is followed is bytes");
    refused(&["events", "-f", "--limit", "3"], "invalid_value: ");
    refused(&["events", "--after", "-1"], "invalid_value: ");
    refused(&["token", "create", "x", "--scope", "all"], "--scope: `all`");
    refused(&["token", "create", "x", "--role", "king"], "--role: `king`");
    refused(&["token", "revoke", "x"], "invalid_id: ");
    refused(&["project", "rename", "x", "y"], "invalid_id: ");
    refused(&["top", "--output", "xml"], "invalid_value: ");
    refused(&["top", "--url", "ftp://x"], "invalid_value: --url: ");
    refused(&["top", "--url", "http://x", "--profile-name", "y"], "invalid_value: ");
    refused(&["top", "--profile-name", "y"], "config_invalid: ");
}

#[test]
fn nobody_there_is_said_with_what_was_tried_and_what_helps() {
    // Port 1 is nobody's.
    let output = command(&["top", "--url", "http://127.0.0.1:1", "--output", "json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.starts_with("sandkeep: server_unreachable: no server answers at http://127.0.0.1:1: "),
        "{told}"
    );
    assert!(
        told.contains("sandkeep serve") && told.contains("sandkeep explain server_unreachable"),
        "{told}"
    );
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["error"]["code"], "server_unreachable");
}

#[test]
fn the_help_tells_where_the_server_is_found() {
    let output = command(&["sandbox", "list", "--help"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for word in ["SANDKEEP_URL", "SANDKEEP_API_KEY", "client.toml", "admin.key", "127.0.0.1:8000"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}
