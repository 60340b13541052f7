//! Follows an execution to its end: output out, input in, signals to it.
//!
//! Whatever waits for the other side (a piece of input for code that does not read, a cancel for a supervisor that does
//! not answer) waits beside the loop, which hears output and signals all the while.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::size::ByteSize;
use sandkeep_runtime::driver::{Cancel, Control, Ended, Event, Running};
use tokio::task::JoinHandle;

use super::collect::Collector;
use super::input::Input;
use super::writer::{Failure, Piece, Writer, Written};
use crate::interrupt::Interrupts;

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
    control: Arc<dyn Control>,
    interrupts: &'a mut Interrupts,
    collected: Collector,
    /// Shows output as it comes; none when only the result is wanted.
    writer: Option<Writer>,
    failure: Failure,
    /// On its way to the writer, which has no room yet. Nothing more is heard until it has.
    waiting: Option<Piece>,
    input: Option<Input>,
    /// A piece of input on its way to the code: false when it wants no more.
    feeding: Option<JoinHandle<bool>>,
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
        let control = Arc::from(running.control());
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
            feeding: None,
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
        if let Some(feeding) = self.feeding.take() {
            feeding.abort();
        }
        let written = self.show_rest().await;
        Followed { collected: self.collected, ended, written, output_failed: self.output_failed }
    }

    /// One thing that happens.
    async fn step(&mut self) -> Result<Option<Box<Ended>>, Problem> {
        tokio::select! {
            biased;
            () = self.interrupts.next() => self.cancel(),
            error = self.failure.next() => self.output_failed(error),
            () = flush(self.writer.as_ref(), &mut self.waiting), if self.waiting.is_some() => {}
            event = self.running.next(), if self.waiting.is_none() || self.cancels >= KILLS => {
                let Some(event) = event? else {
                    return Err(Problem::new(ErrorCode::SandboxLost, "the end of the execution was not told"));
                };
                return Ok(self.happened(event));
            }
            wanted = fed(&mut self.feeding), if self.feeding.is_some() => {
                self.feeding = None;
                self.input = self.input.take().filter(|_| wanted);
            }
            piece = next_input(&mut self.input),
                if self.started && self.feeding.is_none() && self.input.is_some() => self.feed(piece),
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
    fn cancel(&mut self) {
        self.cancels += 1;
        self.ask(if self.cancels < KILLS { Cancel::Politely } else { Cancel::Now });
    }

    fn output_failed(&mut self, error: io::Error) {
        self.output_failed = Some(error);
        self.waiting = None;
        self.ask(Cancel::Now);
    }

    /// What comes of it is the next event: the end, or that the sandbox is gone. The driver bounds how long it takes.
    fn ask(&self, how: Cancel) {
        let control = Arc::clone(&self.control);
        let _asked = tokio::spawn(async move { control.cancel(how).await });
    }

    fn feed(&mut self, piece: Option<Vec<u8>>) {
        let control = Arc::clone(&self.control);
        if piece.is_none() {
            self.input = None;
        }
        self.feeding = Some(tokio::spawn(async move {
            match piece {
                Some(bytes) => control.send_input(bytes).await.is_ok(),
                None => control.close_input().await.is_ok(),
            }
        }));
    }
}

/// Cancel-safe.
async fn fed(feeding: &mut Option<JoinHandle<bool>>) -> bool {
    match feeding {
        Some(feeding) => feeding.await.unwrap_or(false),
        None => std::future::pending().await,
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
