//! Sandboxes that end without being asked to: noticed when it happens, whether anything runs in them or not.

use std::sync::Arc;
use std::time::Duration;

use sandkeep_core::code::Problem;
use sandkeep_core::id::SandboxId;
use sandkeep_store::executions::{self, Before, Claim};
use sandkeep_store::sandboxes::{self, Sandbox};

use super::{Engine, Held, PASS_MOST, lock};
use crate::fault::problem;

/// What runs hears of the end too, and has its own end and the rest of its output to tell: so long for that.
const TELL_WITHIN: Duration = Duration::from_secs(5);

impl Engine {
    /// Waits for the end of a sandbox while it is held, and writes down that it is lost.
    pub(super) async fn watch(self, id: SandboxId, held: Held) {
        tokio::select! {
            () = self.stop.cancelled() => return,
            gone = held.sandbox.gone() => if let Err(problem) = gone {
                // Its end shows when the next execution in it fails.
                tracing::warn!(sandbox.id = %id, error.code = %problem.code, "a sandbox is not watched: {problem}");
                return;
            }
        }
        while self.holds(id, &held) {
            self.lose(id, &held).await;
            if !self.holds(id, &held) || !self.paused().await {
                return;
            }
        }
    }

    /// Whether this is the sandbox that is held, and nobody is ending it.
    fn holds(&self, id: SandboxId, held: &Held) -> bool {
        lock(&self.held).get(&id).is_some_and(|now| Arc::ptr_eq(&now.sandbox, &held.sandbox))
    }

    /// Ends what is left of it. Where that cannot be written it is held on to.
    async fn lose(&self, id: SandboxId, held: &Held) {
        let told = self.until_told(id).await;
        if self.told("wait for what ran in a sandbox", told).is_none() {
            return;
        }
        let _taken = loop {
            if let Some(taken) = self.busy.take(id) {
                break taken;
            }
            self.busy.until_free(id).await;
        };
        if !self.holds(id, held) {
            return;
        }
        let Some(row) = self.told("read a sandbox", self.row(id).await) else { return };
        let claim = Claim { server_id: self.server_id, token: i64::try_from(held.token).unwrap_or(i64::MAX) };
        let is_ours = |row: &Sandbox| row.server_id == Some(claim.server_id) && row.token == claim.token;
        match row.filter(is_ours) {
            Some(row) => {
                tracing::warn!(sandbox.id = %id, "a sandbox ended without being asked to");
                self.remove(&row, claim, "lost").await;
            }
            // Whoever has it now sees to it.
            None => drop(lock(&self.held).remove(&id)),
        }
    }

    async fn row(&self, id: SandboxId) -> sandkeep_store::Result<Option<Sandbox>> {
        sandboxes::get(&mut self.parts.store.reader().await?, id).await
    }

    /// Until what this server runs in that sandbox has had its end written down, or the time for that is over.
    async fn until_told(&self, id: SandboxId) -> Result<(), Problem> {
        let mut reader = self.parts.store.reader().await.map_err(|error| problem(&error))?;
        let live = executions::live_of(&mut reader, id, &Before::nothing(), PASS_MOST).await;
        drop(reader);
        let live = live.map_err(|error| problem(&error))?.into_iter();
        let ends = live.filter(|live| live.server_id == Some(self.server_id)).map(async |live| {
            let ended = || async {
                let mut reader = self.parts.store.reader().await.map_err(|error| problem(&error))?;
                let live = executions::live(&mut reader, live.id).await.map_err(|error| problem(&error))?;
                Ok::<_, Problem>(live.is_none().then_some(()))
            };
            self.parts.bells.until(&live.id.to_string(), TELL_WITHIN, ended).await.map(drop)
        });
        futures_util::future::try_join_all(ends).await.map(drop)
    }
}
