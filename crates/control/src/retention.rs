//! Deleting what is old, a small batch at a time, so that nobody waits behind it.

use std::time::Duration;

use sandkeep_core::code::{Problem, chain};
use sandkeep_core::id::{ExecutionId, ServerId};
use sandkeep_store::{
    Durability, Error, Store, Tx, audit, events, executions, idempotency, sandboxes, servers, tokens,
};

use crate::clock::Clock;
use crate::fault::problem;
use crate::output::Outputs;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a token is known as revoked or expired, rather than not at all.
const TOKENS_KEPT: Duration = DAY.saturating_mul(30);
/// A server that was not heard of for so long comes back under another session.
const SERVERS_KEPT: Duration = DAY;
/// Rows that one write deletes at most: about a millisecond's work.
const BATCH: u32 = 500;
/// Executions whose output goes with them: several deletions each.
const EXECUTIONS_BATCH: u32 = 64;

/// How long what is over is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Executions with their output, after their end.
    pub executions: Duration,
    /// Sandboxes, after the last of them was gone.
    pub sandboxes: Duration,
    /// Events.
    pub events: Duration,
    /// Entries of the audit log.
    pub audit: Duration,
}

/// Deletes what is old.
#[derive(Debug, Clone)]
pub struct Retention {
    store: Store,
    outputs: Outputs,
    clock: Clock,
    keep: Keep,
    server_id: ServerId,
}

impl Retention {
    /// Of this store, and of the output that it names, in the name of a server in its books.
    #[must_use]
    pub fn new(store: Store, outputs: Outputs, clock: Clock, keep: Keep, server_id: ServerId) -> Self {
        Self { store, outputs, clock, keep, server_id }
    }

    /// Deletes one batch of each kind. How many rows there were; to be called again soon while that is not 0, and otherwise
    /// every few minutes.
    ///
    /// # Errors
    /// The store's.
    pub async fn forget_old(&self) -> Result<u64, Problem> {
        let input = (self.clock.now_us(), self.keep, self.server_id);
        let write =
            self.store.write(Durability::Relaxed, input, |tx, of| Box::pin(batch(tx, of.0, of.1, of.2)));
        let rows = write.await.map_err(|error| problem(&error))?;
        Ok(rows + self.forget_executions().await?)
    }

    /// The bytes first, and then the rows that name them: whoever is stopped in between, or cannot remove them, finds the
    /// same rows again.
    async fn forget_executions(&self) -> Result<u64, Problem> {
        let before_us = ago_us(self.clock.now_us(), self.keep.executions);
        let old =
            async { executions::old(&mut self.store.reader().await?, before_us, EXECUTIONS_BATCH).await };
        let mut bare: Vec<ExecutionId> = Vec::new();
        for id in old.await.map_err(|error| problem(&error))? {
            match self.outputs.remove_blobs(id).await {
                Ok(()) => bare.push(id),
                Err(error) => {
                    tracing::warn!(execution.id = %id, error = chain(&error), "old output is not removed")
                }
            }
        }
        let count = bare.len() as u64;
        let write = self.store.write(Durability::Relaxed, bare, |tx, ids| {
            Box::pin(async move {
                for id in ids {
                    executions::forget(tx, *id).await?;
                }
                Ok(())
            })
        });
        write.await.map_err(|error| problem(&error))?;
        Ok(count)
    }
}

async fn batch(tx: &mut Tx, now_us: i64, keep: Keep, server_id: ServerId) -> Result<u64, Error> {
    Ok(audit::forget(tx, ago_us(now_us, keep.audit), BATCH).await?
        + events::forget(tx, ago_us(now_us, keep.events), BATCH).await?
        + sandboxes::forget(tx, ago_us(now_us, keep.sandboxes), BATCH).await?
        + tokens::forget(tx, ago_us(now_us, TOKENS_KEPT), BATCH).await?
        + idempotency::forget(tx, now_us - idempotency::KEPT_US, BATCH).await?
        + servers::forget(tx, ago_us(now_us, SERVERS_KEPT), server_id).await?)
}

fn ago_us(now_us: i64, kept: Duration) -> i64 {
    now_us.saturating_sub(i64::try_from(kept.as_micros()).unwrap_or(i64::MAX))
}
