//! `sandkeep bench sandbox` from outside: it ends, its figures are there and hang together, and it leaves nothing.

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

fn measured(words: &[&str]) -> Value {
    let binary = std::env::var_os("SANDKEEP_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_sandkeep").into());
    // What is left is counted over all sandboxes of the host, so one measures at a time.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new(binary);
    command.args(["bench", "sandbox", "--json"]).args(words).stdin(Stdio::null());
    let output = command.output().expect("it can be started");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    serde_json::from_slice(&output.stdout).expect("one JSON value")
}

fn number(value: &Value, pointer: &str) -> f64 {
    value.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {pointer} in {value}"))
}

#[test]
fn times_are_there_and_in_order() {
    let measured = measured(&["--rounds", "10", "--only", "cold,live"]);
    for row in ["/cold/first_command", "/cold/whole_life", "/cold/peers/bare_spawn", "/live/command"] {
        let at = |name: &str| number(&measured, &format!("{row}/{name}"));
        assert!(at("count") >= 10.0, "{row}");
        let ordered = [at("min_ms"), at("p50_ms"), at("p95_ms"), at("p99_ms"), at("max_ms")];
        assert!(ordered[0] > 0.0 && ordered.is_sorted(), "{row}: {ordered:?}");
    }
    assert!(number(&measured, "/cold/first_command/p50_ms") < number(&measured, "/cold/whole_life/p50_ms"));
    assert!(number(&measured, "/live/started/p50_ms") < number(&measured, "/live/command/p50_ms"));
    assert!(number(&measured, "/load_before/processors") >= 1.0);
    assert!(measured["verdicts"].as_array().is_some_and(|verdicts| verdicts.len() >= 2), "{measured}");
}

#[test]
fn of_many_sandboxes_nothing_is_left() {
    let measured = measured(&["--only", "alive", "--alive", "20"]);
    let alive = &measured["alive"];
    assert_eq!((&alive["alive"], &alive["answered"]), (&20.into(), &20.into()), "{alive}");
    assert_eq!(alive["left"], serde_json::json!({ "processes": 0, "mounts": 0, "group_processes": 0 }));
    assert_eq!(alive["failure"], Value::Null);
    assert!(number(alive, "/created_per_second") > 0.0);
}
