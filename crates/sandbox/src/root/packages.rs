//! What package managers need over the host's trees, in profile `dev`: a database that knows the host's packages, and
//! directories that the root inside may put files into. `super` calls this while it builds a root from the host's trees.
//!
//! The trees keep their owners (nobody, inside), so that nothing private of the host is anybody's here. A directory that
//! is in an overlay's upper layer as well shows the files of both layers and has the owner of the upper one. So the root
//! inside may add, replace and remove files in the directories made here; it can change no file of the host's in place,
//! since the kernel will not copy up what has an owner that does not exist here.
//!
//! A root directory of one's own (`Source::Directory`) needs none of this.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{Place, Result, make, make_dir, own_dir, place_of, write};
use crate::mount::{self, Access};

/// What else is shown of a host that has it, as its trees are: which packages there are, and which files they brought.
pub const HOST_PACKAGES: &[&str] = &[DATABASE];
const DATABASE: &str = "/var/lib/dpkg";
/// Shown in every sandbox of the host's programs (`super::HOST_ETC`), here with an upper layer.
const ALTERNATIVES: &str = "/etc/alternatives";

/// Directories of a host tree that many packages put files into, besides those that a package makes for itself. Each costs
/// every sandbox of the profile some microseconds, so the many of translations are left out; see [`EXCLUDES`].
const OWN: &[&str] = &[
    "bin",
    "sbin",
    "games",
    "include",
    "lib",
    "lib/node_modules",
    "lib/pkgconfig",
    "lib/python3",
    "lib/python3/dist-packages",
    "lib/systemd",
    "lib/systemd/system",
    "lib/sysusers.d",
    "lib/tmpfiles.d",
    TRIPLET,
    PKGCONFIG,
    "libexec",
    "local",
    "local/bin",
    "local/lib",
    "local/lib/node_modules",
    "local/sbin",
    "local/share",
    "share",
    "share/applications",
    "share/bash-completion",
    "share/bash-completion/completions",
    "share/bug",
    "share/debianutils",
    "share/debianutils/shells.d",
    "share/doc",
    "share/doc-base",
    "share/fish",
    "share/fish/vendor_completions.d",
    "share/info",
    "share/java",
    "share/lintian",
    "share/lintian/overrides",
    "share/man",
    "share/man/man1",
    "share/man/man2",
    "share/man/man3",
    "share/man/man4",
    "share/man/man5",
    "share/man/man6",
    "share/man/man7",
    "share/man/man8",
    "share/menu",
    "share/metainfo",
    "share/perl5",
    "share/pixmaps",
    "share/pkgconfig",
    "share/zsh",
    "share/zsh/vendor-completions",
];
#[cfg(target_arch = "x86_64")]
const TRIPLET: &str = "lib/x86_64-linux-gnu";
#[cfg(target_arch = "x86_64")]
const PKGCONFIG: &str = "lib/x86_64-linux-gnu/pkgconfig";
#[cfg(not(target_arch = "x86_64"))]
const TRIPLET: &str = "lib/aarch64-linux-gnu";
#[cfg(not(target_arch = "x86_64"))]
const PKGCONFIG: &str = "lib/aarch64-linux-gnu/pkgconfig";

/// What packages bring for the many directories that are not made here: they install without it, as they do in the slim
/// images of containers.
const EXCLUDES: &str = "path-exclude=/usr/share/locale/*\n\
                        path-exclude=/usr/share/man/??/*\n\
                        path-exclude=/usr/share/man/??_??/*\n";

/// Places below /etc and /var that package managers do not make for themselves.
const IN_ETC: &[&str] =
    &["apt", "apt/apt.conf.d", "apt/preferences.d", "apt/sources.list.d", "dpkg", "dpkg/dpkg.cfg.d"];
const IN_VAR: &[&str] = &[
    "cache",
    "cache/apt",
    "cache/apt/archives",
    "cache/apt/archives/partial",
    "lib",
    "lib/apt",
    "log",
    "log/apt",
];

/// What is laid over places of the writable file system once these are there.
const OVER_DATABASE: Place = place_of("dpkg", DATABASE, 0o755, false);
const OVER_ALTERNATIVES: Place = place_of("alternatives", ALTERNATIVES, 0o755, false);

/// Makes, in the upper layer `upper` of the host's tree at `path`, the directories that belong to the root inside.
pub(super) fn own_directories(upper: &str, path: &str) -> Result<()> {
    let pythons = pythons(path);
    let mut left_out: Vec<&Path> = Vec::new();
    for below in OWN.iter().copied().chain(pythons.iter().map(String::as_str)).map(Path::new) {
        // A link of the host's must stay one, and what is behind it is somewhere else.
        let there = fs::symlink_metadata(Path::new(path).join(below)).is_ok_and(|found| found.is_dir());
        if !there || left_out.iter().any(|above| below.starts_with(above)) {
            left_out.push(below);
        } else {
            make_dir(&format!("{upper}/{}", below.display()), 0o755)?;
        }
    }
    Ok(())
}

/// Where the host's Pythons look for what is installed beside the distribution's packages; there their version is part
/// of the name.
fn pythons(path: &str) -> Vec<String> {
    let names = fs::read_dir(Path::new(path).join(LOCAL_LIB)).into_iter().flatten().flatten();
    let names = names.filter_map(|entry| entry.file_name().into_string().ok());
    let pythons = names.filter(|name| name.starts_with("python3")).take(MOST_PYTHONS);
    pythons
        .flat_map(|name| {
            ["", "/dist-packages", "/site-packages"].map(|below| format!("{LOCAL_LIB}/{name}{below}"))
        })
        .collect()
}

const LOCAL_LIB: &str = "local/lib";
/// More is no host that anybody has.
const MOST_PYTHONS: usize = 8;

/// Fills a fresh place of the root inside, which is the directory `fresh` for now.
pub(super) fn fill(place: &Place, fresh: &str) -> Result<()> {
    let inside =
        |names: &[&str]| names.iter().try_for_each(|name| make_dir(&format!("{fresh}/{name}"), 0o755));
    match place.target {
        "/etc" => {
            inside(IN_ETC)?;
            write(&format!("{fresh}/dpkg/dpkg.cfg.d/sandkeep"), EXCLUDES)?;
            // A copy, which `ldconfig` can put another in the place of.
            fs::read("/etc/ld.so.cache").map_or(Ok(()), |cache| write(&format!("{fresh}/ld.so.cache"), cache))
        }
        "/var" => {
            inside(IN_VAR)?;
            make_dir(&format!("{fresh}/tmp"), 0o1777)
        }
        _ => Ok(()),
    }
}

/// What is laid over, as detached views. Called in the file system that can be written, while the host can be seen.
pub(super) fn places() -> Result<Vec<(&'static Place, OwnedFd)>> {
    let mut places = Vec::new();
    if Path::new(ALTERNATIVES).is_dir() {
        over(&OVER_ALTERNATIVES, |_| Ok(()))?;
        places.push((&OVER_ALTERNATIVES, mount::clone_tree(OVER_ALTERNATIVES.name)?));
    }
    if Path::new(HOST_STATUS).is_file() {
        database()?;
        places.push((&OVER_DATABASE, mount::clone_tree(OVER_DATABASE.name)?));
    }
    Ok(places)
}

/// The host's database of packages, with an upper layer in which is what dpkg changes in place or makes a second link to.
fn database() -> Result<()> {
    over(&OVER_DATABASE, |upper| {
        for directory in ["alternatives", "info", "parts", "updates"] {
            make_dir(&format!("{upper}/{directory}"), 0o755)?;
        }
        // The last has exceptions for users that are not here.
        for file in [STATUS, "lock", "lock-frontend", "statoverride"] {
            write(&format!("{upper}/{file}"), "")?;
        }
        // A copy of the host's list would take a millisecond: this is a link to it until dpkg puts a new one in its place.
        make(STATUS, symlink(STATUS, format!("{upper}/status")))
    })?;
    let below = |name: &str| format!("{}/{name}", OVER_DATABASE.name);
    mount::bind(HOST_STATUS, &below(STATUS), Access::ReadOnly)?;
    // The host's triggers write caches in places that are not here. Without the file dpkg takes the database for one from
    // before there were triggers, and runs every one of them.
    own_dir("triggers", 0o755, |fresh| write(&format!("{fresh}/Unincorp"), ""))?;
    Ok(mount::bind("triggers", &below("triggers"), Access::ReadWrite)?)
}

/// The host's list of packages, and its name beside the link to it.
const HOST_STATUS: &str = "/var/lib/dpkg/status";
const STATUS: &str = "status-of-host";

/// Mounts an overlay of the host's directory at the place's target on the directory that has the place's name, with an upper
/// layer that `fill` begins.
fn over(place: &Place, fill: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let (upper, work) = (format!("upper-{}", place.name), format!("work-{}", place.name));
    own_dir(&upper, place.mode, fill)?;
    own_dir(&work, 0o700, |_| Ok(()))?;
    own_dir(place.name, place.mode, |_| Ok(()))?;
    Ok(mount::overlay(place.name, place.target, &upper, &work)?)
}

/// For an image of which the root inside has one id only: apt cannot become anybody else.
pub(super) fn with_one_id() -> Result<()> {
    let there = Path::new("/etc/apt/apt.conf.d").is_dir();
    if there { write("/etc/apt/apt.conf.d/99sandkeep", "APT::Sandbox::User \"root\";\n") } else { Ok(()) }
}
