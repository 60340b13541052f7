//! What was kept of the output, put together from what a listener hears.
//!
//! The supervisor's log keeps a head and a tail; a listener that is fast enough hears more than that, a slow one finds a
//! gap. Both end with the same result here, because the head never has a gap and the tail is what the log ends with:
//! so what lies between is forgotten, heard or not.

use std::collections::VecDeque;

use sandkeep_core::defaults;
use sandkeep_core::output::{Gap, Kept, Stream};
use sandkeep_core::size::ByteSize;

/// Output with positions: see the module.
#[derive(Debug)]
pub(super) struct Collector {
    head_cap: u64,
    tail_cap: u64,
    head: [Vec<u8>; 2],
    /// Later pieces, none empty; those that can no longer be part of the tail are gone.
    tail: VecDeque<(u64, Stream, Vec<u8>)>,
    heard_to: u64,
}

impl Collector {
    /// For a log that keeps `kept`, divided as the supervisor divides it.
    pub(super) fn new(kept: ByteSize) -> Self {
        let all = u128::from(kept.bytes());
        let head = all * u128::from(defaults::OUTPUT_HEAD.bytes()) / u128::from(defaults::OUTPUT.bytes());
        let head_cap = u64::try_from(head).unwrap_or(u64::MAX);
        let tail_cap = kept.bytes() - head_cap;
        Self { head_cap, tail_cap, head: [Vec::new(), Vec::new()], tail: VecDeque::new(), heard_to: 0 }
    }

    pub(super) fn output(&mut self, offset: u64, stream: Stream, bytes: &[u8]) {
        let room =
            usize::try_from(self.head_cap.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
        let (to_head, to_tail) = bytes.split_at(room);
        self.head[index(stream)].extend_from_slice(to_head);
        if !to_tail.is_empty() {
            self.tail.push_back((offset + to_head.len() as u64, stream, to_tail.to_vec()));
        }
        self.heard_to = offset + bytes.len() as u64;
        let keep_from = self.heard_to.saturating_sub(self.tail_cap);
        while self.tail.front().is_some_and(|(at, _, piece)| at + piece.len() as u64 <= keep_from) {
            self.tail.pop_front();
        }
    }

    /// What was kept of both streams of which `totals` bytes were written, and the range that was not.
    pub(super) fn finish(self, totals: [u64; 2]) -> ([Kept; 2], Option<Gap>) {
        let total: u64 = totals.iter().sum();
        // Without an end that tells (the sandbox was lost) what was heard is all there is.
        let total = total.max(self.heard_to);
        let keep_from = total.saturating_sub(self.tail_cap).max(self.head_cap);
        let gap = (keep_from > self.head_cap).then_some(Gap { from: self.head_cap, to: keep_from });
        let mut kept = self.head.map(|head| Kept { head, ..Kept::default() });
        for (at, stream, piece) in self.tail {
            let skip = usize::try_from(keep_from.saturating_sub(at)).unwrap_or(usize::MAX).min(piece.len());
            let kept = &mut kept[index(stream)];
            let part = if gap.is_some() { &mut kept.tail } else { &mut kept.head };
            part.extend_from_slice(&piece[skip..]);
        }
        for (kept, total) in kept.iter_mut().zip(totals) {
            kept.missing_bytes = total.saturating_sub((kept.head.len() + kept.tail.len()) as u64);
        }
        (kept, gap)
    }
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Stream::{Stderr, Stdout};
    use sandkeep_core::output::OutputLog;

    /// Tells the collector what a listener of `log` hears who reads it after every `every` pieces.
    fn check(kept: u64, pieces: &[(Stream, usize)], every: usize) {
        let mut collector = Collector::new(ByteSize::from_bytes(kept));
        let sizes = (collector.head_cap, collector.tail_cap);
        let mut log = OutputLog::new(usize::try_from(sizes.0).unwrap(), usize::try_from(sizes.1).unwrap());
        let (mut at, mut next) = (0, 0u8);
        for (number, (stream, size)) in pieces.iter().enumerate() {
            let bytes: Vec<u8> = (0..*size)
                .map(|_| {
                    next = next.wrapping_add(1);
                    next
                })
                .collect();
            log.append(*stream, &bytes);
            if (number + 1) % every == 0 || number + 1 == pieces.len() {
                at = hear(&log, at, &mut collector);
            }
        }
        let totals = [log.total_of(Stdout), log.total_of(Stderr)];
        let (heard, gap) = collector.finish(totals);
        assert_eq!(heard, [log.kept(Stdout), log.kept(Stderr)], "{kept} {pieces:?} {every}");
        assert_eq!(gap, log.gap());
    }

    fn hear(log: &OutputLog, mut at: u64, collector: &mut Collector) -> u64 {
        use sandkeep_core::output::Piece;
        loop {
            match log.read(at, 7) {
                Piece::Bytes { offset, stream, bytes } => {
                    collector.output(offset, stream, bytes);
                    at = offset + bytes.len() as u64;
                }
                Piece::Gap { to, .. } => at = to,
                Piece::End => return at,
            }
        }
    }

    #[test]
    fn a_listener_fast_or_slow_ends_with_what_the_log_keeps() {
        let outputs: [&[(Stream, usize)]; 7] = [
            &[],
            &[(Stdout, 3)],
            &[(Stdout, 8), (Stderr, 2)],
            &[(Stdout, 11), (Stderr, 1), (Stdout, 1)],
            &[(Stdout, 100), (Stderr, 100), (Stdout, 1)],
            &[(Stderr, 1), (Stdout, 30), (Stderr, 30), (Stdout, 30)],
            &[(Stdout, 5); 20],
        ];
        for output in outputs {
            for kept in [1, 5, 10, 13, 50, 1_000] {
                for every in [1, 2, 3, 100] {
                    check(kept, output, every);
                }
            }
        }
    }

    #[test]
    fn what_was_heard_of_a_lost_sandbox_is_kept() {
        let mut collector = Collector::new(ByteSize::from_kib(1));
        collector.output(0, Stdout, b"half");
        let (kept, gap) = collector.finish([0, 0]);
        assert_eq!((kept[0].head.as_slice(), kept[0].missing_bytes, gap), (&b"half"[..], 0, None));
    }
}
