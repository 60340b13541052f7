//! The warm interpreter: a Python that has imported what most programs need, and is forked for each instead of being started.
//!
//! It never runs foreign code and is nobody's to touch: it has our id, holds our end of nothing but a socket, and every fork
//! goes through the same walls as any other start before it may run code (`sandkeep_sandbox::start`; `sandkeep-warm` is the
//! part inside of it). Its forks are our children, so from the fork on an execution is what it always is.
//!
//! It is started when the first code that it could have run has ended, so that whoever needs one program only never waits
//! for it. Whatever goes wrong with it, code is started in the ordinary way, which is always possible: a fork begins
//! no code before we have heard of it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, chdir, setsid, umask};
use sandkeep_protocol::agent as proto;
use sandkeep_sandbox::caps::{self, Caps};
use sandkeep_sandbox::gate::Gate;
use sandkeep_sandbox::process::{self, Child, Fork, Namespaces, Program};
use sandkeep_sandbox::start::order::{self, Order, Parcel};
use sandkeep_sandbox::start::{RESULT, Start};

use super::Prepared;

/// What it takes to make a process the code's: its ids, its namespaces.
pub(crate) const CAPS: Caps = Caps::SETUID.union(Caps::SETGID).union(Caps::SYS_ADMIN);

/// The module that forks, see `crates/warm`; nothing in a build of this crate alone.
const MODULE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/warm.so"));
/// What the interpreter runs.
const SCRIPT: &str = include_str!("warm/python.py");
/// How long an answer may take, which takes a millisecond: after that it is given up and killed. The agent stands still
/// meanwhile.
const PATIENCE: std::time::Duration = std::time::Duration::from_millis(500);
/// How often in a row one may be of no use before there is none any more.
const MOST_FAILURES: u32 = 3;

/// One interpreter, or the wish for one.
#[derive(Debug, Default)]
pub(crate) struct Warm {
    /// What code asked for last.
    wish: Option<Wish>,
    up: Option<Up>,
    failures: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Wish {
    program: String,
    modules: Vec<String>,
}

/// A process that is an interpreter, or is becoming one.
#[derive(Debug)]
struct Up {
    is: Wish,
    child: Child,
    socket: OwnedFd,
    /// Whether it has said that it waits.
    ready: bool,
    /// Where what it says goes, which nobody reads: a pipe without this end would kill it.
    _output: OwnedFd,
}

/// The descriptors of a start that are not in its [`Start`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends<'a> {
    pub(crate) report: BorrowedFd<'a>,
    pub(crate) end: Option<BorrowedFd<'a>>,
    pub(crate) group: Option<BorrowedFd<'a>>,
}

impl Warm {
    /// Whether `request` can be run by one; if so one is wanted from now on, and ready when this says so.
    pub(crate) fn is_ready_for(&mut self, request: &proto::SpawnRequest, prepared: &Prepared) -> bool {
        // Where the code has our id it could reach the interpreter. What code or a mount may have changed is foreign code.
        if MODULE.is_empty() || !prepared.many_ids || !prepared.unchanged {
            return false;
        }
        let (Some(warm), [program, flag, _, ..]) = (request.warm.as_option(), &request.argv[..]) else {
            return false;
        };
        if flag != "-u" || !program.starts_with('/') {
            return false;
        }
        let wish = Wish { program: program.clone(), modules: warm.modules.clone() };
        let Some(up) = self.up.as_mut().filter(|up| up.is == wish) else {
            self.wish = Some(wish);
            return false;
        };
        if !up.ready {
            up.ready = order::hear(&up.socket, RecvFlags::DONTWAIT).is_ok();
        }
        up.ready
    }

    /// Has the interpreter fork for `start`. `None` when that failed: then the code has not begun and never will, and
    /// `ends` must not be used again.
    pub(crate) fn fork(
        &mut self,
        request: &proto::SpawnRequest,
        start: &Start,
        prepared: &Prepared,
        ends: Ends<'_>,
    ) -> Option<Child> {
        let up = self.up.as_ref()?;
        match up.fork(request, start, prepared, ends) {
            Ok(child) => {
                self.failures = 0;
                Some(child)
            }
            Err(Refused::Fork) => None,
            Err(Refused::Dead) => {
                self.failures += 1;
                self.end();
                None
            }
        }
    }

    /// An execution has ended: starts an interpreter if one is wanted.
    pub(crate) fn advance(&mut self) {
        let Some(wish) = self.wish.take_if(|_| self.failures < MOST_FAILURES) else { return };
        self.end();
        match launch(wish) {
            Ok(up) => self.up = Some(up),
            // It is wanted again by the next code that could use it.
            Err(_) => self.failures += 1,
        }
    }

    /// A child of ours has ended.
    pub(crate) fn ended(&mut self, pid: Pid) {
        let Some(up) = self.up.take_if(|up| up.child.pid == pid) else { return };
        // One that was ready is replaced when there is use for it again.
        let was_ready = up.ready || order::hear(&up.socket, RecvFlags::DONTWAIT).is_ok();
        self.failures += u32::from(!was_ready);
    }

    fn end(&mut self) {
        if let Some(up) = self.up.take() {
            let _gone = process::signal(&up.child.pidfd, Signal::KILL);
        }
    }
}

/// Why there is no fork.
enum Refused {
    /// The kernel gave none; another may be had.
    Fork,
    /// Nobody is there, or nobody who answers.
    Dead,
}

impl Up {
    fn fork(
        &self,
        request: &proto::SpawnRequest,
        start: &Start,
        prepared: &Prepared,
        ends: Ends<'_>,
    ) -> Result<Child, Refused> {
        let order = order_of(request, start, prepared).to_file().map_err(|_| Refused::Fork)?;
        let (gate, ours) = Gate::new().map_err(|_| Refused::Fork)?;
        let parcel = Parcel {
            order: order.as_fd(),
            report: ends.report,
            stdio: start.stdio.each_ref().map(AsFd::as_fd),
            end: ends.end,
            group: ends.group,
            result: start.result.as_ref().map(AsFd::as_fd),
            fence: prepared.fence.as_ref().map(AsFd::as_fd),
            // Ours first: it opens when we know who waits at it, and never if we get to know of nobody.
            gates: std::iter::once(&ours).chain(&start.gates).map(AsFd::as_fd).collect(),
            groups: start.groups.iter().map(AsFd::as_fd).collect(),
        };
        parcel.send(&self.socket).map_err(|errno| match errno {
            Errno::PIPE | Errno::CONNRESET | Errno::AGAIN => Refused::Dead,
            _ => Refused::Fork,
        })?;
        match order::hear(&self.socket, RecvFlags::empty()) {
            Ok((pid, Some(pidfd))) => {
                let pid = Pid::from_raw(pid).filter(|pid| !pid.is_init()).ok_or(Refused::Dead)?;
                gate.open();
                Ok(Child { pid, pidfd })
            }
            Ok((_, None)) => Err(Refused::Fork),
            Err(_) => Err(Refused::Dead),
        }
    }
}

fn order_of(request: &proto::SpawnRequest, start: &Start, prepared: &Prepared) -> Order {
    Order {
        cwd: start.cwd.clone(),
        identity: start.identity,
        grouped: start.grouped,
        rlimits: start.rlimits.clone(),
        not_before_unix_ns: start.not_before_unix_ns,
        memory: prepared.memory,
        argv: request.argv.iter().map(|arg| arg.clone().into_bytes()).collect(),
        env: super::spawn::environment(request),
    }
}

fn launch(is: Wish) -> rustix::io::Result<Up> {
    let module = memfd_create(c"sandkeep-warm", MemfdFlags::CLOEXEC)?;
    let mut left = MODULE;
    while !left.is_empty() {
        left = &left[rustix::io::write(&module, left)?..];
    }
    let flags = SocketFlags::CLOEXEC;
    let (socket, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE))?;
    let program = program(&is).ok_or(Errno::INVAL)?;
    // What forks will have is a pipe too; nobody reads this one.
    let (kept, output) = pipe_with(PipeFlags::CLOEXEC)?;
    match process::fork(Namespaces::NONE, None)? {
        Fork::Child => {
            let errno = become_interpreter(&program, &theirs, &module, &output);
            process::exit_now(errno.map_or_else(|errno| errno.raw_os_error(), |never| match never {}));
        }
        Fork::Parent(child) => Ok(Up { is, child, socket, ready: false, _output: kept }),
    }
}

/// As the plain start of code has it, but for what foreign code could put in the way of the interpreter's own modules.
fn program(is: &Wish) -> Option<Program> {
    let words = [&is.program, "-u", "-c", SCRIPT].map(|word| word.as_bytes().to_vec());
    let modules = is.modules.iter().map(|module| module.clone().into_bytes());
    // Functions of libraries are found at once, and not by each fork again.
    let env = [
        // No directory, so that there is none below it.
        "HOME=/dev/null",
        "LANG=C.UTF-8",
        "LD_BIND_NOW=1",
        "PATH=/usr/bin:/bin",
        "PYTHONDONTWRITEBYTECODE=1",
    ];
    Program::new(
        vec![is.program.clone().into_bytes()],
        words.into_iter().chain(modules).collect(),
        env.map(|text| text.as_bytes().to_vec()).into(),
    )
}

fn become_interpreter(
    program: &Program,
    socket: &OwnedFd,
    module: &OwnedFd,
    output: &OwnedFd,
) -> rustix::io::Result<std::convert::Infallible> {
    setsid()?;
    process::reset_signals();
    umask(rustix::fs::Mode::from_raw_mode(0o022));
    chdir("/")?;
    rustix::stdio::dup2_stdout(output)?;
    rustix::stdio::dup2_stderr(output)?;
    // From above where they are to be, so that neither lies in the other's way.
    let (socket, module) =
        (rustix::io::fcntl_dupfd_cloexec(socket, 16)?, rustix::io::fcntl_dupfd_cloexec(module, 16)?);
    process::place_inheritable(&std::io::stdin(), RESULT.cast_signed())?;
    process::place_inheritable(&socket, order::SOCKET)?;
    process::place_inheritable(&module, order::MODULE)?;
    process::close_all_but(order::MODULE.unsigned_abs() + 1, &[]);
    caps::hand_on(CAPS).map_err(|_| Errno::PERM)?;
    Err(program.exec())
}
