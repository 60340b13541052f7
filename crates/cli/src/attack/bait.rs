//! What lies on the host for the programs to reach, and whether anything reached it.
//!
//! All of it belongs to whoever runs the suite, so that only the sandbox stands in between. A descriptor of the secret
//! and of its directory are left inheritable on purpose, and a variable is set by [`marked`].

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::{SocketAddr, UnixListener};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::FdFlags;
use sandkeep_core::code::Problem;

use super::program::BINARY;
use crate::host;
use crate::out;

/// A variable of our own environment that must not arrive in a sandbox.
const VARIABLE: &str = "SANDKEEP_ATTACK_BAIT";

/// Starts this command anew with [`VARIABLE`] set, unless it is.
///
/// # Errors
/// `internal`: the kernel refuses.
pub(super) fn marked() -> Result<(), Problem> {
    if std::env::var_os(VARIABLE).is_some() {
        return Ok(());
    }
    let mut args = std::env::args_os();
    let name = args.next().unwrap_or_default();
    let error = Command::new("/proc/self/exe").arg0(name).args(args).env(VARIABLE, "bait").exec();
    Err(out::failed("the command cannot start itself anew", &error))
}

/// All of it; gone when dropped.
#[derive(Debug)]
pub(super) struct Bait {
    directory: PathBuf,
    secret: String,
    unix: UnixListener,
    abstract_name: String,
    abstract_unix: UnixListener,
    tcp: TcpListener,
    objects: Objects,
    _inheritable: [File; 2],
}

impl Bait {
    /// Lays it out.
    ///
    /// # Errors
    /// `internal`: the host refuses a part.
    pub(super) fn plant() -> Result<Self, Problem> {
        // Two ids have 160 random bits between them.
        let secret = format!("{}{}", host::sandbox_id()?, host::sandbox_id()?);
        let name = format!("sandkeep-bait-{}", &host::sandbox_id()?.to_string()[12..]);
        let refused = |error: io::Error| out::failed("the bait cannot be laid", &error);
        Self::lay(secret, name).map_err(refused)
    }

    fn lay(secret: String, name: String) -> io::Result<Self> {
        let directory = std::env::temp_dir().join(&name);
        fs::DirBuilder::new().mode(0o755).create(&directory)?;
        let path = directory.join("secret");
        let mut file = File::options().create_new(true).write(true).mode(0o600).open(&path)?;
        file.write_all(secret.as_bytes())?;
        let socket = directory.join("socket");
        let unix = UnixListener::bind(&socket)?;
        fs::set_permissions(&socket, Permissions::from_mode(0o777))?;
        let abstract_unix = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
        let tcp = TcpListener::bind(("127.0.0.1", 0))?;
        unix.set_nonblocking(true)?;
        abstract_unix.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        let inheritable = [File::open(&path)?, File::open(&directory)?];
        for file in &inheritable {
            rustix::io::fcntl_setfd(file, FdFlags::empty())?;
        }
        let objects = Objects::hold()?;
        Ok(Self {
            directory,
            secret,
            unix,
            abstract_name: name,
            abstract_unix,
            tcp,
            objects,
            _inheritable: inheritable,
        })
    }

    /// What must never be seen in any output.
    pub(super) fn secret(&self) -> &str {
        &self.secret
    }

    /// The variables that tell the programs where it lies.
    pub(super) fn environment(&self) -> io::Result<BTreeMap<String, String>> {
        let path = |name: &str| self.directory.join(name).to_string_lossy().into_owned();
        let own = [
            ("ATTACK_HOST_SECRET_PATH", path("secret")),
            ("ATTACK_HOST_SOCKET", path("socket")),
            ("ATTACK_HOST_ABSTRACT", self.abstract_name.clone()),
            ("ATTACK_HOST_PORT", self.tcp.local_addr()?.port().to_string()),
            ("ATTACK_HOST_ENV", VARIABLE.to_owned()),
            ("ATTACK_SYSV_KEY", self.objects.key.clone()),
            ("ATTACK_POSIX_NAME", self.objects.name.clone()),
        ];
        Ok(own.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// What was reached or changed since the last look.
    pub(super) fn touched(&mut self) -> Vec<String> {
        let mut found = Vec::new();
        let secret = fs::read(self.directory.join("secret"));
        if secret.map_or(true, |seen| seen != self.secret.as_bytes()) {
            found.push("the secret of the host was changed".to_owned());
        }
        let sockets = [
            ("unix socket", self.unix.accept().is_ok()),
            ("abstract socket", self.abstract_unix.accept().is_ok()),
            ("TCP port", self.tcp.accept().is_ok()),
        ];
        let reached = sockets.iter().filter(|(_, reached)| *reached);
        found.extend(reached.map(|(what, _)| format!("the {what} of the host got a connection")));
        found.extend(self.objects.touched());
        found
    }
}

impl Drop for Bait {
    fn drop(&mut self) {
        // A directory in /tmp that cannot be removed has no second remover.
        let _left = fs::remove_dir_all(&self.directory);
    }
}

/// A process of ours that holds the System V and POSIX objects, and removes them when we end.
#[derive(Debug)]
struct Objects {
    process: Child,
    /// Taken when it is to end.
    ask: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    key: String,
    name: String,
}

impl Objects {
    fn hold() -> io::Result<Self> {
        let program = in_memory()?;
        let mut process = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()))
            .arg0("attack")
            .arg("--bait")
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()?;
        let gone = || io::Error::other("its holder has no pipes");
        let ask = process.stdin.take().ok_or_else(gone)?;
        let answers = BufReader::new(process.stdout.take().ok_or_else(gone)?);
        let mut held = Self { process, ask: Some(ask), answers, key: String::new(), name: String::new() };
        let line = held.answer()?;
        let (key, name) =
            line.split_once(' ').ok_or_else(|| io::Error::other("its holder could not start"))?;
        (held.key, held.name) = (key.to_owned(), name.to_owned());
        Ok(held)
    }

    fn answer(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    fn touched(&mut self) -> Option<String> {
        let asked = self.ask.as_mut().map(|ask| ask.write_all(b"\n"));
        match (asked, self.answer()) {
            (Some(Ok(())), Ok(line)) if line == "untouched" => None,
            (Some(Ok(())), Ok(line)) if !line.is_empty() => Some(line),
            _ => Some("the holder of the host's objects was killed".to_owned()),
        }
    }
}

impl Drop for Objects {
    fn drop(&mut self) {
        self.ask = None;
        // It ends at the end of its input.
        let _status = self.process.wait();
    }
}

/// [`BINARY`] as a file that can be executed: opened for reading only, since what is open for writing cannot be.
fn in_memory() -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC;
    let memory =
        memfd_create(c"attack", flags | MemfdFlags::EXEC).or_else(|_| memfd_create(c"attack", flags))?;
    let mut file = File::from(memory);
    file.write_all(BINARY)?;
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn bait_that_nobody_touched_is_untouched_and_goes_away() {
        let mut bait = Bait::plant().unwrap();
        assert_eq!(bait.touched(), Vec::<String>::new());
        let directory = bait.directory.clone();
        let object = PathBuf::from("/dev/shm").join(&bait.objects.name);
        assert!(directory.exists() && object.exists());
        assert_eq!(bait.environment().unwrap().len(), 7);
        drop(bait);
        assert!(!directory.exists() && !object.exists());
    }

    #[test]
    fn every_touch_is_seen() {
        let mut bait = Bait::plant().unwrap();
        let env = bait.environment().unwrap();
        drop(UnixStream::connect(&env["ATTACK_HOST_SOCKET"]).unwrap());
        let name = SocketAddr::from_abstract_name(&env["ATTACK_HOST_ABSTRACT"]).unwrap();
        drop(UnixStream::connect_addr(&name).unwrap());
        let port: u16 = env["ATTACK_HOST_PORT"].parse().unwrap();
        drop(std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
        fs::write(&env["ATTACK_HOST_SECRET_PATH"], "known").unwrap();
        fs::remove_file(PathBuf::from("/dev/shm").join(&env["ATTACK_POSIX_NAME"])).unwrap();
        let touched = bait.touched();
        assert_eq!(touched.len(), 5, "{touched:?}");
        assert!(env["ATTACK_SYSV_KEY"].starts_with("0x"));
    }
}
