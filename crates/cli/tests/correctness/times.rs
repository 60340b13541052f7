//! Timeouts, and executions that are long.

use std::time::{Duration, Instant};

use crate::support::{host, run};

#[test]
fn a_timeout_keeps_what_was_written_and_leaves_nothing() {
    let marker = host::marker();
    let line = format!(
        "echo before; (setsid sh -c 'sleep 1000; : {marker}' &) ; sh -c 'sleep 1000; : {marker}' & sh -c 'trap \"\" TERM INT HUP; while :; do sleep 1000; done; : {marker}'"
    );
    let begun = Instant::now();
    let (status, result) = run(&["--timeout", "700ms", "--", "sh", "-c", &line]).json();
    let elapsed = begun.elapsed();
    assert_eq!(host::with_argument(&marker), [0_u32; 0], "when the command is back, all of it is gone");
    assert_eq!((status, &result["status"], &result["limit"]), (124, &"timed_out".into(), &"timeout".into()));
    assert_eq!((&result["stdout"], &result["signal"]), (&"before\n".into(), &9.into()));
    let wall = result["metrics"]["wall_ms"].as_u64().unwrap();
    assert!((690..5_000).contains(&wall) && elapsed < Duration::from_secs(20), "{wall} ms, {elapsed:?}");
}

#[test]
fn a_busy_loop_and_a_flood_time_out_too() {
    for code in ["while True: pass", "while True: print('x' * 100)", "import os\nwhile True: os.stat('/')"] {
        let done = run(&["--timeout", "500ms", "-"]).stdin(code).done();
        assert_eq!(done.status, 124, "{code}: {}", done.err());
    }
}

#[test]
fn a_handler_times_out() {
    let code = "import time\ndef handler(event, context):\n    print('in')\n    time.sleep(100)\n";
    let (status, result) =
        run(&["--kind", "handler", "--lang", "python", "--timeout", "1500ms", "-"]).stdin(code).json();
    assert_eq!((status, &result["status"], &result["stdout"]), (124, &"timed_out".into(), &"in\n".into()));
    assert!(result["return_value"].is_null() && result["error"].is_null(), "{result}");
}

#[test]
fn an_execution_of_more_than_30_seconds_ends_well() {
    let seconds = if crate::support::is_soak() { 310 } else { 31 };
    let begun = Instant::now();
    let line = format!("echo first; sleep {seconds}; echo last");
    let (status, result) = run_for(&["--timeout", "10m", "--", "sh", "-c", &line], seconds + 60);
    assert_eq!((status, &result["stdout"]), (0, &"first\nlast\n".into()), "{result}");
    assert!(begun.elapsed() >= Duration::from_secs(seconds));
    assert!(result["metrics"]["wall_ms"].as_u64().unwrap() >= seconds * 1_000, "{}", result["metrics"]);
}

/// [`run`] with another patience.
fn run_for(args: &[&str], seconds: u64) -> (i32, serde_json::Value) {
    run(args).patience(Duration::from_secs(seconds)).json()
}

#[test]
fn the_shortest_timeout_is_still_one() {
    let (status, result) = run(&["--timeout", "1ms", "--", "sleep", "100"]).json();
    assert_eq!((status, &result["limit"]), (124, &"timeout".into()), "{result}");
}

#[test]
fn times_are_in_order() {
    let (_, result) = run(&["--", "sleep", "0.3"]).json();
    let at = |name: &str| result[name].as_str().unwrap().to_owned();
    assert!(at("created_at") <= at("started_at") && at("started_at") < at("finished_at"), "{result}");
    let wall = result["metrics"]["wall_ms"].as_u64().unwrap();
    assert!((300..5_000).contains(&wall), "{wall}");
}
