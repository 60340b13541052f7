//! One server after another on the same books, with a wall clock that is set at will.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use sqlx::Connection as _;
use tokio::sync::watch;

use crate::support::server::{At, Server, serve};

/// A data directory, the database, and the clock of whoever serves them.
pub(crate) struct Bed {
    directory: tempfile::TempDir,
    pub(crate) url: Option<String>,
    clock: fs::File,
    /// Slots of the host that others live in.
    pub(crate) taken_before: Vec<(String, u32)>,
}

impl Bed {
    pub(crate) fn new(url: Option<String>) -> Self {
        let directory = crate::support::directory();
        let source = directory.path().join("clock.c");
        fs::write(&source, include_str!("clock.c")).unwrap();
        let mut compile = Command::new("cc");
        compile
            .args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"])
            .arg(directory.path().join("clock.so"));
        assert!(compile.arg(source).arg("-ldl").status().unwrap().success(), "what links Rust compiles C");
        let clock = fs::File::create_new(directory.path().join("clock")).unwrap();
        let bed = Self { directory, url, clock, taken_before: crate::books::taken() };
        bed.set_clock(0);
        bed
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Makes the wall clock of whoever serves wrong by so many seconds, from now on.
    pub(crate) fn set_clock(&self, seconds: i64) {
        self.clock.write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// Breaks every connection to PostgreSQL, whatever is under way on it: also between a commit and its answer.
    pub(crate) async fn break_connections(&self) {
        let Some(url) = &self.url else { return };
        let mut own = sqlx::PgConnection::connect(url).await.unwrap();
        let broken = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
            WHERE application_name = 'sandkeep' AND datname = current_database()";
        sqlx::raw_sql(broken).execute(&mut own).await.unwrap();
    }

    async fn start(&self) -> Server {
        let data = self.data();
        let mut command = serve(&data);
        command.env("LD_PRELOAD", self.path().join("clock.so")).env("TEST_CLOCK", self.path().join("clock"));
        // Where a test fails, what it leaves goes soon.
        command.env("SANDKEEP_DRAIN_TIMEOUT", "2s").env("SANDKEEP_ORPHAN_AFTER", "3m");
        if let Some(url) = &self.url {
            command.env("SANDKEEP_DATABASE_URL", url);
        }
        Server::start(command, &data, &self.path().join("log")).await
    }
}

/// The server that is there now, and whom to tell where it is.
pub(crate) struct Life<'a> {
    bed: &'a Bed,
    pub(crate) server: Option<Server>,
    /// Where it is; where it was, while none is there.
    pub(crate) at: watch::Sender<At>,
}

impl<'a> Life<'a> {
    pub(crate) async fn begin(bed: &'a Bed) -> Self {
        let server = bed.start().await;
        Self { bed, at: watch::Sender::new(server.at.clone()), server: Some(server) }
    }

    pub(crate) fn server(&self) -> &Server {
        self.server.as_ref().expect("one is there")
    }

    /// Ends the server, by `signal`, and starts the next.
    pub(crate) async fn again(&mut self, signal: Signal) {
        let before = self.server.take().expect("one is there");
        before.signal(signal);
        before.ended().await;
        let server = self.bed.start().await;
        self.at.send_replace(server.at.clone());
        self.server = Some(server);
    }
}
