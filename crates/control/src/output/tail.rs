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

/// A reader. It takes no memory for what it has not read: a slow one reads from the store.
#[derive(Debug)]
pub struct Tail {
    outputs: Outputs,
    id: ExecutionId,
    position: u64,
    /// `None` when nobody writes it any more.
    recent: Option<Arc<Recent>>,
    /// Of pieces that were read and not given yet.
    ready: VecDeque<Piece>,
}

impl Tail {
    pub(super) fn new(outputs: Outputs, id: ExecutionId, position: u64, recent: Option<Arc<Recent>>) -> Self {
        Self { outputs, id, position, recent, ready: VecDeque::new() }
    }

    /// The position of what comes next.
    #[must_use]
    pub fn position(&self) -> u64 {
        match self.ready.front() {
            Some(Piece::Bytes { position, .. }) => *position,
            Some(Piece::Gap { from, .. }) => *from,
            None => self.position,
        }
    }

    /// What comes next; `None` at the end of the log. Cancel-safe.
    ///
    /// # Errors
    /// What is stored could not be read; the next call tries again.
    pub async fn next(&mut self) -> Result<Option<Piece>> {
        loop {
            if let Some(piece) = self.ready.pop_front() {
                return Ok(Some(piece));
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
                self.take(&part);
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
        let any = !parts.is_empty();
        for part in parts {
            self.take(&part);
        }
        Ok(any)
    }

    /// Makes ready what `part` holds from where this reader stands.
    fn take(&mut self, part: &Part) {
        match part {
            Part::Gap { to, .. } => {
                if *to > self.position {
                    self.ready.push_back(Piece::Gap { from: self.position, to: *to });
                    self.position = *to;
                }
            }
            Part::Segments { from, segments } => {
                let mut at = *from;
                for segment in segments {
                    let end = at + segment.bytes.len() as u64;
                    if end > self.position {
                        let skipped = usize::try_from(self.position.saturating_sub(at)).unwrap_or(0);
                        self.ready.push_back(Piece::Bytes {
                            position: self.position,
                            stream: segment.stream,
                            bytes: segment.bytes[skipped..].to_vec(),
                        });
                        self.position = end;
                    }
                    at = end;
                }
            }
        }
    }
}
