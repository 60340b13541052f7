//! `process.Process`.

use std::time::Duration;

use sandkeep_core::defaults;
use sandkeep_core::limits::Limits;
use sandkeep_core::sandbox::Profile::{Dev, Strict};
use sandkeep_core::size::ByteSize;
use sandkeep_protocol::envelope::Code;
use sandkeep_protocol::process as envd;
use sandkeep_protocol::routes::process as routes;
use serde_json::{Value, json};

use super::client::{Client, Said, shell};
use super::{Stopped, eventually, with, with_limits};
use crate::driver::Sandbox as _;

/// Waits until nothing is listed any more; who is in the end is told.
async fn until_none_runs(client: &Client) {
    loop {
        let list = client.ask(routes::LIST, json!({})).await.unwrap();
        if list.get("processes").is_none() {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_process_says_what_it_does_in_both_codecs() {
    with(Strict, async |client| {
        let said = client.shell("echo $0-$HOME-$USER; echo err >&2; pwd; exit 3").all().await;
        assert_eq!(said.out(), "/bin/sh-/home/user-user\n/home/user\n");
        assert_eq!((said.stderr.as_slice(), said.exit_code()), (&b"err\n"[..], 3));
        assert_eq!(said.end.as_ref().unwrap()["exited"], true);
        assert_eq!(said.end.as_ref().unwrap()["status"], "exit status 3");
        let config = envd::ProcessConfig {
            cmd: "sh".to_owned(),
            args: ["-c", "printf 'a\\0b'"].map(str::to_owned).to_vec(),
            ..Default::default()
        };
        let request = envd::StartRequest { process: buffa::MessageField::some(config), ..Default::default() };
        let (out, end) = client.run_binary(&request).await;
        assert_eq!((out.as_slice(), end.exit_code, end.exited), (&b"a\0b"[..], 0, true));
        let list: envd::ListResponse = client.ask_binary(routes::LIST, &envd::ListRequest::default()).await;
        assert!(list.processes.is_empty(), "{list:?}");
    });
}

#[test]
fn where_and_with_what_it_runs_is_as_asked() {
    with(Strict, async |client| {
        let run =
            async |process: Value| client.start(json!({"process": process, "stdin": false})).all().await;
        for (cwd, expect) in
            [("/tmp", "/tmp\n"), ("~", "/home/user\n"), ("../..", "/\n"), ("", "/home/user\n")]
        {
            assert_eq!(run(json!({"cmd": "pwd", "cwd": cwd})).await.out(), expect, "{cwd:?}");
        }
        let env = run(json!({"cmd": "env", "envs": {"A": "ü", "HOME": "/tmp"}})).await.out();
        let mut names: Vec<&str> = env.lines().filter_map(|line| line.split('=').next()).collect();
        names.sort_unstable();
        assert_eq!(names, ["A", "HOME", "LANG", "LOGNAME", "PATH", "USER"], "{env}");
        assert!(env.contains("A=ü\n") && env.contains("HOME=/tmp\n"), "{env}");
    });
}

#[test]
fn what_cannot_be_started_is_refused_by_name() {
    with(Strict, async |client| {
        let start = |request: Value| client.start(request).refusal();
        let check = async |request: Value, code: Code, text: &str| {
            let error = start(request.clone()).await;
            assert_eq!(error.code, code, "{request}: {error}");
            assert!(error.message.contains(text), "{request}: {error}");
        };
        let cmd = |cmd: &str| json!({"process": {"cmd": cmd}});
        check(cmd("/no/such"), Code::NotFound, "'/no/such'").await;
        check(cmd("no-such"), Code::NotFound, "'no-such'").await;
        check(cmd("/etc/passwd"), Code::PermissionDenied, "/etc/passwd").await;
        check(cmd(""), Code::InvalidArgument, "cmd is empty").await;
        check(json!({}), Code::InvalidArgument, "cmd is empty").await;
        let at = |cwd: &str| json!({"process": {"cmd": "true", "cwd": cwd}});
        check(at("/no/such"), Code::InvalidArgument, "cwd '/no/such' does not exist").await;
        check(at("/etc/passwd"), Code::InvalidArgument, "is not a directory").await;
        check(at("/a\0b"), Code::InvalidArgument, "NUL").await;
        let env = json!({"process": {"cmd": "true", "envs": {"A=B": ""}}});
        check(env, Code::InvalidArgument, "A=B").await;
        check(json!({"process": {"cmd": "true", "args": ["a\0b"]}}), Code::InvalidArgument, "true").await;
        check(json!({"process": {"cmd": "true"}, "tag": "x".repeat(257)}), Code::InvalidArgument, "tag")
            .await;
        check(json!({"process": 7}), Code::InvalidArgument, "not a request").await;
        let too_long = json!({"process": {"cmd": "true", "args": ["x".repeat(5 << 20)]}});
        check(too_long, Code::ResourceExhausted, "longer than").await;
        let error = client.with("connect-timeout-ms", "soon").shell("true").refusal().await;
        assert_eq!(error.code, Code::InvalidArgument, "{error}");
        until_none_runs(&client).await;
        assert_eq!(client.shell("echo still here").all().await.out(), "still here\n");
    });
}

#[test]
fn users_are_user_and_in_profile_dev_root() {
    with(Strict, async |client| {
        let error = client.as_user("root").shell("id").refusal().await;
        assert_eq!(error.code, Code::PermissionDenied, "{error}");
        let error = client.as_user("daemon").shell("id").refusal().await;
        assert_eq!(error.code, Code::Unauthenticated, "{error}");
        let said = client.as_user("user").shell("id -u; echo $HOME").all().await;
        assert_eq!(said.out(), "1000\n/home/user\n");
    });
    with(Dev, async |client| {
        let said = client.as_user("root").shell("id -u; echo $USER $HOME; pwd; touch /opt/x").all().await;
        assert_eq!((said.out().as_str(), said.exit_code()), ("0\nroot /root\n/root\n", 0), "{said:?}");
    });
}

#[test]
fn a_process_runs_on_without_whoever_started_it() {
    with(Strict, async |client| {
        let mut first = client.start(json!({
            "process": {"cmd": "/bin/sh", "args": ["-c", "read line; echo got $line; exit 5"]}, "tag": "job",
        }));
        let pid = first.pid().await;
        drop(first);
        let list = client.ask(routes::LIST, json!({})).await.unwrap();
        assert_eq!(list["processes"][0]["pid"], pid);
        assert_eq!(list["processes"][0]["tag"], "job");
        assert_eq!(list["processes"][0]["config"]["cmd"], "/bin/sh");
        let mut by_pid = client.stream(routes::CONNECT, json!({"process": {"pid": pid}}));
        let mut by_tag = client.stream(routes::CONNECT, json!({"process": {"tag": "job"}}));
        assert_eq!((by_pid.pid().await, by_tag.pid().await), (pid, pid));
        let input = json!({"process": {"tag": "job"}, "input": {"stdin": "aGkK"}});
        client.ask(routes::SEND_INPUT, input).await.unwrap();
        for stream in [by_pid, by_tag] {
            let said = stream.all().await;
            assert_eq!((said.out().as_str(), said.exit_code()), ("got hi\n", 5));
        }
        // Whoever comes after the end hears of it, by both names.
        for named in [json!({"pid": pid}), json!({"tag": "job"})] {
            let late = client.stream(routes::CONNECT, json!({"process": named})).all().await;
            assert_eq!((late.pid, late.exit_code(), late.out().as_str()), (pid, 5, ""));
        }
        let never = client.stream(routes::CONNECT, json!({"process": {"pid": 4_000_000}})).refusal().await;
        assert_eq!(never.code, Code::NotFound, "{never}");
        let unnamed = client.stream(routes::CONNECT, json!({})).refusal().await;
        assert_eq!(unnamed.code, Code::InvalidArgument, "{unnamed}");
    });
}

#[test]
fn output_that_nobody_hears_is_dropped_and_blocks_nothing() {
    with(Strict, async |client| {
        // More than all buffers on the way hold, and then a sign that it got through.
        let line = "head -c 20000000 /dev/zero; echo through; read line; echo end";
        let request = json!({"process": {"cmd": "/bin/sh", "args": ["-c", line]}, "tag": "loud"});
        let mut first = client.start(request);
        let pid = first.pid().await;
        drop(first);
        let second = client.stream(routes::CONNECT, json!({"process": {"pid": pid}}));
        let input = json!({"process": {"pid": pid}, "input": {"stdin": "Cg=="}});
        client.ask(routes::SEND_INPUT, input).await.unwrap();
        let said = second.all().await;
        assert!(said.out().ends_with("end\n"), "{} bytes", said.stdout.len());
        assert_eq!(said.exit_code(), 0);
    });
}

#[test]
fn all_output_comes_to_a_client_that_takes_its_time() {
    with(Strict, async |client| {
        let mut stream = client.shell("head -c 3000000 /dev/zero; printf end");
        stream.pid().await;
        // Not one byte is taken until a second call was answered several times.
        for _ in 0..20 {
            client.ask(routes::LIST, json!({})).await.unwrap();
        }
        let said = stream.rest(Said::default()).await;
        assert_eq!((said.stdout.len(), said.exit_code()), (3_000_003, 0));
        assert!(said.out().ends_with("end"));
    });
}

#[test]
fn the_time_of_a_call_is_the_time_of_the_process_it_starts() {
    with(Strict, async |client| {
        let mut stream = client.with("connect-timeout-ms", "300").shell("sleep 600 & echo up; sleep 600");
        let pid = stream.pid().await;
        let said = stream.rest(Said::default()).await;
        assert_eq!((said.out().as_str(), said.exit_code()), ("up\n", -1));
        assert_eq!(said.end.as_ref().unwrap()["status"], "signal: killed");
        assert_eq!(said.outcome.unwrap().unwrap_err().code, Code::DeadlineExceeded);
        let late = client.stream(routes::CONNECT, json!({"process": {"pid": pid}})).all().await;
        assert_eq!(late.exit_code(), -1);
        // The time of a call that listens is its own.
        let mut first = client.shell("sleep 600");
        let pid = first.pid().await;
        let short = client.with("connect-timeout-ms", "100");
        let mut second = short.stream(routes::CONNECT, json!({"process": {"pid": pid}}));
        let heard = second.rest(Said::default()).await;
        assert_eq!(heard.outcome.unwrap().unwrap_err().code, Code::DeadlineExceeded);
        let list = client.ask(routes::LIST, json!({})).await.unwrap();
        assert_eq!(list["processes"][0]["pid"], pid, "it runs on");
    });
}

#[test]
fn a_start_that_is_given_up_at_once_takes_no_room_for_good() {
    if !Stopped::is_possible("a_start_that_is_given_up_at_once_takes_no_room_for_good") {
        return;
    }
    with(Strict, async |client| {
        let agent = client.sandbox().facts().agent_pid;
        let held = || std::fs::read_dir(format!("/proc/{agent}/fd")).unwrap().count();
        // As many as are kept for what comes next.
        client.shell("true").all().await;
        let before = held();
        // Longer than what goes at once, so that the client is gone while its end is still on the way.
        let long = "x".repeat(100_000);
        let request = json!({"process": {"cmd": "true", "args": [long, long, long, long]}, "stdin": false});
        let stopped = Stopped::agent(&client);
        for _ in 0..20 {
            let gone = client.start(request.clone());
            // A window of it at a time, and once more for its end.
            for _ in 0..8 {
                client.until_passed_on().await;
            }
            drop(gone);
        }
        client.until_passed_on().await;
        drop(stopped);
        until_none_runs(&client).await;
        eventually(|| held() == before).await;
    });
}

#[test]
fn starts_that_wait_for_a_busy_agent_are_all_begun() {
    if !Stopped::is_possible("starts_that_wait_for_a_busy_agent_are_all_begun") {
        return;
    }
    with(Strict, async |client| {
        // Each is more than is read at a time, and less than goes at once.
        let long = "x".repeat(20_000);
        let request = json!({"process": {"cmd": "true", "args": [long, long]}, "stdin": false});
        let stopped = Stopped::agent(&client);
        let streams: Vec<_> = (0..16).map(|_| client.start(request.clone())).collect();
        client.until_passed_on().await;
        drop(stopped);
        for stream in streams {
            assert_eq!(stream.all().await.exit_code(), 0);
        }
    });
}

#[test]
fn input_that_nobody_reads_waits_no_longer_than_its_call() {
    with(Strict, async |client| {
        let mut stream = client.start(json!({"process": {"cmd": "sleep", "args": ["600"]}}));
        let pid = stream.pid().await;
        let piece = sandkeep_core::base64::encode(&vec![b'x'; 1_000_000]);
        let input = json!({"process": {"pid": pid}, "input": {"stdin": piece}});
        client.ask(routes::SEND_INPUT, input.clone()).await.unwrap();
        let short = client.with("connect-timeout-ms", "100");
        let error = short.ask(routes::SEND_INPUT, input).await.unwrap_err();
        assert_eq!(error.code, Code::DeadlineExceeded, "{error}");
    });
}

#[test]
fn signals_end_it_and_all_it_started() {
    with(Strict, async |client| {
        for (signal, status) in
            [("SIGNAL_SIGTERM", "signal: terminated"), ("SIGNAL_SIGKILL", "signal: killed")]
        {
            let mut stream = client.shell("(setsid sleep 987 &); echo up; exec sleep 987");
            let pid = stream.pid().await;
            let mut said = Said::default();
            stream.until(&mut said, |said| said.out() == "up\n").await;
            let request = json!({"process": {"pid": pid}, "signal": signal});
            client.ask(routes::SEND_SIGNAL, request.clone()).await.unwrap();
            let said = stream.rest(said).await;
            assert_eq!(said.end.as_ref().unwrap()["status"], status);
            assert_eq!(said.exit_code(), -1);
            until_none_runs(&client).await;
            let gone = client.ask(routes::SEND_SIGNAL, request).await.unwrap_err();
            assert_eq!(gone.code, Code::NotFound, "{gone}");
        }
        // Nothing that detached is left; the brackets keep the search from finding itself.
        let left =
            client.shell("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'sleep 98[7]'").all().await;
        assert_eq!(left.out(), "0\n");
        let nonsense = json!({"process": {"pid": 1}, "signal": "SIGNAL_UNSPECIFIED"});
        let error = client.ask(routes::SEND_SIGNAL, nonsense).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument, "{error}");
    });
}

#[test]
fn a_quiet_stream_is_kept_alive_as_often_as_asked() {
    with(Strict, async |client| {
        let client = client.with("keepalive-ping-interval", "1");
        let mut stream = client.shell("sleep 600");
        stream.pid().await;
        assert_eq!(stream.event().await.unwrap(), json!({"keepalive": {}}));
        assert_eq!(stream.event().await.unwrap(), json!({"keepalive": {}}));
    });
}

#[test]
fn input_arrives_in_order_and_ends() {
    with(Strict, async |client| {
        let mut stream = client.start(json!({"process": {"cmd": "cat"}}));
        let pid = stream.pid().await;
        let named = json!({"pid": pid});
        for word in ["one ", "two "] {
            let bytes = sandkeep_core::base64::encode(word.as_bytes());
            let input = json!({"process": named, "input": {"stdin": bytes}});
            client.ask(routes::SEND_INPUT, input).await.unwrap();
        }
        let wrong = json!({"process": named, "input": {"pty": "YQ=="}});
        let error = client.ask(routes::SEND_INPUT, wrong).await.unwrap_err();
        assert_eq!(error.code, Code::FailedPrecondition, "{error}");
        client.ask(routes::CLOSE_STDIN, json!({"process": named})).await.unwrap();
        let closed = json!({"process": named, "input": {"stdin": "YQ=="}});
        let refused = client.ask(routes::SEND_INPUT, closed).await.unwrap_err();
        assert!([Code::FailedPrecondition, Code::NotFound].contains(&refused.code), "{refused}");
        let said = stream.rest(Said::default()).await;
        assert_eq!((said.out().as_str(), said.exit_code()), ("one two ", 0));
        let mut without = client.shell("sleep 600");
        let pid = without.pid().await;
        let input = json!({"process": {"pid": pid}, "input": {"stdin": "YQ=="}});
        let error = client.ask(routes::SEND_INPUT, input).await.unwrap_err();
        assert_eq!(error.code, Code::FailedPrecondition, "{error}");
    });
}

#[test]
fn a_stream_of_input_is_as_fast_as_it_is_read() {
    with(Strict, async |client| {
        let mut stream = client.start(json!({"process": {"cmd": "wc", "args": ["-c"]}, "tag": "counter"}));
        stream.pid().await;
        let mut input = client.open(routes::STREAM_INPUT);
        input.send(json!({"start": {"process": {"tag": "counter"}}}));
        input.send(json!({"keepalive": {}}));
        let piece = sandkeep_core::base64::encode(&vec![b'x'; 300_000]);
        for _ in 0..30 {
            input.send(json!({"data": {"input": {"stdin": piece}}}));
        }
        input.finish();
        assert_eq!(input.next().await, Some(json!({})));
        assert_eq!(input.next().await, None);
        assert_eq!(input.outcome(), Some(&Ok(())));
        client.ask(routes::CLOSE_STDIN, json!({"process": {"tag": "counter"}})).await.unwrap();
        assert_eq!(stream.rest(Said::default()).await.out(), "9000000\n");
    });
}

#[test]
fn a_stream_of_input_without_a_process_is_refused() {
    with(Strict, async |client| {
        let check = async |messages: &[Value], code: Code| {
            let mut input = client.open(routes::STREAM_INPUT);
            messages.iter().for_each(|message| input.send(message.clone()));
            assert_eq!(input.next().await, None, "{messages:?}");
            let error = input.outcome().cloned().unwrap().unwrap_err();
            assert_eq!(error.code, code, "{messages:?}: {error}");
        };
        check(&[json!({"start": {"process": {"pid": 4_000_000}}})], Code::NotFound).await;
        check(&[json!({"data": {"input": {"stdin": "YQ=="}}})], Code::InvalidArgument).await;
        check(&[json!({"start": {}})], Code::InvalidArgument).await;
        check(&[json!([])], Code::InvalidArgument).await;
        // A process that ends while input is on its way.
        let mut stream = client.start(json!({"process": {"cmd": "sleep", "args": ["600"]}}));
        let pid = stream.pid().await;
        let mut input = client.open(routes::STREAM_INPUT);
        input.send(json!({"start": {"process": {"pid": pid}}}));
        let piece = sandkeep_core::base64::encode(&vec![b'x'; 1_000_000]);
        (0..5).for_each(|_| input.send(json!({"data": {"input": {"stdin": piece}}})));
        client
            .ask(routes::SEND_SIGNAL, json!({"process": {"pid": pid}, "signal": "SIGNAL_SIGKILL"}))
            .await
            .unwrap();
        assert_eq!(input.next().await, None);
        assert!(input.outcome().unwrap().is_err(), "not all of it can have arrived");
    });
}

#[test]
fn many_at_once_are_told_apart() {
    with(Strict, async |client| {
        let streams: Vec<_> = (0..40).map(|n| client.shell(&format!("echo {n}; exit {n}"))).collect();
        for (n, stream) in (0..).zip(streams) {
            let said = stream.all().await;
            assert_eq!((said.out(), said.exit_code()), (format!("{n}\n"), n));
        }
        until_none_runs(&client).await;
    });
}

#[test]
fn memory_of_a_process_is_bounded() {
    let limits = Limits { memory: ByteSize::from_mib(128), ..defaults::limits() };
    with_limits(Strict, limits, async |client| {
        // Shared memory, which no limit of a single process holds; little by little, so that whoever watches sees it.
        let hog = "import mmap, time\nheld = mmap.mmap(-1, 512 << 20)\nfor at in range(0, 512 << 20, 1 << 20):\n    held[at:at + (1 << 20)] = b'x' * (1 << 20)\n    time.sleep(0.004)\nprint('all')\ntime.sleep(600)";
        let said = client.start(json!({"process": {"cmd": "python3", "args": ["-c", hog]}})).all().await;
        assert!(!said.out().contains("all"), "it got four times what it may have");
        assert_eq!(said.end.as_ref().unwrap()["status"], "signal: killed");
        assert_eq!(client.shell("echo next").all().await.out(), "next\n");
    });
}

#[test]
fn a_pipe_that_another_process_keeps_holds_no_end_up() {
    with(Strict, async |client| {
        // The one takes the other's standard output over a socket, and writes to it for as long as it can.
        let thief = "import socket
server = socket.socket(socket.AF_UNIX)
server.bind('\\0thief')
server.listen()
print('up', flush=True)
stolen = socket.recv_fds(server.accept()[0], 1, 1)[1][0]
import os
while True:
    os.write(stolen, b'x' * 65536)
";
        let giver = "import socket, os
peer = socket.socket(socket.AF_UNIX)
peer.connect('\\0thief')
print('before', flush=True)
socket.send_fds(peer, [b'x'], [1])
os._exit(7)
";
        let python = |code: &str| json!({"process": {"cmd": "python3", "args": ["-c", code]}});
        let mut taker = client.start(python(thief));
        taker.until(&mut Said::default(), |said| said.out() == "up\n").await;
        let said = client.start(python(giver)).all().await;
        assert_eq!(said.exit_code(), 7);
        assert!(said.out().starts_with("before\n"));
        assert!(said.stdout.len() < 64 << 20, "{} bytes came after the end", said.stdout.len());
        drop(taker);
        assert_eq!(client.shell("echo next").all().await.out(), "next\n");
    });
}

#[test]
fn in_profile_dev_a_process_may_ask_for_root() {
    with(Dev, async |client| {
        let said = client.shell("sudo id -u; sudo sh -c 'echo $SUDO_USER; exit 3'").all().await;
        assert_eq!((said.out().as_str(), said.exit_code()), ("0\nuser\n", 3), "{said:?}");
    });
}

/// Waits as long as the services do for a client that takes nothing, so only where there is time.
#[test]
fn a_client_that_takes_nothing_is_cut_off_and_others_go_on() {
    if std::env::var_os("SANDKEEP_SOAK").is_none() {
        return println!(
            "SKIPPED a client that takes nothing: takes more than a minute, runs with SANDKEEP_SOAK=1"
        );
    }
    super::with_patience(Duration::from_secs(150), Strict, defaults::limits(), async |client| {
        let line = "head -c 20000000 /dev/zero; echo through";
        let request = json!({"process": {"cmd": "/bin/sh", "args": ["-c", line]}, "tag": "loud"});
        let mut stuck = client.start(request);
        let pid = stuck.pid().await;
        let other = client.stream(routes::CONNECT, json!({"process": {"pid": pid}})).all().await;
        assert!(other.out().ends_with("through\n"));
        assert_eq!(other.exit_code(), 0);
        let heard = stuck.rest(Said::default()).await;
        assert_eq!(heard.outcome.unwrap().unwrap_err().code, Code::ResourceExhausted);
        assert!(heard.stdout.len() < 20_000_000 && heard.end.is_none());
    });
}

#[test]
fn a_call_without_its_room_is_refused_and_others_words_do_not_count() {
    with(Strict, async |client| {
        // Only the supervisor names admissions: a name that a client sends does not come in.
        let said = client.with("sandkeep-admission", "process-99").start(shell("echo ok")).all().await;
        assert_eq!(said.out(), "ok\n");
        let error = client.ask("/process.Process/Frobnicate", json!({})).await.unwrap_err();
        assert_eq!(error.code, Code::Unimplemented, "{error}");
    });
}
