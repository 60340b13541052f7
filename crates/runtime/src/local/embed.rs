//! The agent program, carried inside this one and executed from memory.
//!
//! A sealed memory file cannot be changed by anyone, is not looked for in any path, and is the same for every sandbox
//! of this process: the kernel shares its pages.

use std::fs::File;
use std::hash::Hasher as _;
use std::io::Write as _;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use sandkeep_core::code::{ErrorCode, Problem};

use super::reach::exit_of;

/// The static program, as built by this crate's build script.
static AGENT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/sandkeep-agent"));

/// A supervisor's process, waited for however its handle goes.
#[derive(Debug)]
pub(super) struct Supervisor(Option<Process>);

#[derive(Debug)]
enum Process {
    /// Ours, and it ends with its connection.
    Child(Child),
    /// Ours, and it goes on without us.
    Detached(Child),
    /// Another's, or ours from an earlier life.
    Found { pid: u32, pidfd: OwnedFd },
}

impl Supervisor {
    /// One that listens at a socket.
    ///
    /// # Errors
    /// `sandbox_failed`.
    pub(super) fn found(pid: u32) -> Result<Self, Problem> {
        match open(pid) {
            Some(pidfd) => Ok(Self(Some(Process::Found { pid, pidfd }))),
            None => {
                let text =
                    format!("cannot hold the supervisor {pid}: it has just ended, or there is no descriptor");
                Err(Problem::new(ErrorCode::SandboxFailed, text))
            }
        }
    }

    pub(super) fn id(&self) -> u32 {
        match &self.0 {
            Some(Process::Child(child) | Process::Detached(child)) => child.id(),
            Some(Process::Found { pid, .. }) => *pid,
            None => 0,
        }
    }

    /// Returns when it has ended; at once, and it is reaped by a thread, where the kernel gives no descriptor of it. Whoever does
    /// not wait to the end leaves it to be reaped as if they had not begun.
    pub(super) async fn wait(mut self) {
        let ended = match &self.0 {
            Some(Process::Child(child) | Process::Detached(child)) => match open(child.id()) {
                Some(pidfd) => exit_of(&pidfd).await,
                None => return,
            },
            Some(Process::Found { pidfd, .. }) => exit_of(pidfd).await,
            None => return,
        };
        if ended.is_ok()
            && let Some(Process::Child(mut child) | Process::Detached(mut child)) = self.0.take()
        {
            let _reaped = child.wait();
        }
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let reaper = std::thread::Builder::new().name("reaper".to_owned());
        // Nobody here is to wait for it, and nobody else can reap it.
        let _reaper = match self.0.take() {
            // Its socket is closed, so it ends soon.
            Some(Process::Child(child)) => reaper.spawn(move || reap(child)),
            // When it ends is for others to say.
            Some(Process::Detached(mut child)) => reaper.spawn(move || drop(child.wait())),
            Some(Process::Found { .. }) | None => return,
        };
    }
}

/// Longer than a supervisor needs to empty its groups. One that stands still hears of no closed socket.
const ENDS_WITHIN: Timespec = Timespec { tv_sec: 15, tv_nsec: 0 };

fn reap(mut child: Child) {
    if let Some(ended) = open(child.id()) {
        let mut ready = [PollFd::new(&ended, PollFlags::IN)];
        if matches!(poll(&mut ready, Some(&ENDS_WITHIN)), Ok(0)) {
            let _gone = child.kill();
        }
    }
    let _ended = child.wait();
}

fn open(pid: u32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(i32::try_from(pid).ok()?)?, PidfdFlags::empty()).ok()
}

/// Starts a supervisor whose descriptor 0 is `socket`; one that is `detached` goes on without us.
///
/// # Errors
/// `sandbox_failed` when no memory file or process can be had.
pub(super) fn start_supervisor(socket: OwnedFd, detached: bool) -> Result<Supervisor, Problem> {
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        Problem::new(ErrorCode::SandboxFailed, format!("{what}: {error}"))
    };
    let program = program().map_err(|error| failed("cannot keep the agent in memory", &error))?;
    let mut command = Command::new(format!("/proc/self/fd/{}", program.as_raw_fd()));
    command
        .arg0("sandkeep-agent")
        .arg("supervisor")
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if detached {
        // It makes a session of its own, which the leader of a group cannot.
        command.arg("detached");
    } else {
        // A terminal's signals are for the command, which decides what becomes of the sandbox.
        command.process_group(0);
    }
    let child = command.spawn().map_err(|error| failed("cannot start a supervisor", &error))?;
    Ok(Supervisor(Some(if detached { Process::Detached(child) } else { Process::Child(child) })))
}

/// The program as a file below `directory`, for showing inside; written when it is not there as it should be.
///
/// # Errors
/// `state_dir_unusable`.
pub(super) fn as_file(directory: &Path) -> Result<PathBuf, Problem> {
    // Named by its content: a file that is shown somewhere must not be replaced by another program's.
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(AGENT);
    let name = format!("agent-{:016x}", hasher.finish());
    let path = directory.join(&name);
    if std::fs::metadata(&path).is_ok_and(|meta| meta.len() == AGENT.len() as u64) {
        return Ok(path);
    }
    // Whole or not at all, also for those who start at the same moment.
    let fresh = directory.join(format!("{name}-{}", std::process::id()));
    let written = std::fs::write(&fresh, AGENT)
        .and_then(|()| std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755)))
        .and_then(|()| std::fs::rename(&fresh, &path));
    written.map_err(|error| {
        Problem::new(ErrorCode::StateDirUnusable, format!("{}: cannot be written: {error}", path.display()))
    })?;
    clear_old(directory);
    Ok(path)
}

/// Other releases' programs are not there for ever. One that is still in use is written again when it is needed, and stays where
/// it is shown already.
fn clear_old(directory: &Path) {
    let is_old = |entry: &std::fs::DirEntry| {
        let written = entry.metadata().and_then(|meta| meta.modified());
        written.is_ok_and(|written| written.elapsed().is_ok_and(|age| age > KEPT))
    };
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(b"agent-") && is_old(&entry) {
            let _of_no_matter = std::fs::remove_file(entry.path());
        }
    }
}

/// How long a program stays that was written for another release.
const KEPT: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

fn program() -> std::io::Result<&'static File> {
    static PROGRAM: OnceLock<File> = OnceLock::new();
    if let Some(program) = PROGRAM.get() {
        return Ok(program);
    }
    let made = make()?;
    Ok(PROGRAM.get_or_init(|| made))
}

fn make() -> std::io::Result<File> {
    let sealable = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Since 6.3 the kernel wants to be told that the file is to be executed; before, it does not know the flag.
    let memory = memfd_create(c"sandkeep-agent", sealable | MemfdFlags::EXEC)
        .or_else(|_| memfd_create(c"sandkeep-agent", sealable))?;
    let mut file = File::from(memory);
    file.write_all(AGENT)?;
    fcntl_add_seals(&file, SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    /// More would cost every sandbox of a fresh process: it is copied into memory once.
    const MOST_BYTES: usize = 4 << 20;

    /// A segment that names a program loader (elf(5)).
    const PT_INTERP: u32 = 3;

    #[test]
    fn programs_of_other_releases_go_after_a_day() {
        let directory = tempfile::tempdir().unwrap();
        let written = |name: &str, hours: u64| {
            let file = File::create(directory.path().join(name)).unwrap();
            let age = std::time::Duration::from_secs(hours * 3600);
            file.set_modified(std::time::SystemTime::now() - age).unwrap();
        };
        written("agent-0", 25);
        written("agent-1-17", 25);
        written("agent-2", 23);
        written("else", 25);
        let own = as_file(directory.path()).unwrap();
        let mut left: Vec<_> =
            std::fs::read_dir(directory.path()).unwrap().map(|e| e.unwrap().path()).collect();
        left.sort();
        let mut expected = vec![own, directory.path().join("agent-2"), directory.path().join("else")];
        expected.sort();
        assert_eq!(left, expected);
    }

    /// Types of the program's segments, from its 64-bit ELF header.
    fn segments() -> Vec<u32> {
        let number = |at: usize, len: usize| {
            AGENT[at..at + len].iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte))
        };
        assert!(AGENT.starts_with(b"\x7fELF\x02"));
        let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
        (0..count).map(|n| u32::try_from(number(table + n * size, 4)).unwrap()).collect()
    }

    #[test]
    fn the_agent_is_small_static_and_sealed() {
        assert!(AGENT.len() <= MOST_BYTES, "{} bytes", AGENT.len());
        assert!(!segments().contains(&PT_INTERP), "a static program asks for no loader");
        let program = program().unwrap();
        let seals = rustix::fs::fcntl_get_seals(program).unwrap();
        let all = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
        assert!(seals.contains(all), "{seals:?}");
    }

    #[test]
    fn the_shims_file_is_written_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = as_file(directory.path()).unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        assert_eq!(std::fs::read(&path).unwrap(), AGENT);
        assert_eq!(as_file(directory.path()).unwrap(), path);
        assert_eq!(std::fs::metadata(&path).unwrap().ino(), inode, "what is shown somewhere is not replaced");
    }
}
