//! `sandkeep doctor --self-test`: what it says holds does hold on this host, and what does not hold fails it.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail like tests, and skips are told"
)]

#[path = "support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::{binary, has_groups, host, persona};

const LIMITS: [&str; 7] = ["timeout", "memory", "cpu", "processes", "disk", "inodes", "output"];

fn self_test() -> Child {
    let mut command = Command::new(binary());
    command.args(["doctor", "--self-test", "--json"]).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Status and report; `None`, told, where no sandbox can be made at all.
fn report(child: Child, name: &str) -> Option<(i32, Value)> {
    let output = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"));
    if report["problem"]["code"] == "isolation_unavailable" {
        println!("SKIPPED {name} as {}: {}", persona(), report["problem"]["message"]);
        return None;
    }
    Some((output.status.code().unwrap(), report))
}

fn outcome<'a>(report: &'a Value, limit: &str) -> &'a str {
    let trials = report["self_test"].as_array().unwrap();
    let trial = trials.iter().find(|trial| trial["limit"] == limit);
    trial.unwrap_or_else(|| panic!("{limit} was not tried: {report:#}"))["outcome"].as_str().unwrap()
}

#[test]
fn what_is_said_to_be_kept_is_seen_to_hold() {
    let Some((status, report)) = report(self_test(), "what_is_said_to_be_kept_is_seen_to_hold") else {
        return;
    };
    for limit in LIMITS {
        let level = report["enforcement"][limit].as_str().unwrap();
        let expected = if level == "none" { "not_tried" } else { "held" };
        assert_eq!(outcome(&report, limit), expected, "{limit} is {level}: {report:#}");
        assert!(level == "kernel" || !has_groups(), "{limit} is {level}: {report:#}");
    }
    assert_eq!((status, &report["fit"]), (0, &true.into()), "{report:#}");
}

/// What somebody does to the groups behind our back, or a kernel that takes a limit and forgets it: not believed.
#[test]
fn a_limit_that_is_lifted_fails_the_test() {
    if !has_groups() {
        println!("SKIPPED a_limit_that_is_lifted_fails_the_test as {}: lifts limits of groups", persona());
        return;
    }
    let mut child = self_test();
    while child.try_wait().unwrap().is_none() {
        lift(child.id());
        std::thread::sleep(std::time::Duration::from_millis(5)); // the pause between two rounds, not the wait
    }
    let Some((status, report)) = report(child, "a_limit_that_is_lifted_fails_the_test") else { return };
    for limit in LIMITS {
        let expected = if ["cpu", "processes"].contains(&limit) { "failed" } else { "held" };
        assert_eq!(outcome(&report, limit), expected, "{limit}: {report:#}");
    }
    assert_eq!((status, &report["fit"]), (1, &false.into()), "{report:#}");
    let verdict = report["verdict"].as_str().unwrap();
    assert!(verdict.contains("do not rely on this host") && verdict.ends_with("cpu, processes"), "{verdict}");
}

/// Takes the limits of processor and processes off every group of ours in which a descendant of `pid` is.
fn lift(pid: u32) {
    for process in host::tree(pid) {
        for group in groups_of_ours(process.pid) {
            for (file, unlimited) in [("cpu.cfs_quota_us", "-1"), ("cpu.max", "max"), ("pids.max", "max")] {
                if group.join(file).exists() {
                    // A process that has ended meanwhile may have taken its group with it.
                    let _gone = std::fs::write(group.join(file), unlimited);
                }
            }
        }
    }
}

/// The groups of a sandbox in which `pid` is, with those above them that are the sandbox's own.
fn groups_of_ours(pid: u32) -> Vec<PathBuf> {
    let mounts = host::group_mounts();
    let mut found = Vec::new();
    for (hierarchy, path) in host::groups(pid) {
        let Some((above, own)) = path.split_once("/sandkeep/") else { continue };
        let is_it = |(kind, _, options): &&(String, String, String)| {
            if hierarchy.is_empty() {
                kind == "cgroup2"
            } else {
                options.split(',').any(|o| hierarchy.split(',').any(|h| h == o))
            }
        };
        let Some((_, mount, _)) = mounts.iter().find(is_it) else { continue };
        let mut group = PathBuf::from(format!("{mount}{above}/sandkeep"));
        for part in own.split('/') {
            group.push(part);
            found.push(group.clone());
        }
    }
    found
}
