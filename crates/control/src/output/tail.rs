//! Reading a log from a position to its end.

use std::collections::VecDeque;
use std::sync::Arc;

use sandkeep_core::id::ExecutionId;
use sandkeep_core::output::Stream;

use super::recent::{Found, Recent};
use super::{Outputs, Part, Result};

/// What a reader gets, in order of position and without a break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of one stream.
    Bytes {
        /// Position of the first.
        position: u64,
        /// Where they were written.
        stream: Stream,
        /// Never empty.
        bytes: Vec<u8>,
    },
    /// Positions that were not kept.
    Gap {
        /// First missing position.
        from: u64,
        /// First position after them.
        to: u64,
    },
}

impl Piece {
    /// How many bytes it has.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match self {
            Self::Bytes { bytes, .. } => bytes.len(),
            Self::Gap { .. } => 0,
        }
    }

    /// The first position after it.
    #[must_use]
    pub fn end(&self) -> u64 {
        match self {
            Self::Bytes { position, bytes, .. } => position + bytes.len() as u64,
            Self::Gap { to, .. } => *to,
        }
    }
}

/// Bytes of a piece at most: what a reader that is slow, one of a thousand, holds in whatever form it is passed on.
const PIECE_MOST: usize = 32 * 1024;

/// A reader. What it has not been given yet lies with all readers of it, or in the store: a slow one takes no memory of its own
/// for what is written meanwhile.
#[derive(Debug)]
pub struct Tail {
    outputs: Outputs,
    id: ExecutionId,
    /// Of what comes next.
    position: u64,
    /// `None` when nobody writes it any more.
    recent: Option<Arc<Recent>>,
    /// Parts that were found and not given whole yet, and which segment of the first of them holds the position.
    found: VecDeque<Arc<Part>>,
    segment: Cursor,
}

/// A segment of a part.
#[derive(Debug, Clone, Copy, Default)]
struct Cursor {
    index: usize,
    /// Bytes of the part before it.
    before: u64,
}

impl Tail {
    pub(super) fn new(outputs: Outputs, id: ExecutionId, position: u64, recent: Option<Arc<Recent>>) -> Self {
        Self { outputs, id, position, recent, found: VecDeque::new(), segment: Cursor::default() }
    }

    /// The position of what comes next.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// What comes next; `None` at the end of the log. Cancel-safe.
    ///
    /// # Errors
    /// What is stored could not be read; the next call tries again.
    pub async fn next(&mut self) -> Result<Option<Piece>> {
        loop {
            while let Some(part) = self.found.front() {
                if let Some(piece) = piece(part, self.position, &mut self.segment) {
                    self.position = piece.end();
                    return Ok(Some(piece));
                }
                self.found.pop_front();
                self.segment = Cursor::default();
            }
            if !self.fill().await? {
                return Ok(None);
            }
        }
    }

    /// Waits until there is something, and takes it. False at the end.
    async fn fill(&mut self) -> Result<bool> {
        let Some(recent) = self.recent.clone() else { return self.fill_from_store().await };
        match recent.find(self.position) {
            Found::Part(part) => {
                self.found.push_back(part);
                Ok(true)
            }
            Found::NotYet => {
                recent.changed(self.position).await;
                Ok(true)
            }
            // Where it is no more there either, it was deleted, and there is nothing to wait for.
            Found::Older => self.fill_from_store().await,
            Found::Over => {
                self.recent = None;
                Ok(true)
            }
        }
    }

    async fn fill_from_store(&mut self) -> Result<bool> {
        let parts = self.outputs.stored(self.id, self.position).await?;
        self.found.extend(parts.into_iter().map(Arc::new));
        Ok(!self.found.is_empty())
    }
}

/// What `part` holds from `position` on, up to [`PIECE_MOST`] of one stream. `segment` is where the last look ended.
fn piece(part: &Part, position: u64, segment: &mut Cursor) -> Option<Piece> {
    match part {
        Part::Gap { to, .. } => (*to > position).then_some(Piece::Gap { from: position, to: *to }),
        Part::Segments { from, segments } => {
            while let Some(at) = segments.get(segment.index) {
                let skip =
                    usize::try_from(position.saturating_sub(from + segment.before)).unwrap_or(usize::MAX);
                if skip < at.bytes.len() {
                    let rest = &at.bytes[skip..];
                    let bytes = rest[..cut(rest)].to_vec();
                    return Some(Piece::Bytes { position, stream: at.stream, bytes });
                }
                segment.index += 1;
                segment.before += at.bytes.len() as u64;
            }
            None
        }
    }
}

/// How many of `bytes` make a piece: none is cut within a character, if they are text.
fn cut(bytes: &[u8]) -> usize {
    if bytes.len() <= PIECE_MOST {
        return bytes.len();
    }
    let is_begin = |at: &usize| bytes[*at] & 0b1100_0000 != 0b1000_0000;
    (PIECE_MOST - 3..=PIECE_MOST).rev().find(is_begin).unwrap_or(PIECE_MOST)
}
