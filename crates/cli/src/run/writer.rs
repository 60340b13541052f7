//! Writes output as it comes, on a thread of its own: a reader that does not read blocks that thread, and not the loop
//! that hears Ctrl-C. Few pieces are under way; while they wait, the supervisor's log keeps the rest.

use std::io;
use std::thread::JoinHandle;

use sandkeep_core::output::Stream;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::oneshot;

use crate::out;

/// Pieces of at most 64 KiB between the supervisor and a slow reader.
const QUEUED_PIECES: usize = 4;

/// What goes to one of our own two streams.
#[derive(Debug)]
pub(super) enum Piece {
    /// Output of the code.
    Output(Stream, Vec<u8>),
    /// A line of ours.
    Note(String),
}

/// The thread, from the loop's side.
#[derive(Debug)]
pub(super) struct Writer {
    pieces: mpsc::Sender<Piece>,
    thread: JoinHandle<Written>,
}

/// The error of standard output, told once.
#[derive(Debug, Default)]
pub(super) struct Failure(Option<oneshot::Receiver<io::Error>>);

/// How things stood when all was written.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// Standard output ends inside a line.
    pub(super) stdout_mid_line: bool,
    /// So does standard error.
    pub(super) stderr_mid_line: bool,
}

impl Writer {
    pub(super) fn start() -> (Self, Failure) {
        let (pieces, incoming) = mpsc::channel(QUEUED_PIECES);
        let (fail, failure) = oneshot::channel();
        let thread = std::thread::spawn(move || write_all(incoming, fail));
        (Self { pieces, thread }, Failure(Some(failure)))
    }

    /// Room for one more piece; `None` when the thread has failed. Cancel-safe.
    pub(super) async fn room(&self) -> Option<OwnedPermit<Piece>> {
        self.pieces.clone().reserve_owned().await.ok()
    }

    /// Waits until all is written; the error that was not told yet, if there is one.
    pub(super) async fn finish(self, failure: Failure) -> (Written, Option<io::Error>) {
        let Self { pieces, thread } = self;
        drop(pieces);
        let error = match failure.0 {
            // Resolves when the thread fails or ends.
            Some(failure) => failure.await.ok(),
            None => None,
        };
        (thread.join().unwrap_or_default(), error)
    }
}

impl Failure {
    /// Waits for ever when there is none. Cancel-safe.
    pub(super) async fn next(&mut self) -> io::Error {
        let Some(failure) = &mut self.0 else { return std::future::pending().await };
        let error = failure.await;
        self.0 = None;
        match error {
            Ok(error) => error,
            Err(_) => std::future::pending().await,
        }
    }
}

fn write_all(mut pieces: mpsc::Receiver<Piece>, fail: oneshot::Sender<io::Error>) -> Written {
    let mut written = Written::default();
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Output(Stream::Stdout, bytes) => {
                if let Err(error) = out::bytes(&bytes) {
                    // Nobody listens any more when the loop has ended.
                    let _unheard = fail.send(error);
                    return written;
                }
                written.stdout_mid_line = !bytes.ends_with(b"\n");
            }
            Piece::Output(Stream::Stderr, bytes) => {
                out::error_bytes(&bytes);
                written.stderr_mid_line = !bytes.ends_with(b"\n");
            }
            Piece::Note(text) => out::note(&text),
        }
    }
    written
}
