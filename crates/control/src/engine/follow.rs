//! One execution from its start to its end: output into the log, cancels to the code.

use std::sync::Arc;

use sandkeep_core::code::{ErrorCode, Problem, chain};
use sandkeep_core::output::{Stream, head_of};
use sandkeep_core::size::ByteSize;
use sandkeep_runtime::driver::{Cancel, Ended, Event};
use sandkeep_runtime::{Prepared, Running};
use sandkeep_store::output::Chunk;
use tokio::sync::Notify;

use super::executions::Mine;
use super::{Engine, Held, lock};
use crate::output::{self, Part, Segment};
use crate::request::ExecutionRequest;

/// Asks a followed execution to end.
#[derive(Debug, Clone, Default)]
pub(super) struct Lever(Arc<Notify>);

impl Lever {
    pub(super) fn cancel(&self) {
        self.0.notify_one();
    }
}

/// How it ended, and what of its output is to be written with the end.
pub(super) struct Followed {
    pub(super) ended: Box<Ended>,
    pub(super) rest: Vec<(Chunk, Part)>,
}

/// Output that is gathered before it is stored: what comes while the last piece is being stored.
const GATHER_MOST: usize = 256 * 1024;

impl Engine {
    /// Starts it, unless it was started, or releases what is `prepared`, and follows it to its end; `None` where it is left to whoever comes next.
    ///
    /// # Errors
    /// The driver's: it could not be started, or its sandbox is gone.
    pub(super) async fn start_and_follow(
        &self,
        mine: &Mine,
        held: &Held,
        request: &ExecutionRequest,
        prepared: Option<Box<dyn Prepared>>,
    ) -> Result<Option<Followed>, Problem> {
        let id = mine.live.id;
        let Some(position) = self.position(mine).await else { return Ok(None) };
        self.parts.outputs.open(id, position);
        self.parts.bells.ring(&id.to_string());
        let lever = Lever::default();
        lock(&self.following).insert(id, lever.clone());
        if mine.live.cancel_requested_us.is_some() {
            lever.cancel();
        }
        let followed = async {
            let running = match prepared {
                Some(prepared) => prepared.release().await?,
                None => held.sandbox.resume(&held.spec(id, request), position).await?,
            };
            self.follow(mine, running, &lever, request.limits.output).await
        };
        let ended = followed.await;
        lock(&self.following).remove(&id);
        ended
    }

    /// Up to where its output is stored; `None` when this server stops before it is known.
    async fn position(&self, mine: &Mine) -> Option<u64> {
        if !mine.found {
            return Some(0);
        }
        loop {
            match self.parts.outputs.reach(mine.live.id).await {
                Ok(position) => return Some(position),
                Err(error) => {
                    tracing::error!(error = chain(&error), "cannot read what output is stored")
                }
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = tokio::time::sleep(super::HEARTBEAT) => {}
            }
        }
    }

    async fn follow(
        &self,
        mine: &Mine,
        mut running: Box<dyn Running>,
        lever: &Lever,
        kept: ByteSize,
    ) -> Result<Option<Followed>, Problem> {
        let control = running.control();
        let mut log = Gathered::new(kept);
        loop {
            let event = tokio::select! {
                biased;
                // What is not stored yet is told again to whoever comes next.
                () = self.leave.cancelled() => return Ok(None),
                () = lever.0.notified() => {
                    // Refused where it has ended: its end is on the way.
                    let _accepted = control.cancel(Cancel::Politely).await;
                    continue;
                }
                event = running.next() => event?,
            };
            let mut next = event;
            loop {
                match next {
                    Some(Event::Started) => {}
                    Some(Event::Output { offset, stream, bytes }) => log.output(offset, stream, bytes),
                    Some(Event::Gap { from, to }) => log.missing(from, to),
                    Some(Event::Ended(ended)) => {
                        log.end(ended.stdout_bytes + ended.stderr_bytes);
                        let rest = self.prepare_rest(mine, &mut log).await?;
                        return Ok(Some(Followed { ended, rest }));
                    }
                    None => {
                        let text = "the end of the execution was not told";
                        return Err(Problem::new(ErrorCode::SandboxLost, text));
                    }
                }
                // What is there already belongs to the same piece.
                if log.gathered >= GATHER_MOST {
                    break;
                }
                match futures_util::FutureExt::now_or_never(running.next()) {
                    Some(event) => next = event?,
                    None => break,
                }
            }
            self.store_output(mine, &mut log).await?;
        }
    }

    /// Stores what was gathered.
    async fn store_output(&self, mine: &Mine, log: &mut Gathered) -> Result<(), Problem> {
        while let Some(part) = log.take() {
            self.until_stored(|| self.parts.outputs.append(mine.live.id, part.clone())).await?;
        }
        Ok(())
    }

    /// What is gathered at the end, all but its rows stored.
    async fn prepare_rest(&self, mine: &Mine, log: &mut Gathered) -> Result<Vec<(Chunk, Part)>, Problem> {
        let mut rest = Vec::new();
        while let Some(part) = log.take() {
            let chunk = self.until_stored(|| self.parts.outputs.prepare(mine.live.id, &part)).await?;
            rest.push((chunk, part));
        }
        Ok(rest)
    }

    /// A store that fails is asked again: the supervisor holds the code up, at its own bounds.
    async fn until_stored<T, F: Future<Output = output::Result<T>>>(
        &self,
        store: impl Fn() -> F,
    ) -> Result<T, Problem> {
        loop {
            match store().await {
                Ok(stored) => return Ok(stored),
                Err(error) => tracing::error!(error = chain(&error), "cannot store output"),
            }
            tokio::select! {
                () = self.stop.cancelled() => {
                    return Err(Problem::new(ErrorCode::StoreUnavailable, "output could not be stored"));
                }
                () = tokio::time::sleep(super::HEARTBEAT) => {}
            }
        }
    }
}

/// What is kept of a log, in the order in which it is stored: the head as it comes; at the end the gap and the tail.
#[derive(Debug)]
struct Gathered {
    head_cap: u64,
    tail_cap: u64,
    ready: Vec<Part>,
    /// Bytes in `ready`.
    gathered: usize,
    /// Pieces after the head that may belong to the tail, and the bytes in them.
    tail: std::collections::VecDeque<(u64, Segment)>,
    reach: u64,
}

impl Gathered {
    fn new(kept: ByteSize) -> Self {
        let head_cap = head_of(kept.bytes());
        Self {
            head_cap,
            tail_cap: kept.bytes() - head_cap,
            ready: Vec::new(),
            gathered: 0,
            tail: std::collections::VecDeque::new(),
            reach: 0,
        }
    }

    fn output(&mut self, offset: u64, stream: Stream, mut bytes: Vec<u8>) {
        self.reach = offset + bytes.len() as u64;
        let room = usize::try_from(self.head_cap.saturating_sub(offset)).unwrap_or(usize::MAX);
        if bytes.len() > room {
            let late = bytes.split_off(room);
            self.tail.push_back((offset + room as u64, Segment { stream, bytes: late }));
            let keep_from = self.reach.saturating_sub(self.tail_cap);
            while self.tail.front().is_some_and(|(at, segment)| at + segment.bytes.len() as u64 <= keep_from)
            {
                self.tail.pop_front();
            }
        }
        if !bytes.is_empty() {
            self.add(offset, Segment { stream, bytes });
        }
    }

    /// The supervisor has not kept these: the head ends here, if it has not yet, and the tail begins behind them.
    fn missing(&mut self, from: u64, to: u64) {
        self.head_cap = self.head_cap.min(from);
        self.tail.clear();
        self.reach = self.reach.max(to);
    }

    fn add(&mut self, offset: u64, segment: Segment) {
        self.gathered += segment.bytes.len();
        match self.ready.last_mut() {
            Some(Part::Segments { segments, .. }) => match segments.last_mut() {
                Some(last) if last.stream == segment.stream => last.bytes.extend(segment.bytes),
                _ => segments.push(segment),
            },
            _ => self.ready.push(Part::Segments { from: offset, segments: vec![segment] }),
        }
    }

    /// Of `total` bytes that were written: makes the gap and the tail ready.
    fn end(&mut self, total: u64) {
        let kept_from = self.tail.front().map_or(total, |(at, _)| *at);
        let keep_from = total.saturating_sub(self.tail_cap).max(self.head_cap);
        // Never before what there is. Where all went into the head, that is where the log ends.
        let keep_from = if self.reach > self.head_cap { keep_from.max(kept_from) } else { keep_from };
        if keep_from > self.head_cap {
            self.ready.push(Part::Gap { from: self.head_cap, to: keep_from });
        }
        for (at, mut segment) in std::mem::take(&mut self.tail) {
            let skip = usize::try_from(keep_from.saturating_sub(at)).unwrap_or(usize::MAX);
            if skip < segment.bytes.len() {
                segment.bytes.drain(..skip);
                self.add(at + skip as u64, segment);
            }
        }
    }

    /// The next piece to store.
    fn take(&mut self) -> Option<Part> {
        if self.ready.is_empty() {
            self.gathered = 0;
            return None;
        }
        Some(self.ready.remove(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is stored of events `(offset, bytes)`, where a length below 0 is that many missing, of a log of `total` bytes:
    /// ranges, and which is the gap.
    #[track_caller]
    fn check(kept: u64, events: &[(u64, i64)], total: u64, expected: &[(u64, u64, bool)]) {
        let mut log = Gathered::new(ByteSize::from_bytes(kept));
        for (offset, length) in events {
            match usize::try_from(*length) {
                Ok(length) => log.output(*offset, Stream::Stdout, vec![b'x'; length]),
                Err(_) => log.missing(*offset, offset + length.unsigned_abs()),
            }
        }
        log.end(total);
        let mut stored = Vec::new();
        while let Some(part) = log.take() {
            stored.push(match part {
                Part::Gap { from, to } => (from, to, true),
                Part::Segments { from, segments } => (
                    from,
                    from + segments.iter().map(|segment| segment.bytes.len() as u64).sum::<u64>(),
                    false,
                ),
            });
        }
        assert_eq!(stored, expected, "{events:?}");
        assert!(stored.windows(2).all(|two| two[0].1 == two[1].0), "no position is passed by");
    }

    #[test]
    fn the_log_has_one_gap_and_no_other_break() {
        check(10, &[], 0, &[]);
        check(10, &[(0, 5), (5, 5)], 10, &[(0, 10, false)]);
        check(10, &[(0, 20)], 20, &[(0, 8, false), (8, 18, true), (18, 20, false)]);
        check(10, &[(0, 9), (9, 3)], 12, &[(0, 8, false), (8, 10, true), (10, 12, false)]);
        // The supervisor kept less of the head, or of the tail, than would be kept here.
        check(10, &[(0, 7), (7, -11), (18, 2)], 20, &[(0, 7, false), (7, 18, true), (18, 20, false)]);
        check(10, &[(0, 8), (8, -11), (19, 1)], 20, &[(0, 8, false), (8, 19, true), (19, 20, false)]);
        // It fell behind twice: what lies between belongs to no end.
        check(
            10,
            &[(0, 8), (8, -2), (10, 3), (13, -6), (19, 1)],
            20,
            &[(0, 8, false), (8, 19, true), (19, 20, false)],
        );
        check(10, &[(0, 8), (8, -12)], 20, &[(0, 8, false), (8, 20, true)]);
    }
}
