//! Output as a log: written by whoever follows an execution, read from any position by anybody, live and stored alike.
//!
//! There is one source. A piece is stored first and shown then, so what a reader saw live is what is stored, and a reader
//! that comes late, is slow or was away reads the same bytes at the same positions. [`Outputs::tail`] is the one way to
//! read. What was stored last stays in memory ([`recent`]) while the execution runs, so that a thousand readers of one
//! execution do not read the database a thousand times; a reader that falls behind it reads the store.

mod recent;
mod segments;
mod tail;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sandkeep_blob::{Blobs, Key};
use sandkeep_core::execution::ExecutionResult;
use sandkeep_core::id::ExecutionId;
use sandkeep_core::output::{Gap, Kept, Stream};
use sandkeep_store::output::{self as index, Chunk, Place};
use sandkeep_store::{Durability, Store};

use recent::Recent;
pub use tail::{Piece, Tail};

/// Bytes of one stream, as they were read together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Where they were written.
    pub stream: Stream,
    /// Never empty.
    pub bytes: Vec<u8>,
}

/// A piece of the log in memory: positions from `from` on, or the lack of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Bytes.
    Segments {
        /// Position of the first byte.
        from: u64,
        /// In order, without a break.
        segments: Vec<Segment>,
    },
    /// Not kept.
    Gap {
        /// First missing position.
        from: u64,
        /// First position after them.
        to: u64,
    },
}

impl Part {
    fn from(&self) -> u64 {
        match self {
            Self::Segments { from, .. } | Self::Gap { from, .. } => *from,
        }
    }

    fn to(&self) -> u64 {
        match self {
            Self::Segments { from, segments } => {
                from + segments.iter().map(|segment| segment.bytes.len() as u64).sum::<u64>()
            }
            Self::Gap { to, .. } => *to,
        }
    }
}

/// The stored output of an execution, stream by stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptOutput {
    /// Standard output.
    pub stdout: Kept,
    /// Standard error.
    pub stderr: Kept,
    /// The range of positions that was not kept.
    pub gap: Option<Gap>,
}

impl KeptOutput {
    /// Writes it into a result.
    pub fn tell(&self, result: &mut ExecutionResult) {
        result.set_stdout(&self.stdout);
        result.set_stderr(&self.stderr);
        result.output_gap = self.gap;
    }

    fn add(&mut self, part: Part) {
        match part {
            Part::Gap { from, to } => self.gap = Some(Gap { from, to }),
            Part::Segments { segments, .. } => {
                for Segment { stream, bytes } in segments {
                    let kept = match stream {
                        Stream::Stdout => &mut self.stdout,
                        Stream::Stderr => &mut self.stderr,
                    };
                    let side = if self.gap.is_some() { &mut kept.tail } else { &mut kept.head };
                    side.extend(bytes);
                }
            }
        }
    }
}

/// Output could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The index.
    #[error("the index of output")]
    Index(#[from] sandkeep_store::Error),
    /// The bytes.
    #[error("the bytes of output")]
    Bytes(#[from] sandkeep_blob::Error),
    /// What is stored is not what was written.
    #[error("stored output of {id} at {from} is damaged")]
    Damaged {
        /// Whose.
        id: ExecutionId,
        /// Where.
        from: u64,
    },
}

/// What this module's functions return.
pub type Result<T> = std::result::Result<T, Error>;

/// Pieces up to this size lie in the index itself: one write instead of two, and most programs say little.
const HERE_MOST: usize = 8 * 1024;

/// All output of a server. Clones are the same.
#[derive(Debug, Clone)]
pub struct Outputs {
    store: Store,
    blobs: Blobs,
    running: Arc<Mutex<HashMap<ExecutionId, Arc<Recent>>>>,
}

impl Outputs {
    /// Output that is kept in these places.
    #[must_use]
    pub fn new(store: Store, blobs: Blobs) -> Self {
        Self { store, blobs, running: Arc::default() }
    }

    /// Says that output of `id` will come from position `reach` on (what was stored before it is read from the store):
    /// readers wait for it, and for its end.
    pub fn open(&self, id: ExecutionId, reach: u64) {
        self.lock().entry(id).or_insert_with(|| Arc::new(Recent::new(reach)));
    }

    /// Says that no more will come.
    pub fn close(&self, id: ExecutionId) {
        if let Some(recent) = self.lock().remove(&id) {
            recent.end();
        }
    }

    /// Stores a piece, then shows it. Returns when it has survived power loss. Storing it again changes nothing.
    ///
    /// # Errors
    /// It is not stored, or that is unknown: the same piece can be stored again.
    pub async fn append(&self, id: ExecutionId, part: Part) -> Result<()> {
        let chunk = self.prepare(id, &part).await?;
        let write = self
            .store
            .write(Durability::Durable, (id, chunk), |tx, new| Box::pin(index::add(tx, new.0, &new.1)));
        write.await?;
        self.show(id, part);
        Ok(())
    }

    /// The row of a piece, whose bytes are stored where they are too many for a row: what is left of storing it is to write
    /// the row, and then to [`show`](Self::show) it.
    ///
    /// # Errors
    /// The bytes are not stored.
    pub(crate) async fn prepare(&self, id: ExecutionId, part: &Part) -> Result<Chunk> {
        let (from, to) = (part.from(), part.to());
        let place = match part {
            Part::Gap { .. } => Place::Gap,
            Part::Segments { segments, .. } => {
                let bytes = segments::encode(segments);
                if bytes.len() <= HERE_MOST {
                    Place::Here(bytes)
                } else {
                    self.blobs.put(&Key::output(id, from), bytes).await?;
                    Place::Blob
                }
            }
        };
        Ok(Chunk { from, to, place })
    }

    /// Shows a piece that is stored to whoever follows.
    pub(crate) fn show(&self, id: ExecutionId, part: Part) {
        let recent = self.lock().get(&id).cloned();
        if let Some(recent) = recent {
            recent.push(part);
        }
    }

    /// As [`kept`](Self::kept), from memory, where all that is stored is there.
    pub(crate) fn kept_here(&self, id: ExecutionId) -> Option<KeptOutput> {
        let recent = self.lock().get(&id).cloned();
        let parts = recent?.all()?;
        let mut kept = KeptOutput::default();
        for part in parts {
            kept.add(part.as_ref().clone());
        }
        Some(kept)
    }

    /// The first position that is not stored.
    ///
    /// # Errors
    /// The store's.
    pub async fn reach(&self, id: ExecutionId) -> Result<u64> {
        Ok(index::reach(&mut self.store.reader().await?, id).await?)
    }

    /// What is stored so far of each stream, and the range that was not kept.
    ///
    /// # Errors
    /// What is stored could not be read.
    pub async fn kept(&self, id: ExecutionId) -> Result<KeptOutput> {
        let (mut kept, mut position) = (KeptOutput::default(), 0);
        loop {
            let parts = self.stored(id, position).await?;
            let Some(last) = parts.last() else { return Ok(kept) };
            position = last.to();
            for part in parts {
                kept.add(part);
            }
        }
    }

    /// Reads from `position` on, to the end if there is one, else as it comes.
    #[must_use]
    pub fn tail(&self, id: ExecutionId, position: u64) -> Tail {
        // Asked for before anything is read, so that nothing falls between the stored and the live.
        let recent = self.lock().get(&id).cloned();
        Tail::new(self.clone(), id, position, recent)
    }

    /// Reads what is stored from `position` on, and ends there.
    #[must_use]
    pub fn stored_tail(&self, id: ExecutionId, position: u64) -> Tail {
        Tail::new(self.clone(), id, position, None)
    }

    /// Whether output of `id` is written here now: [`tail`](Self::tail) waits for it.
    #[must_use]
    pub fn is_open(&self, id: ExecutionId) -> bool {
        self.lock().contains_key(&id)
    }

    /// Stored pieces that hold something at `position` or later.
    async fn stored(&self, id: ExecutionId, position: u64) -> Result<Vec<Part>> {
        let mut reader = self.store.reader().await?;
        let chunks = index::from(&mut reader, id, position, CHUNKS_AT_ONCE).await?;
        drop(reader);
        let mut parts = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            parts.push(self.fetch(id, chunk).await?);
        }
        Ok(parts)
    }

    async fn fetch(&self, id: ExecutionId, chunk: Chunk) -> Result<Part> {
        let Chunk { from, to, place } = chunk;
        let bytes = match place {
            Place::Gap => return Ok(Part::Gap { from, to }),
            Place::Here(bytes) => bytes,
            Place::Blob => self.blobs.get(&Key::output(id, from)).await?,
        };
        let segments = segments::decode(&bytes).ok_or(Error::Damaged { id, from })?;
        let part = Part::Segments { from, segments };
        if part.to() == to { Ok(part) } else { Err(Error::Damaged { id, from }) }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ExecutionId, Arc<Recent>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Pieces that are read from the store together.
const CHUNKS_AT_ONCE: u32 = 16;

#[cfg(test)]
mod tests;
