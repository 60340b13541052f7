//! Sandboxes: what is wanted, what is, and who makes the one from the other.
//!
//! A wish raises the generation ([`want`]); whoever holds the claim writes what it saw for which generation
//! ([`observe`]). As long as the second is behind the first there is something to do ([`claim`]).

use sandkeep_core::id::{ProjectId, SandboxId, ServerId};

use crate::connection::Connection;
use crate::error::{Error, Result};
use crate::executions::Claim;
use crate::guard::Guarded;
use crate::row::{record, values};
use crate::sql::statements;
use crate::wake::Channel;
use crate::writer::Tx;

record! {
    /// A sandbox of which something is left.
    pub struct Sandbox {
        /// Its id.
        pub id: SandboxId,
        /// Whose.
        pub project_id: ProjectId,
        /// Unique among those of its project that have not ended.
        pub name: Option<String>,
        /// What is wanted: `running`, `stopped`, `deleted`; or why else it is being ended: `expired`, once its life is over,
        /// `lost`, once it was found so. What a newer release writes there is left alone.
        pub desired: String,
        /// Which wish that is, from 1.
        pub generation: i64,
        /// What is, as last seen.
        pub state: String,
        /// More about the state, as JSON: a failure, or how the limits of what runs are held.
        pub detail: Option<String>,
        /// The wish that `state` answers.
        pub observed_generation: i64,
        /// Which start of it this is, from 0 before the first.
        pub incarnation: i64,
        /// Who acts for it.
        pub server_id: Option<ServerId>,
        /// Rises with every claim, from 0.
        pub token: i64,
        /// Facts by which its supervisor is found again, as JSON.
        pub place: Option<String>,
        /// Nothing is tried before this.
        pub next_try_us: i64,
        /// What it is: template, limits, profile, labels, as JSON.
        pub spec: String,
        /// When it was accepted.
        pub created_us: i64,
        /// When anything of this row last changed but `active_us`.
        pub updated_us: i64,
        /// When it was last used.
        pub active_us: i64,
        /// When its life is over.
        pub expires_us: Option<i64>,
    }
}

record! {
    /// A sandbox of which nothing is left.
    pub struct Ended {
        /// Its id.
        pub id: SandboxId,
        /// Whose.
        pub project_id: ProjectId,
        /// What it was called.
        pub name: Option<String>,
        /// Why it ended.
        pub reason: String,
        /// What it was.
        pub spec: String,
        /// When it was accepted.
        pub created_us: i64,
        /// When the last of it was gone.
        pub ended_us: i64,
    }
}

/// What is accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// Its id.
    pub id: SandboxId,
    /// Whose.
    pub project_id: ProjectId,
    /// What the caller calls it.
    pub name: Option<String>,
    /// What it is, as JSON.
    pub spec: String,
    /// When its life is over.
    pub expires_us: Option<i64>,
}

/// What its holder saw.
#[derive(Debug, Clone)]
pub struct Observed {
    /// For which wish.
    pub generation: i64,
    /// What is.
    pub state: &'static str,
    /// More, as JSON.
    pub detail: Option<String>,
    /// Which start of it this is.
    pub incarnation: i64,
    /// Where it is.
    pub place: Option<String>,
    /// Whether that is what the wish asked for. Otherwise it is tried again, not before this time.
    pub next_try_us: Option<i64>,
}

record! {
    pub(crate) struct Due {
        pub at_us: Option<i64>,
    }
}

statements! {
    ACCEPT = "INSERT INTO sandboxes (id, project_id, name, desired, generation, state, observed_generation, incarnation,
        token, next_try_us, spec, created_us, updated_us, active_us, expires_us)
        VALUES ($1, $2, $3, 'running', 1, 'creating', 0, 0, 0, 0, $4, $5, $5, $5, $6)";
    /// Whatever failed before: a new wish is tried at once.
    WANT = "UPDATE sandboxes SET desired = $3, generation = generation + 1, next_try_us = 0, updated_us = $4
        WHERE id = $1 AND generation = $2";
    EXPIRE = {
        sqlite: "UPDATE sandboxes SET desired = 'expired', generation = generation + 1, next_try_us = 0, updated_us = $1
            WHERE id IN (SELECT id FROM sandboxes
            WHERE expires_us <= $1 AND desired NOT IN ('deleted', 'expired', 'lost') ORDER BY expires_us LIMIT $2)",
        postgres: "UPDATE sandboxes SET desired = 'expired', generation = generation + 1, next_try_us = 0, updated_us = $1
            WHERE id IN (SELECT id FROM sandboxes
            WHERE expires_us <= $1 AND desired NOT IN ('deleted', 'expired', 'lost') ORDER BY expires_us LIMIT $2
            FOR UPDATE SKIP LOCKED)"
    };
    /// Two indexes, and one row of each.
    DUE: Due = "SELECT min(at_us) AS at_us FROM (
        SELECT min(expires_us) AS at_us FROM sandboxes WHERE expires_us > $1
        UNION ALL
        SELECT min(next_try_us) FROM sandboxes WHERE observed_generation < generation AND next_try_us > $1) AS due";
    CLAIM: Sandbox = {
        sqlite: "UPDATE sandboxes SET server_id = $1, token = token + 1 WHERE id IN (
            SELECT b.id FROM sandboxes b LEFT JOIN servers s ON s.id = b.server_id
            WHERE b.observed_generation < b.generation AND b.next_try_us <= $4
                AND (s.id IS NULL OR s.id <> $1 AND s.seen_us < $3)
            ORDER BY b.updated_us LIMIT $2)
            RETURNING id, project_id, name, desired, generation, state, detail, observed_generation, incarnation,
                server_id, token, place, next_try_us, spec, created_us, updated_us, active_us, expires_us",
        postgres: "UPDATE sandboxes SET server_id = $1, token = token + 1 WHERE id IN (
            SELECT b.id FROM sandboxes b LEFT JOIN servers s ON s.id = b.server_id
            WHERE b.observed_generation < b.generation AND b.next_try_us <= $4
                AND (s.id IS NULL OR s.id <> $1 AND s.seen_us < $3)
            ORDER BY b.updated_us LIMIT $2 FOR UPDATE OF b SKIP LOCKED)
            RETURNING id, project_id, name, desired, generation, state, detail, observed_generation, incarnation,
                server_id, token, place, next_try_us, spec, created_us, updated_us, active_us, expires_us"
    };
    UNSETTLED: Sandbox = "SELECT id, project_id, name, desired, generation, state, detail, observed_generation, incarnation,
        server_id, token, place, next_try_us, spec, created_us, updated_us, active_us, expires_us FROM sandboxes
        WHERE server_id = $1 AND observed_generation < generation AND next_try_us <= $3 ORDER BY updated_us LIMIT $2";
    /// Everything that another server not heard of since $3 had, settled or not. Never one's own: a clock that jumps makes
    /// everybody's last heartbeat old.
    ADOPT: Sandbox = {
        sqlite: "UPDATE sandboxes SET server_id = $1, token = token + 1 WHERE id IN (
            SELECT b.id FROM sandboxes b LEFT JOIN servers s ON s.id = b.server_id
            WHERE b.server_id IS NOT NULL AND (s.id IS NULL OR s.id <> $1 AND s.seen_us < $3) ORDER BY b.updated_us LIMIT $2)
            RETURNING id, project_id, name, desired, generation, state, detail, observed_generation, incarnation,
                server_id, token, place, next_try_us, spec, created_us, updated_us, active_us, expires_us",
        postgres: "UPDATE sandboxes SET server_id = $1, token = token + 1 WHERE id IN (
            SELECT b.id FROM sandboxes b LEFT JOIN servers s ON s.id = b.server_id
            WHERE b.server_id IS NOT NULL AND (s.id IS NULL OR s.id <> $1 AND s.seen_us < $3) ORDER BY b.updated_us LIMIT $2
            FOR UPDATE OF b SKIP LOCKED)
            RETURNING id, project_id, name, desired, generation, state, detail, observed_generation, incarnation,
                server_id, token, place, next_try_us, spec, created_us, updated_us, active_us, expires_us"
    };
    /// A wish that came since $11 was looked at is tried at once.
    OBSERVE = "UPDATE sandboxes SET observed_generation = $4, state = $5, detail = $6, incarnation = $7, place = $8,
        next_try_us = CASE WHEN generation > $11 THEN 0 ELSE $9 END, updated_us = $10 WHERE id = $1 AND server_id = $2 AND token = $3 AND incarnation <= $7";
    ENTER = "UPDATE sandboxes SET active_us = $2 WHERE id = $1 AND desired NOT IN ('deleted', 'expired', 'lost')";
    CLOSE = "UPDATE sandboxes SET desired = 'lost', generation = generation + 1
        WHERE id = $1 AND server_id = $2 AND token = $3 AND desired NOT IN ('deleted', 'expired', 'lost')";
    DESCRIBE = "UPDATE sandboxes SET name = $3, spec = $4 WHERE id = $1 AND spec = $2";
    /// The row is locked between the two statements of an end.
    KEEP_END = {
        sqlite: "INSERT INTO ended_sandboxes (id, project_id, name, reason, spec, created_us, ended_us)
            SELECT id, project_id, name, $4, spec, created_us, $5 FROM sandboxes
            WHERE id = $1 AND server_id = $2 AND token = $3",
        postgres: "INSERT INTO ended_sandboxes (id, project_id, name, reason, spec, created_us, ended_us)
            SELECT id, project_id, name, $4, spec, created_us, $5 FROM sandboxes
            WHERE id = $1 AND server_id = $2 AND token = $3 FOR UPDATE"
    };
    REMOVE_LIVE = "DELETE FROM sandboxes WHERE id = $1 AND server_id = $2 AND token = $3";
    GET: Sandbox = "SELECT id, project_id, name, desired, generation, state, detail, observed_generation, incarnation,
        server_id, token, place, next_try_us, spec, created_us, updated_us, active_us, expires_us FROM sandboxes WHERE id = $1";
    LIST: Sandbox = "SELECT id, project_id, name, desired, generation, state, detail, observed_generation, incarnation,
        server_id, token, place, next_try_us, spec, created_us, updated_us, active_us, expires_us FROM sandboxes
        WHERE project_id = $1 AND (created_us, id) < ($2, $3) ORDER BY created_us DESC, id DESC LIMIT $4";
    NAMED: Sandbox = "SELECT id, project_id, name, desired, generation, state, detail, observed_generation, incarnation,
        server_id, token, place, next_try_us, spec, created_us, updated_us, active_us, expires_us FROM sandboxes
        WHERE project_id = $1 AND name = $2";
    LIST_ENDED: Ended = "SELECT id, project_id, name, reason, spec, created_us, ended_us FROM ended_sandboxes
        WHERE project_id = $1 AND (created_us, id) < ($2, $3) ORDER BY created_us DESC, id DESC LIMIT $4";
    GET_ENDED: Ended = "SELECT id, project_id, name, reason, spec, created_us, ended_us FROM ended_sandboxes WHERE id = $1";
    IS_ENDED = "SELECT 1 AS found FROM ended_sandboxes WHERE id = $1";
    FORGET = "DELETE FROM ended_sandboxes WHERE id IN
        (SELECT id FROM ended_sandboxes WHERE ended_us < $1 ORDER BY ended_us LIMIT $2)";
}

/// Writes down a sandbox that is to be made.
///
/// # Errors
/// [`Error::Taken`](crate::Error::Taken); the database's.
pub async fn accept(tx: &mut Tx, accepted: &Accepted, now_us: i64) -> Result<()> {
    let Accepted { id, project_id, name, spec, expires_us } = accepted;
    let values = values![*id, *project_id, name.clone(), spec, now_us, *expires_us];
    tx.execute(&ACCEPT, values).await.map_err(|error| error.or_taken("sandbox"))?;
    tx.wake(Channel::Sandboxes);
    Ok(())
}

/// Writes down a wish, if the last one still is `generation`. What is wished for: `running`, `stopped`, `deleted`.
///
/// # Errors
/// The database's.
pub async fn want(
    tx: &mut Tx,
    id: SandboxId,
    generation: i64,
    desired: &'static str,
    now_us: i64,
) -> Result<Guarded> {
    let done = guarded(tx, &WANT, values![id, generation, desired, now_us], id).await?;
    if done.is_updated() {
        tx.wake(Channel::Sandboxes);
    }
    Ok(done)
}

/// Wishes up to `most` away whose life is over, those for longest first: whoever holds one ends it. How many there were.
///
/// # Errors
/// The database's.
pub async fn expire(tx: &mut Tx, now_us: i64, most: u32) -> Result<u64> {
    tx.execute(&EXPIRE, values![now_us, i64::from(most)]).await
}

/// When the next life is over, or the next thing that failed is tried again, after `now_us`.
///
/// # Errors
/// The database's.
pub async fn next_due(from: &mut Connection, now_us: i64) -> Result<Option<i64>> {
    let due: Option<Due> = from.one(&DUE, values![now_us]).await?;
    Ok(due.and_then(|due| due.at_us))
}

/// Takes up to `most` that have something to be done by `now_us` and that nobody acts for, those waiting longest first.
///
/// # Errors
/// The database's.
pub async fn claim(
    tx: &mut Tx,
    server_id: ServerId,
    most: u32,
    alive_since_us: i64,
    now_us: i64,
) -> Result<Vec<Sandbox>> {
    tx.all(&CLAIM, values![server_id, i64::from(most), alive_since_us, now_us]).await
}

/// Those of a server that have something to be done by `now_us`, those waiting longest first.
///
/// # Errors
/// The database's.
pub async fn unsettled(
    from: &mut Connection,
    server_id: ServerId,
    most: u32,
    now_us: i64,
) -> Result<Vec<Sandbox>> {
    from.all(&UNSETTLED, values![server_id, i64::from(most), now_us]).await
}

/// Takes over up to `most` that a server had which was not heard of since `alive_since_us`: to be found again, or lost.
///
/// # Errors
/// The database's.
pub async fn adopt(tx: &mut Tx, server_id: ServerId, most: u32, alive_since_us: i64) -> Result<Vec<Sandbox>> {
    tx.all(&ADOPT, values![server_id, i64::from(most), alive_since_us]).await
}

/// Writes down what its holder saw. An incarnation never goes back.
///
/// # Errors
/// The database's.
pub async fn observe(
    tx: &mut Tx,
    id: SandboxId,
    claim: Claim,
    observed: &Observed,
    now_us: i64,
) -> Result<Guarded> {
    let Observed { generation, state, detail, incarnation, place, next_try_us } = observed;
    // A wish that was not met stays one.
    let observed_generation = if next_try_us.is_some() { *generation - 1 } else { *generation };
    let (server_id, token) = (claim.server_id, claim.token);
    let values = values![
        id,
        server_id,
        token,
        observed_generation,
        *state,
        detail.clone(),
        *incarnation,
        place.clone(),
        next_try_us.unwrap_or(0),
        now_us,
        *generation
    ];
    guarded(tx, &OBSERVE, values, id).await
}

/// Makes sure that it may take something to run, as part of the write that brings it: until that is committed nobody can wish
/// the sandbox away, and whoever does so afterwards finds it.
///
/// # Errors
/// [`Error::Ended`]; the database's.
pub async fn enter(tx: &mut Tx, id: SandboxId, now_us: i64) -> Result<()> {
    match tx.execute(&ENTER, values![id, now_us]).await? {
        0 => Err(Error::Ended { what: "sandbox" }),
        _ => Ok(()),
    }
}

/// From now on it takes nothing more to run: its holder is about to end all that is in it. Where nobody wished it away, it is
/// lost: whoever goes on with that after its holder knows so by this.
///
/// # Errors
/// The database's.
pub async fn close(tx: &mut Tx, id: SandboxId, claim: Claim) -> Result<()> {
    tx.execute(&CLOSE, values![id, claim.server_id, claim.token]).await.map(drop)
}

/// Changes what is only said of it, if its spec still is `before`.
///
/// # Errors
/// [`Error::Taken`]; the database's.
pub async fn describe(
    tx: &mut Tx,
    id: SandboxId,
    before: &str,
    name: Option<&str>,
    spec: &str,
) -> Result<Guarded> {
    let values = values![id, before, name.map(str::to_owned), spec];
    guarded(tx, &DESCRIBE, values, id).await.map_err(|error| error.or_taken("sandbox"))
}

/// Nothing is left of it.
///
/// # Errors
/// The database's.
pub async fn end(
    tx: &mut Tx,
    id: SandboxId,
    claim: Claim,
    reason: &'static str,
    now_us: i64,
) -> Result<Guarded> {
    let values = values![id, claim.server_id, claim.token, reason, now_us];
    if tx.execute(&KEEP_END, values).await? == 0 {
        let there = is_known(tx, id).await?;
        return Ok(Guarded::of(0, there));
    }
    tx.execute(&REMOVE_LIVE, values![id, claim.server_id, claim.token]).await?;
    Ok(Guarded::Updated)
}

async fn guarded(
    tx: &mut Tx,
    statement: &crate::sql::Statement,
    values: Vec<crate::row::Value>,
    id: SandboxId,
) -> Result<Guarded> {
    let changed = tx.execute(statement, values).await?;
    let there = changed > 0 || is_known(tx, id).await?;
    Ok(Guarded::of(changed, there))
}

async fn is_known(from: &mut Connection, id: SandboxId) -> Result<bool> {
    Ok(get(from, id).await?.is_some() || from.any(&IS_ENDED, values![id]).await?)
}

/// One that has not ended.
///
/// # Errors
/// The database's.
pub async fn get(from: &mut Connection, id: SandboxId) -> Result<Option<Sandbox>> {
    from.one(&GET, values![id]).await
}

/// One that has ended.
///
/// # Errors
/// The database's.
pub async fn ended(from: &mut Connection, id: SandboxId) -> Result<Option<Ended>> {
    from.one(&GET_ENDED, values![id]).await
}

/// Those of a project that have not ended, newest first, from before (`created_us`, `id`).
///
/// # Errors
/// The database's.
pub async fn list(
    from: &mut Connection,
    project_id: ProjectId,
    before: &crate::executions::Before,
    limit: u32,
) -> Result<Vec<Sandbox>> {
    from.all(&LIST, values![project_id, before.created_us, &before.id, i64::from(limit)]).await
}

/// The one of a name that has not ended.
///
/// # Errors
/// The database's.
pub async fn named(from: &mut Connection, project_id: ProjectId, name: &str) -> Result<Option<Sandbox>> {
    from.one(&NAMED, values![project_id, name]).await
}

/// Those of a project that have ended, newest first, from before (`created_us`, `id`).
///
/// # Errors
/// The database's.
pub async fn list_ended(
    from: &mut Connection,
    project_id: ProjectId,
    before: &crate::executions::Before,
    limit: u32,
) -> Result<Vec<Ended>> {
    from.all(&LIST_ENDED, values![project_id, before.created_us, &before.id, i64::from(limit)]).await
}

/// Deletes ended ones that are older than `before_us`, oldest first, `most` at once. How many there were.
///
/// # Errors
/// The database's.
pub async fn forget(tx: &mut Tx, before_us: i64, most: u32) -> Result<u64> {
    tx.execute(&FORGET, values![before_us, i64::from(most)]).await
}
