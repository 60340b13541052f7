//! Output beyond the cap, its order, and output as a limit.

use std::time::Instant;

use sandkeep_core::size::ByteSize;
use serde_json::Value;

use crate::support::driver::{all_of, block_on, fresh, run as follow, shell};
use crate::support::{local, run};

/// A byte of the stream at `position`, so that every kept byte shows where it was.
const NUMBERED: &str = "
import sys
total = int(sys.argv[1])
line = ''.join('%09d\\n' % n for n in range(total // 10))
sys.stdout.write(line)
sys.stdout.flush()
sys.stderr.write('all written')
";

#[test]
fn head_gap_and_tail_account_for_every_byte() {
    let (total, cap) = (2_000_000, 100_000);
    let (status, result) =
        run(&["--output", &cap.to_string(), "-", "--", &total.to_string()]).stdin(NUMBERED).json();
    assert_eq!(
        (status, &result["limit"]),
        (0, &Value::Null),
        "a cap is not an end: {:.500}",
        result["stderr"]
    );
    let stdout = result["stdout"].as_str().unwrap();
    let stderr = result["stderr"].as_str().unwrap();
    let missing = |name: &str| result[name].as_u64().unwrap();
    let (out_missing, err_missing) = (missing("stdout_missing_bytes"), missing("stderr_missing_bytes"));
    assert_eq!(stderr, "all written", "the end of the program is in the tail");
    assert_eq!(err_missing, 0);
    assert_eq!(stdout.len() as u64 + out_missing, total);
    assert_eq!(stdout.len() + stderr.len(), cap, "all that may be kept is kept");
    let (from, to) = (&result["output_gap"]["from"], &result["output_gap"]["to"]);
    assert_eq!(to.as_u64().unwrap() - from.as_u64().unwrap(), out_missing);
    let whole: String = (0..total / 10).map(|n| format!("{n:09}\n")).collect();
    let head = usize::try_from(from.as_u64().unwrap()).unwrap();
    assert_eq!(stdout[..head], whole[..head]);
    assert!(whole.ends_with(&stdout[head..]), "the tail is not the end");
    assert_eq!(head, cap / 5 * 4, "four fifths are the head");
}

#[test]
fn a_late_listener_hears_head_one_gap_and_tail() {
    block_on(async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        let mut spec = shell("i=0; while [ $i -lt 20000 ]; do echo $i; echo e$i >&2; i=$((i+1)); done");
        spec.limits.output = ByteSize::from_bytes(20_000);
        let first = follow(sandbox.as_ref(), &spec).await;
        first.assert_succeeded();
        let mut late = sandbox.start(&spec).await.unwrap();
        let late = all_of(late.as_mut()).await;
        let ended = late.ended();
        let total = ended.stdout_bytes + ended.stderr_bytes;
        assert_eq!(ended.stdout_bytes, (0..20_000).map(|i: u32| i.to_string().len() as u64 + 1).sum::<u64>());
        assert_eq!(ended.stderr_bytes, ended.stdout_bytes + 20_000);
        assert_eq!(late.gaps, [(16_000, total - 4_000)]);
        assert_eq!((late.position, late.stdout.len() + late.stderr.len()), (total, 20_000));
        assert!(late.out().starts_with("0\n1\n2\n") && late.err().ends_with("e19999\n"), "{}", late.err());
    });
}

#[test]
fn a_flood_is_drained_and_does_not_block_the_program() {
    let line = "head -c 300000000 /dev/zero; echo written >&2";
    let (status, result) = run(&["--output", "64KiB", "--", "sh", "-c", line]).json();
    assert_eq!(status, 0, "{:.500}", result["error"]);
    assert_eq!(result["stderr"], "written\n");
    let kept = result["stdout"].as_str().unwrap().len() as u64;
    assert_eq!(result["stdout_missing_bytes"].as_u64().unwrap() + kept, 300_000_000);
}

#[test]
fn output_kill_ends_a_flood() {
    let begun = Instant::now();
    let (status, result) = run(&["--output-kill", "1MB", "--timeout", "60s", "--", "yes", "flood"]).json();
    assert_eq!((status, &result["status"], &result["limit"]), (137, &"failed".into(), &"output".into()));
    let written =
        result["stdout"].as_str().unwrap().len() as u64 + result["stdout_missing_bytes"].as_u64().unwrap();
    assert!(written > 1_000_000, "what was written before stays: {written}");
    assert!(begun.elapsed().as_secs() < 30, "the flood went on");
    let (status, result) = run(&["--output-kill", "1MB", "--", "head", "-c", "1000000", "/dev/zero"]).json();
    assert_eq!((status, &result["limit"]), (0, &Value::Null), "exactly the limit is within it");
}

#[test]
fn merged_output_is_in_the_order_of_writing() {
    let code = "import os\nfor i in range(20000):\n    os.write(1 + i % 2, b'%d\\n' % i)\n";
    let done = run(&["--merge-stderr", "-"]).stdin(code).done();
    let expected: String = (0..20_000).map(|i| format!("{i}\n")).collect();
    assert!(done.assert_status(0).out() == expected, "out of order");
    assert_eq!(done.err(), "");
}

#[test]
fn output_of_many_writers_is_complete() {
    let line = "for w in 1 2 3 4 5 6 7 8; do (i=0; while [ $i -lt 500 ]; do echo $w-$i; i=$((i+1)); done) & done; wait";
    let done = run(&["--", "sh", "-c", line]).done();
    let mut lines: Vec<String> = done.assert_status(0).out().lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 4_000);
}

#[test]
fn a_reader_that_goes_away_ends_the_run() {
    let script =
        format!("{} run -- yes | head -n 3; echo ${{PIPESTATUS[0]}}", crate::support::binary().display());
    let shell = std::process::Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&shell.stdout), "y\ny\ny\n141\n");
}

#[test]
fn partial_lines_come_before_the_end() {
    // The program waits for an answer to what it wrote without a newline: both must pass at once.
    let code = "import sys\nsys.stdout.write('name? ')\nsys.stdout.flush()\nprint('hello ' + sys.stdin.readline())\n";
    let directory = crate::support::directory();
    let path = directory.path().join("ask.py");
    std::fs::write(&path, code).unwrap();
    let done = run(&["--stdin", "-", &path.to_string_lossy()]).stdin("Ada\n").done();
    assert_eq!(done.assert_status(0).out(), "name? hello Ada\n\n");
}
