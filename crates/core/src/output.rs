//! The log of a program's output.
//!
//! Everything a program writes has one position: its byte offset in the merged log, in the order in which
//! it was read. The log keeps the first bytes and the last ones; what lies between is one gap that grows
//! at its far end. So an offset always carries the same byte or none, a reader that follows offsets
//! neither repeats nor skips, and how the bytes were chunked on the way in means nothing.
//!
//! The log never refuses bytes and never grows past its two caps: a program that floods is drained, not
//! blocked. It knows nothing of descriptors, clocks or who reads.

use serde::{Deserialize, Serialize};

use crate::base64;
use crate::execution::Encoding;
use crate::size::ByteSize;

mod mask;
mod store;

pub use mask::{MASKED, Mask, Masking};
use store::Store;

/// Which of the two streams a byte belongs to; the numbers are those of the descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Stream {
    /// Standard output.
    Stdout = 1,
    /// Standard error.
    Stderr = 2,
}

/// A range of the merged log, `from` included, `to` not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Gap {
    /// First offset that is missing.
    pub from: u64,
    /// First offset after it that is kept.
    pub to: u64,
}

/// What a read finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'log> {
    /// Bytes of one stream. The next read is at `offset + bytes.len()`.
    Bytes {
        /// Where they start.
        offset: u64,
        /// Whose they are.
        stream: Stream,
        /// At least one byte.
        bytes: &'log [u8],
    },
    /// Bytes that were not kept. The next read is at `to`.
    Gap {
        /// The offset that was asked for.
        from: u64,
        /// First offset that is still kept.
        to: u64,
    },
    /// Nothing there yet, or ever.
    End,
}

/// Output with positions; see the module.
#[derive(Debug)]
pub struct OutputLog {
    head: Store,
    tail: Store,
    head_cap: u64,
    tail_cap: u64,
    total: u64,
    total_stderr: u64,
}

/// How many of `kept` bytes are those from the start: four fifths, and what does not divide. Whoever keeps output divides it
/// by this, so that all have the same gap.
#[must_use]
pub const fn head_of(kept: u64) -> u64 {
    kept - kept / 5
}

impl OutputLog {
    /// A log that keeps the first `head_cap` and the last `tail_cap` bytes. Memory is taken as bytes come.
    pub fn new(head_cap: usize, tail_cap: usize) -> Self {
        OutputLog {
            head: Store::new(head_cap),
            tail: Store::new(tail_cap),
            head_cap: head_cap as u64,
            tail_cap: tail_cap as u64,
            total: 0,
            total_stderr: 0,
        }
    }

    /// A log that keeps `kept` bytes: four fifths from the start, the rest from the end.
    pub fn keeping(kept: ByteSize) -> Self {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let head = head_of(kept.bytes());
        OutputLog::new(size(head), size(kept.bytes() - head))
    }

    /// Appends bytes of one stream. Never fails, never blocks, never grows past the caps.
    pub fn append(&mut self, stream: Stream, bytes: &[u8]) {
        let head_room = self.head_cap.saturating_sub(self.total);
        let to_head = usize::try_from(head_room).unwrap_or(usize::MAX).min(bytes.len());
        let (to_head, to_tail) = bytes.split_at(to_head);
        self.head.append(stream, to_head);
        self.tail.append(stream, to_tail);
        self.total += bytes.len() as u64;
        if stream == Stream::Stderr {
            self.total_stderr += bytes.len() as u64;
        }
    }

    /// Bytes ever appended: the offset of the next one.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Bytes ever appended to one stream.
    pub fn total_of(&self, stream: Stream) -> u64 {
        match stream {
            Stream::Stdout => self.total - self.total_stderr,
            Stream::Stderr => self.total_stderr,
        }
    }

    /// The range that is not kept, if there is one.
    pub fn gap(&self) -> Option<Gap> {
        let to = self.total.saturating_sub(self.tail_cap);
        (to > self.head_cap).then_some(Gap { from: self.head_cap, to })
    }

    /// What stands at `offset`: at most `max` bytes (at least one), a gap, or the end.
    ///
    /// Following the offsets reaches every kept byte once and in order.
    pub fn read(&self, offset: u64, max: usize) -> Piece<'_> {
        if offset >= self.total {
            return Piece::End;
        }
        if offset < self.head_cap {
            let (stream, bytes) = self.head.run(offset, max);
            return Piece::Bytes { offset, stream, bytes };
        }
        if let Some(gap) = self.gap().filter(|gap| offset < gap.to) {
            return Piece::Gap { from: offset, to: gap.to };
        }
        let (stream, bytes) = self.tail.run(offset - self.head_cap, max);
        Piece::Bytes { offset, stream, bytes }
    }

    /// Every kept piece and the gap, in order, from `offset` on.
    pub fn pieces(&self, mut offset: u64) -> impl Iterator<Item = Piece<'_>> {
        std::iter::from_fn(move || {
            let piece = self.read(offset, usize::MAX);
            match piece {
                Piece::Bytes { offset: at, bytes, .. } => offset = at + bytes.len() as u64,
                Piece::Gap { to, .. } => offset = to,
                Piece::End => return None,
            }
            Some(piece)
        })
    }

    /// What was kept of one stream.
    pub fn kept(&self, stream: Stream) -> Kept {
        let mut kept = Kept::default();
        let mut after_gap = false;
        for piece in self.pieces(0) {
            match piece {
                Piece::Bytes { stream: of, bytes, .. } if of == stream => {
                    (if after_gap { &mut kept.tail } else { &mut kept.head }).extend_from_slice(bytes);
                }
                Piece::Bytes { .. } | Piece::End => {}
                Piece::Gap { .. } => after_gap = true,
            }
        }
        kept.missing_bytes = self.total_of(stream) - (kept.head.len() + kept.tail.len()) as u64;
        kept
    }
}

/// What was kept of one stream: its start, its end, and how much is missing between them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Kept {
    /// From the start; all of it when nothing is missing in the merged log.
    pub head: Vec<u8>,
    /// From after the gap.
    pub tail: Vec<u8>,
    /// Bytes of this stream that lie in the gap.
    pub missing_bytes: u64,
}

impl Kept {
    /// Head and tail as one JSON string: its text, how to read it, and how many bytes are missing.
    ///
    /// UTF-8 stays text. Where the gap cuts a character in two, the halves count as missing too: otherwise
    /// a single cut would turn megabytes of text into base64.
    pub fn to_text(&self) -> (String, Encoding, u64) {
        let (head, tail) = if self.missing_bytes == 0 {
            (&self.head[..], &self.tail[..])
        } else {
            (without_cut_end(&self.head), without_cut_start(&self.tail))
        };
        let dropped = (self.head.len() - head.len() + self.tail.len() - tail.len()) as u64;
        match String::from_utf8([head, tail].concat()) {
            Ok(text) => (text, Encoding::Utf8, self.missing_bytes + dropped),
            Err(_) => {
                let bytes = [&self.head[..], &self.tail[..]].concat();
                (base64::encode(&bytes), Encoding::Base64, self.missing_bytes)
            }
        }
    }
}

/// `bytes` without a character that has begun and not ended.
fn without_cut_end(bytes: &[u8]) -> &[u8] {
    match std::str::from_utf8(bytes) {
        // `error_len` is `None` exactly when more bytes could have completed the character.
        Err(error) if error.error_len().is_none() => &bytes[..error.valid_up_to()],
        Ok(_) | Err(_) => bytes,
    }
}

/// `bytes` without the continuation bytes of a character that began before them: three at most.
fn without_cut_start(bytes: &[u8]) -> &[u8] {
    let cut = bytes.iter().take(3).take_while(|&&byte| byte & 0xc0 == 0x80).count();
    &bytes[cut..]
}
