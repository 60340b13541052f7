//! Executions: claimed where their sandbox is held, started, followed, ended once.

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::enforcement::Enforcement;
use sandkeep_core::execution::{EndFacts, ExecutionResult, ExecutionState, Work, conclude};
use sandkeep_core::id::{ExecutionId, ServerId};
use sandkeep_core::time::Timestamp;
use sandkeep_runtime::outcome;
use sandkeep_store::executions::{self, Claim, Ending, Live};
use sandkeep_store::output::{self, Chunk};
use sandkeep_store::sandboxes::Sandbox;
use sandkeep_store::{Durability, Guarded, Tx, events};

use super::follow::Followed;
use super::{Engine, Held, PASS_MOST, lock};
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
    /// What is sealed in the row, where it was accepted a moment ago.
    pub(super) request: Option<ExecutionRequest>,
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
pub(super) struct Taken {
    live: Live,
    /// Not once a cancel was accepted: then it is ended without having run.
    started: bool,
}

/// Claims what is to run in the sandboxes that this server holds, and starts it in the same write: what follows is the start,
/// and a server that dies before it leaves rows whose supervisor is asked by id.
pub(super) async fn take(tx: &mut Tx, by: Taker) -> sandkeep_store::Result<Vec<Taken>> {
    let mut taken = Vec::new();
    for live in executions::claim(tx, by.server_id, PASS_MOST, by.alive_since_us).await? {
        let claim = Claim { server_id: by.server_id, token: live.token };
        let started = executions::started(tx, live.id, claim, by.now_us).await?.is_updated();
        taken.push(Taken { live, started });
    }
    Ok(taken)
}

/// What ran, and how it ended.
struct Done {
    work: Work,
    followed: Followed,
}

impl Engine {
    /// Looks for executions to be started or cancelled. True when there may be more than one pass takes.
    pub(super) async fn execution_pass(&self) -> bool {
        self.cancel_asked().await;
        let (server_id, alive_since_us) = (self.server_id, self.alive_since_us());
        let by = Taker { server_id, alive_since_us, now_us: self.parts.clock.now_us() };
        let take = self.parts.store.write(Durability::Durable, by, |tx, by| Box::pin(take(tx, *by)));
        let Some(taken) = self.told("claim executions", take.await) else { return false };
        let full = taken.len() >= PASS_MOST as usize;
        self.take_up(taken);
        full
    }

    /// Runs what was claimed.
    pub(super) fn take_up(&self, taken: Vec<Taken>) {
        for Taken { live, started } in taken {
            let claim = Claim { server_id: self.server_id, token: live.token };
            let held = lock(&self.held).get(&live.sandbox_id).cloned();
            let mine = Mine { live, claim, found: false, request: None };
            self.tasks.spawn(self.clone().run(mine, held, started));
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
        let input = (live.id, self.server_id, live.token, claim, ending, live.project_id);
        let write = self.parts.store.write(Durability::Durable, input, |tx, of| {
            Box::pin(async move {
                if executions::take_queued(tx, of.0, of.1, of.2).await?.is_updated()
                    && executions::finish(tx, of.0, of.3, &of.4).await?.is_updated()
                {
                    tell(tx, "execution.ended", of.0, of.5, &of.4).await?;
                }
                Ok(())
            })
        });
        self.told("end what was cancelled", write.await);
        self.ring(live.id);
    }

    pub(super) async fn run(self, mine: Mine, held: Option<Held>, started: bool) {
        let (id, sandbox_id) = (mine.live.id, mine.live.sandbox_id);
        let held = match held {
            Some(held) => Some(held),
            None => self.settled(sandbox_id).await,
        };
        let ended = match &held {
            _ if !started => Ok(None),
            Some(held) => match self.perform(&mine, held).await {
                Ok(Some(done)) => Ok(Some(done)),
                Ok(None) => return,
                // Whatever failed, failed in a server that goes; how it ends is for the next to see.
                Err(_) if self.leave.is_cancelled() => return,
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
        let Some(held) = held else { return };
        if stored {
            self.say_stored(&held, id).await;
        }
        if held.once {
            self.want_deleted(sandbox_id).await;
        }
    }

    /// Runs it to its end; `None` where it is left to whoever comes next.
    async fn perform(&self, mine: &Mine, held: &Held) -> Result<Option<Done>, Problem> {
        let live = &mine.live;
        let opened;
        let request = match &mine.request {
            Some(request) => request,
            None => {
                opened = ExecutionRequest::open(&self.parts.sealer, live.project_id, live.id, &live.request)?;
                &opened
            }
        };
        let followed = self.start_and_follow(mine, held, request).await?;
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
                outcome::tell(&mut result, &work, *followed.ended)
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
        result.finished_at.get_or_insert(now);
        let Some(ending) = ending(&result) else { return false };
        let (chunks, parts): (Vec<Chunk>, Vec<Part>) = rest.into_iter().unzip();
        let Some(written) = self.write_end(&mine.live, mine.claim, ending, chunks).await else {
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
        let Some(kept) = self.parts.outputs.kept_here(result.id) else { return };
        kept.tell(&mut result);
        // They may have left.
        let _left = tell.send(result);
    }

    /// Writes an end, and with it the last of the output, until it is written or another's: which of the two. `None` when this
    /// server stops before.
    async fn write_end(
        &self,
        live: &Live,
        claim: Claim,
        ending: Ending,
        chunks: Vec<Chunk>,
    ) -> Option<Guarded> {
        let input = (live.id, live.project_id, claim, ending, chunks);
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

    /// Ends everything in a sandbox that goes.
    pub(super) async fn end_all_in(
        &self,
        sandbox: &Sandbox,
        claim: Claim,
        state: ExecutionState,
        problem: Option<&Problem>,
    ) {
        let taken = self.parts.store.write(Durability::Durable, (sandbox.id, claim), |tx, of| {
            Box::pin(executions::claim_of(tx, of.0, of.1))
        });
        for live in self.told("claim what is in a sandbox", taken.await).unwrap_or_default() {
            let mut end = conclude(&EndFacts::default());
            end.state = state;
            if let Some(ending) = self.unstarted(&live, &end, problem) {
                let claim = Claim { server_id: self.server_id, token: live.token };
                self.write_end(&live, claim, ending, Vec::new()).await;
                self.ring(live.id);
            }
            self.parts.outputs.close(live.id);
        }
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
        result.finished_at = Some(Timestamp::from_unix_ms(self.parts.clock.now_ms()));
        ending(&result)
    }
}

fn ending(result: &ExecutionResult) -> Option<Ending> {
    let finished_us =
        result.finished_at.map_or(0, |at| i64::try_from(at.unix_ms() * 1000).unwrap_or(i64::MAX));
    let text = serde_json::to_string(result).ok()?;
    Some(Ending { state: result.status.as_str(), result: text, finished_us })
}

async fn tell(
    tx: &mut Tx,
    kind: &'static str,
    id: ExecutionId,
    project_id: sandkeep_core::id::ProjectId,
    ending: &Ending,
) -> sandkeep_store::Result<()> {
    let (subject, data) = (id.to_string(), format!("{{\"status\":\"{}\"}}", ending.state));
    let news = events::News { project_id, kind, subject: &subject, data: &data };
    events::add(tx, &news, ending.finished_us).await
}
