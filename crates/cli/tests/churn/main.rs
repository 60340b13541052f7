//! A server over a long time: executions with every kind of end, several clients at once, readers that leave; killed, stopped
//! and started again at random moments; its machine's clock set forward and back by minutes. On SQLite, and on
//! PostgreSQL, whose connections break.
//!
//! After each round, everything that was accepted has one end, and nothing is left over. In the second part one server lives
//! through all rounds, and what it holds has to stay what it is ([`flat`]).
//!
//! `SANDKEEP_CHURN_MINUTES` is how long it takes; the choices come from a seed, which is printed and can be given in
//! `SANDKEEP_SEED`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail like tests, and figures are told"
)]

mod books;
mod flat;
mod life;
#[path = "../../../store/tests/support/postgres.rs"]
mod postgres;
#[path = "../support/mod.rs"]
mod support;
mod work;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use life::{Bed, Life};
use work::{Accepted, Worker};

/// Clients at once.
const WORKERS: u64 = 6;
/// By how many seconds a clock is wrong, at most.
const WRONG_MOST: u64 = 900;

/// A small generator of random numbers (Knuth's constants).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn seed() -> u64 {
    let given = std::env::var("SANDKEEP_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| u64::from(std::process::id()) * 1_000_003);
    println!("SANDKEEP_SEED={seed}");
    seed
}

/// For one database.
fn time() -> Duration {
    let given = std::env::var("SANDKEEP_CHURN_MINUTES").ok().map(|text| text.parse::<f64>().unwrap());
    let minutes = given.unwrap_or_else(|| if support::is_soak() { 60.0 } else { 0.6 });
    Duration::from_secs_f64(minutes * 60.0 / 2.0)
}

/// Counted over the whole host, so one at a time.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A wrong clock, or a right one.
fn wrong(random: &mut Random) -> i64 {
    match random.below(3) {
        0 => 0,
        1 => i64::try_from(random.below(WRONG_MOST)).unwrap(),
        _ => -i64::try_from(random.below(WRONG_MOST)).unwrap(),
    }
}

/// Everybody works until `end`, while `meddle` does what it does; then all of it has come to its end.
async fn round(
    bed: &Bed,
    life: &mut Life<'_>,
    random: &mut Random,
    end: Instant,
    position: &mut i64,
    meddle: impl AsyncFn(&mut Life<'_>, &mut Random),
) -> usize {
    let accepted = Mutex::new(Accepted::default());
    let marker = format!("churn{}x{}", std::process::id(), random.next());
    let workers = (0..WORKERS).map(|_| {
        let (at, random, marker) = (life.at.subscribe(), Random(random.next()), marker.clone());
        let mut worker = Worker { at, accepted: &accepted, random, marker };
        async move {
            while Instant::now() < end {
                worker.once().await;
            }
        }
    });
    let workers: Vec<_> = workers.collect();
    let meddling = async {
        while Instant::now() < end {
            meddle(life, random).await;
        }
    };
    // One that fails ends the round.
    tokio::join!(futures_util::future::join_all(workers), meddling);
    let accepted = accepted.into_inner().unwrap_or_else(PoisonError::into_inner);
    let at = life.server().at.clone();
    *position = books::assert_all_ended(&at, &accepted, *position).await;
    books::assert_nothing_is_left(&at, bed, &marker).await;
    accepted.executions.len()
}

/// Servers come and go.
async fn with_restarts(bed: &Bed, random: &mut Random, position: &mut i64, until: Instant) {
    let mut life = Life::begin(bed).await;
    let (mut executions, mut restarts, mut rounds) = (0, std::cell::Cell::new(0_u32), 0);
    while Instant::now() < until {
        let end = Instant::now() + Duration::from_secs(4 + random.below(6));
        executions += round(bed, &mut life, random, end, position, async |life, random| {
            // The moment itself, not a wait for something.
            tokio::time::sleep(Duration::from_micros(random.below(1_500_000))).await;
            // A short form has one kill at least.
            match if restarts.get() == 0 { 2 } else { random.below(4) } {
                0 => bed.set_clock(wrong(random)),
                1 => bed.break_connections().await,
                kind => {
                    if random.below(2) == 0 {
                        bed.set_clock(wrong(random));
                    }
                    restarts.set(restarts.get() + 1);
                    life.again(if kind == 2 { Signal::KILL } else { Signal::TERM }).await;
                }
            }
        })
        .await;
        rounds += 1;
    }
    println!("{executions} executions in {rounds} rounds, {} restarts", restarts.get_mut());
    assert!(executions > 10 && *restarts.get_mut() > 0, "hardly anything was done");
    bed.set_clock(0);
    let server = life.server.take().unwrap();
    server.signal(Signal::TERM);
    server.ended().await;
}

/// One server lives through it all.
async fn in_one_life(bed: &Bed, random: &mut Random, position: &mut i64, until: Instant) {
    let mut life = Life::begin(bed).await;
    let each = (until.saturating_duration_since(Instant::now()) / ROUNDS_LEAST).min(ROUND_MOST);
    let (mut samples, mut executions) = (Vec::new(), 0);
    while Instant::now() < until || samples.len() < 6 {
        let end = Instant::now() + each;
        executions += round(bed, &mut life, random, end, position, async |_, random| {
            tokio::time::sleep(Duration::from_micros(random.below(1_000_000))).await;
            bed.set_clock(wrong(random));
            bed.break_connections().await;
        })
        .await;
        let server = life.server();
        server.at.until_alone().await;
        let tasks = server.at.metric("sandkeep_http_tasks").await;
        samples.push(flat::Sample { usage: server.usage(), tasks });
    }
    let told = |sample: &flat::Sample| {
        let usage = sample.usage;
        format!(
            "{} KiB, {} descriptors, {} threads, {} tasks",
            usage.rss_kib, usage.descriptors, usage.threads, sample.tasks
        )
    };
    let (first, last) = (&samples[samples.len() / 3], samples.last().unwrap());
    println!(
        "{executions} executions in {} rounds of one life: {}; at the end {}",
        samples.len(),
        told(first),
        told(last)
    );
    let complaints = flat::complaints(&samples);
    assert!(complaints.is_empty(), "{complaints:#?}");
    let server = life.server.take().unwrap();
    server.signal(Signal::TERM);
    assert_eq!(server.ended().await, Some(0));
}

/// Few enough for the short form, enough for a line.
const ROUNDS_LEAST: u32 = 9;
const ROUND_MOST: Duration = Duration::from_secs(20);

fn churn(bed: &Bed) {
    let mut random = Random(seed());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (begun, whole) = (Instant::now(), time());
    runtime.block_on(async {
        let mut position = 0;
        with_restarts(bed, &mut random, &mut position, begun + whole / 2).await;
        in_one_life(bed, &mut random, &mut position, Instant::now() + whole / 2).await;
    });
    println!("{:?}", begun.elapsed());
}

#[test]
fn sqlite() {
    let _alone = alone();
    churn(&Bed::new(None));
}

#[test]
fn postgres() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let Some(url) = runtime.block_on(postgres::fresh_database("churn")) else { return };
    churn(&Bed::new(Some(url)));
}
