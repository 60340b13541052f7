//! From a request to a running process.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, fchown, fstat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use sandkeep_protocol::agent as proto;
use sandkeep_sandbox::process::{self, Child, Fork, Namespaces, Program};
use sandkeep_sandbox::rlimit::Rlimits;
use sandkeep_sandbox::root::AGENT_FILES;
use sandkeep_sandbox::start::walls::become_code;
use sandkeep_sandbox::start::{Failure, Identity, Start, Step, init, stamp};

use super::Prepared;
use super::pipes::{self, Input};
use super::running::{ReturnChannel, Running, WaysIn};
use super::warm::{self, Warm};
use super::{files, terminal};
use crate::clock;

/// The ends of the pipes that stay with us.
struct Ours {
    stdin: Option<Input>,
    stdout: OwnedFd,
    stderr: Option<OwnedFd>,
    result: Option<ReturnChannel>,
}

/// The standard streams of code, as its side has them.
struct Theirs {
    stdio: [OwnedFd; 3],
    /// Where a handler hands back its result.
    result: Option<OwnedFd>,
    /// Whether they are a terminal.
    terminal: bool,
}

/// The descriptors that came with a call, unless our table of them was too full to take all.
///
/// # Errors
/// That shortage.
pub(crate) fn complete(descriptors: Option<Vec<OwnedFd>>) -> Result<Vec<OwnedFd>, Failure> {
    descriptors.ok_or(Failure { step: Step::Descriptors, errno: Errno::MFILE })
}

/// Starts the process that `request` describes. `descriptors` lead into its control groups; `last_end_ns` is
/// when an execution last ended here, in nanoseconds since 1970. With a `terminal`, that is all of its streams.
///
/// # Errors
/// What keeps it from starting, so far as that shows before the fork; the rest comes over the report pipe.
pub(crate) fn spawn(
    request: proto::SpawnRequest,
    descriptors: Vec<OwnedFd>,
    prepared: &Prepared,
    warm: &mut Warm,
    last_end_ns: u64,
    terminal: Option<terminal::Size>,
) -> Result<Running, Failure> {
    let at = |step| move |errno| Failure { step, errno };
    let directory = write_files(&request, prepared.many_ids).map_err(at(Step::Files))?;
    let streams = match terminal {
        Some(size) => terminal_for(&request, prepared, size),
        None => pipes_for(&request, prepared),
    };
    let (theirs, ours) = streams.map_err(at(Step::Descriptors))?;
    let on_terminal = theirs.terminal;
    // What is stamped from now on must be told from what earlier executions did, and from what we have just put there.
    let given = request.files.iter().any(|file| !file.path.starts_with(AGENT_FILES));
    let done_ns = if given { clock::unix_ns() } else { last_end_ns };
    let next_stamp_ns = stamp::next_ns();
    let (not_before_unix_ns, changes_after_unix_ns) = if request.watch_changes && next_stamp_ns <= done_ns {
        (done_ns, done_ns)
    } else {
        (0, next_stamp_ns.saturating_sub(1))
    };
    let mut running = start(request, descriptors, prepared, theirs, Some(warm), not_before_unix_ns)?;
    running.directory = directory;
    running.on_terminal = on_terminal;
    running.changes_after_unix_ns = changes_after_unix_ns;
    (running.stdout, running.stderr) = (Some(ours.stdout), ours.stderr);
    (running.stdin, running.result) = (ours.stdin, ours.result);
    Ok(running)
}

/// Starts a process on streams that somebody else reads and writes.
///
/// # Errors
/// As [`spawn`].
pub(crate) fn spawn_on(
    request: proto::SpawnRequest,
    descriptors: Vec<OwnedFd>,
    prepared: &Prepared,
    streams: [OwnedFd; 3],
) -> Result<Running, Failure> {
    start(request, descriptors, prepared, Theirs { stdio: streams, result: None, terminal: false }, None, 0)
}

fn start(
    request: proto::SpawnRequest,
    mut descriptors: Vec<OwnedFd>,
    prepared: &Prepared,
    theirs: Theirs,
    warm: Option<&mut Warm>,
    not_before_unix_ns: u64,
) -> Result<Running, Failure> {
    let at = |step| move |errno| Failure { step, errno };
    let program = program(&request)?;
    let gates = match request.held {
        true => vec![descriptors.pop().ok_or_else(|| at(Step::Descriptors)(Errno::MFILE))?],
        false => Vec::new(),
    };
    let ways_in = ways_in(&request, &descriptors, prepared).map_err(at(Step::Descriptors))?;
    let (group, groups) = split_groups(&request, descriptors);
    let start = Start {
        not_before_unix_ns,
        gates,
        cwd: request.cwd.clone(),
        identity: Identity { uid: request.uid, gid: request.gid, change: prepared.many_ids },
        stdio: theirs.stdio,
        terminal: theirs.terminal,
        result: theirs.result,
        grouped: group.is_some() || !groups.is_empty(),
        groups,
        rlimits: rlimits(&request),
        userns: match &prepared.userns {
            Some(userns) => Some(userns.try_clone().map_err(|_| at(Step::Namespace)(Errno::MFILE))?),
            None => None,
        },
    };
    let group = group.as_ref().map(AsFd::as_fd);
    let Begun { child, report, end_report } = match begin_warm(&request, &start, prepared, group, warm) {
        Some(begun) => begun,
        None => begin(&request, start, &program, prepared, group)?,
    };
    Ok(Running {
        execution_id: request.execution_id,
        clients: None,
        pid: child.pid,
        pidfd: child.pidfd,
        report: Some(report),
        own_pids: request.own_pid_namespace,
        end_report,
        stdout: None,
        stderr: None,
        result: None,
        stdin: None,
        on_terminal: false,
        ways_in,
        changes_after_unix_ns: 0,
        failed: None,
        exited: false,
        directory: None,
    })
}

/// A process that is becoming the code, and where it tells of that.
struct Begun {
    child: Child,
    report: OwnedFd,
    /// With an init before the code.
    end_report: Option<OwnedFd>,
}

/// A fork of the warm interpreter, where that can run the code and is there.
fn begin_warm(
    request: &proto::SpawnRequest,
    start: &Start,
    prepared: &Prepared,
    group: Option<BorrowedFd<'_>>,
    warm: Option<&mut Warm>,
) -> Option<Begun> {
    let warm = warm.filter(|_| !start.terminal)?;
    if !warm.is_ready_for(request, prepared) {
        return None;
    }
    // Its own, whose other ends nobody else ever has: what comes out of them is told by this fork.
    let (report, report_theirs) = pipes::to_us().ok()?;
    let (end_report, end_theirs) = end_pipe(request).ok()?;
    let ends = warm::Ends { report: report_theirs.as_fd(), end: end_theirs.as_ref().map(AsFd::as_fd), group };
    let child = warm.fork(request, start, prepared, ends)?;
    Some(Begun { child, report, end_report })
}

fn begin(
    request: &proto::SpawnRequest,
    start: Start,
    program: &Program,
    prepared: &Prepared,
    group: Option<BorrowedFd<'_>>,
) -> Result<Begun, Failure> {
    let at = |step| move |errno| Failure { step, errno };
    let (report, mut report_theirs) = pipes::to_us().map_err(at(Step::Descriptors))?;
    let (end_report, end_theirs) = end_pipe(request).map_err(at(Step::Descriptors))?;
    let namespaces = if request.own_pid_namespace { Namespaces::EXECUTION } else { Namespaces::NONE };
    match process::fork(namespaces, group).map_err(at(Step::Exec))? {
        Fork::Child => {
            if let Some(end) = end_theirs {
                report_theirs = init::stand_before(init::Reports { start: report_theirs, end });
            }
            let failure = become_code(start, program, prepared.walls(), report_theirs.as_fd());
            init::fail(&report_theirs, failure)
        }
        Fork::Parent(child) => Ok(Begun { child, report, end_report }),
    }
}

/// Where an init tells how the code ended, if there is to be one: our end and its own.
fn end_pipe(request: &proto::SpawnRequest) -> rustix::io::Result<(Option<OwnedFd>, Option<OwnedFd>)> {
    if !request.own_pid_namespace {
        return Ok((None, None));
    }
    pipes::to_us().map(|(ours, theirs)| (Some(ours), Some(theirs)))
}

/// Copies of the ways into the groups, where code may ask for more processes in them (by `sudo`).
fn ways_in(
    request: &proto::SpawnRequest,
    descriptors: &[OwnedFd],
    prepared: &Prepared,
) -> rustix::io::Result<WaysIn> {
    let keep = if prepared.userns.is_some() { descriptors } else { &[] };
    let copy = |descriptor: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(descriptor, 3);
    Ok(WaysIn {
        descriptors: keep.iter().map(copy).collect::<rustix::io::Result<_>>()?,
        clone_into_group: request.clone_into_group,
        rlimits: request.rlimits.clone(),
    })
}

/// Writes the request's files; returns the directory of those that go after it, if there are any.
fn write_files(request: &proto::SpawnRequest, change_ids: bool) -> Result<Option<String>, Errno> {
    let own = format!("{AGENT_FILES}/{}", request.execution_id);
    let user = change_ids.then_some((request.uid, request.gid));
    for file in &request.files {
        // What is ours to run is the agent's, and what is given to the code is the code's.
        let owner = if file.path.starts_with(AGENT_FILES) { None } else { user };
        files::write(&file.path, file.mode, &file.data, owner)?;
    }
    let any = request.files.iter().any(|file| file.path.starts_with(&own));
    Ok(any.then_some(own))
}

/// The directory to be cloned into, if one came, and the files to be written to.
fn split_groups(
    request: &proto::SpawnRequest,
    mut descriptors: Vec<OwnedFd>,
) -> (Option<OwnedFd>, Vec<OwnedFd>) {
    if request.clone_into_group && !descriptors.is_empty() {
        let group = descriptors.remove(0);
        return (Some(group), descriptors);
    }
    (None, descriptors)
}

fn program(request: &proto::SpawnRequest) -> Result<Program, Failure> {
    let at_exec = |errno| Failure { step: Step::Exec, errno };
    let name = request.argv.first().ok_or_else(|| at_exec(Errno::NOENT))?;
    let paths = places(name, request.env.get("PATH").map_or("", String::as_str));
    let argv = request.argv.iter().map(|arg| arg.clone().into_bytes()).collect();
    Program::new(paths, argv, environment(request)).ok_or_else(|| at_exec(Errno::INVAL))
}

/// As execve(2) takes it.
pub(crate) fn environment(request: &proto::SpawnRequest) -> Vec<Vec<u8>> {
    request.env.iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect()
}

/// Where a program may be, as a shell has it: a name with a slash is a path, others are looked for in `search`. Whether it
/// is there is for the child to find out, as the code: names and `search` may be the code's, and what they lead to when we
/// follow them is not what they lead to for the code.
fn places(name: &str, search: &str) -> Vec<Vec<u8>> {
    if name.contains('/') {
        return vec![name.as_bytes().to_vec()];
    }
    let directories = search.split(':').filter(|directory| directory.starts_with('/'));
    directories.map(|directory| format!("{directory}/{name}").into_bytes()).collect()
}

fn pipes_for(request: &proto::SpawnRequest, prepared: &Prepared) -> rustix::io::Result<(Theirs, Ours)> {
    let (stdin_theirs, stdin) = match request.stdin_mode.as_known() {
        Some(mode @ (proto::Stdin::STDIN_BYTES | proto::Stdin::STDIN_OPEN)) => {
            let (theirs, ours) = pipes::from_us()?;
            let mut input = Input::new(ours, request.stdin.clone(), mode == proto::Stdin::STDIN_OPEN);
            input.write();
            (theirs, Some(input))
        }
        Some(proto::Stdin::STDIN_UNSPECIFIED) | None => (null()?, None),
    };
    let (stdout, stdout_theirs) = pipes::to_us()?;
    let (stderr, stderr_theirs) = if request.merge_stderr {
        (None, rustix::io::fcntl_dupfd_cloexec(&stdout_theirs, 3)?)
    } else {
        let (ours, theirs) = pipes::to_us()?;
        (Some(ours), theirs)
    };
    let mut result = None;
    let mut result_theirs = None;
    if request.wants_return_value {
        let (ours, theirs) = pipes::to_us()?;
        let max_bytes = usize::try_from(request.return_value_max_bytes).unwrap_or(usize::MAX);
        result = Some(ReturnChannel { pipe: Some(ours), bytes: Vec::new(), max_bytes, too_large: false });
        result_theirs = Some(theirs);
    }
    let ours = Ours { stdin, stdout, stderr, result };
    let stdio = [stdin_theirs, stdout_theirs, stderr_theirs];
    if prepared.many_ids {
        own_pipes(request, &stdio, result_theirs.as_ref())?;
    }
    Ok((Theirs { stdio, result: result_theirs, terminal: false }, ours))
}

fn terminal_for(
    request: &proto::SpawnRequest,
    prepared: &Prepared,
    size: terminal::Size,
) -> rustix::io::Result<(Theirs, Ours)> {
    let owner = prepared.many_ids.then_some((request.uid, request.gid));
    let (ours, theirs) = terminal::open(&prepared.terminals, size, owner)?;
    let copy = |end: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(end, 3);
    let stdin = Some(Input::new(copy(&ours)?, Vec::new(), true));
    let stdio = [copy(&theirs)?, copy(&theirs)?, theirs];
    Ok((
        Theirs { stdio, result: None, terminal: true },
        Ours { stdin, stdout: ours, stderr: None, result: None },
    ))
}

/// Gives the code's ends to the code: it may open them again by their names, `/dev/stderr` and the like.
fn own_pipes(
    request: &proto::SpawnRequest,
    stdio: &[OwnedFd; 3],
    result: Option<&OwnedFd>,
) -> rustix::io::Result<()> {
    let (uid, gid) = (Some(Uid::from_raw(request.uid)), Some(Gid::from_raw(request.gid)));
    for end in stdio.iter().chain(result) {
        // Standard input may be the host's /dev/null, which stays whose it is.
        if FileType::from_raw_mode(fstat(end)?.st_mode) == FileType::Fifo {
            fchown(end, uid, gid)?;
        }
    }
    Ok(())
}

fn null() -> rustix::io::Result<OwnedFd> {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    rustix::fs::open("/dev/null", flags, rustix::fs::Mode::empty())
}

fn rlimits(request: &proto::SpawnRequest) -> Rlimits {
    let given = request.rlimits.clone();
    let some = |value: u64| (value > 0).then_some(value);
    Rlimits {
        nofile: if given.open_files > 0 { given.open_files } else { Rlimits::default().nofile },
        nproc: some(given.processes),
        fsize: some(given.file_bytes),
        data: some(given.data_bytes),
        ..Rlimits::default()
    }
}
