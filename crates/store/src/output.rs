//! The index of an execution's stored output: which positions there are, and where their bytes lie.
//!
//! Pieces are added in order and never overlap: a piece that begins where another one does is the same one, added again
//! by a server that did not hear that it was there.

use sandkeep_core::id::ExecutionId;

use crate::connection::Connection;
use crate::error::Result;
use crate::row::{record, values};
use crate::sql::statements;
use crate::writer::Tx;

/// Where the bytes of a piece are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the row.
    Here(Vec<u8>),
    /// In the blob of its position.
    Blob,
    /// Nowhere: these positions were not kept.
    Gap,
}

/// A piece of the log: positions from `from` (included) to `to` (not).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Its first position.
    pub from: u64,
    /// The first position after it.
    pub to: u64,
    /// Where its bytes are.
    pub place: Place,
}

record! {
    /// A piece, as its row says.
    pub(crate) struct ChunkRow {
        /// First position.
        pub from_position: i64,
        /// First position after it.
        pub to_position: i64,
        /// `here`, `blob`, `gap`.
        pub place: String,
        /// The bytes, when they are here.
        pub bytes: Option<Vec<u8>>,
    }
}

record! {
    pub(crate) struct Reach {
        pub to_position: i64,
    }
}

statements! {
    ADD = "INSERT INTO output_chunks (execution_id, from_position, to_position, place, bytes)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (execution_id, from_position) DO NOTHING";
    FROM: ChunkRow = "SELECT from_position, to_position, place, bytes FROM output_chunks
        WHERE execution_id = $1 AND to_position > $2 ORDER BY from_position LIMIT $3";
    REACH: Reach = "SELECT to_position FROM output_chunks WHERE execution_id = $1
        ORDER BY from_position DESC LIMIT 1";
    FORGET = "DELETE FROM output_chunks WHERE execution_id = $1";
}

/// W4: adds a piece. One that is there already changes nothing.
///
/// # Errors
/// The database's.
pub async fn add(tx: &mut Tx, id: ExecutionId, chunk: &Chunk) -> Result<()> {
    let (place, bytes) = match &chunk.place {
        Place::Here(bytes) => ("here", Some(bytes.clone())),
        Place::Blob => ("blob", None),
        Place::Gap => ("gap", None),
    };
    let values = values![id, stored(chunk.from), stored(chunk.to), place, bytes];
    tx.execute(&ADD, values).await.map(drop)
}

/// Pieces that hold something at `position` or later, in order, `limit` at most.
///
/// # Errors
/// The database's.
pub async fn from(from: &mut Connection, id: ExecutionId, position: u64, limit: u32) -> Result<Vec<Chunk>> {
    let rows: Vec<ChunkRow> = from.all(&FROM, values![id, stored(position), i64::from(limit)]).await?;
    Ok(rows.into_iter().map(ChunkRow::into_chunk).collect())
}

/// The first position that is not stored yet: where a server goes on that takes an execution over.
///
/// # Errors
/// The database's.
pub async fn reach(from: &mut Connection, id: ExecutionId) -> Result<u64> {
    let last: Option<Reach> = from.one(&REACH, values![id]).await?;
    Ok(last.map_or(0, |last| last.to_position.unsigned_abs()))
}

/// Deletes the index of an execution. Its blobs are for the caller to remove, before.
///
/// # Errors
/// The database's.
pub(crate) async fn forget(tx: &mut Tx, id: ExecutionId) -> Result<()> {
    tx.execute(&FORGET, values![id]).await.map(drop)
}

impl ChunkRow {
    fn into_chunk(self) -> Chunk {
        let place = match (self.place.as_str(), self.bytes) {
            ("here", bytes) => Place::Here(bytes.unwrap_or_default()),
            ("blob", _) => Place::Blob,
            // What a newer release keeps elsewhere is missing here, and said to be.
            _ => Place::Gap,
        };
        Chunk { from: self.from_position.unsigned_abs(), to: self.to_position.unsigned_abs(), place }
    }
}

/// Positions are counts of bytes: nobody writes 2^63 of them.
fn stored(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}
