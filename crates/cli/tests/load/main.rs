//! Hundreds of readers of one execution that prints two hundred thousand lines as fast as it can, by a real server; a thousand in
//! the long form.
//!
//! Whoever reads to the end, live or later, sees the stored bytes, each once. What the server takes for it is bounded by the
//! number of readers and not by what they have yet to read, and with them it goes.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail like tests, and figures are told"
)]

mod readers;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use readers::{Kind, Phase, Reading};
use support::server::{self, At, PATIENCE, Server, Usage};

const LINES: u32 = 200_000;
/// How many of a hundred read how.
const MIX: [(Kind, usize); 10] = [
    (Kind::Events, 30),
    (Kind::Socket, 20),
    (Kind::Slow, 10),
    (Kind::Returns, 10),
    (Kind::SocketReturns, 5),
    (Kind::Late, 6),
    (Kind::After, 6),
    (Kind::Vanishes, 7),
    (Kind::Pages, 3),
    (Kind::Bytes, 3),
];

/// Readers, in hundreds. They take this process longer than the server, which is no debug build.
fn hundreds() -> usize {
    if support::is_soak() { 10 } else { 4 }
}

/// What a reader may take of the server: a piece (32 KiB) as bytes or as JSON, and what a connection buffers of an answer (64 KiB
/// and the piece that went over it). 60 to 70 KiB each were measured; without these bounds it was many times that.
const READER_KIB: u64 = 128;
/// What is there for all of them: pieces in memory (1 MiB), parts that two of them fetch from the store, the database's cache,
/// the allocator's reserve.
const SHARED_KIB: u64 = 32 * 1024;

/// Descriptors that may have come to stay: those of the database's connections for reads, which are opened as they are needed.
const FEW: u64 = 8;

/// Waits until the server holds no more than before.
async fn given_back(server: &Server, before: Usage) -> Usage {
    server.at.until_alone().await;
    let begun = Instant::now();
    loop {
        let usage = server.usage();
        if usage.descriptors <= before.descriptors + FEW {
            return usage;
        }
        assert!(begun.elapsed() < PATIENCE, "{usage:?}, before it was {before:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// An execution that prints so many lines once somebody lets it.
async fn execution(at: &At, sandbox: &str, lines: u32) -> String {
    let line = format!("while ! [ -e go ]; do sleep 0.01; done; rm go; seq {lines}");
    let made =
        at.made(&format!("/sandboxes/{sandbox}/executions"), &json!({"command": ["sh", "-c", line]})).await;
    format!("/executions/{}", made["id"].as_str().unwrap())
}

fn reading(at: &At, execution: String, lines: u32) -> Arc<Reading> {
    Arc::new(Reading {
        at: at.clone(),
        execution,
        expected: (1..=lines).flat_map(|n| format!("{n}\n").into_bytes()).collect(),
        phase: watch::Sender::new(Phase::Waiting),
        there: Semaphore::new(0),
        asking: Semaphore::new(64),
    })
}

/// Reads an execution in all ways at once.
async fn all_ways(at: &At, sandbox: &str, lines: u32, mix: &[(Kind, usize)]) -> Arc<Reading> {
    let reading = reading(at, execution(at, sandbox, lines).await, lines);
    let mut readers = JoinSet::new();
    for (kind, count) in mix {
        for _ in 0..*count {
            readers.spawn(Arc::clone(&reading).read(*kind));
        }
    }
    let early = mix.iter().filter(|(kind, _)| kind.is_early()).map(|(_, count)| *count).sum::<usize>();
    let there = reading.there.acquire_many(u32::try_from(early).unwrap());
    drop(tokio::time::timeout(PATIENCE, there).await.expect("all early ones are there").unwrap());
    let go = json!({"command": ["touch", "go"]});
    at.made(&format!("/sandboxes/{sandbox}/executions?wait=true"), &go).await;
    reading.phase.send_replace(Phase::Running);
    let ended = async {
        let path = format!("{}/output?after={}", reading.execution, reading.expected.len());
        while at.ask("GET", &path, "", "").await.unwrap().json()["complete"] != true {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.expect("its end is written though many read slowly");
    reading.phase.send_replace(Phase::Ended);
    while let Some(read) =
        tokio::time::timeout(PATIENCE, readers.join_next()).await.expect("all come to the end")
    {
        read.unwrap();
    }
    reading
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_of_two_hundred_thousand_lines() {
    server::allow_descriptors();
    let directory = support::directory();
    let data = directory.path().join("data");
    let mut command = server::serve(&data);
    // Whoever takes nothing is to be held for as long as it takes, not given up. And it is this process that is slow to send its
    // requests, having hundreds of readers at work in it.
    command.env("SANDKEEP_LIMITS_WRITE_TIMEOUT", "10m").env("SANDKEEP_LIMITS_HEADER_TIMEOUT", "2m");
    command.env("SANDKEEP_END_SANDBOXES", "true");
    let server = Server::start(command, &data, &directory.path().join("log")).await;
    let at = &server.at;
    let wanted = json!({"limits": {"output_bytes": "8Mi"}});
    let sandbox = at.made("/sandboxes?wait=running", &wanted).await["id"].as_str().unwrap().to_owned();

    // What is opened once and stays, such as the database's connections for reads.
    let few = MIX.map(|(kind, _)| (kind, 4));
    all_ways(at, &sandbox, 20_000, &few).await;
    at.until_alone().await;
    let before = server.usage();

    let begun = Instant::now();
    let mix = MIX.map(|(kind, of_hundred)| (kind, of_hundred * hundreds()));
    let readers = mix.iter().map(|(_, count)| *count as u64).sum::<u64>();
    let reading = all_ways(at, &sandbox, LINES, &mix).await;
    let took = begun.elapsed();
    let path = format!("{}/output", reading.execution);
    let stored = at.ask("GET", &path, "Accept: application/octet-stream\r\n", "").await.unwrap();
    assert!(stored.body == reading.expected, "what was read is what is stored");
    let after = given_back(&server, before).await;
    println!("{readers} readers of {LINES} lines: {took:?}; before {before:?}, after {after:?}");
    let grown = after.peak_kib - before.peak_kib;
    let bound = readers * READER_KIB + SHARED_KIB;
    assert!(grown <= bound, "{grown} KiB more at the peak, of {bound} that {readers} readers may take");
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await, Some(0));
}
