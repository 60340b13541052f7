//! A server is killed, at random moments and at every commit, while executions write numbered lines; started again, it has
//! lost nothing: every execution has one end, its output has every line once and in order, and nothing is left over.
//!
//! The server is this very program, started for the one test that is none (`server`), with its task in the environment.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says what it skips"
)]

mod books;
#[path = "../../../store/tests/support/postgres.rs"]
mod postgres;
mod server;

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use books::Bed;
use sandkeep_core::execution::ExecutionState;

/// A server with one task, as a process.
struct Server {
    process: std::process::Child,
}

impl Server {
    fn start(bed: &Bed, task: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["server", "--exact", "--nocapture", "--test-threads=1"])
            .env(server::TASK, task)
            .env(server::DIRECTORY, bed.directory())
            .env(server::OWNER, &bed.owner)
            .stdout(Stdio::piped());
        if let Some(url) = &bed.url {
            command.env(server::URL, url);
        }
        Self { process: command.spawn().unwrap() }
    }

    fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        self.ended().1
    }

    /// Waits for its end; whether that was a good one, and the ids of what it accepted.
    fn ended(self) -> (bool, Vec<String>) {
        let output = self.process.wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let accepted = said.lines().filter_map(|line| line.strip_prefix("accepted ")).map(str::to_owned);
        (output.status.success(), accepted.collect())
    }

    /// Waits for a good end.
    #[track_caller]
    fn done(self) -> Vec<String> {
        let (well, accepted) = self.ended();
        assert!(well, "the server ended badly");
        accepted
    }
}

/// The process that the tests below start and kill.
#[test]
fn server() {
    if let Ok(task) = std::env::var(server::TASK) {
        server::run(&task);
    }
}

fn is_soak() -> bool {
    std::env::var_os("SANDKEEP_SOAK").is_some()
}

/// How often a server is killed, on each database.
fn kills() -> u32 {
    let given = std::env::var("SANDKEEP_KILLS").ok().map(|text| text.parse().unwrap());
    given.unwrap_or_else(|| if is_soak() { 2_000 } else { 50 })
}

/// A small generator of random numbers (Knuth's constants); the seed is in the test's output.
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let given = std::env::var("SANDKEEP_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed: u64 = given.unwrap_or_else(|| u64::from(std::process::id()) * 1_000_003);
        println!("SANDKEEP_SEED={seed}");
        Self(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Kills a server again and again while it accepts and runs, then lets one finish everything.
fn killed_at_random(bed: &Bed) {
    let mut random = Random::seeded();
    let mut accepted = Vec::new();
    for _ in 0..kills() {
        let server = Server::start(bed, "work");
        std::thread::sleep(Duration::from_micros(random.below(700_000))); // the moment itself, not a wait for something
        accepted.extend(server.kill());
    }
    Server::start(bed, "drain").done();
    println!("{} executions were accepted", accepted.len());
    assert!(accepted.len() > 20, "hardly anything was accepted");
    bed.assert_all_ended(&accepted, |_, result| result.status == ExecutionState::Succeeded);
    bed.assert_nothing_is_left();
}

/// Aborts a server at each point of one execution's life, and lets another finish it. There are `least` points at least.
fn killed_at_every_commit(task: &str, least: u64, make: impl Fn() -> Option<Bed>) {
    let begun = Instant::now();
    for point in 1.. {
        let Some(bed) = make() else { return };
        let (got_through, accepted) = Server::start(&bed, &format!("{task} {point}")).ended();
        Server::start(&bed, "drain").done();
        let found = bed.assert_all_ended(&accepted, |_, result| result.status == ExecutionState::Succeeded);
        assert!(found <= 1, "point {point}: one was asked for");
        bed.assert_nothing_is_left();
        if got_through {
            println!("{} points in {:?}", point - 1, begun.elapsed());
            assert!(point > least, "there were only {} points", point - 1);
            return;
        }
    }
}

mod killed_at_random {
    #[test]
    fn sqlite() {
        super::killed_at_random(&super::Bed::sqlite());
    }

    #[test]
    fn postgres() {
        if let Some(bed) = super::Bed::postgres("killed_at_random") {
            super::killed_at_random(&bed);
        }
    }
}

mod killed_at_every_commit {
    #[test]
    fn sqlite() {
        super::killed_at_every_commit("once", LEAST, || Some(super::Bed::sqlite()));
    }

    #[test]
    fn postgres() {
        super::killed_at_every_commit("once", LEAST, || super::Bed::postgres("killed_at_every_commit"));
    }

    /// Accept both, claim and make the sandbox, output, end, and the sandbox's own end.
    const LEAST: u64 = 12;
}

/// The same in a sandbox that is held, where one write accepts and starts.
mod killed_at_every_commit_in_a_live_sandbox {
    #[test]
    fn sqlite() {
        super::killed_at_every_commit("live", LEAST, || Some(super::Bed::sqlite()));
    }

    #[test]
    fn postgres() {
        super::killed_at_every_commit("live", LEAST, || super::Bed::postgres("killed_in_a_live_sandbox"));
    }

    /// Accept, output, end.
    const LEAST: u64 = 6;
}

#[test]
fn what_is_stopped_in_peace_goes_on() {
    let bed = Bed::sqlite();
    let accepted = Server::start(&bed, "leave").done();
    assert_eq!(bed.living(), 1, "the sandbox is still there");
    Server::start(&bed, "drain").done();
    assert_eq!(bed.assert_all_ended(&accepted, |_, result| result.status == ExecutionState::Succeeded), 1);
    bed.assert_nothing_is_left();
}

#[test]
fn what_died_in_the_meantime_is_lost() {
    let bed = Bed::sqlite();
    let accepted = Server::start(&bed, "leave").done();
    bed.kill_all();
    Server::start(&bed, "drain").done();
    assert_eq!(bed.assert_all_ended(&accepted, |_, result| result.status == ExecutionState::Lost), 1);
    bed.assert_nothing_is_left();
}

#[test]
fn what_no_books_know_is_ended() {
    let bed = Bed::sqlite();
    Server::start(&bed, "drain").done();
    bed.leave_one_behind();
    assert_eq!(bed.living(), 1);
    Server::start(&bed, "drain").done();
    bed.assert_nothing_is_left();
}

#[test]
fn a_server_that_is_to_take_all_along_does() {
    let bed = Bed::sqlite();
    let accepted = Server::start(&bed, "end").done();
    assert_eq!(bed.living(), 0);
    Server::start(&bed, "drain").done();
    assert_eq!(bed.assert_all_ended(&accepted, |_, result| result.status == ExecutionState::Lost), 1);
    bed.assert_nothing_is_left();
}
