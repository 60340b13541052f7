//! Standard input on its way to the code: read on a thread of its own, since a terminal may never give any.

use std::fs::File;
use std::io::{self, ErrorKind, Read};

use tokio::sync::mpsc;

use super::words::Source;
use crate::out;

const PIECE_BYTES: usize = 64 * 1024;
/// Pieces that are read ahead.
const QUEUED_PIECES: usize = 2;

/// The pieces of a source. Dropping it stops the reading at the next piece.
#[derive(Debug)]
pub(super) struct Input(mpsc::Receiver<Vec<u8>>);

impl Input {
    pub(super) fn start(source: Source) -> Self {
        let (pieces, input) = mpsc::channel(QUEUED_PIECES);
        // Not joined: a read of a terminal ends when its person wants, and the process does not wait for that.
        let _reader = std::thread::spawn(move || {
            let read = match &source {
                Source::Ours => read_all(io::stdin().lock(), &pieces),
                Source::File(path) => File::open(path).and_then(|file| read_all(file, &pieces)),
            };
            if let Err(error) = read {
                out::note(&format!("standard input cannot be read: {error}"));
            }
        });
        Self(input)
    }

    /// The next piece; `None` at its end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Vec<u8>> {
        self.0.recv().await
    }
}

fn read_all(mut from: impl Read, pieces: &mpsc::Sender<Vec<u8>>) -> io::Result<()> {
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        match from.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(got) => {
                piece.truncate(got);
                if pieces.blocking_send(piece).is_err() {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
