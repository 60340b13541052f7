//! From a fresh `clone` to process 1 of a sandbox: ids, file system, names, privileges.
//!
//! The supervisor forks us into new namespaces and waits. We wait in turn until it has written our id mapping,
//! then build what the sandbox sees, give up everything that is not needed any more, and say `ready`.
//! A failure is said in one line on the same socket, and ends this process and with it the namespaces.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{
    DumpableBehavior, Gid, Resource, Rlimit, Uid, getrlimit, set_dumpable_behavior, setrlimit, setsid, umask,
};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use sandkeep_core::code::{ErrorCode, Problem, chain};
use sandkeep_sandbox::fence::{self, Fence, Openings, Scope};
use sandkeep_sandbox::idmap::IdMap;
use sandkeep_sandbox::mount::Access;
use sandkeep_sandbox::root::{self, Kept, Plan, Source};
use sandkeep_sandbox::start::RESULT;
use sandkeep_sandbox::{caps, keyring, net, pids, process, seccomp, userns};

use super::Prepared;
use super::sudo::Sudo;
use super::{terminal, warm};

/// What process 1 needs to know.
#[derive(Debug)]
pub(crate) struct Birth {
    /// What to build.
    pub(crate) plan: Plan,
    /// The directory of the writable layer, where it is kept as one.
    pub(crate) kept_directory: Option<PathBuf>,
    /// Which ids there are, and which is ours.
    pub(crate) ids: IdMap,
    /// The sandbox's limits.
    pub(crate) memory_bytes: u64,
    pub(crate) processes: u32,
    /// Whether control groups count what the code uses.
    pub(crate) grouped: bool,
    /// Whether one of them bounds its processes.
    pub(crate) processes_counted: bool,
    /// Whether code may be root inside (profile `dev`).
    pub(crate) dev: bool,
}

/// Why process 1 could not come to be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{step}: {source}")]
    Step { step: &'static str, source: Errno },
    #[error("{}", chain(.0))]
    Root(#[from] root::Error),
    #[error("{0}")]
    Caps(#[from] caps::Error),
    #[error("{step}: {source}")]
    File { step: &'static str, source: std::io::Error },
}

impl Error {
    /// What the supervisor hears: a stable code, and why.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Root(root::Error::Source { path, why }) => {
                let why = format!("cannot be shown: {why}");
                Problem::refused(ErrorCode::MountRefused, path, &why, "a file or directory to show")
            }
            Self::Root(root::Error::Target { path, why }) => {
                let why = format!("is no place for a mount: {why}");
                Problem::refused(ErrorCode::MountRefused, path, &why, "another target, like /data")
            }
            Self::Root(root::Error::Image(_)) => Problem::new(ErrorCode::RootUnusable, self.to_string()),
            Self::Root(root::Error::Mount(_) | root::Error::Make { .. })
            | Self::Step { .. }
            | Self::Caps(_)
            | Self::File { .. } => Problem::new(ErrorCode::SandboxFailed, self.to_string()),
        }
        .to_string()
    }
}

/// Makes the standard descriptors /dev/null and closes all others but those `kept`.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn shed_descriptors(kept: &[&OwnedFd]) -> rustix::io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    std::mem::forget(null);
    process::close_all_but(RESULT, &kept.iter().map(|descriptor| descriptor.as_fd()).collect::<Vec<_>>());
    // Number 3 is where children get their result channel: nothing that they still need may ever lie there.
    if kept.iter().all(|descriptor| descriptor.as_raw_fd().unsigned_abs() != RESULT) {
        std::mem::forget(rustix::io::fcntl_dupfd_cloexec(std::io::stdin(), RESULT.cast_signed())?);
    }
    Ok(())
}

/// Waits for the supervisor's word and what comes with it, grows up, and answers `ready`.
///
/// # Errors
/// The first step that failed.
pub(crate) fn come_of_age(socket: &OwnedFd, birth: &mut Birth) -> Result<(Prepared, Option<Sudo>), Error> {
    let step = |step| move |source| Error::Step { step, source };
    if let Some(directory) = &birth.kept_directory {
        // While we are who we were born as: it may lie where nobody else can go.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(directory, flags, Mode::empty()).map_err(step("open the layer"))?;
        birth.plan.kept = Some(Kept::Directory(opened));
    }
    let (came, trees) = super::hear(socket).map_err(step("hear the supervisor"))?;
    if came.is_empty() {
        // It died before it could give us ids: nobody is left to hear why we end.
        process::exit_now(1);
    }
    take_trees(&mut birth.plan, &came, trees);
    let (userns, temporary) = grow_up(birth)?;
    let terminals = terminal::directory().map_err(step("open the directory of terminals"))?;
    let sudo = if birth.dev { Some(Sudo::listen().map_err(step("listen for sudo"))?) } else { None };
    let (fence, abi) = fence(&birth.plan);
    ready(socket, abi, &temporary).map_err(step("answer"))?;
    let memory = if birth.grouped { seccomp::Memory::Counted } else { seccomp::Memory::Watched };
    // Made now, so that no child has to.
    let _filter = seccomp::program(memory);
    let (many_ids, unchanged) = (birth.ids.separates_agent(), is_as_on_the_host(&birth.plan));
    Ok((Prepared { fence, userns, memory, terminals, many_ids, unchanged }, sudo))
}

/// Puts the translated trees that came where the plan has them: first the image, if it is one, then the mounts,
/// then a kept layer that is a file system.
/// `came` has a 1 for each that did, after their count.
fn take_trees(plan: &mut Plan, came: &[u8], trees: Vec<OwnedFd>) {
    let mut trees = trees.into_iter();
    let mut next = came[1..].iter().map(|here| if *here == 1 { trees.next() } else { None });
    if let Source::Directory { tree, .. } = &mut plan.source {
        *tree = next.next().flatten();
    }
    for shown in &mut plan.mounts {
        shown.tree = next.next().flatten();
    }
    if let Some(Kept::FileSystem(tree)) = &mut plan.kept {
        *tree = next.next().flatten();
    }
}

/// Whether programs, and all that they read at their start, are the host's, and nobody inside can change them. Of a mount nobody
/// knows whether an interpreter looks for modules there.
fn is_as_on_the_host(plan: &Plan) -> bool {
    matches!(plan.source, Source::Host) && !plan.writable && plan.mounts.is_empty()
}

/// The second wall: reading and executing everywhere, writing only where writing is meant to be.
fn fence(plan: &Plan) -> (Option<Fence>, u32) {
    let everywhere = Path::new("/");
    let mut writable = ["/tmp", "/run", "/home", "/workspace", "/dev", "/proc"].map(Path::new).to_vec();
    writable
        .extend(plan.mounts.iter().filter(|m| m.access == Access::ReadWrite).map(|m| Path::new(&m.target)));
    let openings = Openings {
        read_exec: &[everywhere],
        read_write: if plan.writable { &[everywhere] } else { &writable },
        scope: Scope::Sandbox,
    };
    match Fence::prepare(&openings) {
        Ok(fence::Prepared::Ready(fence)) => {
            let abi = fence.abi();
            (Some(fence), abi)
        }
        // The first walls stand without it; what is missing is reported with the boot.
        Ok(fence::Prepared::Absent(_)) | Err(_) => (None, 0),
    }
}

fn ready(socket: &OwnedFd, abi: u32, temporary: &OwnedFd) -> rustix::io::Result<()> {
    let text = format!("ready {abi}");
    let descriptors = [temporary.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)), "space for one");
    sendmsg(socket, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL).map(|_| ())
}

/// Sends `line` as the answer to the supervisor that waits for it.
pub(crate) fn answer(socket: impl AsFd, line: &str) {
    // Nobody left to tell if this fails: the supervisor then sees our end instead.
    let _sent = rustix::io::write(socket, line.as_bytes());
}

/// Takes every step from mapped ids to ready. The caller reports an error and ends.
///
/// Returns the user namespace that code of profile `dev` runs in, and the file system that can be written and lives in
/// memory.
///
/// # Errors
/// The first step that failed.
pub(crate) fn grow_up(birth: &Birth) -> Result<(Option<OwnedFd>, OwnedFd), Error> {
    let step = |step| move |source| Error::Step { step, source };
    if birth.ids.separates_agent() {
        set_thread_groups(&[]).map_err(step("clear groups"))?;
        // What is built belongs to the root inside, as people expect of a system.
        become_id(0).map_err(step("become the root inside"))?;
    }
    limit_shared(birth.memory_bytes);
    if !birth.processes_counted && birth.processes > 0 {
        // Besides the limit per user, which holds everywhere; kernels before 6.14 have no such bound.
        let _unbounded = pids::bound(pids::room_for(birth.processes));
    }
    umask(rustix::fs::Mode::empty());
    let temporary = root::build(&birth.plan)?;
    if birth.ids.separates_agent() {
        let agent = birth.ids.agent_id();
        rustix::fs::chown(root::AGENT_FILES, Some(Uid::from_raw(agent)), Some(Gid::from_raw(agent)))
            .map_err(step("take the directory for code"))?;
    }
    rustix::system::sethostname(birth.plan.hostname.as_bytes()).map_err(step("set host name"))?;
    net::loopback_up().map_err(step("bring up loopback"))?;
    let _session = setsid();
    keyring::join_new().map_err(|source| Error::File { step: "join a keyring", source })?;
    // The change of ids made us untraceable, and with that the files of our children in /proc nobody's. No foreign code
    // is here yet, so that may wait until the inner namespace has its mapping.
    set_dumpable_behavior(DumpableBehavior::Dumpable).map_err(step("allow own /proc files"))?;
    let userns = if birth.dev { Some(inner_userns(birth)?) } else { None };
    // Nothing that is not inheritable by then can be handed on once the bounding set is empty.
    let warm =
        if birth.ids.separates_agent() && is_as_on_the_host(&birth.plan) { warm::CAPS } else { caps::NONE };
    caps::hold_inheritable(caps::permitted()?, warm)?;
    caps::bound(caps::ALL, caps::NONE)?;
    if birth.ids.separates_agent() {
        rustix::thread::set_keep_capabilities(true).map_err(step("keep capabilities"))?;
        become_id(birth.ids.agent_id()).map_err(step("become the agent"))?;
    }
    caps::hold_inheritable(agent_caps(), warm)?;
    caps::set_no_new_privs()?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(step("forbid tracing"))?;
    Ok((userns, temporary))
}

/// Bounds what System V objects can hold on to when their makers are gone: together with the writable file system,
/// which takes at most half, they leave room for the next execution. And what the kernel counts for whoever made the
/// sandbox, in all of their sandboxes and outside of them together: else one sandbox could take all of it.
fn limit_shared(memory_bytes: u64) {
    let pages = (memory_bytes / 8 / 4096).max(1);
    let limits = [
        ("kernel/shmall", pages.to_string()),
        // Queues hold 16 KiB each.
        ("kernel/msgmni", "64".to_owned()),
        // Semaphores per set, in all, operations per call, sets.
        ("kernel/sem", "250 32000 32 128".to_owned()),
        // The usual bound for one user of the host is 128.
        ("user/max_inotify_instances", "24".to_owned()),
        ("user/max_inotify_watches", "16384".to_owned()),
    ];
    for (name, value) in limits {
        // Where the kernel does not let the root of a namespace do it, there is nothing more to be had; and where
        // memory is only watched, code has no System V objects.
        let _refused = std::fs::write(format!("/proc/sys/{name}"), value);
    }
}

fn become_id(id: u32) -> rustix::io::Result<()> {
    let (gid, uid) = (Gid::from_raw(id), Uid::from_raw(id));
    set_thread_res_gid(gid, gid, gid)?;
    set_thread_res_uid(uid, uid, uid)
}

/// What the agent keeps: other ids to become, files of any owner to serve, processes of any owner to signal.
fn agent_caps() -> caps::Caps {
    use caps::Caps;
    Caps::SETUID
        | Caps::SETGID
        | Caps::KILL
        | Caps::CHOWN
        | Caps::DAC_OVERRIDE
        | Caps::FOWNER
        // For the namespaces of executions: made here, or entered.
        | Caps::SYS_ADMIN
}

/// A user namespace in which every id is what it is here, except that the agent's does not exist.
///
/// Root in it has power over its own ids only: it can neither become the agent nor touch it, since the agent's
/// process belongs to the namespace around.
fn inner_userns(birth: &Birth) -> Result<OwnedFd, Error> {
    // Where no group counts processes, the limit that holds when a namespace is made bounds all users in it together.
    let before = getrlimit(Resource::Nproc);
    if !birth.grouped && birth.processes > 0 {
        // Those that count with the code's: where one id is all there is, the agent and an init; and whoever it takes
        // to make the namespace.
        let ours = if birth.ids.separates_agent() { 0 } else { 2 };
        let current = Some((u64::from(birth.processes) + ours).max(3));
        let lowered = setrlimit(Resource::Nproc, Rlimit { current, maximum: before.maximum });
        lowered.map_err(|source| Error::Step { step: "bound processes", source })?;
    }
    let made = userns::with_map(&birth.ids.without_agent());
    let _restored = setrlimit(Resource::Nproc, before);
    made.map_err(|source| Error::File { step: "make the inner user namespace", source })
}
