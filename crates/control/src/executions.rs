//! Executions as a caller sees them: accepted, looked at, waited for, cancelled, read.

use std::time::Duration;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::enforcement::Enforcement;
use sandkeep_core::execution::{ExecutionResult, ExecutionState};
use sandkeep_core::id::{ExecutionId, ProjectId, SandboxId};
use sandkeep_core::identity::{Action, Denied, Principal, Resource, authorize};
use sandkeep_core::time::Timestamp;
use sandkeep_store::executions::{self, Accepted, Before, Finished, Live};
use sandkeep_store::idempotency::Earlier;
use sandkeep_store::{Connection, Durability, Store, Tx, audit, events};
use serde_json::json;

use crate::audit::{Change, entry};
use crate::clock::Clock;
use crate::ends::Bells;
use crate::fault::{self, problem};
use crate::idempotency::{self, Idempotent};
use crate::ids::fresh;
use crate::output::{Outputs, Tail};
use crate::request::ExecutionRequest;
use crate::sandboxes::{self as boxes, Known, NewSandbox};

/// The service.
#[derive(Debug, Clone)]
pub struct Executions {
    store: Store,
    outputs: Outputs,
    clock: Clock,
    bells: Bells,
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
}

impl Executions {
    /// Over this store; `bells` ring for what the engine does.
    #[must_use]
    pub fn new(store: Store, outputs: Outputs, clock: Clock, bells: Bells) -> Self {
        Self { store, outputs, clock, bells }
    }

    /// Accepts something to run in a sandbox that is there, and answers at once.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, what is wrong with the request, `idempotency_key_reused`; the store's.
    pub async fn create(
        &self,
        principal: &Principal,
        sandbox_id: SandboxId,
        request: &ExecutionRequest,
        repeat: Option<Idempotent>,
        request_id: &str,
    ) -> Result<ExecutionResult, Problem> {
        let mut reader = self.store.reader().await.map_err(|error| problem(&error))?;
        let known = boxes::known(&mut reader, sandbox_id).await.map_err(|error| problem(&error))?;
        drop(reader);
        let known = known.ok_or_else(|| Problem::from(Denied::Hidden))?;
        authorize(principal, Action::ExecutionCreate, Resource::Project(known.project_id()))?;
        request.check()?;
        let project_id = known.project_id();
        if matches!(known, Known::Ended(_)) {
            return Err(ended());
        }
        let accepted = self.accepted(project_id, sandbox_id, request)?;
        let note = self.note(principal, Action::ExecutionCreate, project_id, accepted.id, request_id);
        let id = accepted.id;
        let input = (accepted, note, repeat, self.clock.now_us());
        let write = self.store.write(Durability::Durable, input, |tx, (accepted, note, repeat, now_us)| {
            Box::pin(async move {
                let id = accepted.id.to_string();
                let found = idempotency::begin(tx, repeat.as_ref(), &id, *now_us).await?;
                if found == Earlier::First {
                    accept(tx, accepted, *now_us).await?;
                    audit::add(tx, note).await?;
                }
                Ok(found)
            })
        });
        let found = write.await.map_err(|error| problem(&error))?;
        self.made(principal, id, found).await
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
        request: &ExecutionRequest,
        repeat: Option<Idempotent>,
        request_id: &str,
    ) -> Result<ExecutionResult, Problem> {
        authorize(principal, Action::SandboxCreate, Resource::Project(project_id))?;
        authorize(principal, Action::ExecutionCreate, Resource::Project(project_id))?;
        request.check()?;
        let (name, spec) = sandbox.spec(true)?;
        let place = boxes::accepted(&self.clock, project_id, name, &spec)?;
        let accepted = self.accepted(project_id, place.id, request)?;
        let note = self.note(principal, Action::ExecutionCreate, project_id, accepted.id, request_id);
        let id = accepted.id;
        let input = (place, accepted, note, repeat, self.clock.now_us());
        let write =
            self.store.write(Durability::Durable, input, |tx, (place, accepted, note, repeat, now_us)| {
                Box::pin(async move {
                    let id = accepted.id.to_string();
                    let found = idempotency::begin(tx, repeat.as_ref(), &id, *now_us).await?;
                    if found == Earlier::First {
                        boxes::accept(tx, place, *now_us).await?;
                        accept(tx, accepted, *now_us).await?;
                        audit::add(tx, note).await?;
                    }
                    Ok(found)
                })
            });
        let found = write.await.map_err(|error| problem(&error))?;
        self.made(principal, id, found).await
    }

    /// The execution of an id, with what is stored of its output.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn get(&self, principal: &Principal, id: ExecutionId) -> Result<ExecutionResult, Problem> {
        let found = self.find(principal, id, Action::ExecutionRead).await?;
        let mut result = told(found)?;
        let kept = self.outputs.kept(id).await.map_err(|error| unreadable(&error))?;
        result.set_stdout(&kept.stdout);
        result.set_stderr(&kept.stderr);
        result.output_gap = kept.gap;
        Ok(result)
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
        let ended = self.bells.until(&name, within, async || {
            let found = self.find(principal, id, Action::ExecutionRead).await?;
            Ok::<_, Problem>(matches!(found, Found::Finished(_)).then_some(()))
        });
        ended.await?;
        self.get(principal, id).await
    }

    /// Those of a sandbox: what has no end first, then the ended, newest first. Without their output.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn list(
        &self,
        principal: &Principal,
        sandbox_id: SandboxId,
        before: Option<&Before>,
        limit: u32,
    ) -> Result<Vec<ExecutionResult>, Problem> {
        let mut reader = self.store.reader().await.map_err(|error| problem(&error))?;
        let known = boxes::known(&mut reader, sandbox_id).await.map_err(|error| problem(&error))?;
        let known = known.ok_or_else(|| Problem::from(Denied::Hidden))?;
        authorize(principal, Action::ExecutionRead, Resource::Project(known.project_id()))?;
        let mut all = Vec::new();
        if before.is_none() {
            let live = executions::live_of(&mut reader, sandbox_id, limit).await;
            let live = live.map_err(|error| problem(&error))?;
            all.extend(live.into_iter().rev().map(|live| told(Found::Live(Box::new(live)))));
        }
        let room = limit.saturating_sub(u32::try_from(all.len()).unwrap_or(u32::MAX));
        let nothing = Before::nothing();
        let finished =
            executions::finished_of(&mut reader, sandbox_id, before.unwrap_or(&nothing), room).await;
        let finished = finished.map_err(|error| problem(&error))?;
        all.extend(finished.into_iter().map(|finished| told(Found::Finished(Box::new(finished)))));
        all.into_iter().collect()
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

    /// Its output from `position` on, to its end or as it comes.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn tail(&self, principal: &Principal, id: ExecutionId, position: u64) -> Result<Tail, Problem> {
        self.find(principal, id, Action::ExecutionRead).await?;
        Ok(self.outputs.tail(id, position))
    }

    async fn made(
        &self,
        principal: &Principal,
        id: ExecutionId,
        found: Earlier,
    ) -> Result<ExecutionResult, Problem> {
        let id = match idempotency::earlier(found)? {
            None => id,
            Some(earlier) => earlier.parse()?,
        };
        self.get(principal, id).await
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
        let sealed = serde_json::to_vec(request).map_err(|error| {
            Problem::new(ErrorCode::Internal, format!("a request cannot be written down: {error}"))
        })?;
        Ok(Accepted {
            id: fresh(&self.clock),
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

/// W1, with its event.
async fn accept(tx: &mut Tx, accepted: &Accepted, now_us: i64) -> sandkeep_store::Result<()> {
    executions::accept(tx, accepted, now_us).await?;
    let subject = accepted.id.to_string();
    let news = events::News {
        project_id: accepted.project_id,
        kind: "execution.queued",
        subject: &subject,
        data: "{}",
    };
    events::add(tx, &news, now_us).await
}

async fn found(from: &mut Connection, id: ExecutionId) -> sandkeep_store::Result<Option<Found>> {
    if let Some(live) = executions::live(from, id).await? {
        return Ok(Some(Found::Live(Box::new(live))));
    }
    // Its end may have been written between the two looks: then it is in the second.
    Ok(executions::finished(from, id).await?.map(|finished| Found::Finished(Box::new(finished))))
}

fn told(found: Found) -> Result<ExecutionResult, Problem> {
    let unreadable = |error: serde_json::Error| {
        Problem::new(ErrorCode::Internal, format!("a stored execution cannot be read: {error}"))
    };
    match found {
        Found::Finished(finished) => serde_json::from_str(&finished.result).map_err(unreadable),
        Found::Live(live) => {
            let request: ExecutionRequest = serde_json::from_slice(&live.request).map_err(unreadable)?;
            let at = |us: i64| Timestamp::from_unix_ms((us / 1000).unsigned_abs());
            let mut result = ExecutionResult::queued(
                live.id,
                live.sandbox_id,
                request.work.kind(),
                request.work.language(),
                Enforcement::full(),
                at(live.created_us),
            );
            let states = ExecutionState::ALL;
            result.status =
                states.into_iter().find(|state| state.as_str() == live.state).unwrap_or(result.status);
            result.started_at = live.started_us.map(at);
            Ok(result)
        }
    }
}

fn ended() -> Problem {
    Problem::new(ErrorCode::SandboxEnded, "the sandbox has ended").expecting("a sandbox that runs")
}

fn unreadable(error: &crate::output::Error) -> Problem {
    tracing::error!(error = fault::chain(error), "cannot read output");
    Problem::new(ErrorCode::StoreUnavailable, "the stored output cannot be read now")
}
