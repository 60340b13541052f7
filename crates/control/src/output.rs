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
use sandkeep_core::output::{Gap, Kept, Stream, head_of};
use sandkeep_store::output::{self as index, Chunk, Place};
use sandkeep_store::{Durability, Store};

use recent::Recent;
pub use tail::{Piece, Tail};
use tokio::sync::Semaphore;

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

/// What an answer holds of an execution's output, stream by stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Excerpt {
    /// Standard output.
    pub stdout: Kept,
    /// Standard error.
    pub stderr: Kept,
    /// The range of positions that it does not hold.
    pub gap: Option<Gap>,
}

impl Excerpt {
    /// Writes it into a result.
    pub fn tell(&self, result: &mut ExecutionResult) {
        result.set_stdout(&self.stdout);
        result.set_stderr(&self.stderr);
        result.output_gap = self.gap;
    }

    fn of(&mut self, stream: Stream) -> &mut Kept {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    fn add(&mut self, stream: Stream, bytes: &[u8]) {
        let after_gap = self.gap.is_some();
        let kept = self.of(stream);
        (if after_gap { &mut kept.tail } else { &mut kept.head }).extend(bytes);
    }

    /// Nothing between the head and `to` is held.
    fn skip(&mut self, from: u64, to: u64) {
        self.gap = Some(Gap { from: self.gap.map_or(from, |gap| gap.from), to });
        self.stdout.tail.clear();
        self.stderr.tail.clear();
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
    reading: Arc<Semaphore>,
}

impl Outputs {
    /// Output that is kept in these places.
    #[must_use]
    pub fn new(store: Store, blobs: Blobs) -> Self {
        Self { store, blobs, running: Arc::default(), reading: Arc::new(Semaphore::new(READ_AT_ONCE)) }
    }

    /// Where bytes go that are too large for rows.
    pub(crate) fn blobs(&self) -> &Blobs {
        &self.blobs
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

    /// As [`excerpt`](Self::excerpt), from memory, where all that is stored is there and fits into an answer.
    pub(crate) fn excerpt_here(&self, id: ExecutionId) -> Option<Excerpt> {
        let recent = self.lock().get(&id).cloned();
        let parts = recent?.all()?;
        if parts.last().is_some_and(|last| last.to() > EXCERPT_MOST) {
            return None;
        }
        let mut excerpt = Excerpt::default();
        for part in parts {
            match &*part {
                Part::Gap { .. } => return None,
                Part::Segments { segments, .. } => {
                    segments.iter().for_each(|segment| excerpt.add(segment.stream, &segment.bytes));
                }
            }
        }
        Some(excerpt)
    }

    /// The first position that is not stored.
    ///
    /// # Errors
    /// The store's.
    pub async fn reach(&self, id: ExecutionId) -> Result<u64> {
        Ok(index::reach(&mut self.store.reader().await?, id).await?)
    }

    /// The first and the last of what is stored, [`EXCERPT_MOST`] bytes together, and how much of each stream is missing between
    /// them. `written` is how much was written to each, where that is known: else what lies between is read, and counted.
    ///
    /// # Errors
    /// What is stored could not be read.
    pub async fn excerpt(&self, id: ExecutionId, written: [u64; 2]) -> Result<Excerpt> {
        let reach = self.reach(id).await?;
        let mut excerpt = self.ends(id, reach).await?;
        let Some(gap) = excerpt.gap else { return Ok(excerpt) };
        let between = if written.iter().sum::<u64>() == reach {
            let held = [&excerpt.stdout, &excerpt.stderr].map(|kept| kept.head.len() + kept.tail.len());
            [written[0].saturating_sub(held[0] as u64), written[1].saturating_sub(held[1] as u64)]
        } else {
            self.count(id, gap).await?
        };
        [excerpt.stdout.missing_bytes, excerpt.stderr.missing_bytes] = between;
        Ok(excerpt)
    }

    /// Head and tail of what is stored before `reach`.
    async fn ends(&self, id: ExecutionId, reach: u64) -> Result<Excerpt> {
        let head_to = head_of(EXCERPT_MOST);
        let tail_from = if reach > EXCERPT_MOST { reach - (EXCERPT_MOST - head_to) } else { 0 };
        let (mut excerpt, mut tail) = (Excerpt::default(), self.stored_tail(id, 0));
        while tail.position() < reach
            && let Some(piece) = tail.next().await?
        {
            let jump = match piece {
                Piece::Gap { from, to } => Some((from, to.max(tail_from))),
                Piece::Bytes { position, stream, bytes } => {
                    let is_head = excerpt.gap.is_none() && tail_from > 0;
                    let room = if is_head { head_to.saturating_sub(position) } else { u64::MAX };
                    let cut = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
                    excerpt.add(stream, &bytes[..cut]);
                    (is_head && position + bytes.len() as u64 >= head_to).then_some((head_to, tail_from))
                }
            };
            if let Some((from, to)) = jump {
                excerpt.skip(from, to);
                tail = self.stored_tail(id, to);
            }
        }
        Ok(excerpt)
    }

    /// How much of each stream is stored there.
    async fn count(&self, id: ExecutionId, gap: Gap) -> Result<[u64; 2]> {
        let (mut counts, mut tail) = ([0; 2], self.stored_tail(id, gap.from));
        while tail.position() < gap.to
            && let Some(piece) = tail.next().await?
        {
            if let Piece::Bytes { position, stream, bytes } = piece {
                counts[stream as usize - 1] += (bytes.len() as u64).min(gap.to - position);
            }
        }
        Ok(counts)
    }

    /// Removes the bytes that lie outside of the index. What is left is to go with the execution.
    ///
    /// # Errors
    /// They are still there, or some of them.
    pub async fn remove_blobs(&self, id: ExecutionId) -> Result<()> {
        Ok(self.blobs.remove_execution(id).await?)
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

    /// Stored pieces that hold something at `position` or later: the first ones.
    async fn stored(&self, id: ExecutionId, position: u64) -> Result<Vec<Part>> {
        let _place = self.reading.acquire().await.expect("it is never closed");
        let mut reader = self.store.reader().await?;
        let chunks = index::from(&mut reader, id, position, CHUNKS_AT_ONCE).await?;
        drop(reader);
        let (mut parts, mut bytes) = (Vec::new(), 0);
        for chunk in chunks {
            let is_gap = chunk.place == Place::Gap;
            bytes += if is_gap { 0 } else { chunk.to - chunk.from };
            parts.push(self.fetch(id, chunk).await?);
            if bytes >= BYTES_AT_ONCE {
                break;
            }
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

/// Readers of the store's output at once, of a store's [`DEFAULT_READERS`](sandkeep_store::open::DEFAULT_READERS): the others
/// wait their turn, however long, and whoever asks for something else does not wait behind a thousand of them.
const READ_AT_ONCE: usize = 2;

/// Pieces that are read from the store together: so many small ones, and no further one after so many bytes. A thousand readers
/// that come late each hold what they have read.
const CHUNKS_AT_ONCE: u32 = 16;
const BYTES_AT_ONCE: u64 = 64 * 1024;
/// Bytes of output in an answer; there are as many answers in memory as requests.
pub const EXCERPT_MOST: u64 = 1 << 20;

#[cfg(test)]
mod tests;
