//! From a specification to a sandbox that waits for work: place, groups, ids, process 1.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use sandkeep_core::code::chain;
use sandkeep_protocol::mux::Side;
use sandkeep_protocol::supervisor as proto;
use sandkeep_protocol::supervisor::__buffa::oneof::root::Kind as RootKind;
use sandkeep_sandbox::cgroup::{Domain, Group, GroupLimits, Layout, Pool};
use sandkeep_sandbox::idmap::{self, AGENT_ID, IdMap, USER_ID, Writer};
use sandkeep_sandbox::mount::{self, Access};
use sandkeep_sandbox::process::{self, Fork, Namespaces};
use sandkeep_sandbox::root::{Kept, Mount, Plan, Source};
use sandkeep_sandbox::tree::Usage;
use sandkeep_sandbox::userns;

use super::disk::DiskWatch;
use super::layer::{self, Layer};
use super::slot::Slot;
use crate::agent::MOST_TREES;
use crate::agent::birth::Birth;
use crate::link::Link;

/// A booted sandbox as its supervisor holds it.
#[derive(Debug)]
pub(crate) struct Sandbox {
    pub(crate) link: Link,
    pub(crate) agent: process::Child,
    /// `None` where this host gives us no control groups.
    pub(crate) group: Option<Group>,
    /// Made ready while process 1 was busy.
    pub(crate) first_domain: Option<Domain>,
    /// A directory on the writable file system that lives in memory, to see how full it is.
    pub(crate) temporary: OwnedFd,
    /// What outlives it, if anything does: had, so that nobody else takes it.
    pub(crate) _layer: Option<Layer>,
    /// Where the layer is a directory that no kernel bounds.
    pub(crate) disk_watch: Option<DiskWatch>,
    pub(crate) limits: proto::SandboxLimits,
    pub(crate) ids: IdMap,
    pub(crate) slot: Slot,
    /// Which limits the group holds; why there is none, if there is none.
    pub(crate) layout: Layout,
    pub(crate) landlock_abi: u32,
}

/// Why there is no sandbox.
pub(crate) type Problem = Box<proto::Problem>;

/// A problem with a stable code of `docs/errors`.
pub(crate) fn problem(code: &str, message: impl Into<String>) -> Problem {
    Box::new(proto::Problem { code: code.to_owned(), message: message.into(), ..Default::default() })
}

/// Builds the sandbox.
///
/// # Errors
/// What could not be had; nothing is left behind.
pub(crate) fn boot(spec: &proto::SandboxSpec) -> Result<Sandbox, Problem> {
    let failed =
        |what: &str, error: &dyn std::fmt::Display| problem("sandbox_failed", format!("{what}: {error}"));
    let trees = root_trees(spec).len() + shown(spec).len() + usize::from(spec.layer.is_set());
    if trees > MOST_TREES {
        return Err(problem("mount_refused", format!("{trees} trees to show are more than {MOST_TREES}")));
    }
    let limits = spec.limits.as_option().cloned().unwrap_or_default();
    let slot = Slot::claim(Path::new(&spec.slots_directory), spec.slot_hint)
        .map_err(|error| failed("cannot lock a slot", &error))?
        .ok_or_else(|| problem("no_slot", "every slot for a sandbox on this host is taken"))?;
    let ids = choose_ids(spec, &slot)?;
    let mut layer = match spec.layer.as_option() {
        Some(layer) => Some(Layer::open(&layer.directory, &limits, &ids)?),
        None => None,
    };
    let layout = Layout::detect();
    let grouped = !matches!(layout, Layout::None { .. });
    // In a version 2 tree process 1 is born into its leaf; elsewhere groups are claimed while it builds.
    let early = matches!(layout, Layout::V2(_) | Layout::Hybrid { .. })
        .then(|| claim_group(spec, &layout, &slot, &ids))
        .transpose()?;
    let dev = spec.profile.as_known() == Some(proto::Profile::PROFILE_DEV);
    let birth = Birth {
        plan: plan(spec, &limits, &ids, dev, layer.as_ref()),
        kept_directory: layer.as_ref().and_then(Layer::directory),
        ids: ids.clone(),
        memory_bytes: limits.memory_bytes,
        processes: limits.processes,
        grouped,
        processes_counted: layout.controllers().pids,
        dev,
    };
    let pair = rustix::net::socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let (ours, theirs) = pair.map_err(|error| failed("cannot make a socket pair", &error))?;
    // Process 1 has the locks too: however we end, the slot and the layer are not free before all in it are gone.
    let layer_lock = layer.as_ref().map(Layer::lock).transpose()?;
    let leaf = early.as_ref().and_then(Group::agent_leaf);
    let agent = match process::fork(Namespaces::SANDBOX, leaf).map_err(|errno| namespaces_refused(&errno))? {
        Fork::Child => {
            drop(ours);
            let locks = std::iter::once(slot.into_lock()).chain(layer_lock).collect();
            crate::agent::live(theirs, locks, birth)
        }
        Fork::Parent(agent) => agent,
    };
    drop((theirs, layer_lock));
    let raised = send_off(spec, &ids, &agent, &ours, layer.as_mut()).and_then(|userns| {
        let group = match early {
            Some(group) => Some(group),
            None if grouped => Some(claim_group(spec, &layout, &slot, &ids)?),
            None => None,
        };
        let first_domain = group.as_ref().and_then(|group| group.domain(0, None).ok());
        let ready = wait_ready(&ours)?;
        let disk_watch = watch_disk(layer.as_ref().zip(userns), &limits, &agent, &ready.temporary)?;
        Ok((group, first_domain, ready, disk_watch))
    });
    let (group, first_domain, ready, disk_watch) = raised.inspect_err(|_| {
        let _gone = process::signal(&agent.pidfd, rustix::process::Signal::KILL);
    })?;
    let link = Link::new(ours, Side::Upper).map_err(|error| failed("cannot use the socket pair", &error))?;
    Ok(Sandbox {
        link,
        agent,
        group,
        first_domain,
        temporary: ready.temporary,
        _layer: layer,
        disk_watch,
        limits,
        ids,
        slot,
        layout,
        landlock_abi: ready.landlock_abi,
    })
}

fn namespaces_refused(errno: &rustix::io::Errno) -> Problem {
    problem(
        "isolation_unavailable",
        format!("the kernel refuses new namespaces: {errno}; `sandkeep doctor` says why"),
    )
}

/// Root gives a range of its own; an ordinary user has a subordinate range, or one id.
fn choose_ids(spec: &proto::SandboxSpec, slot: &Slot) -> Result<IdMap, Problem> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let own = idmap::parse_map(&std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default());
    if uid == 0 && idmap::covers(&own, slot.first_id(spec.id_base)) {
        return Ok(IdMap::range(slot.first_id(spec.id_base)));
    }
    if uid == 0 && idmap::is_real_root(&own) {
        let text =
            "root in a user namespace that has no other ids to give: code would run as root of the host";
        return Err(problem("isolation_unavailable", text));
    }
    let user = idmap::user_name(uid);
    let lent = |path: &str| {
        let table = std::fs::read_to_string(path).unwrap_or_default();
        idmap::subordinate(&table, &user, uid)
    };
    match (lent("/etc/subuid"), lent("/etc/subgid")) {
        (Some(uids), Some(gids)) if idmap::helpers_present() => {
            let dev = spec.profile.as_known() == Some(proto::Profile::PROFILE_DEV);
            if dev && !root_trees(spec).is_empty() {
                Ok(IdMap::subordinate_as_root(uid, gid, uids, gids))
            } else if spec.mounts.is_empty() {
                Ok(IdMap::subordinate(uid, gid, uids, gids))
            } else {
                // What the caller shows is the caller's: the code is to use it as the caller would.
                Ok(IdMap::subordinate_as_caller(uid, gid, uids, gids))
            }
        }
        // With one id only, it is the user's in `strict` and root's in `dev`, which is there for what root does.
        _ if spec.profile.as_known() == Some(proto::Profile::PROFILE_DEV) => Ok(IdMap::single(uid, gid, 0)),
        _ => Ok(IdMap::single(uid, gid, USER_ID)),
    }
}

fn claim_group(
    spec: &proto::SandboxSpec,
    layout: &Layout,
    slot: &Slot,
    ids: &IdMap,
) -> Result<Group, Problem> {
    let limits = spec.limits.as_option().cloned().unwrap_or_default();
    let some = |value: u64| (value > 0).then_some(value);
    let held = GroupLimits {
        memory: some(limits.memory_bytes),
        cpu_millis: (limits.cpu_millis > 0).then_some(limits.cpu_millis),
        processes: (limits.processes > 0).then_some(limits.processes),
    };
    let claimed = Pool::open(layout, &spec.group, some(spec.ceiling_bytes)).and_then(|pool| {
        let mut group = pool.claim(slot.number, &held)?;
        if let Some(agent) = ids.outside_uid(ids.agent_id()).filter(|_| ids.writer == Writer::Direct) {
            group.admit(agent)?;
        }
        Ok(group)
    });
    claimed.map_err(|error| {
        problem("sandbox_failed", format!("cannot prepare control groups: {}", chain(&error)))
    })
}

/// Watches a layer that is a directory, whose ids are those of the user namespace beside it.
fn watch_disk(
    layer: Option<(&Layer, OwnedFd)>,
    limits: &proto::SandboxLimits,
    agent: &process::Child,
    temporary: &OwnedFd,
) -> Result<Option<DiskWatch>, Problem> {
    let Some((Layer { kept: layer::Kept::Files(files), .. }, userns)) = layer else { return Ok(None) };
    let most = Usage { bytes: limits.disk_bytes, entries: limits.inodes };
    let watched = DiskWatch::new(files, most, agent.pid, userns, temporary);
    let watched =
        watched.map_err(|error| problem("sandbox_failed", format!("cannot watch the layer: {error}")))?;
    Ok(Some(watched))
}

fn plan(
    spec: &proto::SandboxSpec,
    limits: &proto::SandboxLimits,
    ids: &IdMap,
    dev: bool,
    layer: Option<&Layer>,
) -> Plan {
    let source = match spec.root.as_option().and_then(|root| root.kind.as_ref()) {
        Some(RootKind::Directory(directory)) => {
            Source::Directory { path: directory.path.clone(), tree: None }
        }
        Some(RootKind::Host(_)) | None => Source::Host,
    };
    let mounts = shown(spec).into_iter().map(|mount| Mount {
        access: if mount.read_only { Access::ReadOnly } else { Access::ReadWrite },
        replaces: mount.target == SUDO,
        source: mount.source,
        target: mount.target,
        tree: None,
    });
    Plan {
        staging: STAGING.to_owned(),
        source,
        writable: dev,
        // A directory is opened by process 1, in its own mount namespace.
        kept: layer.filter(|layer| layer.directory().is_none()).map(|_| Kept::FileSystem(None)),
        mounts: mounts.collect(),
        temporary_bytes: limits.temporary_bytes,
        inodes: limits.inodes,
        owner: (USER_ID, USER_ID),
        chown: ids.separates_agent(),
        hostname: spec.hostname.clone(),
    }
}

/// What is shown of the host: what was asked for, and in profile `dev` our shim.
fn shown(spec: &proto::SandboxSpec) -> Vec<proto::Mount> {
    let shim = proto::Mount { source: spec.sudo_program.clone(), target: SUDO.to_owned(), read_only: true };
    let dev = spec.profile.as_known() == Some(proto::Profile::PROFILE_DEV);
    let shim = (dev && !spec.sudo_program.is_empty()).then_some(shim);
    spec.mounts.iter().cloned().chain(shim).collect()
}

/// Where our shim is shown.
const SUDO: &str = "/usr/bin/sudo";

/// A directory that every host has and everybody may enter; what is built on it shows in our namespace alone.
const STAGING: &str = "/tmp";

/// What process 1 hands over once it stands.
struct Ready {
    temporary: OwnedFd,
    landlock_abi: u32,
}

/// Gives the newborn its ids and what only we can prepare; its user namespace, where that is needed: later nobody can
/// open it, since the agent is not to be traced.
fn send_off(
    spec: &proto::SandboxSpec,
    ids: &IdMap,
    agent: &process::Child,
    socket: &OwnedFd,
    layer: Option<&mut Layer>,
) -> Result<Option<OwnedFd>, Problem> {
    let failed =
        |what: &str, error: &dyn std::fmt::Display| problem("sandbox_failed", format!("{what}: {error}"));
    ids.write(agent.pid).map_err(|error| failed("cannot map ids", &error))?;
    let userns = (ids.writer == Writer::Direct || layer.is_some())
        .then(|| userns::open(agent.pid))
        .transpose()
        .map_err(|error| failed("cannot open the user namespace", &error))?;
    let whole = userns.as_ref().filter(|_| ids.writer == Writer::Direct);
    let mut trees = translated_trees(spec, ids, whole)?;
    if let Some(layer) = layer {
        layer.held_by(agent.pid)?;
        if let (layer::Kept::Image(mount), Some(whole)) = (&mut layer.kept, whole) {
            let mount = mount.take().expect("handed over once");
            mount::translate_ids(&mount, whole, "the kept layer")
                .map_err(|error| failed("the kernel", &chain(&error)))?;
            trees.push(Some(mount));
        }
    }
    let mut descriptors: Vec<BorrowedFd<'_>> = Vec::new();
    let mut mask = Vec::with_capacity(trees.len() + 1);
    mask.push(u8::try_from(trees.len()).expect("at most MOST_TREES"));
    for tree in &trees {
        mask.push(u8::from(tree.is_some()));
        descriptors.extend(tree.as_ref().map(AsFd::as_fd));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_TREES))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)), "space for MOST_TREES");
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&mask)], &mut control, SendFlags::NOSIGNAL)
        .map_err(|errno| failed("process 1 is gone", &errno))?;
    Ok(userns)
}

/// Trees with ids translated by `whole`, if there is such authority, in the order in which process 1 expects them:
/// those of the root, then the mounts. (A kept layer follows.)
fn translated_trees(
    spec: &proto::SandboxSpec,
    ids: &IdMap,
    whole: Option<&OwnedFd>,
) -> Result<Vec<Option<OwnedFd>>, Problem> {
    let mut trees = Vec::new();
    let Some(whole) = whole else {
        trees.resize_with(root_trees(spec).len() + shown(spec).len(), || None);
        return Ok(trees);
    };
    for path in root_trees(spec) {
        trees.push(Some(image_tree(&path, whole)?));
    }
    let user = (ids.outside_uid(USER_ID).unwrap_or(0), ids.outside_uid(USER_ID).unwrap_or(0));
    for shown in &shown(spec) {
        trees.push(Some(shown_tree(shown, user)?));
    }
    Ok(trees)
}

/// An image with its ids translated. What is mounted below it is left out: an overlay would not show it, and the kernel lays
/// none over mounts that a sandbox may not take away.
fn image_tree(path: &str, userns: &OwnedFd) -> Result<OwnedFd, Problem> {
    let tree = mount::clone_file_system(path).map_err(|error| {
        problem("root_unusable", format!("{path} cannot be used as a root: {}", chain(&error)))
    })?;
    // A file system that cannot translate is shown as it is: its owners are then nobody's. By us all the same, since the
    // store of images can be entered by nobody else.
    let _untranslated = mount::translate_ids(&tree, userns, path);
    Ok(tree)
}

/// A tree to be shown, prepared by us since its path may lead through directories that only we can enter.
///
/// What belongs to the tree's owner belongs to the code's `user` inside, unless that owner is root: then it is nobody's,
/// and the code sees what everybody may see.
fn shown_tree(shown: &proto::Mount, user: (u32, u32)) -> Result<OwnedFd, Problem> {
    let refused = |error: &dyn std::error::Error| {
        problem("mount_refused", format!("{} cannot be shown: {}", shown.source, chain(error)))
    };
    let tree = mount::clone_tree(&shown.source).map_err(|error| refused(&error))?;
    // Asked of what we hold: by now the path may lead elsewhere.
    let owner = rustix::fs::fstat(&tree).map_err(|errno| refused(&errno))?;
    let owner = (owner.st_uid, owner.st_gid);
    let of_root = owner.0 == 0 || owner.1 == 0;
    if of_root && !shown.read_only {
        // A set-uid program that belongs to root must not be made that way, for others on the host to run.
        let text = format!("{} belongs to root, and what code writes there would too", shown.source);
        let mut problem = problem("mount_refused", text);
        problem.expected =
            Some("a directory of an ordinary user (chown it), or a read-only mount".to_owned());
        return Err(problem);
    }
    if of_root {
        return Ok(tree);
    }
    let map = userns::with_map(&IdMap::of_owner(owner, user)).map_err(|error| refused(&error))?;
    match mount::translate_ids(&tree, &map, &shown.source) {
        // A file system that cannot translate: read as anybody may.
        Err(_) if shown.read_only => Ok(tree),
        translated => translated.map(|()| tree).map_err(|error| refused(&error)),
    }
}

/// Host paths of the root whose ids are translated: images. Not the host's own trees, where that would make files that
/// only the host's root may read those of the root inside.
pub(crate) fn root_trees(spec: &proto::SandboxSpec) -> Vec<String> {
    match spec.root.as_option().and_then(|root| root.kind.as_ref()) {
        Some(RootKind::Directory(directory)) => vec![directory.path.clone()],
        Some(RootKind::Host(_)) | None => Vec::new(),
    }
}

/// A sandbox that takes longer has met a dead disk or a kernel fault.
const READY_WITHIN: Timespec = Timespec { tv_sec: 30, tv_nsec: 0 };

fn wait_ready(socket: &OwnedFd) -> Result<Ready, Problem> {
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    let woken = poll(&mut fds, Some(&READY_WITHIN));
    if !matches!(woken, Ok(1..)) {
        return Err(problem("sandbox_failed", "process 1 did not become ready"));
    }
    let (said, descriptors) = crate::agent::hear(socket).map_err(|errno| {
        problem("sandbox_failed", format!("process 1 ended before it was ready: {errno}"))
    })?;
    let text = String::from_utf8_lossy(&said);
    match (text.strip_prefix("ready "), <[OwnedFd; 1]>::try_from(descriptors), text.split_once(": ")) {
        (Some(abi), Ok([temporary]), _) => {
            Ok(Ready { temporary, landlock_abi: abi.trim().parse().unwrap_or(0) })
        }
        (None, _, Some((code, why))) => Err(problem(code, why)),
        _ => Err(problem("sandbox_failed", "process 1 ended before it was ready")),
    }
}

/// Id of the agent on this host.
pub(crate) fn agent_host_id(ids: &IdMap) -> u32 {
    ids.outside_uid(if ids.separates_agent() { AGENT_ID } else { ids.agent_id() }).unwrap_or(0)
}
