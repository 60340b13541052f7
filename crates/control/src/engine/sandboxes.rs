//! Sandboxes: from what is wanted to what is.

use std::sync::Arc;
use std::time::Duration;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::enforcement::Demand;
use sandkeep_core::execution::ExecutionState;
use sandkeep_core::id::SandboxId;
use sandkeep_core::limits::Explicit;
use sandkeep_runtime::{Sandbox as LiveSandbox, driver};
use sandkeep_store::Durability;
use sandkeep_store::executions::Claim;
use sandkeep_store::sandboxes::{self, Observed, Sandbox};
use sandkeep_store::wake::Channel;
use serde::{Deserialize, Serialize};

use super::executions::{Taker, take};
use super::find::owned;
use super::{Engine, Held, PASS_MOST, PERIOD, Taken, lock};
use crate::events;
use crate::request::SandboxSpec;

/// After the first failure, doubled with each, up to [`BACKOFF_MOST`].
const BACKOFF: Duration = Duration::from_secs(1);
const BACKOFF_MOST: Duration = Duration::from_secs(300);

/// Why a sandbox is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failure {
    /// A stable code.
    pub(crate) code: String,
    /// What is told.
    pub(crate) message: String,
    /// How often it was tried.
    pub(crate) attempt: u32,
}

/// Whether it was made for one execution, and goes with it.
pub(super) fn is_once(sandbox: &Sandbox) -> bool {
    serde_json::from_str::<SandboxSpec>(&sandbox.spec).is_ok_and(|spec| spec.once)
}

/// What is to be done with a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Make,
    /// It ran under somebody who is gone, and may run still.
    Find,
    Remove(&'static str),
    /// It is what is wanted, or what is wanted is not ours to know.
    Nothing,
}

/// The decision: what is wanted against what is held here.
fn step(sandbox: &Sandbox, held: bool, outlives: bool) -> Step {
    match (sandbox.desired.as_str(), held) {
        ("running", false) if sandbox.incarnation == 0 => Step::Make,
        ("running", false) if outlives => Step::Find,
        // It ran once, and nobody has it any more: an ephemeral one does not come back.
        ("running", false) => Step::Remove("lost"),
        ("deleted", _) => Step::Remove("deleted"),
        ("expired", _) => Step::Remove("expired"),
        ("lost", _) => Step::Remove("lost"),
        _ => Step::Nothing,
    }
}

/// How what runs in a sandbox ends with it, and what is told of that.
fn end_within(reason: &'static str) -> (ExecutionState, Problem) {
    match reason {
        "lost" => (ExecutionState::Lost, Problem::new(ErrorCode::SandboxLost, "its sandbox was lost")),
        "expired" => {
            let why = Problem::new(ErrorCode::SandboxEnded, "the life of its sandbox was over");
            (ExecutionState::Cancelled, why)
        }
        _ => (ExecutionState::Cancelled, Problem::new(ErrorCode::SandboxEnded, "its sandbox was deleted")),
    }
}

/// How long until `due_us`, the period at most. A little more, so that it is due then.
fn until(due_us: Option<i64>, now_us: i64) -> Duration {
    let in_us = due_us.map_or(u64::MAX, |due_us| due_us.saturating_sub(now_us).unsigned_abs());
    PERIOD.min(Duration::from_micros(in_us.saturating_add(1_000)))
}

impl Engine {
    /// Looks for sandboxes that are not what they should be. How long until the next look: at once when there may be more
    /// than one pass takes, and otherwise when the next thing is due.
    pub(super) async fn sandbox_pass(&self) -> Duration {
        let (server_id, alive_since_us) = (self.server_id, self.alive_since_us());
        let now_us = self.parts.clock.now_us();
        let asked = (server_id, alive_since_us, now_us);
        // What is claimed to run in one of these waits until it is known whether the sandbox is there.
        let _adopting = self.adopting.lock().await;
        let claim = self.parts.store.write(Durability::Durable, asked, |tx, by| {
            Box::pin(async move {
                let expired = sandboxes::expire(tx, by.2, PASS_MOST).await?;
                let adopted = sandboxes::adopt(tx, by.0, PASS_MOST, by.1).await?;
                if !adopted.is_empty() {
                    tx.wake(Channel::Executions);
                }
                let claimed = sandboxes::claim(tx, by.0, PASS_MOST, by.1, by.2).await?;
                Ok((expired, adopted, claimed))
            })
        });
        let Some((expired, adopted, claimed)) = self.told("claim sandboxes", claim.await) else {
            return PERIOD;
        };
        let mine = async {
            let mut reader = self.parts.store.reader().await?;
            let mine = sandboxes::unsettled(&mut reader, server_id, PASS_MOST, now_us).await?;
            Ok::<_, sandkeep_store::Error>((mine, sandboxes::next_due(&mut reader, now_us).await?))
        };
        // What was taken is settled whatever comes of this: nobody would look at it again.
        let (mine, due_us) = self.told("read sandboxes", mine.await).unwrap_or_default();
        let most = expired.max(adopted.len().max(claimed.len()) as u64);
        self.settle_all(adopted.into_iter().chain(claimed));
        let is_full = mine.len() >= PASS_MOST as usize;
        // A full list of what others are at work on already is not asked for again at once.
        let goes_on = self.settle_all(mine.into_iter()) > 0 && is_full;
        if goes_on || most >= u64::from(PASS_MOST) { Duration::ZERO } else { until(due_us, now_us) }
    }

    /// How many nobody was at work on.
    fn settle_all(&self, sandboxes: impl Iterator<Item = Sandbox>) -> usize {
        let settle = |sandbox: Sandbox| {
            let taken = self.busy.take(sandbox.id)?;
            self.tasks.spawn(self.clone().settle(sandbox, taken));
            Some(())
        };
        sandboxes.filter_map(settle).count()
    }

    /// Does what is to be done with one sandbox, and what others came to do meanwhile.
    async fn settle(self, mut sandbox: Sandbox, mut taken: Taken<SandboxId>) {
        loop {
            self.step(&sandbox).await;
            sandbox = loop {
                taken = match taken.again() {
                    Some(taken) => taken,
                    None => return,
                };
                if let Some(row) = self.due(sandbox.id).await {
                    break row;
                }
            };
        }
    }

    /// The row of a sandbox with which something is to be done now, by this server.
    async fn due(&self, id: SandboxId) -> Option<Sandbox> {
        let now_us = self.parts.clock.now_us();
        let row = async { sandboxes::get(&mut self.parts.store.reader().await?, id).await };
        let row = self.told("read a sandbox", row.await).flatten();
        let is_mine = |row: &Sandbox| row.server_id == Some(self.server_id);
        let is_due = |row: &Sandbox| row.observed_generation < row.generation && row.next_try_us <= now_us;
        row.filter(|row| is_mine(row) && is_due(row))
    }

    async fn step(&self, sandbox: &Sandbox) {
        let Some(server_id) = sandbox.server_id else { return };
        let claim = Claim { server_id, token: sandbox.token };
        let held = lock(&self.held).contains_key(&sandbox.id);
        match step(sandbox, held, self.parts.driver.outlives()) {
            Step::Make => self.make(sandbox, claim).await,
            Step::Find => self.find(sandbox, claim).await,
            Step::Remove(reason) => self.remove(sandbox, claim, reason).await,
            Step::Nothing => {}
        }
    }

    async fn make(&self, sandbox: &Sandbox, claim: Claim) {
        let made = match serde_json::from_str::<SandboxSpec>(&sandbox.spec) {
            Ok(spec) => self.create(sandbox, claim, spec).await,
            Err(error) => Err(Problem::new(ErrorCode::Internal, format!("a stored sandbox: {error}"))),
        };
        match made {
            Ok(held) => self.made(sandbox, claim, held).await,
            Err(problem) => self.failed(sandbox, claim, &problem).await,
        }
    }

    async fn create(&self, sandbox: &Sandbox, claim: Claim, spec: SandboxSpec) -> Result<Held, Problem> {
        let env = spec.env(&self.parts.sealer, sandbox.project_id, sandbox.id)?;
        let (incarnation, token) = (sandbox.incarnation + 1, claim.token.unsigned_abs());
        let project_id = sandbox.project_id;
        // A server that died before it could write down that it had made one has left it.
        self.end_unheld(owned(sandbox.id, incarnation), token).await?;
        let wanted = driver::SandboxSpec {
            id: sandbox.id,
            incarnation: incarnation.unsigned_abs(),
            token,
            profile: spec.profile,
            root: driver::Root::Host,
            mounts: Vec::new(),
            layer: driver::Layer::Ephemeral,
            limits: spec.limits,
        };
        let sandbox: Arc<dyn LiveSandbox> = Arc::from(self.parts.driver.create(&wanted).await?);
        let asked = spec.asked.iter().fold(Explicit::NONE, |asked, kind| asked.with(*kind, true));
        if let Err(problem) = sandbox.enforcement().check(asked, Demand::AskedFor) {
            sandbox.stop().await;
            return Err(problem);
        }
        let (limits, env, once) = (spec.limits, Arc::new(env), spec.once);
        Ok(Held { sandbox, project_id, limits, incarnation, token, env, once })
    }

    /// Writes down that it runs, and takes up what is to run in it.
    async fn made(&self, sandbox: &Sandbox, claim: Claim, held: Held) {
        let observed = Observed {
            generation: sandbox.generation,
            state: "running",
            detail: serde_json::to_string(held.sandbox.enforcement()).ok(),
            incarnation: held.incarnation,
            place: None,
            next_try_us: None,
        };
        let live = Arc::clone(&held.sandbox);
        lock(&self.held).insert(sandbox.id, held.clone());
        self.tasks.spawn(self.clone().watch(sandbox.id, held));
        if !self.observe(sandbox, claim, observed, "sandbox.running").await {
            // It is somebody else's, or nobody knows: what was made here goes.
            lock(&self.held).remove(&sandbox.id);
            live.stop().await;
        }
    }

    async fn failed(&self, sandbox: &Sandbox, claim: Claim, problem: &Problem) {
        let before = sandbox.detail.as_deref().and_then(|text| serde_json::from_str::<Failure>(text).ok());
        let attempt = before.map_or(0, |failure| failure.attempt) + 1;
        let failure = Failure { code: problem.code.to_string(), message: problem.to_string(), attempt };
        let pause = BACKOFF.saturating_mul(1 << (attempt - 1).min(16)).min(BACKOFF_MOST);
        let next_try_us = self.parts.clock.now_us() + i64::try_from(pause.as_micros()).unwrap_or(i64::MAX);
        let observed = Observed {
            generation: sandbox.generation,
            state: "error",
            detail: serde_json::to_string(&failure).ok(),
            incarnation: sandbox.incarnation,
            place: None,
            next_try_us: Some(next_try_us),
        };
        self.observe(sandbox, claim, observed, "sandbox.error").await;
        // Whoever waits for what was to run in it is told now: the same will not become possible by waiting for them.
        let _next_time = self.end_all_in(sandbox, claim, ExecutionState::Failed, Some(problem)).await;
    }

    /// Ends everything in it, then itself.
    pub(super) async fn remove(&self, sandbox: &Sandbox, claim: Claim, reason: &'static str) {
        // Where nobody wished it away, something new could come between the ends of the rest and its own.
        let close = self.parts.store.write(Durability::Durable, (sandbox.id, claim), |tx, of| {
            Box::pin(sandboxes::close(tx, of.0, of.1))
        });
        if self.told("close a sandbox", close.await).is_none() {
            return;
        }
        let (end, why) = end_within(reason);
        // Where their ends cannot be written, it goes on until the next pass: what loses its sandbox before would be lost.
        if !self.end_all_in(sandbox, claim, end, Some(&why)).await {
            return;
        }
        let held = lock(&self.held).remove(&sandbox.id);
        if let Some(held) = held {
            held.sandbox.stop().await;
        } else if let Err(problem) = self.end_both(sandbox, claim).await {
            tracing::error!(sandbox.id = %sandbox.id, error.code = %problem.code, "cannot end a sandbox: {problem}");
            // Later, and not before others.
            return self.failed(sandbox, claim, &problem).await;
        }
        let ended = (sandbox.id, sandbox.project_id, claim, reason, self.parts.clock.now_us());
        let end = self.parts.store.write(Durability::Durable, ended, |tx, of| {
            Box::pin(async move {
                let done = sandboxes::end(tx, of.0, of.2, of.3, of.4).await?;
                if done.is_updated() {
                    let data = format!("{{\"reason\":\"{}\"}}", of.3);
                    events::tell(tx, of.1, "sandbox.terminated", &of.0, &data, of.4).await?;
                }
                Ok(())
            })
        });
        self.told("end a sandbox", end.await);
        self.parts.bells.ring(&sandbox.id.to_string());
    }

    /// Ends it where nobody here holds it: as it is written down, and as somebody may have made it since.
    async fn end_both(&self, sandbox: &Sandbox, claim: Claim) -> Result<(), Problem> {
        for incarnation in [sandbox.incarnation, sandbox.incarnation + 1] {
            self.end_unheld(owned(sandbox.id, incarnation), claim.token.unsigned_abs()).await?;
        }
        Ok(())
    }

    /// Writes down what was seen, with its event, and takes up what waited for it. False when that is no longer ours to do.
    async fn observe(&self, sandbox: &Sandbox, claim: Claim, observed: Observed, kind: &'static str) -> bool {
        let (now_us, alive_since_us) = (self.parts.clock.now_us(), self.alive_since_us());
        let by = Taker { server_id: self.server_id, alive_since_us, now_us };
        let seen = (sandbox.id, sandbox.project_id, claim, observed, kind, by);
        let write = self.parts.store.write(Durability::Durable, seen, |tx, of| {
            Box::pin(async move {
                if !sandboxes::observe(tx, of.0, of.2, &of.3, of.5.now_us).await?.is_updated() {
                    return Ok(None);
                }
                let failure = of.3.detail.as_deref().filter(|_| of.3.state == "error");
                let data = failure.unwrap_or("{}");
                events::tell(tx, of.1, of.4, &of.0, data, of.5.now_us).await?;
                let taken = take(tx, of.5).await?;
                if taken.len() >= PASS_MOST as usize {
                    tx.wake(Channel::Executions);
                }
                Ok(Some(taken))
            })
        });
        let taken = self.told("write down a sandbox", write.await).flatten();
        let ours = taken.is_some();
        self.take_up(taken.unwrap_or_default());
        self.parts.bells.ring(&sandbox.id.to_string());
        ours
    }
}
