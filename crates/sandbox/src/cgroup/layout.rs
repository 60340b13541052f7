//! Which control group trees this host has, and which of them we may use.
//!
//! Detection only reads; [`super::Pool::open`] makes directories. It takes what it looks at as values
//! ([`Host`]), so that a test can show it any machine from a directory of plain files.
//!
//! | host | layout | groups are made in |
//! | --- | --- | --- |
//! | one `cgroup2` mount with controllers | [`Layout::V2`] | as root, the mount; else the highest ancestor of our own group that belongs to us |
//! | `cgroup` mounts only | [`Layout::V1`] | the root of each mount |
//! | `cgroup` mounts, and a `cgroup2` mount without controllers | [`Layout::Hybrid`] | both |
//! | nothing usable, or no controller for memory or for processes | [`Layout::None`] | - |

use std::path::{Path, PathBuf};

use super::Error;

mod delegated;

/// The trees of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Everything in one tree.
    V2(V2),
    /// A tree per controller.
    V1(V1),
    /// Limits in the trees of version 1; freeze, kill and CPU time in the tree of version 2.
    Hybrid { v1: V1, unified: PathBuf },
    /// No trees that can hold a sandbox and that we may use, why, and what a person can do about it.
    None { cause: String, remedy: String },
}

/// The version 2 tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V2 {
    /// Where the tree is mounted.
    pub mount: PathBuf,
    /// The group under which ours are made.
    pub base: PathBuf,
    /// Processes sit directly in `base` and have to move into a leaf before controllers can be handed down.
    pub evacuate: bool,
    /// Controllers that `base` can hand down.
    pub controllers: Controllers,
}

/// Mount points of the version 1 trees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct V1 {
    pub memory: Option<PathBuf>,
    pub pids: Option<PathBuf>,
    pub cpu: Option<PathBuf>,
    pub cpuacct: Option<PathBuf>,
    pub blkio: Option<PathBuf>,
    pub freezer: Option<PathBuf>,
}

/// Which limits a layout can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Controllers {
    pub memory: bool,
    pub pids: bool,
    pub cpu: bool,
    pub io: bool,
}

/// What detection looks at.
#[derive(Clone, Debug)]
pub struct Host {
    /// Put before every path; `/` except in tests.
    pub root: PathBuf,
    /// Text of `/proc/self/mountinfo`.
    pub mountinfo: String,
    /// Text of `/proc/self/cgroup`.
    pub own_groups: String,
    /// Effective user id of this process.
    pub uid: u32,
}

impl Host {
    /// The host this process runs on.
    ///
    /// # Errors
    /// If `/proc` cannot be read.
    pub fn current() -> Result<Self, Error> {
        let read = |path: &str| {
            std::fs::read_to_string(path).map_err(|source| Error::File {
                doing: "read",
                path: path.into(),
                source,
            })
        };
        Ok(Self {
            root: PathBuf::from("/"),
            mountinfo: read("/proc/self/mountinfo")?,
            own_groups: read("/proc/self/cgroup")?,
            uid: rustix::process::geteuid().as_raw(),
        })
    }

    /// `path` of the host as a path that can be opened.
    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

impl Layout {
    /// The layout of the host this process runs on; a host that cannot be read is [`Layout::None`].
    #[must_use]
    pub fn detect() -> Self {
        match Host::current() {
            Ok(host) => Self::of(&host),
            Err(e) => none(format!("{e}"), "mount /proc"),
        }
    }

    /// The layout of `host`.
    #[must_use]
    pub fn of(host: &Host) -> Self {
        let mounts = Mounts::read(host);
        let no_v1_limits = mounts.v1.memory.is_none() && mounts.v1.pids.is_none() && mounts.v1.cpu.is_none();
        let found = match (mounts.unified, no_v1_limits) {
            (Some(unified), true) => delegated::find(host, &unified),
            (unified, false) => split(host, mounts.v1, unified),
            (None, true) => none(
                "no cgroup file system is mounted",
                "mount one: `mount -t cgroup2 none /sys/fs/cgroup` as root",
            ),
        };
        found.or_none()
    }

    /// Groups that hold no memory or no processes are not used at all: what is watched instead is watched as a whole,
    /// in ways of its own (a PID namespace per execution, resource limits, a filter without unseen memory).
    fn or_none(self) -> Self {
        let short =
            self.missing().into_iter().find(|missing| ["memory", "pids"].contains(&missing.controller));
        short.map_or(self, |missing| none(missing.cause, missing.remedy))
    }

    /// Which limits the groups of this layout can hold.
    #[must_use]
    pub fn controllers(&self) -> Controllers {
        match self {
            Layout::V2(v2) => v2.controllers,
            Layout::V1(v1) | Layout::Hybrid { v1, .. } => Controllers {
                memory: v1.memory.is_some(),
                pids: v1.pids.is_some(),
                cpu: v1.cpu.is_some(),
                io: v1.blkio.is_some(),
            },
            Layout::None { .. } => Controllers::default(),
        }
    }
}

impl Layout {
    /// The limits that this layout cannot hold, each with its cause and remedy; none of them for [`Layout::None`],
    /// which has one cause for all.
    #[must_use]
    pub fn missing(&self) -> Vec<Missing> {
        let has = self.controllers();
        let all = [("memory", has.memory), ("pids", has.pids), ("cpu", has.cpu), ("io", has.io)];
        all.iter().filter(|(_, there)| !there).filter_map(|(name, _)| self.missing_controller(name)).collect()
    }

    fn missing_controller(&self, name: &'static str) -> Option<Missing> {
        let (cause, remedy) = match self {
            Layout::V2(v2) if v2.base == v2.mount => (
                format!("this kernel has no cgroup controller {name}"),
                format!("boot it with cgroup_enable={name}, or use a kernel that has it"),
            ),
            Layout::V2(v2) => {
                let above = v2.base.parent().unwrap_or(&v2.base).join("cgroup.subtree_control");
                (
                    format!("no delegation: controller {name} is not in {}", above.display()),
                    delegated::remedy(),
                )
            }
            Layout::V1(_) | Layout::Hybrid { .. } => {
                let tree = if name == "io" { "blkio" } else { name };
                (
                    format!("no cgroup v1 tree for {tree} is mounted"),
                    format!(
                        "mkdir -p /sys/fs/cgroup/{tree} && mount -t cgroup -o {tree} none /sys/fs/cgroup/{tree}"
                    ),
                )
            }
            Layout::None { .. } => return None,
        };
        Some(Missing { controller: name, cause, remedy })
    }
}

/// A controller that a layout lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Its name in version 2: `memory`, `pids`, `cpu` or `io`.
    pub controller: &'static str,
    pub cause: String,
    /// What a person can do about it, with the command.
    pub remedy: String,
}

/// A host with version 1 trees: they are for whoever owns their roots, mostly root alone.
fn split(host: &Host, v1: V1, unified: Option<Mount>) -> Layout {
    let trees = [&v1.memory, &v1.pids, &v1.cpu, &v1.blkio, &v1.freezer];
    if let Some(foreign) = trees.into_iter().flatten().find(|path| !owned(path, host.uid)) {
        return none(
            format!("cgroup v1 trees belong to root ({})", foreign.display()),
            "run as root, or boot the host with cgroup v2 (kernel option systemd.unified_cgroup_hierarchy=1)",
        );
    }
    match unified {
        Some(mount) if mount.writable && owned(&mount.path, host.uid) => {
            Layout::Hybrid { v1, unified: mount.path }
        }
        Some(_) | None => Layout::V1(v1),
    }
}

/// Whether `path` belongs to `uid`: delegation of control groups is by ownership.
fn owned(path: &Path, uid: u32) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).is_ok_and(|meta| meta.uid() == uid)
}

fn none(cause: impl Into<String>, remedy: impl Into<String>) -> Layout {
    Layout::None { cause: cause.into(), remedy: remedy.into() }
}

/// A cgroup mount.
#[derive(Clone, Debug)]
struct Mount {
    path: PathBuf,
    /// Path of the group that is the root of the mount, as `/proc/self/cgroup` would name it.
    root: String,
    writable: bool,
}

/// All cgroup mounts of a host.
#[derive(Debug, Default)]
struct Mounts {
    v1: V1,
    unified: Option<Mount>,
}

impl Mounts {
    /// Reads `mountinfo`: id, parent, device, root, mount point, options, tags…, `-`, type, source, options.
    fn read(host: &Host) -> Self {
        let mut mounts = Self::default();
        for line in host.mountinfo.lines() {
            mounts.add(host, line);
        }
        mounts
    }

    fn add(&mut self, host: &Host, line: &str) -> Option<()> {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point, options) = (place.next()?, place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let (fs_type, super_options) = (kind.next()?, kind.nth(1)?);
        let writable = !options.split(',').any(|option| option == "ro");
        let path = host.at(&unescape(point));
        match fs_type {
            "cgroup2" => {
                let first = self.unified.is_none();
                if first {
                    self.unified = Some(Mount { path, root: unescape(root), writable });
                }
            }
            "cgroup" if writable => self.v1.add(super_options, &path),
            _ => {}
        }
        Some(())
    }
}

impl V1 {
    /// Notes every controller of one mount; several may share it (`cpu,cpuacct`).
    fn add(&mut self, super_options: &str, path: &Path) {
        for option in super_options.split(',') {
            let tree = match option {
                "memory" => &mut self.memory,
                "pids" => &mut self.pids,
                "cpu" => &mut self.cpu,
                "cpuacct" => &mut self.cpuacct,
                "blkio" => &mut self.blkio,
                "freezer" => &mut self.freezer,
                _ => continue,
            };
            tree.get_or_insert_with(|| path.to_owned());
        }
    }
}

/// Undoes the octal escapes of `mountinfo` for space, tab, newline and backslash.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}
