//! What goes in: standard input, environment, files, arguments, working directory.

use crate::support::driver::{block_on, command, fresh, run as follow, shell};
use crate::support::{directory, local, run};

#[test]
fn standard_input_from_a_file_and_from_a_pipe() {
    let directory = directory();
    let path = directory.path().join("in");
    std::fs::write(&path, "from a file").unwrap();
    let done = run(&["--stdin", &path.to_string_lossy(), "--", "cat"]).stdin("not this").done();
    assert_eq!(done.assert_status(0).out(), "from a file");
    let done = run(&["--stdin", "-", "--", "cat"]).stdin("from a pipe").done();
    assert_eq!(done.assert_status(0).out(), "from a pipe");
    let done = run(&["--", "cat"]).stdin("nobody asked").done();
    assert_eq!(done.assert_status(0).out(), "", "ours is not passed unless asked");
}

#[test]
fn ten_mb_pass_through_cat() {
    let bytes: Vec<u8> =
        (0..10_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24).to_le_bytes()[0]).collect();
    let done = run(&["--stdin", "-", "--", "cat"]).stdin(bytes.clone()).done();
    assert!(done.assert_status(0).stdout == bytes, "{} bytes came back", done.stdout.len());
}

#[test]
fn input_that_nobody_reads_holds_nothing_up() {
    run(&["--stdin", "-", "--", "true"]).stdin(vec![0; 5_000_000]).done().assert_status(0);
    let done = run(&["--stdin", "-", "--", "head", "-c", "3"]).stdin(vec![b'x'; 5_000_000]).done();
    assert_eq!(done.assert_status(0).out(), "xxx");
}

#[test]
fn the_environment_is_from_zero() {
    let done = run(&["--env", "A=1", "--env", "B=x=y z", "--", "env"])
        .host_variable("SECRET_OF_THE_HOST", "leaked")
        .host_variable("LD_LIBRARY_PATH", "/tmp/leaked")
        .done();
    let out = done.assert_status(0).out();
    let mut names: Vec<&str> = out.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    let known = [
        "A",
        "B",
        "HOME",
        "LANG",
        "LOGNAME",
        "NODE_PATH",
        "PATH",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPATH",
        "TMPDIR",
        "USER",
    ];
    assert_eq!(names, known, "{out}");
    assert!(!out.contains("leaked") && out.contains("B=x=y z\n"), "{out}");
    // Nor in what started the code.
    let line = "cat /proc/*/environ 2>/dev/null | tr '\\0' '\\n' | grep -c leaked; true";
    let done = run(&["--", "sh", "-c", line]).host_variable("SECRET_OF_THE_HOST", "leaked").done();
    assert_eq!(done.assert_status(0).out(), "0\n");
}

#[test]
fn variables_of_a_file_and_of_options() {
    let directory = directory();
    let path = directory.path().join("env");
    std::fs::write(&path, "# comment\n\nONE=from file\nTWO=\"quoted\"\nEMPTY=\n").unwrap();
    let file = path.to_string_lossy().into_owned();
    let print = "printf '%s|' \"$ONE\" \"$TWO\" \"${EMPTY-unset}\" \"$HOME\" \"$USER\"";
    let done = run(&["--env-file", &file, "--env", "ONE=on top", "--", "sh", "-c", print]).done();
    assert_eq!(done.assert_status(0).out(), "on top|\"quoted\"||/home/user|user|");
    std::fs::write(&path, "OK=1\nnot a variable\n").unwrap();
    let (status, told) = run(&["--env-file", &file, "--", "true"]).json();
    assert_eq!((status, &told["error"]["code"]), (125, &"env_invalid".into()));
}

#[test]
fn arguments_arrive_as_they_are() {
    let args = ["", " ", "a b", "-x", "--", "$HOME", "*", "'", "\"", "\n", "\\", "ünï"];
    let code = "import json, sys\nprint(json.dumps(sys.argv[1:]))\n";
    let mut words = vec!["-", "--"];
    words.extend(args);
    let done = run(&words).stdin(code).done();
    let got: Vec<String> = serde_json::from_str(&done.assert_status(0).out()).unwrap();
    assert_eq!(got, args);
}

#[test]
fn copied_files_are_in_the_workspace() {
    let directory = directory();
    std::fs::write(directory.path().join("data.csv"), "a,b\n").unwrap();
    std::fs::write(directory.path().join("odd name🦀"), [0, 255]).unwrap();
    let done = run(&[
        "--file",
        "data.csv",
        "--file",
        "odd name🦀:in/deep/x",
        "--",
        "sh",
        "-c",
        "cat data.csv in/deep/x; pwd",
    ])
    .directory(directory.path())
    .done();
    assert_eq!(done.assert_status(0).stdout, b"a,b\n\0\xff/workspace\n");
}

#[test]
fn the_working_directory() {
    block_on(async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        let mut spec = command(&["pwd"]);
        spec.cwd = Some("/home/user".to_owned());
        assert_eq!(follow(sandbox.as_ref(), &spec).await.assert_succeeded().out(), "/home/user\n");
        for missing in ["/no/such", "/etc/passwd"] {
            let mut spec = shell("pwd");
            spec.cwd = Some(missing.to_owned());
            let heard = follow(sandbox.as_ref(), &spec).await;
            assert!(heard.ended().not_runnable.is_some(), "{missing}: {heard:?}");
        }
    });
}
