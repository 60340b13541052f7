//! Follows an execution to its end: output out, input in, signals to it.

use std::io;
use std::time::Duration;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::size::ByteSize;
use sandkeep_runtime::driver::{Cancel, Control, Ended, Event, Running};

use super::collect::Collector;
use super::input::Input;
use super::interrupt::Interrupts;
use super::writer::{Failure, Piece, Writer, Written};

/// The interrupt that no longer asks.
const KILLS: u32 = 2;
/// After it, output that is on its way has this long.
const HURRY: Duration = Duration::from_millis(500);

/// All that was seen of an execution.
#[derive(Debug)]
pub(super) struct Followed {
    pub(super) collected: Collector,
    /// How it ended, or why nobody knows.
    pub(super) ended: Result<Box<Ended>, Problem>,
    pub(super) written: Written,
    /// Our standard output failed.
    pub(super) output_failed: Option<io::Error>,
}

/// What a loop over an execution holds.
#[derive(Debug)]
pub(super) struct Follower<'a> {
    running: Box<dyn Running>,
    control: Box<dyn Control>,
    interrupts: &'a mut Interrupts,
    collected: Collector,
    /// Shows output as it comes; none when only the result is wanted.
    writer: Option<Writer>,
    failure: Failure,
    /// On its way to the writer, which has no room yet. Nothing more is heard until it has.
    waiting: Option<Piece>,
    input: Option<Input>,
    started: bool,
    cancels: u32,
    /// Bytes that were written faster than they were read.
    missed: u64,
    output_failed: Option<io::Error>,
}

impl<'a> Follower<'a> {
    pub(super) fn new(
        running: Box<dyn Running>,
        interrupts: &'a mut Interrupts,
        kept: ByteSize,
        writer: Option<(Writer, Failure)>,
        input: Option<Input>,
    ) -> Self {
        let control = running.control();
        let collected = Collector::new(kept);
        let (writer, failure) =
            writer.map_or((None, Failure::default()), |(writer, failure)| (Some(writer), failure));
        Self {
            running,
            control,
            interrupts,
            collected,
            writer,
            failure,
            waiting: None,
            input,
            started: false,
            cancels: 0,
            missed: 0,
            output_failed: None,
        }
    }

    /// Until it ends.
    pub(super) async fn follow(mut self) -> Followed {
        let ended = loop {
            match self.step().await {
                Ok(Some(ended)) => break Ok(ended),
                Ok(None) => {}
                Err(problem) => break Err(problem),
            }
        };
        let written = self.show_rest().await;
        Followed { collected: self.collected, ended, written, output_failed: self.output_failed }
    }

    /// One thing that happens.
    async fn step(&mut self) -> Result<Option<Box<Ended>>, Problem> {
        tokio::select! {
            biased;
            () = self.interrupts.next() => self.cancel().await,
            error = self.failure.next() => self.output_failed(error).await,
            () = flush(self.writer.as_ref(), &mut self.waiting), if self.waiting.is_some() => {}
            event = self.running.next(), if self.waiting.is_none() || self.cancels >= KILLS => {
                let Some(event) = event? else {
                    return Err(Problem::new(ErrorCode::SandboxLost, "the end of the execution was not told"));
                };
                return Ok(self.happened(event));
            }
            piece = next_input(&mut self.input), if self.started && self.input.is_some() => {
                self.feed(piece).await;
            }
        }
        Ok(None)
    }

    fn happened(&mut self, event: Event) -> Option<Box<Ended>> {
        match event {
            Event::Started => self.started = true,
            Event::Output { offset, stream, bytes } => {
                self.collected.output(offset, stream, &bytes);
                self.show(Piece::Output(stream, bytes));
            }
            Event::Gap { from, to } => {
                // Where the first is missing is said in place; a reader who stays behind would hear it every moment.
                if self.missed == 0 {
                    self.show(Piece::Note(
                        "output is written faster than it is read: some is missing here".to_owned(),
                    ));
                }
                self.missed += to - from;
            }
            Event::Ended(ended) => {
                if self.missed > 0 {
                    let text =
                        format!("{} bytes of output were not shown (--output keeps more)", self.missed);
                    self.show(Piece::Note(text));
                }
                return Some(ended);
            }
        }
        None
    }

    fn show(&mut self, piece: Piece) {
        // Whoever was told twice to end it does not wait for a reader: what has no room is not shown.
        if self.writer.is_some() && self.output_failed.is_none() && self.waiting.is_none() {
            self.waiting = Some(piece);
        }
    }

    /// Waits until all is shown, but not for ever when a person is in a hurry and a reader is not.
    async fn show_rest(&mut self) -> Written {
        let Some(writer) = self.writer.take() else { return Written::default() };
        let failure = std::mem::take(&mut self.failure);
        let waiting = &mut self.waiting;
        let rest = async {
            flush(Some(&writer), waiting).await;
            writer.finish(failure).await
        };
        let (written, late) = tokio::select! {
            shown = rest => shown,
            () = self.interrupts.next() => (Written::default(), None),
            () = tokio::time::sleep(HURRY), if self.cancels >= KILLS => (Written::default(), None),
        };
        self.output_failed = self.output_failed.take().or(late);
        written
    }

    /// Once asks, twice kills.
    async fn cancel(&mut self) {
        self.cancels += 1;
        let how = if self.cancels < KILLS { Cancel::Politely } else { Cancel::Now };
        // When the sandbox is gone, the next event says so.
        let _accepted = self.control.cancel(how).await;
    }

    async fn output_failed(&mut self, error: io::Error) {
        self.output_failed = Some(error);
        self.waiting = None;
        let _accepted = self.control.cancel(Cancel::Now).await;
    }

    async fn feed(&mut self, piece: Option<Vec<u8>>) {
        let sent = match piece {
            Some(bytes) => self.control.send_input(bytes).await,
            None => {
                self.input = None;
                self.control.close_input().await
            }
        };
        if sent.is_err() {
            self.input = None;
        }
    }
}

/// Cancel-safe: the piece is taken only when there is room for it.
async fn flush(writer: Option<&Writer>, waiting: &mut Option<Piece>) {
    let room = match writer {
        Some(writer) => writer.room().await,
        None => None,
    };
    if let (Some(room), Some(piece)) = (room, waiting.take()) {
        let _sender = room.send(piece);
    }
}

async fn next_input(input: &mut Option<Input>) -> Option<Vec<u8>> {
    match input {
        Some(input) => input.next().await,
        None => std::future::pending().await,
    }
}
