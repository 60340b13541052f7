//! Waiting for orders, forking, and what the fork does before it may be foreign code.

#![expect(unsafe_code, reason = "signal actions and robust lists have no safe form")]

use std::ffi::c_void;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use sandkeep_sandbox::fence::Fence;
use sandkeep_sandbox::process::{self, Fork, Namespaces};
use sandkeep_sandbox::seccomp;
use sandkeep_sandbox::start::order::{self, Order, Parcel};
use sandkeep_sandbox::start::{Failure, RESULT, Step, Walls, init, walls};

use crate::title::Title;
use crate::{settle, trim};

/// What a fork is to be.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) argv: Vec<Vec<u8>>,
    pub(crate) env: Vec<Vec<u8>>,
}

/// What is found out once and is the same in every fork.
#[derive(Debug)]
struct Nature {
    name: std::ffi::CString,
    title: Option<Title>,
    actions: Actions,
    mutexes: RobustList,
}

/// Serves until this process is a fork that may run foreign code. The process that calls never comes back: it ends with the
/// agent's end of the socket.
pub(crate) fn until_forked() -> Job {
    // SAFETY: the agent gives the socket this number, and nothing else in this process knows of it.
    let socket = unsafe { BorrowedFd::borrow_raw(order::SOCKET) };
    let Ok(nature) = prepare() else { process::exit_now(1) };
    if order::answer(socket, 0, None).is_err() {
        process::exit_now(1);
    }
    loop {
        let Ok(Some(parcel)) = Parcel::receive(socket) else { process::exit_now(0) };
        let namespaces = if parcel.end.is_some() { Namespaces::EXECUTION } else { Namespaces::NONE };
        let group = parcel.group.as_ref().map(|group| group.as_fd());
        let answered = match process::fork_for_parent(namespaces, group) {
            Ok(Fork::Child) => return become_ready(parcel, &nature),
            // Before the answer, which lets the code begin: whoever waits for the end of a pipe must not wait for us.
            Ok(Fork::Parent(child)) => {
                drop(parcel);
                let pid = child.pid.as_raw_nonzero().get();
                order::answer(socket, pid, Some(child.pidfd.as_fd()))
            }
            Err(errno) => {
                drop(parcel);
                order::answer(socket, -errno.raw_os_error(), None)
            }
        };
        if answered.is_err() {
            process::exit_now(0);
        }
    }
}

fn prepare() -> rustix::io::Result<Nature> {
    if std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count) != 1 {
        // A module that was imported works in the background: its locks would be in a fork, and whoever opens them not.
        return Err(Errno::BUSY);
    }
    // Out of reach of all code, as the agent is.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let name = rustix::thread::name()?;
    rustix::thread::set_name(c"sandkeep-warm")?;
    // Assembled now, so that no fork has to.
    for memory in [seccomp::Memory::Counted, seccomp::Memory::Watched] {
        let _made = seccomp::program(memory);
    }
    let title = Title::find();
    if let Some(title) = &title {
        title.set(&[b"sandkeep-warm".to_vec()], &[]);
    }
    settle::take_gaps();
    trim::drop_file_pages();
    Ok(Nature { name, title, actions: Actions::save(), mutexes: RobustList::find() })
}

fn become_ready(mut parcel: Parcel<OwnedFd>, nature: &Nature) -> Job {
    let at = |step| move |errno| Failure { step, errno };
    let order = match Order::from_file(&parcel.order) {
        Ok(order) => order,
        Err(errno) => init::fail(&parcel.report, at(Step::Descriptors)(errno)),
    };
    let mut report = match rustix::io::fcntl_dupfd_cloexec(&parcel.report, 3) {
        Ok(report) => report,
        Err(errno) => init::fail(&parcel.report, at(Step::Descriptors)(errno)),
    };
    if let Some(end) = parcel.end.take() {
        report = init::stand_before(init::Reports { start: report, end });
    }
    if let Some(title) = &nature.title {
        title.set(&order.argv, &order.env);
    }
    nature.mutexes.register();
    let fence = parcel.fence.take().map(Fence::received);
    let first_free = if parcel.result.is_some() { RESULT + 1 } else { RESULT };
    let walls = Walls { fence: fence.as_ref(), filter: seccomp::program(order.memory) };
    let start = parcel.start(&order);
    let ready = walls::stand_behind(&start, walls, report.as_fd()).and_then(|()| {
        walls::wait_for_word(&start)?;
        let _named = rustix::thread::set_name(&nature.name);
        nature.actions.restore();
        process::close_all_but(first_free, &[report.as_fd()]);
        // As exec leaves a process: the code's own to look at.
        set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(at(Step::Privileges))
    });
    if let Err(failure) = ready {
        init::fail(&report, failure);
    }
    // Closed with the rest, so not to be closed again. That of the report says that the code runs.
    std::mem::forget((fence, start));
    drop(report);
    Job { argv: order.argv, env: order.env }
}

/// What the interpreter does at signals whose actions the walls reset, as for a program that is to be executed.
#[derive(Debug)]
struct Actions(Vec<(libc::c_int, libc::sigaction)>);

impl Actions {
    fn save() -> Self {
        let all = (1..32).map(|number| {
            // SAFETY: an action is plain integers, for which zero bytes are a value; the call fills it in.
            unsafe {
                let mut action: libc::sigaction = std::mem::zeroed();
                libc::sigaction(number, std::ptr::null(), &raw mut action);
                (number, action)
            }
        });
        Self(all.filter(|(_, action)| action.sa_sigaction != libc::SIG_DFL).collect())
    }

    fn restore(&self) {
        for (number, action) in &self.0 {
            // SAFETY: they were in force before; numbers that cannot be changed are refused.
            unsafe { libc::sigaction(*number, action, std::ptr::null_mut()) };
        }
    }
}

/// Where glibc has the list of mutexes that are released when a thread dies, which the kernel forgets at a fork.
#[derive(Debug)]
struct RobustList {
    head: *mut c_void,
    length: usize,
}

impl RobustList {
    fn find() -> Self {
        let mut list = Self { head: std::ptr::null_mut(), length: 0 };
        // SAFETY: the kernel fills in both.
        unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut list.head, &raw mut list.length) };
        list
    }

    fn register(&self) {
        // SAFETY: glibc's own list of this thread, at the place where glibc keeps it.
        unsafe { libc::syscall(libc::SYS_set_robust_list, self.head, self.length) };
    }
}
