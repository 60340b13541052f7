//! Accepting: where this server holds the sandbox, an execution is accepted, claimed and started in one write. The sandbox
//! prepares it meanwhile, and is told to let the code begin once that is committed.

use sandkeep_core::id::{ProjectId, SandboxId};
use sandkeep_core::limits::Limits;
use sandkeep_store::executions::{self, Accepted, Claim, Live};
use sandkeep_store::idempotency::Earlier;
use sandkeep_store::{Durability, Result, Store, Tx, audit, sandboxes};
use tokio::sync::oneshot;

use super::executions::{Before, Mine};
use super::{Engine, Held, lock};
use crate::events;
use crate::idempotency::{self, Idempotent};
use crate::request::ExecutionRequest;

/// What is accepted to run in a sandbox that is there.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) accepted: Accepted,
    /// What is sealed in it.
    pub(crate) request: ExecutionRequest,
    pub(crate) note: audit::Entry,
    pub(crate) repeat: Option<Idempotent>,
    pub(crate) now_us: i64,
}

impl Engine {
    /// Whose a sandbox is that this server holds, and its limits. It may have ended a moment ago: that is for the write to see.
    pub(crate) fn known(&self, id: SandboxId) -> Option<(ProjectId, Limits)> {
        lock(&self.held).get(&id).map(|held| (held.project_id, held.limits))
    }

    /// Writes down what is accepted. What has come by then is what the answer to the caller says.
    ///
    /// # Errors
    /// The store's, [`Ended`](sandkeep_store::Error::Ended) among them.
    pub(crate) async fn accept(&self, entry: Entry) -> Result<Earlier> {
        // A stop that begins now waits for the task below, or is seen here.
        let coming = self.tasks.token();
        let held = lock(&self.held).get(&entry.accepted.sandbox_id).cloned();
        let Some(held) = held.filter(|_| !self.stop.is_cancelled()) else {
            return write(&self.parts.store, entry, None).await.map(|(found, _)| found);
        };
        let (tell, told) = oneshot::channel();
        self.tasks.spawn(self.clone().accept_and_run(entry, held, tell));
        drop(coming);
        told.await.unwrap_or(Err(sandkeep_store::Error::Closed))
    }

    /// One task, so that what is written as running is run, whether whoever asked is still there or not.
    async fn accept_and_run(self, entry: Entry, held: Held, tell: oneshot::Sender<Result<Earlier>>) {
        let token = i64::try_from(held.token).unwrap_or(i64::MAX);
        let by = Claim { server_id: self.server_id, token };
        let request = entry.request.clone();
        let spec = held.spec(entry.accepted.id, &request);
        let (prepared, written) =
            tokio::join!(held.sandbox.prepare(&spec), write(&self.parts.store, entry, Some(by)));
        let (found, started) = match written {
            Ok((found, started)) => (Ok(found), started),
            Err(error) => (Err(error), None),
        };
        // Nobody may be waiting any more.
        let _left = tell.send(found);
        if let Some(live) = started {
            let claim = Claim { server_id: self.server_id, token: live.token };
            let before = Some(Before { request, prepared: prepared.ok() });
            self.run(Mine { live, claim, found: false }, Some(held), true, before).await;
        }
    }
}

/// W1; and W2 and W3 with it, where `by` is the claim that the sandbox is held under. The row, if it is started.
async fn write(store: &Store, entry: Entry, by: Option<Claim>) -> Result<(Earlier, Option<Live>)> {
    let write = store.write(Durability::Durable, (entry, by), |tx, (entry, by)| {
        Box::pin(async move {
            let Entry { accepted, request: _, note, repeat, now_us } = entry;
            let found = idempotency::begin(tx, repeat.as_ref(), &accepted.id.to_string(), *now_us).await?;
            if found != Earlier::First {
                return Ok((found, None));
            }
            sandboxes::enter(tx, accepted.sandbox_id, *now_us).await?;
            let started = match by {
                Some(by) => executions::accept_started(tx, accepted, *by, *now_us).await?,
                None => None,
            };
            if started.is_none() {
                executions::accept(tx, accepted, *now_us).await?;
            }
            tell_queued(tx, accepted, *now_us).await?;
            audit::add(tx, note).await?;
            Ok((found, started))
        })
    });
    write.await
}

/// The event of W1.
pub(crate) async fn tell_queued(tx: &mut Tx, accepted: &Accepted, now_us: i64) -> Result<()> {
    events::tell(tx, accepted.project_id, "execution.queued", &accepted.id, "{}", now_us).await
}
