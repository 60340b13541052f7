//! Many sandboxes at once: what one weighs when idle, how fast they come, and that nothing is left of them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use sandkeep_core::code::Problem;
use sandkeep_core::enforcement::Level;
use sandkeep_runtime::driver::Facts;
use sandkeep_runtime::local::{ID_BASE, Slots, StateDirectory};
use sandkeep_runtime::{Driver, Sandbox};
use serde::Serialize;
use tokio::task::JoinSet;

use super::life;
use super::stats;
use super::weight::{self, Host, Process};
use crate::out::Stop;

/// An idle sandbox: booted, one command done. Bytes, medians over [`IDLE_COUNT`] of them unless said otherwise.
#[derive(Debug, Serialize)]
pub(crate) struct Idle {
    pub(crate) sandboxes: usize,
    /// Proportional set size of supervisor and agent; `None` where we may not read it: an ordinary user may not look
    /// into the agent.
    pub(crate) pss_bytes: Option<u64>,
    /// The same of one that is alone and shares its pages with nobody.
    pub(crate) pss_alone_bytes: Option<u64>,
    /// Kernel memory charged to the sandbox's group; `None` without groups.
    pub(crate) group_kernel_bytes: Option<u64>,
    /// What the machine had less available with all of them, for each: everything counts here, also what other
    /// programs did meanwhile.
    pub(crate) available_delta_bytes: i64,
    /// The kernel's objects in that.
    pub(crate) slab_delta_bytes: i64,
    /// Why there are fewer than [`IDLE_COUNT`].
    pub(crate) failure: Option<String>,
}

/// Enough that what the machine says can be divided.
const IDLE_COUNT: u32 = 200;

/// Many sandboxes alive.
#[derive(Debug, Serialize)]
pub(crate) struct Alive {
    pub(crate) asked: u32,
    /// How many there were at once.
    pub(crate) alive: usize,
    /// How many of them answered a command while all were there.
    pub(crate) answered: usize,
    pub(crate) created_per_second: f64,
    pub(crate) commands_per_second: f64,
    pub(crate) stopped_per_second: f64,
    /// Median proportional set size of supervisor and agent; `None` where we may not read it.
    pub(crate) pss_bytes: Option<u64>,
    pub(crate) available_delta_bytes: i64,
    pub(crate) left: Left,
    /// The first failure.
    pub(crate) failure: Option<String>,
}

/// What is still there after the end. All zero, or something is wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Left {
    pub(crate) processes: usize,
    pub(crate) mounts: usize,
    pub(crate) group_processes: usize,
}

/// Sandboxes being made, used or ended at the same time: enough to keep a few processors busy.
const IN_FLIGHT: usize = 4;

type Held = Arc<dyn Sandbox>;

/// # Errors
/// The driver's.
pub(crate) async fn idle(driver: &Arc<dyn Driver>) -> Result<Idle, Stop> {
    let alone = life::create(driver.as_ref()).await?;
    life::run(alone.as_ref(), &["true"]).await?;
    let pss_alone_bytes = weight::pss(alone.facts());
    let before = Host::now();
    let (crowd, failure) = gather(driver, IDLE_COUNT).await;
    each(&crowd, |sandbox| async move { life::run(sandbox.as_ref(), &["true"]).await.is_ok() }).await;
    let after = Host::now();
    let facts: Vec<_> = crowd.iter().map(|sandbox| sandbox.facts().clone()).collect();
    let idle = Idle {
        sandboxes: crowd.len(),
        pss_bytes: middle(facts.iter().filter_map(weight::pss)),
        pss_alone_bytes,
        group_kernel_bytes: middle(crowd.iter().filter_map(|sandbox| group_kernel(sandbox.as_ref()))),
        available_delta_bytes: per(before.available, after.available, crowd.len()),
        slab_delta_bytes: per(after.slab, before.slab, crowd.len()),
        failure: failure.map(|problem| problem.to_string()),
    };
    stop_all(&crowd).await;
    alone.stop().await;
    Ok(idle)
}

/// # Errors
/// The directory of locks cannot be used.
pub(crate) async fn alive(
    driver: &Arc<dyn Driver>,
    asked: u32,
    state_dir: Option<&PathBuf>,
) -> Result<Alive, Stop> {
    crate::host::allow_descriptors();
    let (before, mounts_before) = (Host::now(), weight::mounts());
    let begun = Instant::now();
    let (crowd, failure) = gather(driver, asked).await;
    let created = begun.elapsed();
    let begun = Instant::now();
    let run = |sandbox: Held| async move { life::run(sandbox.as_ref(), &["true"]).await.is_ok() };
    let answered = each(&crowd, run).await;
    let ran = begun.elapsed();
    let after = Host::now();
    let facts: Vec<_> = crowd.iter().map(|sandbox| sandbox.facts().clone()).collect();
    let pss_bytes = middle(facts.iter().filter_map(weight::pss));
    let processes = processes(&facts);
    let begun = Instant::now();
    stop_all(&crowd).await;
    let stopped = begun.elapsed();
    let state = state_dir.cloned().unwrap_or_else(StateDirectory::default_path);
    Ok(Alive {
        asked,
        alive: crowd.len(),
        answered,
        created_per_second: rate(crowd.len(), created),
        commands_per_second: rate(answered, ran),
        stopped_per_second: rate(crowd.len(), stopped),
        pss_bytes,
        available_delta_bytes: per(before.available, after.available, crowd.len()),
        left: Left {
            processes: processes.iter().filter(|process| process.is_left()).count(),
            mounts: weight::mounts().saturating_sub(mounts_before),
            group_processes: left_in_groups(&facts, &state),
        },
        failure: failure.map(|problem| problem.to_string()),
    })
}

/// `None` where no group holds its memory: a group of that name is then somebody else's.
fn group_kernel(sandbox: &dyn Sandbox) -> Option<u64> {
    (sandbox.enforcement().memory == Level::Kernel).then(|| weight::group_kernel(sandbox.facts().slot))?
}

/// Makes sandboxes until there are `count` or one cannot be made.
async fn gather(driver: &Arc<dyn Driver>, count: u32) -> (Vec<Held>, Option<Problem>) {
    let (mut making, mut crowd, mut failure) = (JoinSet::new(), Vec::new(), None);
    let mut begun = 0;
    loop {
        while begun < count && making.len() < IN_FLIGHT && failure.is_none() {
            let driver = Arc::clone(driver);
            making.spawn(async move { life::create(driver.as_ref()).await });
            begun += 1;
        }
        match making.join_next().await {
            Some(Ok(Ok(sandbox))) => crowd.push(Arc::from(sandbox)),
            Some(Ok(Err(problem))) => failure = failure.or(Some(problem)),
            Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            None => return (crowd, failure),
        }
    }
}

/// Does something with each of them, a few at a time; how often it said yes.
async fn each<F>(crowd: &[Held], act: impl Fn(Held) -> F) -> usize
where
    F: Future<Output = bool> + Send + 'static,
{
    let (mut acting, mut yes) = (JoinSet::new(), 0);
    let mut waiting = crowd.iter();
    loop {
        while acting.len() < IN_FLIGHT {
            let Some(sandbox) = waiting.next() else { break };
            acting.spawn(act(Arc::clone(sandbox)));
        }
        match acting.join_next().await {
            Some(outcome) => yes += usize::from(outcome.unwrap_or(false)),
            None => return yes,
        }
    }
}

async fn stop_all(crowd: &[Held]) {
    each(crowd, |sandbox| async move {
        sandbox.stop().await;
        true
    })
    .await;
}

fn processes(facts: &[Facts]) -> Vec<Process> {
    facts.iter().flat_map(|facts| [facts.supervisor_pid, facts.agent_pid]).filter_map(Process::find).collect()
}

/// Processes in groups of slots that nobody has taken since.
fn left_in_groups(facts: &[Facts], state: &std::path::Path) -> usize {
    let locks = Slots::of(state, ID_BASE).directory;
    let is_free = |slot: u32| {
        let lock = std::fs::File::open(locks.join(slot.to_string()));
        lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok())
    };
    facts.iter().map(|facts| facts.slot).filter(|slot| is_free(*slot)).map(weight::group_processes).sum()
}

fn middle(values: impl Iterator<Item = u64>) -> Option<u64> {
    let mut sorted: Vec<_> = values.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

fn per(more: u64, less: u64, count: usize) -> i64 {
    let difference = i128::from(more) - i128::from(less);
    let count = i128::try_from(count.max(1)).unwrap_or(i128::MAX);
    i64::try_from(difference / count).unwrap_or(i64::MAX)
}

fn rate(count: usize, time: Duration) -> f64 {
    let count = f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    (count / time.as_secs_f64().max(stats::millis(Duration::from_micros(1))) * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_per_sandbox() {
        assert_eq!(per(1_000, 400, 6), 100);
        assert_eq!(per(400, 1_000, 6), -100);
        assert_eq!(per(400, 1_000, 0), -600);
        assert_eq!(middle([5, 1, 9].into_iter()), Some(5));
        assert_eq!(middle([].into_iter()), None);
        assert!((rate(10, Duration::from_secs(4)) - 2.5).abs() < 1e-9);
    }
}
