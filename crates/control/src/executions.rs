//! Executions as a caller sees them: accepted, looked at, waited for, cancelled, read.

use std::sync::Arc;
use std::time::Duration;

use sandkeep_core::code::{ErrorCode, Problem, chain};
use sandkeep_core::enforcement::Enforcement;
use sandkeep_core::execution::{ExecutionResult, ExecutionState, Kind};
use sandkeep_core::id::{ExecutionId, ProjectId, SandboxId};
use sandkeep_core::identity::{Action, Denied, Principal, Resource, authorize};
use sandkeep_core::limits::Limits;
use sandkeep_core::time::Timestamp;
use sandkeep_store::executions::{self, Accepted, Before, Finished, Live};
use sandkeep_store::idempotency::Earlier;
use sandkeep_store::{Connection, Durability, Store, audit};
use serde_json::json;

use crate::audit::{Change, entry};
use crate::clock::Clock;
use crate::ends::{Bells, Expected, PERIOD};
use crate::engine::{Engine, Entry, Parts, tell_queued};
use crate::fault::problem;
use crate::idempotency::{self, Idempotent};
use crate::ids::fresh;
use crate::list::{Listed, Look};
use crate::output::{Outputs, Piece, Tail};
use crate::request::{ExecutionRequest, NewExecution};
use crate::sandboxes::{self as boxes, NewSandbox};
use crate::seal::Sealer;

/// The service.
#[derive(Debug, Clone)]
pub struct Executions {
    engine: Engine,
    store: Store,
    outputs: Outputs,
    clock: Clock,
    bells: Bells,
    sealer: Sealer,
    /// Of sandboxes that are made for one.
    life: Duration,
}

/// What was accepted, and its end, for whoever waits for it.
#[derive(Debug)]
pub struct Made {
    /// As it was when it was accepted.
    pub result: ExecutionResult,
    project_id: ProjectId,
    /// None where it was accepted earlier.
    end: Option<Expected>,
}

/// An execution as its rows say.
enum Found {
    Live(Box<Live>),
    Finished(Box<Finished>),
}

impl Found {
    fn project_id(&self) -> ProjectId {
        match self {
            Self::Live(live) => live.project_id,
            Self::Finished(finished) => finished.project_id,
        }
    }

    /// What lists are ordered by.
    fn key(&self) -> (i64, ExecutionId) {
        match self {
            Self::Live(live) => (live.created_us, live.id),
            Self::Finished(finished) => (finished.created_us, finished.id),
        }
    }
}

impl Executions {
    /// Beside this engine.
    #[must_use]
    pub fn new(engine: &Engine) -> Self {
        let Parts { store, outputs, driver: _, clock, bells, sealer, life } = engine.parts.clone();
        Self { engine: engine.clone(), store, outputs, clock, bells, sealer, life }
    }

    /// Accepts something to run in a sandbox that is there, and answers at once.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, what is wrong with the request, `idempotency_key_reused`; the store's.
    pub async fn create(
        &self,
        principal: &Principal,
        sandbox_id: SandboxId,
        new: NewExecution,
        repeat: Option<Idempotent>,
        request_id: &str,
    ) -> Result<Made, Problem> {
        let (project_id, limits) = self.place(sandbox_id).await?;
        authorize(principal, Action::ExecutionCreate, Resource::Project(project_id))?;
        let request = new.within(&limits)?;
        let now_us = self.clock.now_us();
        let accepted = self.accepted(project_id, sandbox_id, &request)?;
        let note = self.note(principal, Action::ExecutionCreate, project_id, accepted.id, request_id);
        let first = self.first(&accepted, now_us);
        let found = self.engine.accept(Entry { accepted, request, note, repeat, now_us }).await;
        self.made(principal, first, found.map_err(|error| problem(&error))?).await
    }

    /// Whose a sandbox is, for whoever may run something in it.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn project_of(&self, principal: &Principal, id: SandboxId) -> Result<ProjectId, Problem> {
        let (project_id, _) = self.place(id).await?;
        authorize(principal, Action::ExecutionCreate, Resource::Project(project_id))?;
        Ok(project_id)
    }

    /// Accepts something to run in a sandbox that is made for it alone and goes with its end.
    ///
    /// # Errors
    /// As [`Executions::create`].
    pub async fn run(
        &self,
        principal: &Principal,
        project_id: ProjectId,
        sandbox: NewSandbox,
        new: NewExecution,
        repeat: Option<Idempotent>,
        request_id: &str,
    ) -> Result<Made, Problem> {
        authorize(principal, Action::SandboxCreate, Resource::Project(project_id))?;
        authorize(principal, Action::ExecutionCreate, Resource::Project(project_id))?;
        let life = boxes::Life { most: self.life, once: true };
        let place = boxes::accepted(&self.clock, &self.sealer, project_id, sandbox, life)?;
        let request = new.within(&place.1.limits)?;
        let place = place.0;
        let accepted = self.accepted(project_id, place.id, &request)?;
        let note = self.note(principal, Action::ExecutionCreate, project_id, accepted.id, request_id);
        let now_us = self.clock.now_us();
        let first = self.first(&accepted, now_us);
        let input = (place, accepted, note, repeat, now_us);
        let write =
            self.store.write(Durability::Durable, input, |tx, (place, accepted, note, repeat, now_us)| {
                Box::pin(async move {
                    let id = accepted.id.to_string();
                    let found = idempotency::begin(tx, repeat.as_ref(), &id, *now_us).await?;
                    if found == Earlier::First {
                        boxes::accept(tx, place, *now_us).await?;
                        executions::accept(tx, accepted, *now_us).await?;
                        tell_queued(tx, accepted, *now_us).await?;
                        audit::add(tx, note).await?;
                    }
                    Ok(found)
                })
            });
        let found = write.await.map_err(|error| problem(&error))?;
        self.made(principal, first, found).await
    }

    /// The execution of an id, with the first and the last of what is stored of its output.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn get(&self, principal: &Principal, id: ExecutionId) -> Result<ExecutionResult, Problem> {
        let found = self.find(principal, id, Action::ExecutionRead).await?;
        let mut result = told(found)?;
        // Of one that has ended its row says how much it wrote: all of that is missing there.
        let written = [result.stdout_missing_bytes, result.stderr_missing_bytes];
        let excerpt = self.outputs.excerpt(id, written).await.map_err(|error| unreadable(&error))?;
        excerpt.tell(&mut result);
        Ok(result)
    }

    /// What was accepted when it has ended, or as it is when the time is over. A caller who leaves cancels nothing.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn ended(
        &self,
        principal: &Principal,
        made: Made,
        within: Duration,
    ) -> Result<ExecutionResult, Problem> {
        authorize(principal, Action::ExecutionRead, Resource::Project(made.project_id))?;
        let begun = self.clock.monotonic();
        if let Some(mut end) = made.end {
            // What ends soon is told by the engine, and nobody has to look.
            if let Ok(Some(ended)) = tokio::time::timeout(PERIOD.min(within), end.told()).await {
                return Ok(ended);
            }
        }
        // It takes longer, or is another server's.
        let spent = self.clock.monotonic().duration_since(begun);
        self.wait(principal, made.result.id, within.saturating_sub(spent)).await
    }

    /// The execution of an id when it has ended, or as it is when the time is over. A caller who leaves cancels nothing.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn wait(
        &self,
        principal: &Principal,
        id: ExecutionId,
        within: Duration,
    ) -> Result<ExecutionResult, Problem> {
        let name = id.to_string();
        let ended = self.bells.until(&name, within, || async {
            let found = self.find(principal, id, Action::ExecutionRead).await?;
            Ok::<_, Problem>(matches!(found, Found::Finished(_)).then_some(()))
        });
        ended.await?;
        self.get(principal, id).await
    }

    /// Those of a sandbox, newest first, without their output; all or those in one state. At most [`SEEN_MOST`] are looked
    /// at: [`Listed::more`] says whether there may be more.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn list(
        &self,
        principal: &Principal,
        sandbox_id: SandboxId,
        status: Option<ExecutionState>,
        before: Before,
        limit: u32,
    ) -> Result<Listed<ExecutionResult>, Problem> {
        let mut reader = self.store.reader().await.map_err(|error| problem(&error))?;
        let known = boxes::known(&mut reader, sandbox_id).await.map_err(|error| problem(&error))?;
        let known = known.ok_or_else(|| Problem::from(Denied::Hidden))?;
        authorize(principal, Action::ExecutionRead, Resource::Project(known.project_id()))?;
        let mut look = Look::new(before, limit);
        while let Some((before, most)) = look.next() {
            // The live ones first: one that ends in between is then in both, and not in none.
            let live = executions::live_of(&mut reader, sandbox_id, &before, most).await;
            let live = live.map_err(|error| problem(&error))?;
            let ended = executions::finished_of(&mut reader, sandbox_id, &before, most).await;
            let ended = ended.map_err(|error| problem(&error))?;
            for found in merged(live, ended).into_iter().take(most as usize) {
                let (created_us, id) = found.key();
                let result = told(found)?;
                let wanted = status.is_none_or(|status| status == result.status);
                look.saw(created_us, id.to_string(), wanted.then_some(result));
            }
        }
        Ok(look.listed())
    }

    /// Accepts a cancel and answers at once. One that has ended stays as it is.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn cancel(
        &self,
        principal: &Principal,
        id: ExecutionId,
        request_id: &str,
    ) -> Result<ExecutionResult, Problem> {
        let found = self.find(principal, id, Action::ExecutionCancel).await?;
        let note = self.note(principal, Action::ExecutionCancel, found.project_id(), id, request_id);
        let input = (id, note, self.clock.now_us());
        let write = self.store.write(Durability::Durable, input, |tx, (id, note, now_us)| {
            Box::pin(async move {
                if executions::request_cancel(tx, *id, *now_us).await?.is_updated() {
                    audit::add(tx, note).await?;
                }
                Ok(())
            })
        });
        write.await.map_err(|error| problem(&error))?;
        self.get(principal, id).await
    }

    /// What is stored of its output from `position` on.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn output(
        &self,
        principal: &Principal,
        id: ExecutionId,
        position: u64,
    ) -> Result<Stored, Problem> {
        // Before the output is looked at: what an ended execution has is all there.
        let ended = matches!(self.find(principal, id, Action::ExecutionRead).await?, Found::Finished(_));
        let reach = self.outputs.reach(id).await.map_err(|error| unreadable(&error))?;
        Ok(Stored { tail: self.outputs.stored_tail(id, position), reach: reach.max(position), ended })
    }

    /// Its output from `position` on as it comes, and then its end.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn follow(
        &self,
        principal: &Arc<Principal>,
        id: ExecutionId,
        position: u64,
    ) -> Result<Follow, Problem> {
        self.find(principal, id, Action::ExecutionRead).await?;
        let tail = self.outputs.tail(id, position);
        Ok(Follow { of: self.clone(), principal: Arc::clone(principal), id, tail, end: None, over: false })
    }

    /// What is answered once it is written: `first`, or what the same request made earlier.
    async fn made(&self, principal: &Principal, first: Made, found: Earlier) -> Result<Made, Problem> {
        let Some(earlier) = idempotency::earlier(found)? else { return Ok(first) };
        let result = self.get(principal, earlier.parse()?).await?;
        Ok(Made { result, end: None, ..first })
    }

    /// What is about to be accepted, its end waited for from now on.
    fn first(&self, accepted: &Accepted, now_us: i64) -> Made {
        let end = Some(self.engine.ends.expect(accepted.id));
        Made { result: queued(accepted, now_us), project_id: accepted.project_id, end }
    }

    /// Whose a sandbox is, and its limits.
    async fn place(&self, id: SandboxId) -> Result<(ProjectId, Limits), Problem> {
        if let Some(known) = self.engine.known(id) {
            return Ok(known);
        }
        let mut reader = self.store.reader().await.map_err(|error| problem(&error))?;
        let known = boxes::known(&mut reader, id).await.map_err(|error| problem(&error))?;
        let known = known.ok_or_else(|| Problem::from(Denied::Hidden))?;
        Ok((known.project_id(), known.spec()?.limits))
    }

    async fn find(&self, principal: &Principal, id: ExecutionId, action: Action) -> Result<Found, Problem> {
        let mut reader = self.store.reader().await.map_err(|error| problem(&error))?;
        let found = found(&mut reader, id).await.map_err(|error| problem(&error))?;
        let found = found.ok_or_else(|| Problem::from(Denied::Hidden))?;
        authorize(principal, action, Resource::Project(found.project_id()))?;
        Ok(found)
    }

    fn accepted(
        &self,
        project_id: ProjectId,
        sandbox_id: SandboxId,
        request: &ExecutionRequest,
    ) -> Result<Accepted, Problem> {
        let id = fresh(&self.clock);
        let sealed = request.seal(&self.sealer, project_id, id)?;
        Ok(Accepted {
            id,
            project_id,
            sandbox_id,
            kind: request.work.kind().as_str(),
            language: request.work.language().map(sandkeep_core::execution::Language::as_str),
            request: sealed,
        })
    }

    fn note(
        &self,
        by: &Principal,
        action: Action,
        project_id: ProjectId,
        id: ExecutionId,
        request_id: &str,
    ) -> audit::Entry {
        let (project_id, resource, detail) = (Some(project_id), id.to_string(), json!({}));
        entry(&self.clock, by, Change { action, project_id, resource, request_id, detail })
    }
}

/// Stored output, up to where it was when it was asked for.
#[derive(Debug)]
pub struct Stored {
    tail: Tail,
    /// The first position after it.
    pub reach: u64,
    /// Whether nothing comes after it any more.
    pub ended: bool,
}

impl Stored {
    /// What comes next; `None` at its end. Cancel-safe.
    ///
    /// # Errors
    /// `store_unavailable`; the next call tries again.
    pub async fn next(&mut self) -> Result<Option<Piece>, Problem> {
        if self.tail.position() >= self.reach {
            return Ok(None);
        }
        self.tail.next().await.map_err(|error| unreadable(&error))
    }
}

/// Somebody who reads an execution to its end.
#[derive(Debug)]
pub struct Follow {
    of: Executions,
    principal: Arc<Principal>,
    id: ExecutionId,
    tail: Tail,
    /// The end, once it was seen: what is stored then is all there is.
    end: Option<Box<ExecutionResult>>,
    over: bool,
}

/// What a reader is told.
#[derive(Debug)]
pub enum Told {
    /// Output.
    Piece(Piece),
    /// It has ended, and all its output was told. Without the output.
    End(Box<ExecutionResult>),
}

/// How soon a reader looks again though nobody rang.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl Follow {
    /// The position of what comes next.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.tail.position()
    }

    /// What comes next; `None` after the end. Cancel-safe.
    ///
    /// # Errors
    /// `not_found`: it was deleted; the store's. The next call tries again.
    pub async fn next(&mut self) -> Result<Option<Told>, Problem> {
        while !self.over {
            if let Some(piece) = self.tail.next().await.map_err(|error| unreadable(&error))? {
                return Ok(Some(Told::Piece(piece)));
            }
            // Nothing more is stored, or nobody writes it here (yet).
            if let Some(end) = self.end.take() {
                self.over = true;
                return Ok(Some(Told::End(end)));
            }
            self.end = self.wait().await?;
            self.tail = self.of.outputs.tail(self.id, self.tail.position());
        }
        Ok(None)
    }

    /// Waits until it has ended, or there is somebody to read from. The end, if it is that.
    async fn wait(&self) -> Result<Option<Box<ExecutionResult>>, Problem> {
        let name = self.id.to_string();
        let found = self.of.bells.until(&name, LOOK_AGAIN, || async {
            match self.of.find(&self.principal, self.id, Action::ExecutionRead).await? {
                found @ Found::Finished(_) => Ok(Some(Some(Box::new(told(found)?)))),
                Found::Live(_) if self.of.outputs.is_open(self.id) => Ok(Some(None)),
                Found::Live(_) => Ok::<_, Problem>(None),
            }
        });
        Ok(found.await?.flatten())
    }
}

async fn found(from: &mut Connection, id: ExecutionId) -> sandkeep_store::Result<Option<Found>> {
    if let Some(live) = executions::live(from, id).await? {
        return Ok(Some(Found::Live(Box::new(live))));
    }
    // Its end may have been written between the two looks: then it is in the second.
    Ok(executions::finished(from, id).await?.map(|finished| Found::Finished(Box::new(finished))))
}

/// Live and ended ones, newest first, each once.
fn merged(live: Vec<Live>, ended: Vec<Finished>) -> Vec<Found> {
    let live = live.into_iter().map(|live| Found::Live(Box::new(live)));
    let ended = ended.into_iter().map(|ended| Found::Finished(Box::new(ended)));
    // Stable: of two that are the same, the ended one comes first and stays.
    let mut all: Vec<Found> = ended.chain(live).collect();
    all.sort_by_key(|found| std::cmp::Reverse(found.key()));
    all.dedup_by_key(|found| found.key());
    all
}

fn told(found: Found) -> Result<ExecutionResult, Problem> {
    match found {
        Found::Finished(finished) => serde_json::from_str(&finished.result).map_err(|error| {
            Problem::new(ErrorCode::Internal, format!("a stored execution cannot be read: {error}"))
        }),
        Found::Live(live) => Ok(told_of_live(&live, Enforcement::full())),
    }
}

/// An execution as it is accepted.
fn queued(accepted: &Accepted, now_us: i64) -> ExecutionResult {
    let Accepted { id, project_id: _, sandbox_id, kind, language, request: _ } = accepted;
    let kind = kind.parse().unwrap_or(Kind::Command);
    let language = language.and_then(|text| text.parse().ok());
    ExecutionResult::queued(*id, *sandbox_id, kind, language, Enforcement::full(), at(now_us))
}

fn at(us: i64) -> Timestamp {
    Timestamp::from_unix_ms((us / 1000).unsigned_abs())
}

/// An execution without its end, as its row alone says.
pub(crate) fn told_of_live(live: &Live, enforcement: Enforcement) -> ExecutionResult {
    // What a newer release writes there is left alone, and shown as the nearest that this one knows.
    let kind = live.kind.parse().unwrap_or(Kind::Command);
    let language = live.language.as_deref().and_then(|text| text.parse().ok());
    let mut result =
        ExecutionResult::queued(live.id, live.sandbox_id, kind, language, enforcement, at(live.created_us));
    let states = ExecutionState::ALL;
    result.status = states.into_iter().find(|state| state.as_str() == live.state).unwrap_or(result.status);
    result.started_at = live.started_us.map(at);
    result
}

fn unreadable(error: &crate::output::Error) -> Problem {
    tracing::error!(error = chain(error), "cannot read output");
    Problem::new(ErrorCode::StoreUnavailable, "the stored output cannot be read now")
}
