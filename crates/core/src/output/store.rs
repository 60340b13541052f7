//! The last bytes of a sequence, and which stream each belongs to.
//!
//! A ring: position `p` lives at index `p % cap`. Below its cap it is a plain buffer that grows as bytes
//! come. The stream is one bit per byte rather than a list of segments: a program that alternates
//! streams byte by byte would make such a list sixteen times the size of its output, and a bit is found
//! without a search.

use super::Stream;

/// See the module. Positions count from the first byte ever appended.
#[derive(Debug)]
pub(super) struct Store {
    cap: usize,
    bytes: Vec<u8>,
    /// Bit `i` set: the byte at index `i` is standard error.
    marks: Vec<u64>,
    appended: u64,
}

impl Store {
    pub(super) fn new(cap: usize) -> Self {
        Store { cap, bytes: Vec::new(), marks: Vec::new(), appended: 0 }
    }

    /// Appends; once full, the oldest bytes make room.
    pub(super) fn append(&mut self, stream: Stream, bytes: &[u8]) {
        let skipped = bytes.len().saturating_sub(self.cap);
        self.appended += skipped as u64;
        let mut rest = &bytes[skipped..];
        while !rest.is_empty() {
            let index = self.index(self.appended);
            let (now, later) = rest.split_at(rest.len().min(self.cap - index));
            self.put(index, stream, now);
            self.appended += now.len() as u64;
            rest = later;
        }
    }

    /// Writes `bytes` at `index`, which is inside the buffer or at its end.
    fn put(&mut self, index: usize, stream: Stream, bytes: &[u8]) {
        let end = index + bytes.len();
        if end > self.bytes.len() {
            // Doubling, but never past the cap: the last doubling would waste up to half of it.
            let wanted = end.max(self.bytes.len().saturating_mul(2)).min(self.cap);
            self.bytes.reserve_exact(wanted - self.bytes.len());
            self.bytes.resize(end, 0);
            self.marks.resize(end.div_ceil(64), 0);
        }
        self.bytes[index..end].copy_from_slice(bytes);
        self.mark(index, end, stream);
    }

    /// Marks the indices `from..to` as `stream`, a word at a time.
    fn mark(&mut self, from: usize, to: usize, stream: Stream) {
        let mut at = from;
        while at < to {
            let (word, bit) = (at / 64, at % 64);
            let count = (64 - bit).min(to - at);
            let mask = (u64::MAX >> (64 - count)) << bit;
            match stream {
                Stream::Stdout => self.marks[word] &= !mask,
                Stream::Stderr => self.marks[word] |= mask,
            }
            at += count;
        }
    }

    /// The run of one stream that starts at `position`: at most `max` bytes, at least one.
    ///
    /// A run may end early where the ring wraps. `position` must still be kept.
    pub(super) fn run(&self, position: u64, max: usize) -> (Stream, &[u8]) {
        let index = self.index(position);
        let left = usize::try_from(self.appended - position).unwrap_or(usize::MAX);
        let end = index + left.min(max.max(1)).min(self.bytes.len() - index);
        let stream = self.stream_at(index);
        (stream, &self.bytes[index..self.run_end(index, end, stream)])
    }

    fn stream_at(&self, index: usize) -> Stream {
        if self.marks[index / 64] >> (index % 64) & 1 == 1 { Stream::Stderr } else { Stream::Stdout }
    }

    /// First index after `from` and before `to` that is not `stream`, or `to`.
    fn run_end(&self, from: usize, to: usize, stream: Stream) -> usize {
        let mut at = from;
        while at < to {
            let (word, bit) = (at / 64, at % 64);
            let other = match stream {
                Stream::Stdout => self.marks[word],
                Stream::Stderr => !self.marks[word],
            } >> bit;
            if other != 0 {
                return to.min(at + other.trailing_zeros() as usize);
            }
            at += 64 - bit;
        }
        to
    }

    fn index(&self, position: u64) -> usize {
        usize::try_from(position % self.cap as u64).expect("smaller than the cap, which is a usize")
    }
}
