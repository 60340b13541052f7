//! The file system a sandbox sees, built from nothing inside its own mount namespace.
//!
//! Two sources: the host's own programs read-only (`Source::Host`), or a directory that holds a whole root
//! file system (`Source::Directory`, an image unpacked). Over either come fresh /proc, a minimal /dev, and
//! one size-limited tmpfs that backs every writable place, so that the disk limit is one number that the kernel
//! enforces. Where there is a kept layer ([`Kept`]), that one backs the places that are worth keeping. The caller is
//! the sandbox's first process, already in its namespaces, with authority over them.

mod image;
mod shown;

use std::fs;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::Path;

use rustix::process::{Gid, Uid, chdir};

use crate::mount::{self, Access};
pub use shown::Mount;

mod packages;
mod users;

pub use packages::HOST_PACKAGES;

/// Host paths that `Source::Host` shows, read-only. Those that are symlinks (merged /usr) stay symlinks.
pub const HOST_TREES: &[&str] = &["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];
/// Paths below them that are hidden: local configuration and sources are nobody's business.
pub const HOST_HIDDEN: &[&str] = &["/usr/local/etc", "/usr/src"];
/// Files of the host's /etc that programs need to start and that say nothing about the host's users.
pub const HOST_ETC: &[&str] = &["/etc/alternatives", "/etc/ld.so.cache"];
/// Files of /proc hidden behind /dev/null, as container runtimes do.
pub const PROC_MASKED_FILES: &[&str] = &[
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "timer_list",
    "timer_stats",
    "sched_debug",
    "kallsyms",
    "kmsg",
    "kpagecount",
    "kpageflags",
];
/// Where the agent lays what it is given to run: a file system of its own, so that code which fills its disk does not
/// keep the next from starting.
pub const AGENT_FILES: &str = "/run/sandkeep";
/// Room for the code and the event of a few executions at once, 8 MiB each at most.
const AGENT_FILES_BYTES: u64 = 64 << 20;
const AGENT_FILES_INODES: u64 = 4096;
/// Directories of /proc hidden behind an empty one.
pub const PROC_MASKED_DIRS: &[&str] = &["acpi", "asound", "scsi"];
/// Parts of /proc that stay readable and cannot be written.
pub const PROC_READ_ONLY: &[&str] = &["bus", "fs", "irq", "sys", "sysrq-trigger"];

const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];
const DEV_LINKS: &[(&str, &str)] = &[
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// A directory of the writable layer.
struct Place {
    /// Its name there.
    name: &'static str,
    /// Where it shows.
    target: &'static str,
    mode: u32,
    /// Whether the code's user owns it.
    users: bool,
}

const fn place_of(name: &'static str, target: &'static str, mode: u32, users: bool) -> Place {
    Place { name, target, mode, users }
}

/// What can be written in every sandbox, and is never kept.
const TEMPORARY: &[Place] = &[
    place_of("tmp", "/tmp", 0o1777, false),
    place_of("run", "/run", 0o755, false),
    place_of("shm", "/dev/shm", 0o1777, false),
];
/// What can be written in every sandbox.
const WRITABLE: &[Place] =
    &[place_of("home", "/home/user", 0o700, true), place_of("workspace", "/workspace", 0o755, true)];
/// In an image's place: what it has there itself is not shown. Comes before what is mounted in it.
const DEV: Place = place_of("dev", "/dev", 0o755, false);
/// What the root inside can write besides, where programs are the host's and may be changed.
const WRITABLE_BY_ROOT: &[Place] = &[
    place_of("etc", "/etc", 0o755, false),
    place_of("root", "/root", 0o700, false),
    place_of("var", "/var", 0o755, false),
    place_of("opt", "/opt", 0o755, false),
    place_of("srv", "/srv", 0o755, false),
    place_of("mnt", "/mnt", 0o755, false),
];

/// What to build.
#[derive(Debug)]
pub struct Plan {
    /// An existing directory of the host to build on; its content is only covered in our namespace.
    pub staging: String,
    /// Where programs come from.
    pub source: Source,
    /// Whether programs and /etc can be changed (profile `dev`): changes live in the writable layer.
    pub writable: bool,
    /// Where the writable layer is kept, if it is not to go with the sandbox.
    pub kept: Option<Kept>,
    /// Further trees, in order.
    pub mounts: Vec<Mount>,
    /// Size of the writable tmpfs in bytes.
    pub temporary_bytes: u64,
    /// Files, directories and links it can hold.
    pub inodes: u64,
    /// User and group id (inside) that own the home and the workspace.
    pub owner: (u32, u32),
    /// Whether giving files to `owner` needs a change of owner (it does not when it is us).
    pub chown: bool,
    /// Name of the sandbox's host.
    pub hostname: String,
}

/// A writable layer that outlives the sandbox. Its top is ours: the code sees only directories below it.
#[derive(Debug)]
pub enum Kept {
    /// A directory of the host, opened in our own mount namespace.
    Directory(OwnedFd),
    /// A file system of its own with ids translated, which nobody has mounted; `None` until it came.
    FileSystem(Option<OwnedFd>),
}

/// Where programs come from.
#[derive(Debug)]
pub enum Source {
    /// The host's own trees.
    Host,
    /// A directory with a whole root file system.
    Directory {
        /// Its absolute path.
        path: String,
        /// The same tree with ids translated, where root prepared it.
        tree: Option<OwnedFd>,
    },
}

/// A root that could not be built.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A mount was refused.
    #[error(transparent)]
    Mount(#[from] mount::Error),
    /// A file or directory could not be made.
    #[error("cannot make {path}")]
    Make {
        /// Which.
        path: String,
        #[source]
        source: std::io::Error,
    },
    /// Something of the host cannot be shown: it is not what it was, or never was something to show.
    #[error("{path} cannot be shown: {why}")]
    Source {
        /// Its path on the host.
        path: String,
        /// In words.
        why: String,
    },
    /// Nothing can be shown at a place of the sandbox.
    #[error("{path} is no place for a mount: {why}")]
    Target {
        /// The path inside.
        path: String,
        /// In words.
        why: String,
    },
    /// Nothing can be built on a directory that should be the root.
    #[error("no sandbox can be built on it")]
    Image(#[source] Box<Error>),
}

type Result<T> = std::result::Result<T, Error>;

/// Builds the root and moves into it; gives a descriptor of the file system that can be written. On an error the namespace is unusable and the caller ends.
///
/// Everything taken from the host is cloned before the move, and everything put in place is put after it, so
/// that a link planted in an image can only ever lead to another place in that image.
///
/// # Errors
/// The first step that failed.
pub fn build(plan: &Plan) -> Result<OwnedFd> {
    mount::make_private()?;
    let taken = Taken::from_host(plan)?;
    // First what can be written, then over it the skeleton: the root itself for host sources, and the place of the
    // workings for directories.
    mount::tmpfs(&plan.staging, plan.temporary_bytes, plan.inodes, 0o755)?;
    enter(&plan.staging)?;
    let writable = make(&plan.staging, fs::File::open("."))?;
    let mut places = places(plan, plan.temporary())?;
    let mut workings = None;
    if plan.needs_overlay() {
        workings = Some(mount::clone_tree(".")?);
    }
    if let Some(kept) = &taken.kept {
        mount::attach(kept, &plan.staging, Access::ReadWrite)?;
        enter(&plan.staging)?;
        if plan.writable {
            workings = Some(mount::clone_tree(".")?);
        }
    }
    places.extend(self::places(plan, plan.lasting())?);
    if plan.changes_host_trees() {
        places.extend(packages::places()?);
    }
    mount::tmpfs(&plan.staging, SKELETON_BYTES, SKELETON_INODES, 0o755)?;
    enter(&plan.staging)?;
    if let Some(workings) = &workings {
        make_dir(".data", 0o755)?;
        mount::attach_as_is(workings, ".data")?;
    }
    let built = match &taken.image {
        None => host_root(plan),
        Some(tree) => image::lay(tree, plan),
    };
    let furnished = built.and_then(|()| furnish(plan, &taken, &places));
    furnished.map_err(|error| if taken.image.is_some() { error.of_image() } else { error })?;
    if !plan.writable {
        mount::seal("/")?;
        if taken.image.is_some() {
            mount::seal(DEV.target)?;
        }
    }
    Ok(writable.into())
}

impl Error {
    /// The same error where it is the image's fault, as far as can be told.
    fn of_image(self) -> Self {
        match self {
            Self::Mount(_) | Self::Make { .. } => Self::Image(Box::new(self)),
            Self::Source { .. } | Self::Target { .. } | Self::Image(_) => self,
        }
    }
}

/// Moves into the root in the current directory, and puts in place what every sandbox has.
fn furnish(plan: &Plan, taken: &Taken<'_>, places: &[(&'static Place, OwnedFd)]) -> Result<()> {
    mount::pivot_here()?;
    make_dirs("/dev")?;
    for (place, tree) in places {
        make_dirs(place.target)?;
        mount::attach_as_is(tree, place.target)?;
    }
    make_dirs(AGENT_FILES)?;
    mount::tmpfs(AGENT_FILES, AGENT_FILES_BYTES, AGENT_FILES_INODES, 0o755)?;
    etc(plan, taken)?;
    devices(taken)?;
    shown::place(&taken.mounts)?;
    processes(&taken.proc)?;
    if taken.image.is_some() { Ok(()) } else { tidy(plan) }
}

impl Plan {
    /// Whether the root inside changes what it sees of the host's trees.
    fn changes_host_trees(&self) -> bool {
        self.writable && matches!(self.source, Source::Host)
    }

    fn needs_overlay(&self) -> bool {
        self.writable || matches!(self.source, Source::Directory { .. })
    }

    /// Places that never are kept.
    fn temporary(&self) -> impl Iterator<Item = &'static Place> {
        let dev = Some(&DEV).filter(|_| !matches!(self.source, Source::Host));
        dev.into_iter().chain(TEMPORARY)
    }

    /// Places that are kept where anything is.
    fn lasting(&self) -> impl Iterator<Item = &'static Place> {
        let by_root = self.changes_host_trees();
        WRITABLE.iter().chain(WRITABLE_BY_ROOT.iter().filter(move |_| by_root))
    }
}

/// Trees of the host, cloned while it can still be seen.
struct Taken<'a> {
    devices: Vec<(&'static str, OwnedFd)>,
    etc: Vec<(&'static str, OwnedFd, bool)>,
    mounts: Vec<shown::Taken<'a>>,
    /// The image, for sources that are one.
    image: Option<OwnedFd>,
    kept: Option<OwnedFd>,
    proc: OwnedFd,
}

impl<'a> Taken<'a> {
    fn from_host(plan: &'a Plan) -> Result<Self> {
        let device = |name: &&'static str| Ok((*name, mount::clone_tree(&format!("/dev/{name}"))?));
        let etc = |path: &&'static str| Ok((*path, mount::clone_tree(path)?, Path::new(path).is_dir()));
        let from_etc = matches!(plan.source, Source::Host) && !plan.writable;
        let image = match &plan.source {
            Source::Host => None,
            Source::Directory { path, tree: Some(tree) } => Some(make(path, tree.try_clone())?),
            Source::Directory { path, tree: None } => Some(mount::clone_tree(path)?),
        };
        let kept = match &plan.kept {
            None => None,
            Some(Kept::Directory(directory)) => Some(mount::clone_open_tree(directory, KEPT)?),
            Some(Kept::FileSystem(tree)) => {
                Some(make(KEPT, tree.as_ref().expect("it came with the ids").try_clone())?)
            }
        };
        Ok(Self {
            devices: DEVICES.iter().map(device).collect::<Result<_>>()?,
            etc: HOST_ETC
                .iter()
                .filter(|path| from_etc && Path::new(path).exists())
                .map(etc)
                .collect::<Result<_>>()?,
            mounts: shown::take(&plan.mounts)?,
            image,
            kept,
            proc: mount::proc()?,
        })
    }
}

/// What the kept layer is called in errors: its path is the host's business.
const KEPT: &str = "the kept layer";

/// The skeleton holds directories, links and a dozen short files.
const SKELETON_BYTES: u64 = 512 * 1024;
const SKELETON_INODES: u64 = 512;

fn host_root(plan: &Plan) -> Result<()> {
    make_dir(".empty", 0o755)?;
    for path in HOST_TREES {
        let name = &path[1..];
        match fs::read_link(path) {
            Ok(link) => make(name, symlink(link, name))?,
            Err(_) if Path::new(path).is_dir() => host_tree(plan, path, name)?,
            Err(_) => {}
        }
    }
    for path in HOST_HIDDEN.iter().filter(|path| Path::new(path).is_dir()) {
        mount::bind(".empty", &path[1..], Access::ReadOnly)?;
    }
    Ok(())
}

/// Shows a host tree through an overlay, also where nothing is to be written: sockets and pipes that lie in it are then
/// others than the host's, which a read-only view of the tree itself would let anyone talk to.
fn host_tree(plan: &Plan, path: &str, name: &str) -> Result<()> {
    make_dir(name, 0o755)?;
    if !plan.writable {
        return Ok(mount::overlay_read_only(name, &[path, ".empty"])?);
    }
    let (upper, work) = (format!(".data/upper-{name}"), format!(".data/work-{name}"));
    own_dir(&upper, 0o755, |fresh| packages::own_directories(fresh, path))?;
    own_dir(&work, 0o700, |_| Ok(()))?;
    Ok(mount::overlay(name, path, &upper, &work)?)
}

/// Makes the writable places `all` in the current directory, and a detached view of each.
fn places(plan: &Plan, all: impl Iterator<Item = &'static Place>) -> Result<Vec<(&'static Place, OwnedFd)>> {
    all.map(|place| {
        own_dir(place.name, place.mode, |fresh| {
            if place.users && plan.chown {
                give(fresh, plan.owner)?;
            }
            if plan.changes_host_trees() { packages::fill(place, fresh) } else { Ok(()) }
        })?;
        Ok((place, mount::clone_tree(place.name)?))
    })
    .collect()
}

/// Makes the directory `path` of the writable layer, and `finish`es it under another name first: a kept layer has it
/// from an earlier sandbox, and then all of it, as the code left it. Nothing below it is touched again, since the
/// code may have put links there.
fn own_dir(path: &str, mode: u32, finish: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    if Path::new(path).exists() {
        return Ok(());
    }
    let fresh = format!("{path}.new");
    // Of one who was interrupted here; no code has seen it.
    match fs::remove_dir_all(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => make(&fresh, Err(error))?,
        _ => {}
    }
    make_dir(&fresh, mode)?;
    finish(&fresh)?;
    make(path, fs::rename(&fresh, path))
}

/// Takes the places away that only the building needed; what is mounted elsewhere stays mounted there.
fn tidy(plan: &Plan) -> Result<()> {
    make("/.empty", fs::remove_dir("/.empty"))?;
    if plan.needs_overlay() {
        mount::detach("/.data")?;
        make("/.data", fs::remove_dir("/.data"))?;
    }
    Ok(())
}

fn etc(plan: &Plan, taken: &Taken<'_>) -> Result<()> {
    make_dirs("/etc")?;
    if !Path::new("/etc/passwd").exists() {
        write("/etc/passwd", PASSWD)?;
        write("/etc/group", GROUP)?;
        write("/etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")?;
    } else {
        users::name_the_user()?;
    }
    if plan.writable && !plan.chown && matches!(plan.source, Source::Directory { .. }) {
        packages::with_one_id()?;
    }
    write("/etc/hosts", format!("127.0.0.1 localhost {0}\n::1 localhost {0}\n", plan.hostname))?;
    write("/etc/hostname", format!("{}\n", plan.hostname))?;
    write("/etc/resolv.conf", "")?;
    for (path, tree, is_dir) in &taken.etc {
        if *is_dir {
            make_dirs(path)?
        } else {
            write(path, "")?
        }
        mount::attach(tree, path, Access::ReadOnly)?;
    }
    Ok(())
}

const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
                      user:x:1000:1000:user:/home/user:/bin/bash\n\
                      nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
const GROUP: &str = "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n";

fn devices(taken: &Taken<'_>) -> Result<()> {
    for (name, tree) in &taken.devices {
        let target = format!("/dev/{name}");
        write(&target, "")?;
        mount::attach_as_is(tree, &target)?;
    }
    for (name, to) in DEV_LINKS {
        let path = format!("/dev/{name}");
        make(&path, symlink(to, &path))?;
    }
    make_dirs("/dev/pts")?;
    Ok(mount::devpts("/dev/pts", MOST_TERMINALS)?)
}

/// More than people and their programs open; all sandboxes and the host share some thousands.
const MOST_TERMINALS: u32 = 256;

/// A fresh /proc for an execution's own PID namespace, over the sandbox's.
///
/// # Errors
/// The first mount that was refused.
pub fn own_processes() -> Result<()> {
    processes(&mount::proc()?)
}

/// Puts `proc` in place, with the host's parts masked.
fn processes(proc: &OwnedFd) -> Result<()> {
    make_dirs("/proc")?;
    mount::attach_as_is(proc, "/proc")?;
    // Kernels differ in which of these they have.
    for name in PROC_MASKED_FILES {
        if_there(mount::bind_device("/dev/null", &format!("/proc/{name}")))?;
    }
    for name in PROC_MASKED_DIRS {
        if_there(mount::tmpfs(&format!("/proc/{name}"), 0, 1, 0o555))?;
    }
    for name in PROC_READ_ONLY {
        let target = format!("/proc/{name}");
        if_there(mount::bind(&target, &target, Access::ReadOnly))?;
    }
    Ok(())
}

fn if_there(result: mount::Result<()>) -> Result<()> {
    match result {
        Err(error) if error.errno() == rustix::io::Errno::NOENT => Ok(()),
        other => Ok(other?),
    }
}

fn enter(path: &str) -> Result<()> {
    make(path, chdir(path).map_err(Into::into))
}

fn make_dir(path: &str, mode: u32) -> Result<()> {
    make(path, fs::DirBuilder::new().mode(mode).create(path))?;
    // The umask is 0 in the agent, so `mode` is what the directory has.
    Ok(())
}

fn make_dirs(path: &str) -> Result<()> {
    make(path, fs::DirBuilder::new().recursive(true).mode(0o755).create(path))
}

fn write(path: &str, content: impl AsRef<[u8]>) -> Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o644);
    let mut file = options.open(path);
    if file.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::AlreadyExists) {
        // An image may have a link or anything else there; what is written is always a fresh plain file.
        file = fs::remove_file(path).and_then(|()| options.open(path));
    }
    make(path, file.and_then(|mut file| file.write_all(content.as_ref())))
}

fn give(path: &str, (uid, gid): (u32, u32)) -> Result<()> {
    let done = rustix::fs::chown(path, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
    make(path, done.map_err(Into::into))
}

fn make<T>(path: &str, result: std::io::Result<T>) -> Result<T> {
    result.map_err(|source| Error::Make { path: path.to_owned(), source })
}
