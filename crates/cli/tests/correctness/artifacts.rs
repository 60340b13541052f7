//! Files that an execution made or changed.

use std::collections::BTreeMap;

use sandkeep_core::execution::Language;
use sha2::{Digest as _, Sha256};

use crate::support::driver::{Heard, block_on, fresh, run, script, shell};
use crate::support::{directory, local, run as command};

/// Path and size of what was found.
fn found(heard: &Heard) -> BTreeMap<String, u64> {
    let artifacts = &heard.assert_succeeded().ended().artifacts;
    let found: BTreeMap<_, _> = artifacts.iter().map(|a| (a.path.clone(), a.size_bytes)).collect();
    assert_eq!(found.len(), artifacts.len(), "a file is listed twice: {artifacts:?}");
    found
}

fn names(heard: &Heard) -> Vec<String> {
    found(heard).into_keys().collect()
}

#[test]
fn new_changed_and_renamed_files_are_found_and_others_not() {
    block_on(async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        let before = "mkdir d; for f in kept read changed truncated rewritten renamed removed backdated linked d/kept d/changed; do echo before > $f; done";
        run(sandbox.as_ref(), &shell(before)).await.assert_succeeded();
        let mut spec = shell(
            "cat read >/dev/null; echo more >> changed; : > truncated; echo before > rewritten; mv renamed moved; rm removed;
             touch -d '2001-01-01' backdated; echo x >> d/changed; echo new > new; mkdir -p a/b/c; echo deep > a/b/c/new;
             : > empty; mkdir made; mkfifo fifo; ln -s /etc/passwd link; ln -s new link2; ln -s / root; echo gone > gone; rm gone",
        );
        spec.artifacts = true;
        let heard = run(sandbox.as_ref(), &spec).await;
        let expected = [
            "a/b/c/new",
            "backdated",
            "changed",
            "d/changed",
            "empty",
            "moved",
            "new",
            "rewritten",
            "truncated",
        ];
        assert_eq!(names(&heard), expected);
        assert_eq!(found(&heard)["empty"], 0);
        assert!(!heard.ended().artifacts_truncated);
        let mut again = shell("cat new changed > /dev/null");
        again.artifacts = true;
        assert_eq!(names(&run(sandbox.as_ref(), &again).await), [""; 0], "nothing was changed");
    });
}

#[test]
fn digests_are_of_the_contents() {
    block_on(async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        let mut spec = shell(
            "printf '' > empty; head -c 3000000 /dev/urandom > big.bin; echo '{}' > x.json; echo a > a.csv",
        );
        spec.artifacts = true;
        let heard = run(sandbox.as_ref(), &spec).await;
        assert_eq!(names(&heard), ["a.csv", "big.bin", "empty", "x.json"]);
        for artifact in &heard.ended().artifacts {
            let path = format!("/workspace/{}", artifact.path);
            let bytes = sandbox.read_file(&path, artifact.size_bytes).await.unwrap();
            let sha256: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(artifact.sha256.as_deref(), Some(sha256.as_str()), "{}", artifact.path);
            assert_eq!(artifact.size_bytes, bytes.len() as u64);
        }
        let types: Vec<_> = heard.ended().artifacts.iter().map(|a| a.media_type.as_str()).collect();
        assert!(types.contains(&"application/json") && types.contains(&"text/csv"), "{types:?}");
    });
}

#[test]
fn odd_names_are_told_as_they_are() {
    block_on(async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        let odd = [" ", "-rf", "...", "a\nb", "\t", "\"'\\", "é🦀👩‍👩‍👧", "%2e%2e", "a:b", "*", &"x".repeat(255)];
        let code = format!("for n in {}:\n    open(n, 'w').write(n)\n", serde_json::to_string(&odd).unwrap());
        let mut spec = script(Language::Python, &code);
        spec.artifacts = true;
        let mut expected: Vec<String> = odd.iter().map(|&name| name.to_owned()).collect();
        expected.sort_unstable();
        assert_eq!(names(&run(sandbox.as_ref(), &spec).await), expected);
        // A name that is not UTF-8 is not lost, and breaks nothing.
        let mut spec = script(Language::Python, "open(b'\\xff\\xfe', 'w').write('x')\n");
        spec.artifacts = true;
        assert_eq!(run(sandbox.as_ref(), &spec).await.assert_succeeded().ended().artifacts.len(), 1);
    });
}

#[test]
fn more_than_a_thousand_are_cut() {
    block_on(async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        for (count, truncated) in [(1_000, false), (1_001, true), (3_000, true)] {
            let mut spec = shell(&format!(
                "rm -rf m; mkdir m; cd m; i=0; while [ $i -lt {count} ]; do : > $i; i=$((i+1)); done"
            ));
            spec.artifacts = true;
            let heard = run(sandbox.as_ref(), &spec).await;
            assert_eq!(found(&heard).len(), 1_000, "of {count}");
            assert_eq!(heard.ended().artifacts_truncated, truncated, "of {count}");
        }
    });
}

#[test]
fn more_bytes_than_are_hashed_are_cut() {
    block_on(async {
        let driver = local();
        let mut spec = crate::support::driver::sandbox_spec();
        spec.limits.memory = sandkeep_core::size::ByteSize::from_mib(1_200);
        spec.limits.disk = sandkeep_core::size::ByteSize::from_mib(500);
        let sandbox = sandkeep_runtime::Driver::create(&driver, &spec).await.unwrap();
        let mut spec = shell("truncate -s 300M sparse; echo small > small");
        spec.artifacts = true;
        let heard = run(sandbox.as_ref(), &spec).await;
        assert!(heard.ended().artifacts_truncated, "{:?}", heard.ended().artifacts);
        assert!(names(&heard).contains(&"small".to_owned()), "what fits is there: {:?}", names(&heard));
    });
}

#[test]
fn kinds_decide_whether_they_are_looked_for() {
    let paths = |result: &serde_json::Value| {
        let all = result["artifacts"].as_array().unwrap();
        all.iter().map(|artifact| artifact["path"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (_, result) = command(&["-"]).stdin("open('made', 'w').write('x')").json();
    assert_eq!(paths(&result), ["made"], "a script");
    let code = "def handler(event, context):\n    open('made', 'w').write('x')\n";
    let (_, result) = command(&["--kind", "handler", "--lang", "python", "-"]).stdin(code).json();
    assert_eq!(paths(&result), ["made"], "a handler");
    let (_, result) = command(&["--", "touch", "made"]).json();
    assert_eq!(paths(&result), [""; 0], "a command");
    let (_, result) = command(&["--no-artifacts", "-"]).stdin("open('made', 'w').write('x')").json();
    assert_eq!(paths(&result), [""; 0], "not wanted");
}

#[test]
fn copies_given_at_the_start_are_not_results() {
    let directory = directory();
    std::fs::write(directory.path().join("given"), "x").unwrap();
    std::fs::write(directory.path().join("appended"), "x").unwrap();
    let (status, result) = command(&["--file", "given", "--file", "appended", "-"])
        .stdin("open('appended', 'a').write('y')\nopen('made', 'w')")
        .directory(directory.path())
        .json();
    assert_eq!(status, 0, "{result}");
    let all = result["artifacts"].as_array().unwrap();
    let mut paths: Vec<_> = all.iter().map(|artifact| artifact["path"].as_str().unwrap()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["appended", "made"]);
}

#[test]
fn a_timeout_still_tells_what_was_made() {
    let (status, result) = command(&["--timeout", "1s", "-"])
        .stdin("open('made', 'w').write('x')\nimport time\ntime.sleep(100)")
        .json();
    assert_eq!((status, &result["artifacts"][0]["path"]), (124, &"made".into()), "{result}");
}

#[test]
fn out_copies_them() {
    let directory = directory();
    let out = directory.path().join("results");
    let code = "import os\nos.makedirs('a/b')\nopen('a/b/c', 'wb').write(bytes(range(256)))\nopen('é 🦀', 'w').write('x')\nos.symlink('/etc/passwd', 'link')\n";
    let done = command(&["--out", &out.to_string_lossy(), "-"]).stdin(code).done();
    done.assert_status(0);
    assert_eq!(std::fs::read(out.join("a/b/c")).unwrap(), (0..=255).collect::<Vec<u8>>());
    assert_eq!(std::fs::read(out.join("é 🦀")).unwrap(), b"x");
    assert!(out.join("link").symlink_metadata().is_err(), "a link was copied");
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 2);
    // A command's too, when they are asked for; and what was there is replaced.
    let done =
        command(&["--out", &out.to_string_lossy(), "--", "sh", "-c", "mkdir -p a/b; echo new > a/b/c"])
            .done();
    done.assert_status(0);
    assert_eq!(std::fs::read(out.join("a/b/c")).unwrap(), b"new\n");
    let (status, told) = command(&["--out", "/proc/nowhere", "--", "true"]).json();
    assert_eq!((status, &told["error"]["code"]), (125, &"output_dir_unusable".into()));
}
