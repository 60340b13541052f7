//! What happened, as a feed that can be read on from any position.
//!
//! Positions are given under a lock on one row, so they become visible in their order on both databases: a reader who
//! has seen a position has seen all before it. (A sequence of PostgreSQL would give a lower number to a transaction that
//! commits later, and the reader would pass it by.) The lock costs nothing that group commit does not share.

use sandkeep_core::id::ProjectId;

use crate::connection::Connection;
use crate::error::Result;
use crate::row::{record, values};
use crate::sql::statements;
use crate::wake::Channel;
use crate::writer::Tx;

record! {
    /// Something that happened.
    pub struct Event {
        /// Its place in the feed, from 1.
        pub position: i64,
        /// Whose.
        pub project_id: ProjectId,
        /// When.
        pub happened_us: i64,
        /// `execution.queued`, `sandbox.running`, …
        pub kind: String,
        /// Id of what it happened to.
        pub subject: String,
        /// More, as a JSON object.
        pub data: String,
    }
}

/// An event that is to be written.
#[derive(Debug, Clone)]
pub struct News<'a> {
    /// Whose.
    pub project_id: ProjectId,
    /// `execution.queued`, …
    pub kind: &'static str,
    /// Id of what it happened to.
    pub subject: &'a str,
    /// More, as a JSON object.
    pub data: &'a str,
}

record! {
    /// How far the feed of all projects goes.
    pub struct Reach {
        /// The last position that was given. All up to it can be read.
        pub last: i64,
        /// The last position that was forgotten for its age, 0 before the first.
        pub forgotten: i64,
    }
}

record! {
    pub(crate) struct Position {
        pub position: i64,
    }
}

statements! {
    ADVANCE = "UPDATE event_positions SET last = last + 1 WHERE feed = 1";
    ADD = "INSERT INTO events (position, project_id, happened_us, kind, subject, data)
        SELECT last, $1, $2, $3, $4, $5 FROM event_positions WHERE feed = 1";
    AFTER: Event = "SELECT position, project_id, happened_us, kind, subject, data FROM events
        WHERE project_id = $1 AND position > $2 ORDER BY position LIMIT $3";
    /// The first ones only: whatever clocks did, the oldest that is not old enough is where it stops.
    FORGET: Position = "DELETE FROM events WHERE position IN (SELECT position FROM events ORDER BY position LIMIT $2)
        AND position < coalesce((SELECT min(young.position) FROM
            (SELECT position, happened_us FROM events ORDER BY position LIMIT $2) AS young
            WHERE young.happened_us >= $1), 9223372036854775807) RETURNING position";
    NOTE_FORGOTTEN = "UPDATE event_positions SET forgotten = $1 WHERE feed = 1 AND forgotten < $1";
    REACH: Reach = "SELECT last, forgotten FROM event_positions WHERE feed = 1";
}

/// Writes an event, as part of the change that it tells of.
///
/// # Errors
/// The database's.
pub async fn add(tx: &mut Tx, news: &News<'_>, now_us: i64) -> Result<()> {
    tx.execute(&ADVANCE, values![]).await?;
    tx.execute(&ADD, values![news.project_id, now_us, news.kind, news.subject, news.data]).await?;
    tx.wake(Channel::Events);
    Ok(())
}

/// Events of a project after `position`, `limit` at most.
///
/// # Errors
/// The database's.
pub async fn after(
    from: &mut Connection,
    project_id: ProjectId,
    position: i64,
    limit: u32,
) -> Result<Vec<Event>> {
    from.all(&AFTER, values![project_id, position, i64::from(limit)]).await
}

/// How far the feed goes.
///
/// # Errors
/// The database's.
pub async fn reach(from: &mut Connection) -> Result<Reach> {
    let reach: Option<Reach> = from.one(&REACH, values![]).await?;
    Ok(reach.unwrap_or(Reach { last: 0, forgotten: 0 }))
}

/// Deletes events older than `before_us`, in the order of their positions, `most` at once. How many there were.
///
/// # Errors
/// The database's.
pub async fn forget(tx: &mut Tx, before_us: i64, most: u32) -> Result<u64> {
    let deleted: Vec<Position> = tx.all(&FORGET, values![before_us, i64::from(most)]).await?;
    if let Some(last) = deleted.iter().map(|event| event.position).max() {
        tx.execute(&NOTE_FORGOTTEN, values![last]).await?;
    }
    Ok(deleted.len() as u64)
}
