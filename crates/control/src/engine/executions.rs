//! Executions: claimed where their sandbox is held, started, followed, ended once.

use std::time::Duration;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::enforcement::Enforcement;
use sandkeep_core::execution::{EndFacts, ExecutionResult, ExecutionState, Work, conclude};
use sandkeep_core::id::{ExecutionId, ServerId};
use sandkeep_core::time::Timestamp;
use sandkeep_runtime::{Prepared, outcome};
use sandkeep_store::executions::{self, Claim, Ending, Live};
use sandkeep_store::output::{self, Chunk};
use sandkeep_store::sandboxes::{self, Sandbox};
use sandkeep_store::{Durability, Guarded, Tx};

use super::follow::Followed;
use super::sandboxes::is_once;
use super::{Engine, Held, PASS_MOST, PERIOD, lock};
use crate::events;
use crate::executions::told_of_live as told;
use crate::output::Part;
use crate::request::ExecutionRequest;

/// An execution and the claim it is held under.
#[derive(Debug)]
pub(super) struct Mine {
    pub(super) live: Live,
    pub(super) claim: Claim,
    /// It may have been told to start before, by another server or an earlier life of this one.
    pub(super) found: bool,
}

/// What is there already of an execution that was accepted a moment ago.
#[derive(Debug)]
pub(super) struct Before {
    /// What is sealed in the row.
    pub(super) request: ExecutionRequest,
    /// Not where that was refused: it may have been for want of room then, and is said again where it lasts.
    pub(super) prepared: Option<Box<dyn Prepared>>,
}

/// In whose name executions are claimed, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taker {
    pub(super) server_id: ServerId,
    pub(super) alive_since_us: i64,
    pub(super) now_us: i64,
}

/// What was claimed.
#[derive(Debug)]
pub(super) struct Claimed {
    live: Live,
    /// Not once a cancel was accepted: then it is ended without having run.
    started: bool,
}

/// Claims what is to run in the sandboxes that this server holds, and starts it in the same write: what follows is the start,
/// and a server that dies before it leaves rows whose supervisor is asked by id.
pub(super) async fn take(tx: &mut Tx, by: Taker) -> sandkeep_store::Result<Vec<Claimed>> {
    let mut claimed = Vec::new();
    for live in executions::claim(tx, by.server_id, PASS_MOST, by.alive_since_us).await? {
        let claim = Claim { server_id: by.server_id, token: live.token };
        let started = executions::started(tx, live.id, claim, by.now_us).await?.is_updated();
        claimed.push(Claimed { live, started });
    }
    Ok(claimed)
}

/// What ran, and how it ended.
struct Done {
    work: Work,
    followed: Followed,
}

impl Engine {
    /// Looks for executions to be started or cancelled. How long until the next look: at once when there may be more than
    /// one pass takes.
    pub(super) async fn execution_pass(&self) -> Duration {
        self.cancel_asked().await;
        let (server_id, alive_since_us) = (self.server_id, self.alive_since_us());
        let by = Taker { server_id, alive_since_us, now_us: self.parts.clock.now_us() };
        let take = self.parts.store.write(Durability::Durable, by, |tx, by| Box::pin(take(tx, *by)));
        let Some(claimed) = self.told("claim executions", take.await) else { return PERIOD };
        let full = claimed.len() >= PASS_MOST as usize;
        self.take_up(claimed);
        if full { Duration::ZERO } else { PERIOD }
    }

    /// Runs what was claimed.
    pub(super) fn take_up(&self, claimed: Vec<Claimed>) {
        for Claimed { live, started } in claimed {
            let claim = Claim { server_id: self.server_id, token: live.token };
            let held = lock(&self.held).get(&live.sandbox_id).cloned();
            let mine = Mine { live, claim, found: false };
            self.tasks.spawn(self.clone().run(mine, held, started, None));
        }
    }

    /// Passes on every cancel that was accepted: to what runs here, and to what nobody has taken up.
    async fn cancel_asked(&self) {
        let asked = async {
            let mut reader = self.parts.store.reader().await?;
            executions::cancelled(&mut reader, self.server_id, PASS_MOST).await
        };
        for live in self.told("read cancels", asked.await).unwrap_or_default() {
            let lever = lock(&self.following).get(&live.id).cloned();
            match (lever, live.server_id) {
                (Some(lever), _) => lever.cancel(),
                // Queued: whoever has the sandbox claims it and sees that it is not to start; where there is no
                // sandbox yet, it ends with this write.
                (None, None) => self.end_queued(&live).await,
                (None, Some(_)) => {}
            }
        }
    }

    /// Ends what was never taken up.
    async fn end_queued(&self, live: &Live) {
        let claim = Claim { server_id: self.server_id, token: live.token + 1 };
        let end = conclude(&EndFacts { cancelled: true, ..EndFacts::default() });
        let Some(ending) = self.unstarted(live, &end, None) else { return };
        let input = (live.id, self.server_id, live.token, claim, ending, live.project_id, live.sandbox_id);
        let write = self.parts.store.write(Durability::Durable, input, |tx, of| {
            Box::pin(async move {
                if executions::take_queued(tx, of.0, of.1, of.2).await?.is_updated()
                    && executions::finish(tx, of.0, of.3, &of.4).await?.is_updated()
                {
                    tell(tx, "execution.ended", of.0, of.5, &of.4).await?;
                    wish_away_if_once(tx, of.6, of.4.finished_us).await?;
                }
                Ok(())
            })
        });
        self.told("end what was cancelled", write.await);
        self.ring(live.id);
    }

    pub(super) async fn run(self, mine: Mine, held: Option<Held>, started: bool, before: Option<Before>) {
        let (id, sandbox_id) = (mine.live.id, mine.live.sandbox_id);
        let _working = self.working.take(id);
        let held = match held {
            Some(held) => Some(held),
            None => self.settled(sandbox_id).await,
        };
        let ended = match &held {
            _ if !started => Ok(None),
            Some(held) => match self.perform(&mine, held, before).await {
                Ok(Some(done)) => Ok(Some(done)),
                Ok(None) => return,
                // Whatever failed, failed in a server that goes; how it ends is for the next to see.
                Err(_) if self.leave.is_cancelled() => return,
                // Somebody with a newer claim has the sandbox, and what runs in it.
                Err(problem) if problem.code == ErrorCode::StaleToken => return self.parts.outputs.close(id),
                Err(problem) => Err(problem),
            },
            None if self.leave.is_cancelled() => return,
            None => Err(Problem::new(ErrorCode::SandboxLost, "its sandbox is not there any more")),
        };
        if let (Some(held), Err(problem)) = (&held, &ended)
            && problem.code == ErrorCode::SandboxLost
        {
            self.make_sure_gone(sandbox_id, held).await;
        }
        let stored = self.finish(&mine, held.as_ref(), ended).await;
        self.parts.outputs.close(id);
        // Who waits is answered first.
        tokio::task::yield_now().await;
        if let Some(held) = held.filter(|_| stored) {
            self.say_stored(&held, id).await;
        }
    }

    /// Runs it to its end; `None` where it is left to whoever comes next.
    async fn perform(
        &self,
        mine: &Mine,
        held: &Held,
        before: Option<Before>,
    ) -> Result<Option<Done>, Problem> {
        let live = &mine.live;
        let (request, prepared) = match before {
            Some(Before { request, prepared }) => (request, prepared),
            None => {
                let sealed = &live.request;
                (ExecutionRequest::open(&self.parts.sealer, live.project_id, live.id, sealed)?, None)
            }
        };
        let followed = self.start_and_follow(mine, held, &request, prepared).await?;
        Ok(followed.map(|followed| Done { work: request.work.work(), followed }))
    }

    /// W5: the end, from whatever is known of it; nothing, where a cancel kept it from starting. Whether it is written.
    async fn finish(&self, mine: &Mine, held: Option<&Held>, ended: Result<Option<Done>, Problem>) -> bool {
        let now = Timestamp::from_unix_ms(self.parts.clock.now_ms());
        let enforcement = held.map_or_else(Enforcement::full, |held| held.sandbox.enforcement().clone());
        let (mut result, mut rest) = (told(&mine.live, enforcement), Vec::new());
        let end = match ended {
            Ok(Some(Done { work, followed })) => {
                rest = followed.rest;
                let end = outcome::tell(&mut result, &work, *followed.ended);
                // Written down by this machine's wall clock.
                let moved =
                    |at: Timestamp| Timestamp::from_unix_ms(self.parts.clock.at_wall_ms(at.unix_ms()));
                (result.started_at, result.finished_at) =
                    (result.started_at.map(moved), result.finished_at.map(moved));
                end
            }
            Ok(None) => conclude(&EndFacts { cancelled: true, ..EndFacts::default() }),
            Err(problem) => {
                result.error = Some(outcome::info(&problem));
                // What the sandbox refused did not run; where the sandbox is gone, nobody knows.
                let refused = problem.code != ErrorCode::SandboxLost;
                let mut end = conclude(&EndFacts::default());
                if refused {
                    end.state = ExecutionState::Failed;
                }
                end
            }
        };
        result.set_end(&end);
        in_order(&mut result, now);
        let Some(ending) = ending(&result) else { return false };
        let (chunks, parts): (Vec<Chunk>, Vec<Part>) = rest.into_iter().unzip();
        let Some(written) =
            self.write_end(&mine.live, mine.claim, ending, chunks, held.is_none_or(|held| held.once)).await
        else {
            return false;
        };
        if written.is_updated() {
            parts.into_iter().for_each(|part| self.parts.outputs.show(mine.live.id, part));
            self.tell_who_waits(result);
        }
        self.ring(mine.live.id);
        true
    }

    /// Who waits for an end looks: nobody tells it to them (any more).
    fn ring(&self, id: ExecutionId) {
        drop(self.ends.expected(id));
        self.parts.bells.ring(&id.to_string());
    }

    /// Tells an end that is written to who waits for it; what its output was is in memory, or is for them to read.
    fn tell_who_waits(&self, mut result: ExecutionResult) {
        let Some(tell) = self.ends.expected(result.id) else { return };
        let Some(excerpt) = self.parts.outputs.excerpt_here(result.id) else { return };
        excerpt.tell(&mut result);
        // They may have left.
        let _left = tell.send(result);
    }

    /// Writes an end, and with it the last of the output, until it is written or another's: which of the two. `None` when this
    /// server stops before. Where the sandbox is one that may have been made for this execution alone, it goes with it.
    async fn write_end(
        &self,
        live: &Live,
        claim: Claim,
        ending: Ending,
        chunks: Vec<Chunk>,
        may_be_once: bool,
    ) -> Option<Guarded> {
        let sandbox_id = may_be_once.then_some(live.sandbox_id);
        let input = (live.id, live.project_id, claim, ending, chunks, sandbox_id);
        loop {
            let write = self.parts.store.write(Durability::Durable, input.clone(), |tx, of| {
                Box::pin(async move {
                    let done = executions::finish(tx, of.0, of.2, &of.3).await?;
                    match done {
                        Guarded::Updated => {
                            for chunk in &of.4 {
                                output::add(tx, of.0, chunk).await?;
                            }
                            tell(tx, "execution.ended", of.0, of.1, &of.3).await?;
                            if let Some(sandbox_id) = of.5 {
                                wish_away_if_once(tx, sandbox_id, of.3.finished_us).await?;
                            }
                        }
                        // A result that came after the end: kept for whoever wonders.
                        Guarded::Stale => tell(tx, "execution.late_result", of.0, of.1, &of.3).await?,
                        Guarded::Absent => {}
                    }
                    Ok(done)
                })
            });
            if let Some(done) = self.told("write down an end", write.await) {
                return Some(done);
            }
            // The supervisor keeps the end too; but while this process lives it does not let go of it.
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep(super::HEARTBEAT) => {}
            }
        }
    }

    /// Ends everything in a sandbox that goes. False where it is not known to be ended.
    pub(super) async fn end_all_in(
        &self,
        sandbox: &Sandbox,
        claim: Claim,
        state: ExecutionState,
        problem: Option<&Problem>,
    ) -> bool {
        let taken = self.parts.store.write(Durability::Durable, (sandbox.id, claim), |tx, of| {
            Box::pin(executions::claim_of(tx, of.0, of.1))
        });
        let Some(taken) = self.told("claim what is in a sandbox", taken.await) else { return false };
        let mut all = true;
        for live in taken {
            let mut end = conclude(&EndFacts::default());
            end.state = state;
            if let Some(ending) = self.unstarted(&live, &end, problem) {
                let claim = Claim { server_id: self.server_id, token: live.token };
                all &= self.write_end(&live, claim, ending, Vec::new(), true).await.is_some();
                self.ring(live.id);
            }
            self.parts.outputs.close(live.id);
        }
        all
    }

    /// The ending of what is known by its row alone.
    fn unstarted(
        &self,
        live: &Live,
        end: &sandkeep_core::execution::End,
        problem: Option<&Problem>,
    ) -> Option<Ending> {
        let mut result = told(live, Enforcement::full());
        result.error = problem.map(outcome::info);
        result.set_end(end);
        in_order(&mut result, Timestamp::from_unix_ms(self.parts.clock.now_ms()));
        ending(&result)
    }
}

/// It has ended by `now`. A clock that was set in the meantime makes no end come before its beginning.
fn in_order(result: &mut ExecutionResult, now: Timestamp) {
    let (created, now) = (result.created_at, now.max(result.created_at));
    result.started_at = result.started_at.map(|at| at.clamp(created, now));
    let begun = result.started_at.unwrap_or(created);
    result.finished_at = Some(result.finished_at.unwrap_or(now).clamp(begun, now));
}

fn ending(result: &ExecutionResult) -> Option<Ending> {
    let finished_us =
        result.finished_at.map_or(0, |at| i64::try_from(at.unix_ms() * 1000).unwrap_or(i64::MAX));
    let text = serde_json::to_string(result).ok()?;
    Some(Ending { state: result.status.as_str(), result: text, finished_us })
}

/// Wishes a sandbox away that was made for one execution, in the write of its end: nobody is left to do it where the server dies
/// right afterwards.
async fn wish_away_if_once(
    tx: &mut Tx,
    id: sandkeep_core::id::SandboxId,
    now_us: i64,
) -> sandkeep_store::Result<()> {
    while let Some(found) = sandboxes::get(tx, id).await? {
        let goes = found.desired == "running" && is_once(&found);
        // Where another server's wish came between the two, it is looked at again.
        if !goes || sandboxes::want(tx, id, found.generation, "deleted", now_us).await? != Guarded::Stale {
            break;
        }
    }
    Ok(())
}

async fn tell(
    tx: &mut Tx,
    kind: &'static str,
    id: ExecutionId,
    project_id: sandkeep_core::id::ProjectId,
    ending: &Ending,
) -> sandkeep_store::Result<()> {
    let data = format!("{{\"status\":\"{}\"}}", ending.state);
    events::tell(tx, project_id, kind, &id, &data, ending.finished_us).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_end_comes_before_its_beginning() {
        let check =
            |created, started: Option<u64>, finished: Option<u64>, now, expected: (Option<u64>, u64)| {
                let at = Timestamp::from_unix_ms;
                let (id, sandbox_id) = (
                    sandkeep_core::id::ExecutionId::new(1, [7; 10]),
                    sandkeep_core::id::SandboxId::new(1, [7; 10]),
                );
                let kind = sandkeep_core::execution::Kind::Command;
                let mut result =
                    ExecutionResult::queued(id, sandbox_id, kind, None, Enforcement::full(), at(created));
                (result.started_at, result.finished_at) = (started.map(at), finished.map(at));
                in_order(&mut result, at(now));
                let found =
                    (result.started_at.map(Timestamp::unix_ms), result.finished_at.unwrap().unix_ms());
                assert_eq!(found, expected);
            };
        check(10, Some(12), Some(15), 17, (Some(12), 15));
        check(10, None, None, 17, (None, 17));
        // The clock was set back, or that of the supervisor's machine is late.
        check(10, Some(2), Some(5), 7, (Some(10), 10));
        check(10, Some(2), Some(5), 17, (Some(10), 10));
        check(10, None, None, 7, (None, 10));
        // Or it is early.
        check(10, Some(22), Some(25), 17, (Some(17), 17));
    }
}
