//! Executions: the live ones, which are few, and the finished ones, which are many.
//!
//! The writes of `docs/decisions/0009-life-of-an-execution.md`, one function each: [`accept`], [`claim`], [`started`], or all
//! three in one ([`accept_started`]); [`request_cancel`], [`finish`]. Every one of them is guarded, so that it happens once whoever repeats it.

use sandkeep_core::id::{ExecutionId, ProjectId, SandboxId, ServerId};

use crate::connection::Connection;
use crate::error::Result;
use crate::guard::Guarded;
use crate::row::{record, values};
use crate::sql::statements;
use crate::wake::Channel;
use crate::writer::Tx;

record! {
    /// An execution that has no end yet.
    pub struct Live {
        /// Its id.
        pub id: ExecutionId,
        /// Whose.
        pub project_id: ProjectId,
        /// Where.
        pub sandbox_id: SandboxId,
        /// `queued`, `starting` or `running`. What a newer release writes there is left alone.
        pub state: String,
        /// `script`, `handler`, `command`.
        pub kind: String,
        /// Of scripts and handlers.
        pub language: Option<String>,
        /// The request, sealed by whoever accepted it.
        pub request: Vec<u8>,
        /// Who acts for it.
        pub server_id: Option<ServerId>,
        /// Rises with every claim, from 0.
        pub token: i64,
        /// Of the sandbox, once it is running.
        pub incarnation: Option<i64>,
        /// When a cancel was accepted.
        pub cancel_requested_us: Option<i64>,
        /// When it was accepted.
        pub created_us: i64,
        /// When it was told to start.
        pub started_us: Option<i64>,
    }
}

record! {
    /// An execution with its end.
    pub struct Finished {
        /// Its id.
        pub id: ExecutionId,
        /// Whose.
        pub project_id: ProjectId,
        /// Where it ran.
        pub sandbox_id: SandboxId,
        /// How it ended.
        pub state: String,
        /// `script`, `handler`, `command`.
        pub kind: String,
        /// Of scripts and handlers.
        pub language: Option<String>,
        /// The result without its output: JSON.
        pub result: String,
        /// When it was accepted.
        pub created_us: i64,
        /// When it was told to start, if it was.
        pub started_us: Option<i64>,
        /// When it ended.
        pub finished_us: i64,
    }
}

record! {
    pub(crate) struct Old {
        pub id: ExecutionId,
    }
}

/// What is accepted.
#[derive(Debug, Clone)]
pub struct Accepted {
    /// Its id.
    pub id: ExecutionId,
    /// Whose.
    pub project_id: ProjectId,
    /// Where it is to run.
    pub sandbox_id: SandboxId,
    /// `script`, `handler`, `command`.
    pub kind: &'static str,
    /// Of scripts and handlers.
    pub language: Option<&'static str>,
    /// The request, sealed.
    pub request: Vec<u8>,
}

/// How it ended.
#[derive(Debug, Clone)]
pub struct Ending {
    /// Name of the state, one of the ends.
    pub state: &'static str,
    /// The result without its output: JSON.
    pub result: String,
    /// When.
    pub finished_us: i64,
}

/// In whose name a write is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The server's session.
    pub server_id: ServerId,
    /// The token it got with the row.
    pub token: i64,
}

statements! {
    ACCEPT = "INSERT INTO executions (id, project_id, sandbox_id, state, kind, language, request, token, created_us)
        VALUES ($1, $2, $3, 'queued', $4, $5, $6, 0, $7)";
    /// Only under the claim that holds the sandbox now, and only once that runs.
    ACCEPT_STARTED: Live = "INSERT INTO executions (id, project_id, sandbox_id, state, kind, language, request, server_id,
            token, incarnation, created_us, started_us)
        SELECT $1, $2, b.id, 'running', $4, $5, $6, b.server_id, 1, b.incarnation, $7, $7 FROM sandboxes b
        WHERE b.id = $3 AND b.server_id = $8 AND b.token = $9 AND b.state = 'running'
        RETURNING id, project_id, sandbox_id, state, kind, language, request, server_id, token, incarnation,
            cancel_requested_us, created_us, started_us";
    /// A row is free when nobody has it, or another who has it was not heard of since $3; and only whoever holds its sandbox,
    /// running, can do something with it. The oldest first.
    CLAIM: Live = {
        sqlite: "UPDATE executions SET state = 'starting', server_id = $1, token = token + 1 WHERE id IN (
            SELECT e.id FROM executions e JOIN sandboxes b ON b.id = e.sandbox_id
            LEFT JOIN servers s ON s.id = e.server_id
            WHERE e.state IN ('queued', 'starting') AND (s.id IS NULL OR s.id <> $1 AND s.seen_us < $3)
                AND b.server_id = $1 AND b.state = 'running'
            ORDER BY e.created_us, e.id LIMIT $2)
            RETURNING id, project_id, sandbox_id, state, kind, language, request, server_id, token, incarnation,
                cancel_requested_us, created_us, started_us",
        postgres: "UPDATE executions SET state = 'starting', server_id = $1, token = token + 1 WHERE id IN (
            SELECT e.id FROM executions e JOIN sandboxes b ON b.id = e.sandbox_id
            LEFT JOIN servers s ON s.id = e.server_id
            WHERE e.state IN ('queued', 'starting') AND (s.id IS NULL OR s.id <> $1 AND s.seen_us < $3)
                AND b.server_id = $1 AND b.state = 'running'
            ORDER BY e.created_us, e.id LIMIT $2 FOR UPDATE OF e SKIP LOCKED)
            RETURNING id, project_id, sandbox_id, state, kind, language, request, server_id, token, incarnation,
                cancel_requested_us, created_us, started_us"
    };
    /// Running ones in a sandbox that somebody else had: they are followed by whoever has it now, not started.
    TAKE_OVER: Live = "UPDATE executions SET server_id = $1, token = token + 1
        WHERE sandbox_id = $2 AND state = 'running' AND (server_id IS NULL OR server_id <> $1)
            AND EXISTS (SELECT 1 FROM sandboxes b WHERE b.id = $2 AND b.server_id = $1 AND b.token = $3)
        RETURNING id, project_id, sandbox_id, state, kind, language, request, server_id, token, incarnation,
            cancel_requested_us, created_us, started_us";
    /// Not once a cancel is accepted: then the code is not to run at all.
    STARTED = "UPDATE executions SET state = 'running', started_us = $4,
        incarnation = (SELECT b.incarnation FROM sandboxes b WHERE b.id = sandbox_id)
        WHERE id = $1 AND server_id = $2 AND token = $3 AND state = 'starting' AND cancel_requested_us IS NULL";
    REQUEST_CANCEL = "UPDATE executions SET cancel_requested_us = coalesce(cancel_requested_us, $2) WHERE id = $1";
    /// Of those that hold a running sandbox: its executions that run, and began before $2. More than one look is between them
    /// and their start.
    RUNNING: Live = "SELECT e.id, e.project_id, e.sandbox_id, e.state, e.kind, e.language, e.request, e.server_id, e.token,
        e.incarnation, e.cancel_requested_us, e.created_us, e.started_us
        FROM executions e JOIN sandboxes b ON b.id = e.sandbox_id
        WHERE b.server_id = $1 AND b.state = 'running' AND e.state = 'running' AND e.started_us < $2
        ORDER BY e.created_us, e.id LIMIT $3";
    RETAKE: Live = "UPDATE executions SET server_id = $1, token = token + 1
        WHERE id = $2 AND token = $3 AND state = 'running'
            AND EXISTS (SELECT 1 FROM sandboxes b WHERE b.id = sandbox_id AND b.server_id = $1)
        RETURNING id, project_id, sandbox_id, state, kind, language, request, server_id, token, incarnation,
            cancel_requested_us, created_us, started_us";
    /// The row is locked between the two statements of an end: else somebody could take it over there, and it would have an end
    /// and none.
    KEEP_END = {
        sqlite: "INSERT INTO finished_executions
            (id, project_id, sandbox_id, state, kind, language, result, created_us, started_us, finished_us)
            SELECT id, project_id, sandbox_id, $4, kind, language, $5, created_us, started_us, $6
            FROM executions WHERE id = $1 AND server_id = $2 AND token = $3",
        postgres: "INSERT INTO finished_executions
            (id, project_id, sandbox_id, state, kind, language, result, created_us, started_us, finished_us)
            SELECT id, project_id, sandbox_id, $4, kind, language, $5, created_us, started_us, $6
            FROM executions WHERE id = $1 AND server_id = $2 AND token = $3 FOR UPDATE"
    };
    REMOVE_LIVE = "DELETE FROM executions WHERE id = $1 AND server_id = $2 AND token = $3";
    GET_LIVE: Live = "SELECT id, project_id, sandbox_id, state, kind, language, request, server_id, token, incarnation,
        cancel_requested_us, created_us, started_us FROM executions WHERE id = $1";
    GET_FINISHED: Finished = "SELECT id, project_id, sandbox_id, state, kind, language, result, created_us, started_us,
        finished_us FROM finished_executions WHERE id = $1";
    IS_FINISHED = "SELECT 1 AS found FROM finished_executions WHERE id = $1";
    CANCELLED: Live = "SELECT id, project_id, sandbox_id, state, kind, language, request, server_id, token, incarnation,
        cancel_requested_us, created_us, started_us FROM executions
        WHERE cancel_requested_us IS NOT NULL AND (server_id = $1 OR server_id IS NULL) ORDER BY created_us, id LIMIT $2";
    /// Whoever holds the sandbox ends what never began in it.
    CLAIM_OF: Live = "UPDATE executions SET server_id = $1, token = token + 1
        WHERE sandbox_id = $2 AND EXISTS (SELECT 1 FROM sandboxes b WHERE b.id = $2 AND b.server_id = $1 AND b.token = $3)
        RETURNING id, project_id, sandbox_id, state, kind, language, request, server_id, token, incarnation,
            cancel_requested_us, created_us, started_us";
    TAKE_QUEUED = "UPDATE executions SET server_id = $2, token = token + 1
        WHERE id = $1 AND server_id IS NULL AND token = $3 AND state = 'queued'";
    LIVE_OF: Live = "SELECT id, project_id, sandbox_id, state, kind, language, request, server_id, token, incarnation,
        cancel_requested_us, created_us, started_us FROM executions
        WHERE sandbox_id = $1 AND (created_us, id) < ($2, $3) ORDER BY created_us DESC, id DESC LIMIT $4";
    FINISHED_OF: Finished = "SELECT id, project_id, sandbox_id, state, kind, language, result, created_us, started_us,
        finished_us FROM finished_executions WHERE sandbox_id = $1 AND (created_us, id) < ($2, $3)
        ORDER BY created_us DESC, id DESC LIMIT $4";
    OLD: Old = "SELECT id FROM finished_executions WHERE finished_us < $1 ORDER BY finished_us LIMIT $2";
    FORGET = "DELETE FROM finished_executions WHERE id = $1";
}

/// W1: writes down what is accepted.
///
/// # Errors
/// The database's.
pub async fn accept(tx: &mut Tx, accepted: &Accepted, now_us: i64) -> Result<()> {
    let Accepted { id, project_id, sandbox_id, kind, language, request } = accepted;
    let values = values![*id, *project_id, *sandbox_id, *kind, *language, request.as_slice(), now_us];
    tx.execute(&ACCEPT, values).await?;
    tx.wake(Channel::Executions);
    Ok(())
}

/// W1 to W3 in one: writes down what is accepted as claimed and started by `by`, the claim under which a server holds the
/// sandbox. `None`, and nothing is written, where that claim does not hold a running sandbox (any more).
///
/// # Errors
/// The database's.
pub async fn accept_started(
    tx: &mut Tx,
    accepted: &Accepted,
    by: Claim,
    now_us: i64,
) -> Result<Option<Live>> {
    let Accepted { id, project_id, sandbox_id, kind, language, request } = accepted;
    let values = values![
        *id,
        *project_id,
        *sandbox_id,
        *kind,
        *language,
        request.as_slice(),
        now_us,
        by.server_id,
        by.token
    ];
    tx.one(&ACCEPT_STARTED, values).await
}

/// W2: takes up to `most` that nobody acts for, oldest first, each under a token of its own. Nobody is whoever was not heard
/// of since `alive_since_us`.
///
/// # Errors
/// The database's.
pub async fn claim(tx: &mut Tx, server_id: ServerId, most: u32, alive_since_us: i64) -> Result<Vec<Live>> {
    let mut claimed: Vec<Live> = tx.all(&CLAIM, values![server_id, i64::from(most), alive_since_us]).await?;
    // RETURNING has no order.
    claimed.sort_unstable_by_key(|live| (live.created_us, live.id));
    Ok(claimed)
}

/// Takes over everything that was running in a sandbox which `by` holds now, oldest first: to be followed. Whoever followed it
/// before writes nothing more of it.
///
/// # Errors
/// The database's.
pub async fn take_over(tx: &mut Tx, sandbox_id: SandboxId, by: Claim) -> Result<Vec<Live>> {
    let mut taken: Vec<Live> = tx.all(&TAKE_OVER, values![by.server_id, sandbox_id, by.token]).await?;
    taken.sort_unstable_by_key(|live| (live.created_us, live.id));
    Ok(taken)
}

/// Those that run in sandboxes of a server, begun before `before_us`, oldest first.
///
/// # Errors
/// The database's.
pub async fn running(
    from: &mut Connection,
    server_id: ServerId,
    before_us: i64,
    limit: u32,
) -> Result<Vec<Live>> {
    from.all(&RUNNING, values![server_id, before_us, i64::from(limit)]).await
}

/// Takes one over that runs in a sandbox of `server_id` and that nobody follows, if its token still is `token`.
///
/// # Errors
/// The database's.
pub async fn retake(tx: &mut Tx, id: ExecutionId, token: i64, server_id: ServerId) -> Result<Option<Live>> {
    tx.one(&RETAKE, values![server_id, id, token]).await
}

/// Those of a server, or of nobody, that were asked to end, oldest first.
///
/// # Errors
/// The database's.
pub async fn cancelled(from: &mut Connection, server_id: ServerId, limit: u32) -> Result<Vec<Live>> {
    from.all(&CANCELLED, values![server_id, i64::from(limit)]).await
}

/// Takes everything in a sandbox that `by` holds, to end it: the sandbox goes. Each gets a new token, which voids whoever
/// followed it.
///
/// # Errors
/// The database's.
pub async fn claim_of(tx: &mut Tx, sandbox_id: SandboxId, by: Claim) -> Result<Vec<Live>> {
    tx.all(&CLAIM_OF, values![by.server_id, sandbox_id, by.token]).await
}

/// Takes one that nobody has, to end it. Its token is one more than `token` then.
///
/// # Errors
/// The database's.
pub async fn take_queued(tx: &mut Tx, id: ExecutionId, server_id: ServerId, token: i64) -> Result<Guarded> {
    guarded(tx, &TAKE_QUEUED, values![id, server_id, token], id).await
}

/// W3: from now on its code may have run. Stale too when a cancel came first.
///
/// # Errors
/// The database's.
pub async fn started(tx: &mut Tx, id: ExecutionId, claim: Claim, now_us: i64) -> Result<Guarded> {
    guarded(tx, &STARTED, values![id, claim.server_id, claim.token, now_us], id).await
}

/// Accepts a cancel: the first one counts, later ones change nothing. Stale when there is an end already.
///
/// # Errors
/// The database's.
pub async fn request_cancel(tx: &mut Tx, id: ExecutionId, now_us: i64) -> Result<Guarded> {
    let done = guarded(tx, &REQUEST_CANCEL, values![id, now_us], id).await?;
    if done.is_updated() {
        tx.wake(Channel::Executions);
    }
    Ok(done)
}

/// W5: the end, written once. Stale when there is one already, or when another claim is the newer.
///
/// # Errors
/// The database's.
pub async fn finish(tx: &mut Tx, id: ExecutionId, claim: Claim, ending: &Ending) -> Result<Guarded> {
    let Ending { state, result, finished_us } = ending;
    let values = values![id, claim.server_id, claim.token, *state, result, *finished_us];
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
    id: ExecutionId,
) -> Result<Guarded> {
    let changed = tx.execute(statement, values).await?;
    let there = changed > 0 || is_known(tx, id).await?;
    Ok(Guarded::of(changed, there))
}

/// Whether there is such an execution, with or without an end.
async fn is_known(from: &mut Connection, id: ExecutionId) -> Result<bool> {
    Ok(live(from, id).await?.is_some() || from.any(&IS_FINISHED, values![id]).await?)
}

/// One that has no end.
///
/// # Errors
/// The database's.
pub async fn live(from: &mut Connection, id: ExecutionId) -> Result<Option<Live>> {
    from.one(&GET_LIVE, values![id]).await
}

/// One that has its end.
///
/// # Errors
/// The database's.
pub async fn finished(from: &mut Connection, id: ExecutionId) -> Result<Option<Finished>> {
    from.one(&GET_FINISHED, values![id]).await
}

/// Those of a sandbox that have no end, newest first.
///
/// # Errors
/// The database's.
pub async fn live_of(
    from: &mut Connection,
    sandbox_id: SandboxId,
    before: &Before,
    limit: u32,
) -> Result<Vec<Live>> {
    from.all(&LIVE_OF, values![sandbox_id, before.created_us, &before.id, i64::from(limit)]).await
}

/// Where a list of finished executions goes on: before this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Before {
    /// When the last one that was shown was accepted.
    pub created_us: i64,
    /// Its id.
    pub id: String,
}

impl Before {
    /// Before everything: the newest first.
    #[must_use]
    pub fn nothing() -> Self {
        Self { created_us: i64::MAX, id: String::new() }
    }
}

/// Those of a sandbox that have ended, newest first.
///
/// # Errors
/// The database's.
pub async fn finished_of(
    from: &mut Connection,
    sandbox_id: SandboxId,
    before: &Before,
    limit: u32,
) -> Result<Vec<Finished>> {
    from.all(&FINISHED_OF, values![sandbox_id, before.created_us, &before.id, i64::from(limit)]).await
}

/// Ids of ended ones that are older than `before_us`, oldest first.
///
/// # Errors
/// The database's.
pub async fn old(from: &mut Connection, before_us: i64, most: u32) -> Result<Vec<ExecutionId>> {
    let old: Vec<Old> = from.all(&OLD, values![before_us, i64::from(most)]).await?;
    Ok(old.into_iter().map(|old| old.id).collect())
}

/// Deletes an ended one with the index of its output. Its blobs are for the caller to remove, before: no row would name
/// them any more.
///
/// # Errors
/// The database's.
pub async fn forget(tx: &mut Tx, id: ExecutionId) -> Result<()> {
    crate::output::forget(tx, id).await?;
    tx.execute(&FORGET, values![id]).await.map(drop)
}
