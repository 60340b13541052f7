//! Limits hold, and what was used is told.

use sandkeep_core::execution::{ExecutionState, Language, MetricsSource};
use sandkeep_core::limits::LimitKind;
use sandkeep_core::size::ByteSize;
use sandkeep_runtime::{Driver, Sandbox};
use serde_json::Value;

use crate::support::driver::{block_on, fresh, run, sandbox_spec, script, shell};
use crate::support::{has_groups, local, run as command, skipped_without_groups};

/// Four processes that together, and only together, take more than 128 MiB; their parent takes nothing.
const FOUR_HOGS: &str = "
import os, time
for _ in range(4):
    if os.fork() == 0:
        block = bytearray(60 << 20)
        for at in range(0, len(block), 4096): block[at] = 1
        time.sleep(60)
        os._exit(0)
print('parent waits')
for _ in range(4): os.wait()
";

#[test]
fn memory_is_of_the_whole_tree() {
    let (status, result) = command(&["--memory", "128MiB", "-"]).stdin(FOUR_HOGS).json();
    assert_eq!(
        (status, &result["status"], &result["limit"]),
        (137, &"failed".into(), &"memory".into()),
        "{result}"
    );
    assert_eq!(result["stdout"], "parent waits\n");
}

#[test]
fn one_large_process_is_ended() {
    let code = "x = []\nwhile True: x.append(bytearray(8 << 20))\n";
    let (status, result) = command(&["--memory", "128MiB", "-"]).stdin(code).json();
    if result["limit"] == "memory" {
        assert_eq!((status, &result["status"]), (137, &"failed".into()));
    } else {
        // Where nobody counts, the kernel refuses the process its next block instead.
        assert!(!has_groups(), "{result}");
        assert!(result["stderr"].as_str().unwrap().contains("MemoryError"), "{result}");
        assert_eq!(status, 1);
    }
}

#[test]
fn an_oom_kill_of_a_grandchild_ends_all_of_it() {
    if skipped_without_groups("an_oom_kill_of_a_grandchild_ends_all_of_it", "without groups nothing is shot")
    {
        return;
    }
    block_on(async {
        let driver = local();
        let mut spec = sandbox_spec();
        spec.limits.memory = ByteSize::from_mib(128);
        spec.limits.disk = ByteSize::from_mib(32);
        let sandbox = driver.create(&spec).await.unwrap();
        // The parent survives, ignores its child's end, and would succeed.
        let line = "sh -c 'python3 -c \"x = bytearray(300 << 20)\"; echo child over'; echo parent goes on; sleep 2; exit 0";
        let mut execution = shell(line);
        execution.limits.memory = ByteSize::from_mib(128);
        let heard = run(sandbox.as_ref(), &execution).await;
        assert_eq!(
            (heard.end().state, heard.end().limit),
            (ExecutionState::Failed, Some(LimitKind::Memory)),
            "{heard:?}"
        );
        assert_eq!(run(sandbox.as_ref(), &shell("echo on")).await.assert_succeeded().out(), "on\n");
    });
}

#[test]
fn after_an_end_for_memory_the_sandbox_works() {
    block_on(async {
        let driver = local();
        let mut spec = sandbox_spec();
        spec.limits.memory = ByteSize::from_mib(128);
        spec.limits.disk = ByteSize::from_mib(32);
        let sandbox = driver.create(&spec).await.unwrap();
        for _ in 0..3 {
            let mut hogs = script(Language::Python, FOUR_HOGS);
            hogs.limits.memory = ByteSize::from_mib(128);
            let heard = run(sandbox.as_ref(), &hogs).await;
            assert_eq!(heard.end().limit, Some(LimitKind::Memory), "{heard:?}");
            assert_eq!(run(sandbox.as_ref(), &shell("echo on")).await.assert_succeeded().out(), "on\n");
        }
    });
}

#[test]
fn processes_are_bounded() {
    let code = "
import os, time
count = 1
try:
    while count < 1000:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        count += 1
except OSError as error:
    print(error.errno)
print(count)
";
    let (status, result) = command(&["--pids", "20", "-"]).stdin(code).json();
    let out = result["stdout"].as_str().unwrap();
    let words: Vec<u32> = out.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert_eq!((status, words[0]), (0, 11), "EAGAIN: {result}");
    assert!((15..=20).contains(&words[1]), "{out}");
    let threads = "
import threading, time
count = 1
try:
    while count < 1000:
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        count += 1
except RuntimeError:
    pass
print(count, flush=True)
import os
os._exit(0)
";
    let done = command(&["--pids", "20", "-"]).stdin(threads).done();
    let count: u32 = done.assert_status(0).out().trim().parse().unwrap();
    assert!((15..=20).contains(&count), "{count} threads");
}

async fn small_disk(driver: &dyn Driver) -> Box<dyn Sandbox> {
    let mut spec = sandbox_spec();
    spec.limits.disk = ByteSize::from_mib(16);
    spec.limits.inodes = 1_000;
    driver.create(&spec).await.unwrap()
}

#[test]
fn a_full_disk_is_enospc_and_the_next_execution_works() {
    block_on(async {
        let driver = local();
        let sandbox = small_disk(&driver).await;
        for place in ["/workspace", "/tmp", "/home/user", "/dev/shm"] {
            let line = format!("dd if=/dev/zero of={place}/big bs=64k count=2048; stat -c %s {place}/big");
            let heard = run(sandbox.as_ref(), &shell(&line)).await;
            assert!(heard.err().contains("No space left on device"), "{place}: {}", heard.err());
            let size: u64 = heard.assert_succeeded().out().trim().parse().unwrap();
            assert!(size <= 16 << 20, "{place}: {size}");
            let next = run(sandbox.as_ref(), &script(Language::Python, "print('on')")).await;
            assert_eq!(next.assert_succeeded().out(), "on\n", "with {place} full");
            run(sandbox.as_ref(), &shell(&format!("rm {place}/big"))).await.assert_succeeded();
        }
        run(sandbox.as_ref(), &shell("head -c 8000000 /dev/zero > again")).await.assert_succeeded();
    });
}

#[test]
fn inodes_are_bounded() {
    block_on(async {
        let driver = local();
        let sandbox = small_disk(&driver).await;
        let code = "
import errno
count = 0
try:
    while count < 5000:
        open(f'/workspace/{count}', 'w').close()
        count += 1
except OSError as error:
    print(errno.errorcode[error.errno])
print(count)
";
        let heard = run(sandbox.as_ref(), &script(Language::Python, code)).await;
        let out = heard.assert_succeeded().out();
        let (error, count) = out.trim().split_once('\n').unwrap_or_else(|| panic!("no error: {out}"));
        let count: u32 = count.parse().unwrap();
        assert!(error == "ENOSPC" && (500..=1_000).contains(&count), "{out}");
        assert_eq!(
            run(sandbox.as_ref(), &shell("echo on; rm -r /workspace/1*")).await.assert_succeeded().out(),
            "on\n"
        );
    });
}

#[test]
fn the_processor_time_told_is_what_was_used() {
    // It says itself what it used: a busy machine gives it less of the wall.
    let code = "
import time
while time.process_time() < 1.0: pass
print(time.process_time())
";
    let (_, result) = command(&["-"]).stdin(code).json();
    let own: f64 = result["stdout"].as_str().unwrap().trim().parse().unwrap();
    let metrics = &result["metrics"];
    let number = |name: &str| metrics[name].as_f64().unwrap_or_else(|| panic!("no {name}: {metrics}"));
    let used = (number("cpu_user_ms") + number("cpu_system_ms")) / 1_000.0;
    assert!(used >= own * 0.9 && used <= own * 1.3 + 0.3, "{used} s told, {own} s used");
    assert!(number("wall_ms") / 1_000.0 >= used * 0.9, "more than one processor: {metrics}");
    let expected = if has_groups() { "cgroup" } else { "sampled" };
    assert_eq!(metrics["source"], expected);
}

#[test]
fn processor_time_of_children_counts() {
    let line =
        "for i in 1 2 3; do python3 -c 'import time\nwhile time.process_time() < 0.3: pass' & done; wait";
    let (status, result) = command(&["--", "sh", "-c", line]).json();
    assert_eq!(status, 0, "{result}");
    let metrics = &result["metrics"];
    let used = metrics["cpu_user_ms"].as_u64().unwrap() + metrics["cpu_system_ms"].as_u64().unwrap();
    assert!((850..3_000).contains(&used), "{metrics}");
}

#[test]
fn the_peak_of_memory_is_told() {
    let code = "import time\nx = bytearray(100_000_000)\nfor at in range(0, len(x), 4096): x[at] = 1\ntime.sleep(0.3)\ndel x\n";
    let (_, result) = command(&["-"]).stdin(code).json();
    let peak = result["metrics"]["peak_memory_bytes"].as_u64().unwrap();
    let mib = 1 << 20;
    assert!((90 * mib..200 * mib).contains(&peak), "{} MiB", peak / mib);
    let (_, small) = command(&["-"]).stdin("import time\ntime.sleep(0.3)").json();
    let small = small["metrics"]["peak_memory_bytes"].as_u64().unwrap();
    assert!((mib..60 * mib).contains(&small), "{} MiB for nothing", small / mib);
}

#[test]
fn peaks_are_of_one_execution_each() {
    block_on(async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        let code = "import time\nx = bytearray(150 << 20)\nfor at in range(0, len(x), 4096): x[at] = 1\ntime.sleep(0.2)\n";
        let large = run(sandbox.as_ref(), &script(Language::Python, code)).await;
        let small = run(sandbox.as_ref(), &shell("sleep 0.2")).await;
        let peak = |heard: &crate::support::driver::Heard| {
            heard.assert_succeeded().ended().metrics.peak_memory_bytes.unwrap()
        };
        assert!(peak(&large) >= 150 << 20, "{}", peak(&large));
        assert!(peak(&small) < 50 << 20, "the peak of the one before: {}", peak(&small));
        let source = if has_groups() { MetricsSource::Cgroup } else { MetricsSource::Sampled };
        assert_eq!(small.ended().metrics.source, source);
    });
}

#[test]
fn a_share_of_a_processor_is_kept() {
    let code = "import time\nwhile time.process_time() < 0.5: pass\n";
    if !has_groups() {
        let (status, told) = command(&["--cpu", "250m", "-"]).stdin(code).json();
        assert_eq!((status, &told["error"]["code"]), (125, &"limit_not_enforceable".into()), "{told}");
        let (status, result) = command(&["--cpu", "250m", "--allow-unenforced", "-"]).stdin(code).json();
        assert_eq!((status, &result["enforcement"]["cpu"]), (0, &"none".into()), "{result}");
        return;
    }
    let (status, result) = command(&["--cpu", "250m", "-"]).stdin(code).json();
    assert_eq!((status, &result["enforcement"]["cpu"]), (0, &"kernel".into()), "{result}");
    let wall = result["metrics"]["wall_ms"].as_u64().unwrap();
    assert!(wall >= 1_500, "half a second at a quarter took {wall} ms");
}

#[test]
fn enforcement_is_told_for_every_limit() {
    let (_, result) = command(&["--", "true"]).json();
    let levels = &result["enforcement"];
    for limit in ["memory", "cpu", "processes", "disk", "inodes", "timeout", "output"] {
        assert!(
            ["kernel", "watched", "none"].contains(&levels[limit].as_str().unwrap_or("")),
            "{limit}: {levels}"
        );
    }
    if has_groups() {
        let (status, _) = command(&["--require-limits", "--", "true"]).json();
        assert_eq!((status, &levels["causes"]), (0, &Value::Array(Vec::new())), "{levels}");
    } else {
        let (status, told) = command(&["--require-limits", "--", "true"]).json();
        assert_eq!((status, &told["error"]["code"]), (125, &"limit_not_enforceable".into()));
        let causes = levels["causes"].as_array().unwrap();
        assert!(
            causes.iter().all(|cause| cause["remedy"].as_str().is_some_and(|text| !text.is_empty())),
            "{causes:?}"
        );
    }
}

#[test]
fn bad_values_are_refused_before_anything_starts() {
    let cases: [(&[&str], &str); 7] = [
        (&["--memory", "12q"], "invalid_size"),
        (&["--memory", "1KiB"], "limit_out_of_range"),
        (&["--timeout", "30"], "invalid_duration"),
        (&["--cpu", "lots"], "invalid_cpu"),
        (&["--cpu", "1000"], "limit_out_of_range"),
        (&["--pids", "0"], "limit_out_of_range"),
        (&["--disk", "100GiB"], "limit_out_of_range"),
    ];
    for (args, code) in cases {
        let mut args = args.to_vec();
        args.extend(["--", "true"]);
        let (status, told) = command(&args).json();
        assert_eq!((status, &told["error"]["code"]), (125, &code.into()), "{args:?}: {told}");
        assert!(told["error"]["expected"].is_string(), "what would be right: {told}");
    }
}
