//! The server over HTTP beside `bwrap`, a bare spawn and a bare axum route, and what it weighs when nothing happens.
//!
//! `SANDKEEP_BIN=… cargo bench -p sandkeep-server --bench http` (what `./dev bench` calls). The server is the real program, in
//! a process of its own; the bare route is in this one. Rounds of what is compared alternate, and medians are told.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a benchmark fails like a test and tells"
)]

mod client;
mod served;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use client::Client;
use served::Served;

const ROUNDS: usize = 200;
/// Reads of a round, on each of so many connections.
const READS: usize = 500;
const CONNECTIONS: usize = 4;
const READ_ROUNDS: usize = 9;
const CROWD: usize = 500;
/// How long nothing happens while processor time is counted.
const STILL: Duration = Duration::from_secs(20);

fn main() {
    println!("load {}", std::fs::read_to_string("/proc/loadavg").unwrap().trim());
    let server = Served::start();
    idle(&server);
    executions(&server);
    reads(&server);
    crowd(&server);
}

fn idle(server: &Served) {
    let before = server.cpu_ticks();
    std::thread::sleep(STILL);
    let ticks = server.cpu_ticks() - before;
    // USER_HZ is 100 on every Linux that we run on.
    let percent = ticks as f64 / 100.0 / STILL.as_secs_f64() * 100.0;
    println!("idle: {:.1} MB resident, {percent:.2} % of a processor", server.resident_mb());
}

/// One call that makes a sandbox and runs a command in it, a command in one that is there, and what they are held against.
fn executions(server: &Served) {
    let mut client = server.client();
    let sandbox = client.made("/api/v1/sandboxes?wait=running", "{}");
    let live = format!("/api/v1/sandboxes/{sandbox}/executions?wait=true");
    let command = r#"{"command":["/usr/bin/true"]}"#;
    let mut run = |path: &str| ended_well(&client.post(path, command));
    let (cold, bwrap) = alternating(|| run("/api/v1/executions?wait=true"), || spawned(&mut bubblewrap()));
    let (live, spawn) = alternating(|| run(&live), || spawned(&mut Command::new("/usr/bin/true")));
    println!(
        "create + first command over HTTP: {cold:.2} ms, bwrap {bwrap:.2} ms: {:.2} of it",
        cold / bwrap
    );
    println!(
        "command in a live sandbox over HTTP: {live:.2} ms, bare spawn {spawn:.2} ms: {:.2} of it",
        live / spawn
    );
}

/// Medians in milliseconds of two that are compared, and so nothing else between them: what is left of namespaces that are gone
/// the kernel clears away later, at the cost of whatever is measured then.
fn alternating(mut ours: impl FnMut(), mut theirs: impl FnMut()) -> (f64, f64) {
    let mut figures: [Vec<Duration>; 2] = Default::default();
    for _ in 0..ROUNDS {
        figures[0].push(timed(&mut ours));
        figures[1].push(timed(&mut theirs));
    }
    let [ours, theirs] = figures.map(median_ms);
    (ours, theirs)
}

fn ended_well(answer: &str) {
    assert!(answer.contains("\"status\":\"succeeded\""), "{answer}");
}

fn spawned(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn bubblewrap() -> Command {
    let mut command = Command::new("bwrap");
    command.args(["--unshare-all", "--ro-bind", "/usr", "/usr"]);
    for place in ["/bin", "/lib", "/lib64"] {
        match std::fs::read_link(place) {
            Ok(to) => drop(command.arg("--symlink").arg(to).arg(place)),
            Err(_) => drop(command.args(["--ro-bind-try", place, place])),
        }
    }
    command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "true"]);
    command
}

/// One row as JSON, and a route of nothing but axum that answers with as many bytes.
fn reads(server: &Served) {
    let mut client = server.client();
    let path = format!("/api/v1/sandboxes/{}", client.made("/api/v1/sandboxes?wait=running", "{}"));
    let answer = client.get(&path);
    let bare = served::bare(answer);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..READ_ROUNDS {
        theirs.push(reads_a_second(|| Client::connect(&bare, ""), "/"));
        ours.push(reads_a_second(|| server.client(), &path));
    }
    let (ours, theirs) = (middle(ours), middle(theirs));
    println!("reads: {ours:.0} a second, bare axum {theirs:.0}: {:.2} of it", ours / theirs);
}

fn reads_a_second(connect: impl Fn() -> Client, path: &str) -> f64 {
    let clients: Vec<Client> = (0..CONNECTIONS).map(|_| connect()).collect();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for mut client in clients {
            scope.spawn(move || (0..READS).for_each(|_| drop(client.get(path))));
        }
    });
    (CONNECTIONS * READS) as f64 / begun.elapsed().as_secs_f64()
}

fn crowd(server: &Served) {
    let mut client = server.client();
    let small = r#"{"limits":{"memory_bytes":"32Mi","disk_bytes":"4Mi"}}"#;
    for _ in 0..CROWD {
        client.made("/api/v1/sandboxes?wait=running", small);
    }
    println!("with {CROWD} sandboxes: {:.1} MB resident", server.resident_mb());
}

fn timed(act: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    act();
    begun.elapsed()
}

fn median_ms(figures: Vec<Duration>) -> f64 {
    middle(figures.into_iter().map(|figure| figure.as_secs_f64() * 1_000.0).collect())
}

fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
