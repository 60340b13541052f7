//! Sandboxes that outlived the server that made them: found again, or known to be gone; and what nobody wants any more, ended.

use std::sync::Arc;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::id::{ExecutionId, SandboxId};
use sandkeep_runtime::Sandbox as LiveSandbox;
use sandkeep_runtime::driver::Owned;
use sandkeep_store::executions::{self, Claim, Live};
use sandkeep_store::sandboxes::{self, Sandbox};
use sandkeep_store::{Durability, Store};

use super::executions::Mine;
use super::{Engine, HEARTBEAT, Held, lock};
use crate::request::SandboxSpec;

/// What came of looking for a sandbox.
enum Found {
    Lives(Arc<dyn LiveSandbox>),
    Gone,
    /// Somebody with a newer claim has it, or this server stops.
    NotOurs,
}

impl Engine {
    /// Finds a sandbox again that another server held, or this one before its end, and goes on with what runs in it.
    pub(super) async fn find(&self, sandbox: &Sandbox, claim: Claim) {
        // Before whoever had it is shut out: that it then takes the sandbox for lost is refused.
        let Some(running) = self.take_over(sandbox.id, claim).await else { return };
        let live = match self.attach(owned(sandbox.id, sandbox.incarnation), claim).await {
            Found::Lives(live) => live,
            Found::Gone => return self.remove(sandbox, claim, "lost").await,
            Found::NotOurs => return,
        };
        match self.held_again(sandbox, claim, Arc::clone(&live)) {
            Ok(held) => self.go_on(sandbox.id, held, running, claim).await,
            Err(problem) => {
                tracing::error!(sandbox.id = %sandbox.id, error.code = %problem.code, "cannot hold a sandbox: {problem}");
                live.stop().await;
                self.remove(sandbox, claim, "lost").await;
            }
        }
    }

    fn held_again(
        &self,
        sandbox: &Sandbox,
        claim: Claim,
        live: Arc<dyn LiveSandbox>,
    ) -> Result<Held, Problem> {
        let spec: SandboxSpec = serde_json::from_str(&sandbox.spec)
            .map_err(|error| Problem::new(ErrorCode::Internal, format!("a stored sandbox: {error}")))?;
        let env = Arc::new(spec.env(&self.parts.sealer, sandbox.project_id, sandbox.id)?);
        let (incarnation, token) = (sandbox.incarnation, claim.token.unsigned_abs());
        let (project_id, limits, once) = (sandbox.project_id, spec.limits, spec.once);
        Ok(Held { sandbox: live, project_id, limits, incarnation, token, env, once })
    }

    /// Follows what was running; says of the rest that it is stored.
    async fn go_on(&self, id: SandboxId, held: Held, running: Vec<Live>, claim: Claim) {
        tracing::info!(sandbox.id = %id, executions = running.len(), "a sandbox was found again");
        let known: Vec<ExecutionId> = running.iter().map(|live| live.id).collect();
        lock(&self.held).insert(id, held.clone());
        self.tasks.spawn(self.clone().watch(id, held.clone()));
        for live in running {
            let claim = Claim { token: live.token, ..claim };
            let mine = Mine { live, claim, found: true };
            self.tasks.spawn(self.clone().run(mine, Some(held.clone()), true, None));
        }
        // Ended, and written down, by a server that did not live to say so.
        match held.sandbox.ended().await {
            Ok(ended) => {
                for id in ended.into_iter().filter(|id| !known.contains(id)) {
                    // One that has begun and ended since has its end yet to be written.
                    if self.is_written(id).await {
                        self.say_stored(&held, id).await;
                    }
                }
            }
            Err(problem) => {
                tracing::warn!(error.code = %problem.code, "cannot ask what has ended: {problem}")
            }
        }
    }

    /// Whether the end of an execution is written down.
    async fn is_written(&self, id: ExecutionId) -> bool {
        let row = async { executions::finished(&mut self.parts.store.reader().await?, id).await };
        self.told("look an end up", row.await).flatten().is_some()
    }

    /// Takes over what was running in a sandbox; `None` when this server stops.
    async fn take_over(&self, id: SandboxId, claim: Claim) -> Option<Vec<Live>> {
        loop {
            let taken = take_over(&self.parts.store, id, claim).await;
            match self.told("take over what runs in a sandbox", taken) {
                Some(taken) => return Some(taken),
                None if self.paused().await => {}
                None => return None,
            }
        }
    }

    /// Attaches, until it is known what became of the sandbox.
    async fn attach(&self, owned: Owned, claim: Claim) -> Found {
        loop {
            let problem = match self.parts.driver.attach(owned, claim.token.unsigned_abs()).await {
                Ok(live) => return Found::Lives(Arc::from(live)),
                Err(problem) => problem,
            };
            tracing::warn!(sandbox.id = %owned.id, error.code = %problem.code, "a sandbox is not attached to: {problem}");
            if problem.code == ErrorCode::SandboxLost {
                return Found::Gone;
            }
            if problem.code == ErrorCode::StaleToken || !self.paused().await {
                return Found::NotOurs;
            }
        }
    }

    /// Waits a while; false when this server stops.
    pub(super) async fn paused(&self) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(HEARTBEAT) => true,
        }
    }

    /// The sandbox, once it is known whether it is here: it may just be being found.
    pub(super) async fn settled(&self, id: SandboxId) -> Option<Held> {
        drop(self.adopting.lock().await);
        self.busy.until_free(id).await;
        lock(&self.held).get(&id).cloned()
    }

    /// Makes sure that a sandbox whose connection broke is gone, before that is written down.
    pub(super) async fn make_sure_gone(&self, id: SandboxId, held: &Held) {
        let owned = owned(id, held.incarnation);
        while let Err(problem) = self.end_unheld(owned, held.token).await {
            // With a newer claim on it, what we write down is refused.
            if problem.code == ErrorCode::StaleToken || !self.paused().await {
                return;
            }
        }
    }

    /// Ends a sandbox that nobody here holds, if it lives.
    ///
    /// # Errors
    /// The driver's: it may live on.
    pub(super) async fn end_unheld(&self, owned: Owned, token: u64) -> Result<(), Problem> {
        if !self.parts.driver.outlives() {
            return Ok(());
        }
        match self.parts.driver.attach(owned, token).await {
            Ok(live) => live.stop().await,
            Err(problem) if problem.code == ErrorCode::SandboxLost => {}
            Err(problem) => return Err(problem),
        }
        Ok(())
    }

    /// W6: lets the sandbox forget an execution whose end is written down. Asked again when the sandbox is found again.
    pub(super) async fn say_stored(&self, held: &Held, id: ExecutionId) {
        if !self.parts.driver.outlives() {
            return;
        }
        if let Err(problem) = held.sandbox.forget(id, held.token).await {
            tracing::debug!(execution.id = %id, error.code = %problem.code, "not forgotten yet: {problem}");
        }
    }

    /// Ends every sandbox that no row knows: its row ended while nobody could reach it.
    pub(super) async fn sweep(self) {
        let listed = self.parts.driver.list_owned().await;
        for owned in self.told_problem("list sandboxes", listed).unwrap_or_default() {
            let row = async { sandboxes::get(&mut self.parts.store.reader().await?, owned.id).await };
            let Some(row) = self.told("look a sandbox up", row.await) else { continue };
            // A row's own incarnation is found by whoever takes the row over; the one after it is replaced by whoever makes it.
            let known = row.is_some_and(|row| row.incarnation.unsigned_abs() <= owned.incarnation);
            if !known {
                tracing::warn!(sandbox.id = %owned.id, "a sandbox that is in no books is ended");
                let ended = self.end_unheld(owned, u64::MAX).await;
                self.told_problem("end a sandbox", ended);
            }
        }
    }

    #[expect(clippy::unused_self, reason = "what an engine tells will name the server")]
    fn told_problem<T>(&self, doing: &'static str, result: Result<T, Problem>) -> Option<T> {
        let tell =
            |problem: &Problem| tracing::error!(error.code = %problem.code, "cannot {doing}: {problem}");
        result.inspect_err(tell).ok()
    }
}

pub(super) fn owned(id: SandboxId, incarnation: i64) -> Owned {
    Owned { id, incarnation: incarnation.unsigned_abs() }
}

async fn take_over(store: &Store, id: SandboxId, claim: Claim) -> sandkeep_store::Result<Vec<Live>> {
    let taken = store
        .write(Durability::Durable, (id, claim), |tx, of| Box::pin(executions::take_over(tx, of.0, of.1)));
    taken.await
}
