//! The floor program of the repository (bench/floor), kept running and asked for one round at a time.

use std::io::{self, BufRead as _, BufReader, ErrorKind, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

/// A running floor program. Closing its input ends it, so dropping this does.
#[derive(Debug)]
pub(crate) struct Floor {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Floor {
    /// Starts `path`, whose sandboxes will run `program`: a path inside, or `static`.
    ///
    /// # Errors
    /// It cannot be started.
    pub(crate) fn start(path: &Path, program: &str) -> io::Result<Self> {
        let mut command = Command::new(path);
        command.args(["serve", program]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let requests = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("piped above"));
        Ok(Self { child, requests, answers })
    }

    /// One sandbox of its own, by its own clock.
    ///
    /// # Errors
    /// It ended; what failed stands on standard error.
    pub(crate) fn round(&mut self) -> io::Result<Duration> {
        let requests = self.requests.as_mut().expect("taken only when dropped");
        requests.write_all(b"\n")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let wrong = |_| io::Error::new(ErrorKind::UnexpectedEof, "the floor program ended");
        line.trim().parse().map(Duration::from_nanos).map_err(wrong)
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        drop(self.requests.take());
        let _reaped = self.child.wait();
    }
}
