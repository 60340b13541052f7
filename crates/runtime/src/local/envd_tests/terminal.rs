//! Terminals.

use sandkeep_core::sandbox::Profile::{Dev, Strict};
use sandkeep_protocol::envelope::Code;
use sandkeep_protocol::routes::process as routes;
use serde_json::{Value, json};

use super::client::{Client, Said};
use super::with;

fn on_terminal(line: &str) -> Value {
    json!({
        "process": {"cmd": "/bin/bash", "args": ["--norc", "-c", line]},
        "pty": {"size": {"cols": 100, "rows": 30}},
    })
}

async fn key(client: &Client, pid: u64, keys: &str) {
    let bytes = sandkeep_core::base64::encode(keys.as_bytes());
    let input = json!({"process": {"pid": pid}, "input": {"pty": bytes}});
    client.ask(routes::SEND_INPUT, input).await.unwrap();
}

#[test]
fn a_terminal_is_one() {
    for profile in [Strict, Dev] {
        with(profile, async |client| {
            let line = "tty; stty size; echo $TERM; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all; \
                        echo to-the-terminal >/dev/tty; stat -c %u $(tty); ps -o sid= -p $$ | tr -d ' '; echo $$";
            let said = client.start(on_terminal(line)).all().await;
            let lines: Vec<&str> =
                said.pty.split(|b| *b == b'\n').map(|l| str::from_utf8(l).unwrap().trim_end()).collect();
            assert!(lines[0].starts_with("/dev/pts/"), "{said:?}");
            assert_eq!(lines[1..5], ["30 100", "xterm-256color", "all", "to-the-terminal"], "{said:?}");
            assert_eq!(lines[5], client.uid_inside(), "{said:?}");
            assert_eq!(lines[6], lines[7], "it leads its session");
            assert!(said.stdout.is_empty() && said.stderr.is_empty(), "{said:?}");
            assert_eq!(said.exit_code(), 0);
        });
    }
}

#[test]
fn keys_and_sizes_reach_what_runs_in_it() {
    with(Strict, async |client| {
        let line = "trap 'echo size $(stty size)' WINCH; trap 'echo stopped; exit 4' INT; \
                    read -r name; echo \"hello $name\"; while :; do sleep 0.05; done";
        let mut stream = client.start(on_terminal(line));
        let pid = stream.pid().await;
        let mut said = Said::default();
        key(&client, pid, "Ada\r").await;
        stream.until(&mut said, |said| said.screen().contains("hello Ada")).await;
        assert!(said.screen().contains("Ada\r\nhello"), "what is typed is shown: {}", said.screen());
        let size = json!({"process": {"pid": pid}, "pty": {"size": {"cols": 7, "rows": 9}}});
        client.ask(routes::UPDATE, size).await.unwrap();
        stream.until(&mut said, |said| said.screen().contains("size 9 7")).await;
        key(&client, pid, "\u{3}").await;
        let said = stream.rest(said).await;
        assert!(said.screen().ends_with("stopped\r\n"), "{}", said.screen());
        assert_eq!(said.exit_code(), 4);
    });
}

#[test]
fn a_shell_has_job_control_and_ends_by_ctrl_d() {
    with(Strict, async |client| {
        let start = json!({
            "process": {"cmd": "/bin/bash", "args": ["--norc", "-i"], "envs": {"TERM": "dumb", "PS1": "> "}},
            "pty": {"size": {"cols": 80, "rows": 24}},
        });
        let mut stream = client.start(start);
        let pid = stream.pid().await;
        let mut said = Said::default();
        // What says that it is up has the terminal; what is typed does not look like it.
        key(&client, pid, "sh -c 'echo $TERM-$((40+2)); exec sleep 600'\r").await;
        stream.until(&mut said, |said| said.screen().contains("dumb-42")).await;
        assert!(!said.screen().contains("no job control"), "{}", said.screen());
        key(&client, pid, "\u{1a}").await;
        stream.until(&mut said, |said| said.screen().contains("Stopped")).await;
        key(&client, pid, "disown -a; exit 6\r").await;
        let said = stream.rest(said).await;
        assert_eq!(said.exit_code(), 6, "{}", said.screen());
        let mut second = client.start(on_terminal("cat; echo over"));
        let pid = second.pid().await;
        key(&client, pid, "\u{4}").await;
        assert!(second.rest(Said::default()).await.screen().ends_with("over\r\n"));
    });
}

#[test]
fn what_does_not_fit_a_terminal_is_refused() {
    with(Strict, async |client| {
        let mut stream = client.start(on_terminal("sleep 600"));
        let pid = stream.pid().await;
        let mut plain = client.start(json!({"process": {"cmd": "sleep", "args": ["600"]}}));
        let plain_pid = plain.pid().await;
        let check = async |path: &str, request: Value, code: Code| {
            let error = client.ask(path, request.clone()).await.unwrap_err();
            assert_eq!(error.code, code, "{request}: {error}");
        };
        let stdin = json!({"process": {"pid": pid}, "input": {"stdin": "YQ=="}});
        check(routes::SEND_INPUT, stdin, Code::FailedPrecondition).await;
        check(routes::CLOSE_STDIN, json!({"process": {"pid": pid}}), Code::FailedPrecondition).await;
        let sized = |pid: u64, cols: u32| json!({"process": {"pid": pid}, "pty": {"size": {"cols": cols, "rows": 1}}});
        check(routes::UPDATE, sized(plain_pid, 80), Code::FailedPrecondition).await;
        check(routes::UPDATE, sized(pid, 70_000), Code::InvalidArgument).await;
        check(routes::UPDATE, sized(4_000_000, 80), Code::NotFound).await;
        let wide = json!({"process": {"cmd": "true"}, "pty": {"size": {"cols": 70_000, "rows": 1}}});
        assert_eq!(client.start(wide).refusal().await.code, Code::InvalidArgument);
    });
}

#[test]
fn terminals_run_out_for_the_sandbox_alone() {
    with(Strict, async |client| {
        // One program takes all there are: that must be an error for it, and then for a client, and no more.
        let hog = "import os, time\nmasters = []\ntry:\n    while True:\n        masters.append(os.open('/dev/ptmx', os.O_RDWR))\n\
                   except OSError as error:\n    print(error.errno, len(masters), flush=True)\ntime.sleep(600)";
        let mut stream = client.start(json!({"process": {"cmd": "python3", "args": ["-c", hog]}}));
        let pid = stream.pid().await;
        let mut said = Said::default();
        stream.until(&mut said, |said| said.out().ends_with('\n')).await;
        assert_eq!(said.out(), "28 256\n", "no space, after as many as a sandbox may have");
        let refused = client.start(on_terminal("true")).refusal().await;
        assert_eq!(refused.code, Code::ResourceExhausted, "{refused}");
        client
            .ask(routes::SEND_SIGNAL, json!({"process": {"pid": pid}, "signal": "SIGNAL_SIGKILL"}))
            .await
            .unwrap();
        stream.rest(said).await;
        assert_eq!(client.start(on_terminal("echo again")).all().await.screen(), "again\r\n");
    });
}
