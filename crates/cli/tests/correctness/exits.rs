//! Exit codes, signals, and what cannot be run.

use sandkeep_core::execution::{ExecutionState, Exit};

use crate::support::driver::{block_on, fresh, run, shell};
use crate::support::{self, local};

/// Default disposition: ends the process (signal(7)).
const DEADLY: [u8; 21] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 24, 25, 26, 27, 31];
/// Those that a program only gets from its C library or from others.
const REAL_TIME: [u8; 3] = [34, 50, 64];

#[test]
fn every_exit_code_arrives_in_one_sandbox() {
    block_on(async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        for code in 0..=255 {
            let heard = run(sandbox.as_ref(), &shell(&format!("exit {code}"))).await;
            assert_eq!(heard.exit(), Some(Exit::Code(code)));
            let expected = if code == 0 { ExecutionState::Succeeded } else { ExecutionState::Failed };
            assert_eq!((heard.end().state, heard.end().limit), (expected, None));
        }
    });
}

#[test]
fn every_deadly_signal_arrives() {
    block_on(async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        for signal in DEADLY.into_iter().chain(REAL_TIME) {
            // By itself, and to a group of which it is a part.
            for line in [format!("kill -{signal} $$"), format!("trap - PIPE; kill -{signal} -$$")] {
                let heard = run(sandbox.as_ref(), &shell(&line)).await;
                assert_eq!(heard.exit(), Some(Exit::Signal(signal)), "{line}: {}", heard.err());
            }
        }
    });
}

#[test]
fn the_command_exits_as_the_code_does() {
    for code in [0, 1, 2, 77, 124, 125, 126, 127, 128, 255] {
        support::run(&["--", "sh", "-c", &format!("exit {code}")]).done().assert_status(code);
        let (status, result) = support::run(&["--", "sh", "-c", &format!("exit {code}")]).json();
        assert_eq!((status, &result["exit_code"]), (code, &code.into()));
        let expected = if code == 0 { "succeeded" } else { "failed" };
        assert_eq!(result["status"], expected);
        assert!(
            result["signal"].is_null() && result["limit"].is_null() && result["error"].is_null(),
            "{result}"
        );
    }
}

#[test]
fn the_command_adds_128_to_a_signal() {
    for signal in [1, 6, 9, 11, 13, 15, 31, 64] {
        let line = format!("kill -{signal} $$");
        let (status, result) = support::run(&["--", "sh", "-c", &line]).json();
        assert_eq!(status, 128 + signal, "{result}");
        assert_eq!((&result["signal"], &result["exit_code"]), (&signal.into(), &serde_json::Value::Null));
        assert_eq!(result["status"], "failed");
    }
}

#[test]
fn a_crash_of_an_interpreter_is_a_signal() {
    let code = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n";
    let (status, result) = support::run(&["-"]).stdin(code).json();
    assert_eq!((status, &result["signal"]), (139, &11.into()));
    support::run(&["--lang", "javascript", "-"]).stdin("process.abort()").done().assert_status(134);
}

#[test]
fn what_is_not_there_or_no_program() {
    let cases = [
        ("no-such-program", 127, "not_found"),
        ("/no/such/program", 127, "not_found"),
        ("/etc/passwd", 126, "not_runnable"),
        ("/usr/bin", 126, "not_runnable"),
    ];
    for (program, expected, code) in cases {
        let (status, result) = support::run(&["--", program]).json();
        assert_eq!(status, expected, "{result}");
        assert_eq!(result["error"]["name"], code, "{result}");
        assert_eq!(result["status"], "failed");
        assert!(result["started_at"].is_null() && result["exit_code"].is_null(), "{result}");
        let done = support::run(&["--", program]).done();
        assert!(
            done.assert_status(expected).err().starts_with(&format!("sandkeep: {code}: ")),
            "{}",
            done.err()
        );
    }
}

#[test]
fn a_script_whose_interpreter_is_missing_is_not_found() {
    block_on(async {
        let driver = local();
        let sandbox = fresh(&driver).await;
        let write = "printf '#!/no/such/interpreter\\n' > s; chmod +x s; printf 'garbage' > g; chmod +x g";
        run(sandbox.as_ref(), &shell(write)).await.assert_succeeded();
        let missing = run(sandbox.as_ref(), &support::driver::command(&["./s"])).await;
        assert_eq!(missing.exit(), Some(Exit::NotFound), "as execve(2) says ENOENT");
        let garbage = run(sandbox.as_ref(), &support::driver::command(&["./g"])).await;
        assert_eq!(garbage.exit(), Some(Exit::NotRunnable));
    });
}

#[test]
fn a_syntax_error_is_the_codes_own_failure() {
    for (language, code, word) in [
        ("python", "def f(:\n", "SyntaxError"),
        ("javascript", "let = ;;(", "SyntaxError"),
        ("bash", "if then", "syntax error"),
    ] {
        let (status, result) = support::run(&["--lang", language, "-"]).stdin(code).json();
        assert!((1..=2).contains(&status), "{result}");
        assert!(result["stderr"].as_str().unwrap().contains(word), "{result}");
        assert_eq!((&result["status"], &result["limit"]), (&"failed".into(), &serde_json::Value::Null));
    }
}
