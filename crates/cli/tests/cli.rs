//! The command from outside, as far as no sandbox is needed: refusals, and what is printed about ourselves.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn sandkeep(words: &[&str]) -> Command {
    let binary = std::env::var_os("SANDKEEP_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_sandkeep").into());
    let mut command = Command::new(binary);
    command.args(words).stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SANDKEEP_")) {
        command.env_remove(name);
    }
    command
}

#[track_caller]
fn run(words: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = sandkeep(words).output().expect("it can be started");
    let text = |bytes| String::from_utf8(bytes).expect("what we print is text");
    (status.code().expect("it exits"), text(stdout), text(stderr))
}

#[test]
fn what_is_wrong_is_refused_with_its_code_and_value_before_anything_starts() {
    let cases: [(&[&str], &str, &str); 30] = [
        (&["run", "--memory", "12q", "-"], "invalid_size", "--memory: `12q`"),
        (&["run", "--timeout", "30", "-"], "invalid_duration", "write 30s or 30ms"),
        (&["run", "--cpu", "lots", "-"], "invalid_cpu", "--cpu: `lots`"),
        (&["run", "--memory", "1Ki", "-"], "limit_out_of_range", "4 MiB to 16 TiB"),
        (&["run", "--disk", "1Gi", "-"], "limit_out_of_range", "half of the memory"),
        (&["run", "--lang", "cobol", "-"], "unknown_language", "python, javascript or bash"),
        (&["run", "--kind", "x", "-"], "invalid_value", "script, handler or command"),
        (&["run", "--profile", "x", "-"], "invalid_value", "strict or dev"),
        (&["run", "--user", "x", "-"], "invalid_value", "--user: `x`"),
        (&["run", "--user", "root", "-"], "invalid_value", "--profile dev"),
        (&["run", "--env", "x", "-"], "env_invalid", "NAME=value"),
        (&["run", "--mount", "x", "-"], "mount_refused", "SRC:DEST"),
        (&["run", "--file", "/nonexistent", "-"], "file_unreadable", "`/nonexistent`"),
        (&["run", "--root-dir", "/nonexistent", "-"], "root_unusable", "--root-dir"),
        (
            &["run", "--offline", "--image", "python:3.12-slim", "x"],
            "image_unknown",
            "docker save -o FILE REF",
        ),
        (&["run", "--image", "/dev/null", "--", "true"], "image_invalid", "neither a file nor a directory"),
        (
            &["run", "--image", "/usr", "--", "true"],
            "image_invalid",
            "--image: the image: has neither index.json",
        ),
        (&["run", "--image", "x", "--root-dir", "/", "-"], "invalid_value", "--root-dir"),
        (&["image", "pull", "Python"], "image_unknown", "`Python`"),
        (&["run", "--image", "missing.tar", "--", "x"], "image_unknown", "`missing.tar`"),
        (&["image", "import", "/nonexistent"], "file_unreadable", "/nonexistent"),
        (&["image", "rm", "nothing:1"], "image_unknown", "`nothing:1`"),
        (&["run", "/nonexistent.py"], "file_unreadable", "`/nonexistent.py`"),
        (&["run", "--kind", "handler", "--event", "{", "/dev/null"], "unknown_language", "--lang"),
        (&["run", "--kind", "handler", "--lang", "py", "--event", "{", "/dev/null"], "event_not_json", "`{`"),
        (&["run", "--out", "/dev/null", "--", "true"], "output_dir_unusable", "--out"),
        (&["run", "--state-dir", "/dev/null", "--", "true"], "state_dir_unusable", "/dev/null"),
        (&["run", "--allow-unenforced", "--require-limits", "-"], "invalid_value", "--require-limits"),
        (&["run", "--nonsense", "-"], "invalid_value", "--nonsense"),
        (&["explain", "invalid_sise"], "unknown_code", "write invalid_size"),
    ];
    for (words, code, message) in cases {
        let (status, stdout, stderr) = run(words);
        assert_eq!((status, stdout.as_str()), (125, ""), "{words:?} {stderr}");
        assert!(stderr.starts_with(&format!("sandkeep: {code}: ")), "{words:?} {stderr}");
        assert!(stderr.contains(message), "{words:?} {stderr}");
        assert!(stderr.ends_with(&format!("`sandkeep explain {code}` says more\n")), "{words:?} {stderr}");
    }
}

#[test]
fn with_json_a_refusal_is_an_object_on_standard_output() {
    let cases: [(&[&str], &str, Option<&str>); 4] = [
        (&["run", "--json", "--memory", "12q", "-"], "invalid_size", Some("12q")),
        (&["run", "--json", "/nonexistent.py"], "file_unreadable", Some("/nonexistent.py")),
        (&["run", "--nonsense", "--json", "-"], "invalid_value", None),
        (&["config", "show", "--json", "--memory", "1"], "limit_out_of_range", Some("1 B")),
    ];
    for (words, code, value) in cases {
        let (status, stdout, stderr) = run(words);
        let error: Value =
            serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{words:?} {error} {stdout}"));
        assert_eq!((status, error["error"]["code"].as_str()), (125, Some(code)), "{words:?}");
        assert_eq!(error["error"]["value"].as_str(), value, "{words:?}");
        assert!(
            error["error"]["message"].is_string() && error["error"].get("expected").is_some(),
            "{stdout}"
        );
        assert!(stderr.starts_with(&format!("sandkeep: {code}: ")), "{stderr}");
    }
    let (_, stdout, _) = run(&["run", "--memory", "12q", "--", "x", "--json"]);
    assert_eq!(stdout, "", "what follows the two dashes is not ours");
}

#[test]
fn a_refusal_does_not_repeat_the_value_of_a_variable() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("env");
    fs::write(&file, "9TOKEN=hunter2\n").unwrap();
    for words in [["run", "--env", "9TOKEN=hunter2", "-"], ["run", "--env-file", file.to_str().unwrap(), "-"]]
    {
        let (status, _, stderr) = run(&words);
        assert_eq!(status, 125);
        assert!(stderr.contains("9TOKEN") && !stderr.contains("hunter2"), "{stderr}");
    }
}

#[test]
fn settings_come_from_variables_too_and_say_so() {
    let shown = |name: &str, value: &str| {
        let output =
            sandkeep(&["config", "show", "--json", "--pids", "9"]).env(name, value).output().unwrap();
        let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
        (output.status.code(), rows)
    };
    let (status, rows) = shown("SANDKEEP_MEMORY", "64Mi");
    assert_eq!(status, Some(0));
    let row = |key: &str| rows.as_array().unwrap().iter().find(|row| row["key"] == key).cloned().unwrap();
    assert_eq!((&row("memory")["value"], &row("memory")["source"]), (&"64 MiB".into(), &"env".into()));
    assert_eq!((&row("processes")["value"], &row("processes")["source"]), (&"9".into(), &"flag".into()));
    assert_eq!((&row("timeout")["value"], &row("timeout")["source"]), (&"1m".into(), &"default".into()));
    let (status, refused) = shown("SANDKEEP_MEMORY", "much");
    assert_eq!((status, refused["error"]["code"].as_str()), (Some(125), Some("invalid_size")));
}

#[test]
fn every_code_is_listed_and_explained() {
    let (status, listed, _) = run(&["explain"]);
    assert_eq!(status, 0);
    assert!(listed.lines().count() > 20);
    for line in listed.lines() {
        let code = line.split(' ').next().unwrap();
        let (status, page, _) = run(&["explain", &format!("{code}:")]);
        assert_eq!(status, 0);
        assert!(page.starts_with(&format!("# {code}: ")) && page.contains("## What to do"), "{page}");
    }
}

#[test]
fn completions_are_scripts() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (status, script, _) = run(&["completions", shell]);
        assert_eq!(status, 0);
        assert!(script.contains("allow-unenforced") && script.contains("doctor"), "{shell}");
    }
    let (_, script, _) = run(&["completions", "bash"]);
    let mut bash = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().unwrap();
    bash.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(bash.wait().unwrap().success());
}

#[test]
fn the_version_is_told() {
    let (status, text, _) = run(&["version"]);
    assert_eq!(status, 0);
    assert!(text.starts_with(&format!("sandkeep {}", env!("CARGO_PKG_VERSION"))), "{text}");
    let (_, json, _) = run(&["version", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn help_is_an_answer_and_its_absence_an_error() {
    let (status, stdout, stderr) = run(&["run", "--help"]);
    assert_eq!((status, stderr.as_str()), (0, ""));
    assert!(stdout.contains("Examples:") && stdout.contains("Exit status:"), "{stdout}");
    let (status, stdout, stderr) = run(&[]);
    assert_eq!((status, stdout.as_str()), (125, ""));
    assert!(stderr.contains("Usage: sandkeep"), "{stderr}");
}

#[test]
fn a_reader_who_left_ends_us_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    for words in [&["explain"][..], &["run", "--help"], &["config", "show"], &["version", "--json"]] {
        let output = sandkeep(words).stdout(writer.try_clone().unwrap()).output().unwrap();
        assert_eq!(output.status.code(), Some(141), "{words:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{words:?}");
    }
}

#[test]
fn a_full_disk_is_told() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = sandkeep(&["explain"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.starts_with("sandkeep: output_dir_unusable: standard output"), "{stderr}");
}
