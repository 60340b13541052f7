//! Where in a version 2 tree our groups may stand.
//!
//! Two rules of the kernel decide. A group that hands controllers down to children may hold no processes
//! itself (except the root of the tree). And a process may be placed in a group only by someone who may
//! write `cgroup.procs` of the group and of the nearest group above both where it is and where it goes.
//! So the base must be an ancestor of our own group, and all between must be ours.

use std::path::{Path, PathBuf};

use super::{Controllers, Host, Layout, Mount, V2, none, owned};

/// The command that gives an ordinary user a delegated group.
const DELEGATE: &str = "start it as `systemd-run --user --scope -p Delegate=yes sandkeep …`";

/// The layout of a host whose controllers are in the version 2 tree at `mount`.
pub(super) fn find(host: &Host, mount: &Mount) -> Layout {
    if !mount.writable {
        return none(
            format!("{} is mounted read-only", mount.path.display()),
            "run the container with a writable cgroup tree (`--cgroupns private` and a read-write /sys/fs/cgroup)",
        );
    }
    let Some(own) = own_group(host, mount) else {
        return none(
            format!("our own group is outside {}", mount.path.display()),
            "mount cgroup2 inside this cgroup namespace",
        );
    };
    let ours = ancestors_of_ours(host, mount, &own);
    let Some(highest) = ours.first() else {
        return not_delegated(&own);
    };
    match ours
        .iter()
        .find(|group| hands_down(group))
        .or_else(|| ours.iter().find(|group| !has_processes(group)))
    {
        Some(base) => at_base(mount, base, false),
        None => at_base(mount, highest_that_is_own(&ours, &own).unwrap_or(highest), true),
    }
}

/// The group this process is in, as a path.
fn own_group(host: &Host, mount: &Mount) -> Option<PathBuf> {
    let group = host.own_groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let root = mount.root.trim_end_matches('/');
    let below = group.strip_prefix(root)?.trim_start_matches('/');
    if below.split('/').any(|part| part == "..") {
        return None;
    }
    Some(if below.is_empty() { mount.path.clone() } else { mount.path.join(below) })
}

/// The groups from the highest one that is ours without a gap down to our own. Root uses the root of the
/// tree alone when it is the real one: there processes are no obstacle and the groups are easy to find.
fn ancestors_of_ours(host: &Host, mount: &Mount, own: &Path) -> Vec<PathBuf> {
    let mut ours: Vec<PathBuf> = own
        .ancestors()
        .take_while(|path| {
            path.starts_with(&mount.path)
                && owned(path, host.uid)
                && owned(&path.join("cgroup.procs"), host.uid)
        })
        .map(Path::to_owned)
        .collect();
    ours.reverse();
    ours
}

/// Whether `group` already hands down what matters, or may do so at any time because it is the root.
fn hands_down(group: &Path) -> bool {
    let handed = Controllers::of(&read(&group.join("cgroup.subtree_control")));
    (handed.memory && handed.pids) || !group.join("cgroup.type").exists()
}

fn has_processes(group: &Path) -> bool {
    !read(&group.join("cgroup.procs")).trim().is_empty()
}

fn highest_that_is_own<'a>(ours: &'a [PathBuf], own: &Path) -> Option<&'a PathBuf> {
    ours.iter().find(|group| group.as_path() == own)
}

fn at_base(mount: &Mount, base: &Path, evacuate: bool) -> Layout {
    let controllers = Controllers::of(&read(&base.join("cgroup.controllers")));
    if !controllers.memory && !controllers.pids {
        return no_controllers(base);
    }
    Layout::V2(V2 { mount: mount.path.clone(), base: base.to_owned(), evacuate, controllers })
}

fn not_delegated(own: &Path) -> Layout {
    none(format!("no delegation: the control group {} belongs to another user", own.display()), DELEGATE)
}

fn no_controllers(base: &Path) -> Layout {
    let above = base.parent().unwrap_or(base).join("cgroup.subtree_control");
    none(format!("no delegation: controllers memory,pids,cpu are not in {}", above.display()), remedy())
}

/// How root lets a user hold all limits, and what the user does then.
pub(super) fn remedy() -> String {
    format!(
        "as root: `mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu memory pids io\\n' \
         > /etc/systemd/system/user@.service.d/delegate.conf && systemctl daemon-reload`, log in again, then {DELEGATE}"
    )
}

impl Controllers {
    /// The controllers named in the text of `cgroup.controllers` or `cgroup.subtree_control`.
    pub(in crate::cgroup) fn of(text: &str) -> Self {
        let has = |name| text.split_ascii_whitespace().any(|word| word == name);
        Self { memory: has("memory"), pids: has("pids"), cpu: has("cpu"), io: has("io") }
    }
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
