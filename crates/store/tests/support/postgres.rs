//! A PostgreSQL of the tests' own: in a temporary directory, on a socket there, started once, gone with the program.
//!
//! It refuses to run as root, so root starts it as `nobody`. The shell that holds it reads a pipe whose other end is this
//! program: when that closes, however the program ends, the shell stops the server and removes the directory.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use sqlx::Connection as _;

struct Server {
    directory: PathBuf,
    _holder: Child,
}

/// A user that owns nothing; Debian's `nobody`.
const NOBODY: u32 = 65_534;

/// The same on a server that flushes what it commits, for figures.
#[allow(dead_code, reason = "tests do without")]
pub(crate) async fn durable_database(name: &str) -> Option<String> {
    DURABLE.store(true, Ordering::Relaxed);
    fresh_database(name).await
}

static DURABLE: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

/// The URL of a new, empty database. `None` where there is no PostgreSQL, which is said, and a failure under `CI`.
pub(crate) async fn fresh_database(name: &str) -> Option<String> {
    static SERVER: OnceLock<Option<Mutex<Server>>> = OnceLock::new();
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let Some(server) = SERVER.get_or_init(|| start().map(Mutex::new)) else {
        assert!(std::env::var_os("CI").is_none(), "no initdb and postgres found: install postgresql");
        println!("SKIPPED {name}: no initdb and postgres found");
        return None;
    };
    let directory = server.lock().unwrap().directory.clone();
    let url = |database: &str| format!("postgres:///{database}?host={}&user=sandkeep", directory.display());
    let database = format!("case{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let mut connection = sqlx::PgConnection::connect(&url("postgres")).await.unwrap();
    let create = sqlx::AssertSqlSafe(format!("CREATE DATABASE {database}"));
    sqlx::raw_sql(create).execute(&mut connection).await.unwrap();
    Some(url(&database))
}

fn start() -> Option<Server> {
    let programs = programs()?;
    let directory = tempfile::Builder::new().prefix("sandkeep-postgres").tempdir().unwrap().keep();
    let root = rustix::process::geteuid().is_root();
    if root {
        std::os::unix::fs::chown(&directory, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let script = format!(
        "set -e; cd '{dir}'; trap 'rm -rf {dir}' EXIT
         '{bin}/initdb' --pgdata=data --username=sandkeep --auth=trust --no-sync --locale=C.UTF-8 >initdb.log 2>&1
         '{bin}/postgres' -D data -k '{dir}' -c listen_addresses= -c fsync={flushes} -c max_connections=200 >log 2>&1 </dev/null &
         server=$!
         cat >/dev/null || true
         kill -INT $server; wait $server || true",
        dir = directory.display(),
        flushes = if DURABLE.load(Ordering::Relaxed) { "on" } else { "off" },
        bin = programs.display(),
    );
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &script]).stdin(Stdio::piped()).env("LC_ALL", "C.UTF-8");
    if root {
        command.uid(NOBODY).gid(NOBODY);
    }
    let holder = command.spawn().unwrap();
    wait_for(&directory, &directory.join(".s.PGSQL.5432"));
    Some(Server { directory, _holder: holder })
}

/// The socket is there some time before the server answers, so both are waited for.
fn wait_for(directory: &Path, socket: &Path) {
    let begun = std::time::Instant::now();
    while std::os::unix::net::UnixStream::connect(socket).is_err() || !is_up(directory) {
        assert!(begun.elapsed().as_secs() < 60, "PostgreSQL did not start: {}", log(directory));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn is_up(directory: &Path) -> bool {
    log(directory).contains("ready to accept connections")
}

fn log(directory: &Path) -> String {
    let read = |name| std::fs::read_to_string(directory.join(name)).unwrap_or_default();
    read("initdb.log") + &read("log")
}

/// The directory of the newest `initdb` and `postgres`: on PATH, or where Debian puts them.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        let mut debian: Vec<PathBuf> = versions.flatten().map(|entry| entry.path().join("bin")).collect();
        debian.sort();
        places.extend(debian.into_iter().rev());
    }
    places.into_iter().find(|place| place.join("initdb").is_file() && place.join("postgres").is_file())
}
