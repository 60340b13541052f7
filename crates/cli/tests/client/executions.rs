//! What runs: its output, its input, its end, and a server that is killed in between.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::served::Served;

#[test]
fn output_goes_where_it_belongs_and_the_exit_code_is_the_commands() {
    let served = Served::start();
    served.sandbox("box");
    let output = served.run(&["exec", "box", "--", "sh", "-c", "echo out; printf '\\377' >&2; exit 7"]);
    assert_eq!(
        (output.status.code(), &output.stdout[..], &output.stderr[..]),
        (Some(7), &b"out\n"[..], &b"\xff"[..])
    );
    let status = |args: &[&str]| served.run(&[&["exec", "box"], args].concat()).status.code();
    assert_eq!(status(&["--", "true"]), Some(0));
    assert_eq!(status(&["--", "no-such-program"]), Some(127));
    assert_eq!(status(&["--", "/etc/passwd"]), Some(126));
    assert_eq!(status(&["--", "sh", "-c", "kill -9 $$"]), Some(137));
    assert_eq!(status(&["--timeout", "100ms", "--", "sleep", "1000"]), Some(124));
    assert_eq!(status(&["--env", "A=b", "--cwd", "/tmp", "--", "sh", "-c", "test $A$PWD = b/tmp"]), Some(0));
}

#[test]
fn input_is_passed_byte_for_byte() {
    let served = Served::start();
    served.sandbox("box");
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let mut command = served.command(&["exec", "box", "--stdin", "-", "--", "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&bytes).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stdout == bytes, "{} bytes", output.stdout.len());
}

#[test]
fn an_interrupt_cancels_the_execution_and_its_end_is_told() {
    let served = Served::start();
    let id = served.sandbox("box");
    let mut command = served.command(&["exec", "box", "--", "sh", "-c", "echo ready; exec sleep 1000"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdout.read_exact(&mut [0; 6]).unwrap();
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let listed = served.json(&["executions", "list", &id]);
    assert_eq!(listed["items"][0]["status"], "cancelled", "{listed}");
}

#[test]
fn a_reader_that_goes_away_ends_the_execution() {
    let served = Served::start();
    let id = served.sandbox("box");
    let mut child = served.command(&["exec", "box", "--", "yes"]).stdout(Stdio::piped()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0; 2]).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(141));
    let is_running =
        || served.json(&["executions", "list", &id, "--status", "running"])["items"] != serde_json::json!([]);
    while is_running() {}
    assert_eq!(served.json(&["executions", "list", &id])["items"][0]["status"], "cancelled");
}

#[test]
fn an_execution_is_cancelled_by_its_id() {
    let served = Served::start();
    served.sandbox("box");
    let made = served.json(&["exec", "box", "--detach", "--", "sleep", "1000"]);
    let id = made["id"].as_str().unwrap();
    served.ok(&["executions", "cancel", id]);
    served.ok(&["logs", "-f", id]);
    assert_eq!(served.json(&["executions", "get", id])["status"], "cancelled");
}

#[test]
fn a_log_that_is_followed_loses_and_repeats_nothing_though_the_server_is_killed() {
    let mut served = Served::start();
    served.sandbox("box");
    let made = served.json(&["exec", "box", "--detach", "--", "seq", "1", "1200000"]);
    let id = made["id"].as_str().unwrap().to_owned();
    let expected: String = (1..=1_200_000).map(|number| format!("{number}\n")).collect();
    served.ok(&["logs", "-f", &id]);
    let mut command = served.command(&["logs", "-f", &id]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    // The rest stands in pipes and buffers, and behind them in a server that is gone.
    let mut seen = vec![0; 100_000];
    stdout.read_exact(&mut seen).unwrap();
    served.kill();
    served.start_again();
    stdout.read_to_end(&mut seen).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(seen.len(), expected.len());
    assert!(seen == expected.as_bytes());
    assert!(served.ok(&["logs", &id]) == expected, "what is kept is the same");
    let tail = served.ok(&["logs", &id, "--after", &(expected.len() - 8).to_string()]);
    assert_eq!(tail, "1200000\n");
}
