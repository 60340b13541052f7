//! Deleting what is old, a small batch at a time, so that nobody waits behind it.

use sandkeep_core::code::Problem;
use sandkeep_store::{Durability, Error, Store, Tx, audit, idempotency, tokens};

use crate::clock::Clock;
use crate::fault::problem;

const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;
/// How long entries of the audit log are kept.
pub const AUDIT_KEPT_US: i64 = 400 * DAY_US;
/// How long a token is known as revoked or expired, rather than not at all.
pub const TOKENS_KEPT_US: i64 = 30 * DAY_US;
/// Rows that one write deletes at most: about a millisecond's work.
pub const BATCH: u32 = 500;

/// Deletes one batch of each: audit entries, tokens that ended, idempotency records. How many rows there were; to be called
/// again soon while that is not 0, and otherwise every few minutes.
///
/// # Errors
/// The store's.
pub async fn forget_old(store: &Store, clock: &Clock) -> Result<u64, Problem> {
    let write = store.write(Durability::Relaxed, clock.now_us(), |tx, now_us| Box::pin(batch(tx, *now_us)));
    write.await.map_err(|error| problem(&error))
}

async fn batch(tx: &mut Tx, now_us: i64) -> Result<u64, Error> {
    Ok(audit::forget(tx, now_us - AUDIT_KEPT_US, BATCH).await?
        + tokens::forget(tx, now_us - TOKENS_KEPT_US, BATCH).await?
        + idempotency::forget(tx, now_us - idempotency::KEPT_US, BATCH).await?)
}
