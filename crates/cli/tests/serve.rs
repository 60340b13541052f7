//! `sandkeep serve` as a process: how it starts, what it logs, how it ends.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(60);

/// A server and what it writes to standard error.
struct Served {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    address: String,
}

fn command(data: &Path) -> Command {
    let binary = std::env::var_os("SANDKEEP_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_sandkeep").into());
    let mut command = Command::new(binary);
    command.env_clear().args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data);
    // No sandbox is left to a next server, which may not come.
    command.env("SANDKEEP_END_SANDBOXES", "true");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Served {
    fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let (send, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let mut served = Served { child, lines, seen: Vec::new(), address: String::new() };
        let line = served.line(|line| line.contains("serving at "));
        let address = line.split("://").nth(1).unwrap().split(',').next().unwrap();
        served.address = address.to_owned();
        served
    }

    /// Waits for a line.
    fn line(&mut self, is_it: impl Fn(&str) -> bool) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("it was never written: {:#?}", self.seen));
            self.seen.push(line.clone());
            if is_it(&line) {
                return line;
            }
        }
    }

    fn get(&self, path: &str, headers: &str) -> String {
        self.ask("GET", path, headers, "")
    }

    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\
             Content-Type: application/json\r\n{headers}\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    fn end(&mut self) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("it does not end: {:#?}", self.seen);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // In order, so that it ends its sandboxes.
        let pid = Pid::from_child(&self.child);
        let _ended = kill_process(pid, Signal::TERM);
        let _ended = self.child.wait();
    }
}

/// Exit status and standard error of one that does not start.
fn refused(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_signal_ends_it_in_order_though_somebody_is_connected() {
    let directory = tempfile::tempdir().unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let mut served = Served::start(&mut command(directory.path()));
        assert!(served.get("/ready", "").starts_with("HTTP/1.1 200"));
        let _idle = TcpStream::connect(&served.address).unwrap();
        served.signal(signal);
        assert_eq!(served.end(), Some(0), "{:#?}", served.seen);
    }
}

/// The body of an answer.
fn json(answer: &str) -> serde_json::Value {
    serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap_or_else(|_| panic!("{answer}"))
}

#[test]
fn what_ran_under_a_killed_server_goes_on_and_what_was_accepted_is_run() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = Served::start(&mut command(directory.path()));
    let key = std::fs::read_to_string(directory.path().join("admin.key")).unwrap();
    let headers = format!("X-API-Key: {}\r\nIdempotency-Key: k\r\n", key.trim());
    let body = r#"{"command":["sh","-c","echo here; exec sleep 1000"]}"#;
    let made = json(&first.ask("POST", "/api/v1/executions", &headers, body));
    let path = format!("/api/v1/executions/{}", made["id"].as_str().unwrap());
    let begun = Instant::now();
    while json(&first.get(&path, &headers))["stdout"] != "here\n" {
        assert!(begun.elapsed() < PATIENCE, "it never ran");
        std::thread::sleep(Duration::from_millis(5));
    }
    // Accepted, and killed before anybody can have taken it up for long.
    let quick = headers.replace(": k\r", ": q\r");
    let accepted = json(&first.ask("POST", "/api/v1/executions", &quick, r#"{"command":["true"]}"#));
    first.signal(Signal::KILL);
    first.end();

    let second = Served::start(&mut command(directory.path()));
    let again = json(&second.ask("POST", "/api/v1/executions", &headers, body));
    assert_eq!(again["id"], made["id"], "the repeat finds what the first request made");
    let until = |path: &str, is_so: &dyn Fn(&serde_json::Value) -> bool| {
        let begun = Instant::now();
        loop {
            let found = json(&second.get(path, &headers));
            if is_so(&found) {
                return found;
            }
            assert!(begun.elapsed() < PATIENCE, "{found}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    let other = format!("/api/v1/executions/{}", accepted["id"].as_str().unwrap());
    until(&other, &|found| found["status"] == "succeeded");
    let found = json(&second.get(&path, &headers));
    assert_eq!((&found["status"], &found["stdout"]), (&"running".into(), &"here\n".into()), "{found}");
    second.ask("DELETE", &path, &headers, "");
    let found = until(&path, &|found| found["status"] == "cancelled");
    assert_eq!(found["stdout"], "here\n");
    // Both were made for one execution, and nothing of them is left.
    for made in [made, accepted] {
        let sandbox = format!("/api/v1/sandboxes/{}", made["sandbox_id"].as_str().unwrap());
        until(&sandbox, &|found| found["status"] == "terminated");
    }
}

#[test]
fn what_was_killed_starts_again_with_the_same_keys() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = Served::start(&mut command(directory.path()));
    assert!(first.seen.iter().any(|line| line.contains("admin.key")), "{:#?}", first.seen);
    let key = std::fs::read_to_string(directory.path().join("admin.key")).unwrap();
    let header = format!("X-API-Key: {}\r\n", key.trim());
    assert!(first.get("/api/v1/projects", &header).starts_with("HTTP/1.1 200"));
    // A second one on the same directory is refused, and the first goes on.
    let (code, told) = refused(&mut command(directory.path()));
    assert_eq!(code, Some(125), "{told}");
    assert!(told.contains("data_dir_in_use: "), "{told}");
    first.signal(Signal::KILL);
    first.end();
    let second = Served::start(&mut command(directory.path()));
    assert!(second.seen.iter().all(|line| !line.contains("admin.key")), "{:#?}", second.seen);
    assert!(second.get("/api/v1/projects", &header).starts_with("HTTP/1.1 200"));
}

/// `sandkeep admin reset-key`: exit status and what it says.
fn reset_key(data: &Path) -> (Option<i32>, String) {
    let binary = std::env::var_os("SANDKEEP_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_sandkeep").into());
    let mut command = Command::new(binary);
    let output = command.env_clear().args(["admin", "reset-key", "--data-dir"]).arg(data).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(told).unwrap())
}

#[test]
fn a_lost_key_is_replaced_while_the_server_is_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let (code, told) = reset_key(&data);
    assert_eq!((code, data.exists()), (Some(125), false), "{told}");
    assert!(told.contains("not_found: "), "{told}");

    let mut first = Served::start(&mut command(&data));
    let file = data.join("admin.key");
    let headers = || format!("X-API-Key: {}\r\n", std::fs::read_to_string(&file).unwrap().trim());
    let before = headers();
    let (code, told) = reset_key(&data);
    assert_eq!((code, headers()), (Some(125), before.clone()), "{told}");
    assert!(told.contains("data_dir_in_use: ") && told.contains("when the server is stopped"), "{told}");
    assert!(first.get("/api/v1/projects", &before).starts_with("HTTP/1.1 200"), "nothing has changed");
    first.signal(Signal::TERM);
    first.end();

    let (code, told) = reset_key(&data);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains(&file.display().to_string()), "{told}");
    assert!(!told.contains(&headers()[11..30]), "the key itself is not shown");
    let mode = std::os::unix::fs::MetadataExt::mode(&file.metadata().unwrap());
    assert_eq!(mode & 0o7777, 0o600);
    let second = Served::start(&mut command(&data));
    assert!(
        second.get("/api/v1/projects", &before).starts_with("HTTP/1.1 401"),
        "the earlier one is revoked"
    );
    assert!(second.get("/api/v1/projects", &headers()).starts_with("HTTP/1.1 200"));
}

/// Arguments, environment, what is said.
type Refusal<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)], &'a str);

#[test]
fn what_cannot_be_meant_is_refused_before_anything_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let file = directory.path().join("sandkeep.toml");
    std::fs::write(&file, "lisen = \"x\"\n").unwrap();
    let file = file.display().to_string();
    let cases: [Refusal<'_>; 6] = [
        (&["--listen", &taken], &[], "listener_unusable: listen: "),
        (&["--listen", "0.0.0.0:0"], &[], "config_invalid: listen: "),
        (&["--config", &file], &[], "`lisen` is not a setting; write listen"),
        (&[], &[("SANDKEEP_LISEN", "x")], "SANDKEEP_LISEN: `lisen` is not a setting"),
        (&[], &[("SANDKEEP_TLS_CERT_FILE", "/no"), ("SANDKEEP_TLS_KEY_FILE", "/no")], "tls_unusable: "),
        (
            &["--insecure-no-auth", "--insecure-listen", "--listen", "0.0.0.0:0"],
            &[],
            "insecure_no_auth is on",
        ),
    ];
    for (args, environment, says) in cases {
        let binary =
            std::env::var_os("SANDKEEP_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_sandkeep").into());
        let mut command = Command::new(binary);
        command
            .env_clear()
            .envs(environment.iter().copied())
            .arg("serve")
            .args(args)
            .arg("--data-dir")
            .arg(&data);
        let (code, told) = refused(&mut command);
        assert_eq!(code, Some(125), "{args:?}: {told}");
        assert!(told.contains(says), "{args:?}: {told}");
        assert!(!data.exists(), "{args:?}");
    }
}

#[test]
fn the_log_is_one_object_a_line_with_ids_and_without_keys() {
    let directory = tempfile::tempdir().unwrap();
    let mut command = command(directory.path());
    command.env("SANDKEEP_LOG_FORMAT", "json").env("SANDKEEP_LOG_LEVEL", "trace").arg("--insecure-no-auth");
    let mut served = Served::start(&mut command);
    served.line(|line| line.contains("authentication is off"));
    let headers =
        "X-Request-Id: trace-7\r\nX-API-Key: hunter2hunter2\r\nAuthorization: Bearer hunter3hunter3\r\n";
    let answer = served.get("/api/v1/projects?cursor=hunter4hunter4", headers);
    assert!(answer.contains("x-request-id: trace-7") && answer.contains("x-sandkeep-warning: "), "{answer}");
    let line = served.line(|line| line.contains("\"answered\""));
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["http.route"], &line["error.code"]),
        (&"/api/v1/projects".into(), &"invalid_query".into())
    );
    assert_eq!(line["span"]["request.id"], "trace-7", "{line}");
    served.signal(Signal::TERM);
    assert_eq!(served.end(), Some(0));
    served.seen.extend(served.lines.iter());
    assert!(!served.seen.iter().any(|line| line.contains("hunter")), "{:#?}", served.seen);
    let ours = served.seen.iter().filter(|line| !line.starts_with("sandkeep: "));
    ours.for_each(|line| {
        drop(serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("{line}")))
    });
}
