//! What this host has for sandboxes, and what would mend what it lacks: the facts behind `sandkeep doctor`.
//!
//! Whether a sandbox works here is shown by making one; these findings say why not, or why with less. Nothing here
//! changes the host. It looks at files below a root of its own, so that a test can show it any machine.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sandkeep_sandbox::cgroup::Layout;
use sandkeep_sandbox::ext4::{TOOL_DIRECTORIES, TOOLS};
use sandkeep_sandbox::fence;
use sandkeep_sandbox::idmap::{self, RANGE};
use sandkeep_sandbox::root::{HOST_ETC, HOST_HIDDEN, HOST_PACKAGES, HOST_TREES};

use super::ID_BASE;

/// One thing that sandboxes rest on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is, in a word or two.
    pub subject: &'static str,
    /// How well it is there.
    pub state: State,
    /// What was found, as a sentence without its end.
    pub found: String,
    /// The command or setting that mends it; `None` where nothing has to be mended or can be.
    pub remedy: Option<String>,
}

/// How well something is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Good,
    /// Sandboxes work, with less.
    Weaker,
    /// Without it there is no sandbox.
    Missing,
}

/// What of the host a sandbox of the host's programs sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exposed {
    /// Shown read-only, where the host has them.
    pub shown: Vec<String>,
    /// Hidden below those.
    pub hidden: Vec<String>,
    /// Shown besides in profile `dev`.
    pub shown_in_dev: Vec<String>,
}

/// Everything that sandboxes rest on here. `booted` says that one was just made: no guess about what might forbid
/// namespaces is then made.
#[must_use]
pub fn findings(booted: bool) -> Vec<Finding> {
    let host = Host { root: PathBuf::from("/"), uid: rustix::process::geteuid().as_raw() };
    vec![
        host.kernel(),
        host.namespaces(booted),
        host.ids(),
        groups(&Layout::detect()),
        host.filter(),
        landlock(),
        host.layers(),
    ]
}

/// What the template `host` shows here.
#[must_use]
pub fn exposed() -> Exposed {
    let there = |paths: &[&str]| {
        let there = paths.iter().filter(|path| fs::symlink_metadata(path).is_ok());
        there.map(|path| (*path).to_owned()).collect::<Vec<_>>()
    };
    Exposed {
        shown: [there(HOST_TREES), there(HOST_ETC)].concat(),
        hidden: there(HOST_HIDDEN),
        shown_in_dev: there(HOST_PACKAGES),
    }
}

fn good(subject: &'static str, found: impl Into<String>) -> Finding {
    Finding { subject, state: State::Good, found: found.into(), remedy: None }
}

fn weaker(subject: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { subject, state: State::Weaker, found: found.into(), remedy: Some(remedy.into()) }
}

/// What is looked at.
struct Host {
    /// Put before every path; `/` except in tests.
    root: PathBuf,
    uid: u32,
}

const NAMESPACES: &str = "user namespaces";
const IDS: &str = "ids";

impl Host {
    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path.trim_start_matches('/'))).ok()
    }

    fn exists(&self, path: &str) -> bool {
        self.root.join(path.trim_start_matches('/')).exists()
    }

    /// Whether the setting `path` below /proc/sys is there and has `value`.
    fn is(&self, path: &str, value: &str) -> bool {
        self.read(&format!("/proc/sys/{path}")).is_some_and(|text| text.trim() == value)
    }

    fn kernel(&self) -> Finding {
        let release = self.read("/proc/sys/kernel/osrelease").unwrap_or_default();
        good("kernel", format!("Linux {} {}", release.trim(), std::env::consts::ARCH))
    }

    fn namespaces(&self, booted: bool) -> Finding {
        if booted {
            return good(NAMESPACES, "a sandbox was made");
        }
        let (found, remedy) = self.forbids().unwrap_or_else(|| {
            let found =
                "no setting that we know forbids them: most often it is a chroot or a container around us";
            let remedy = "leave the chroot, or allow namespaces to the container; `dmesg` may say more";
            (found.to_owned(), remedy.to_owned())
        });
        Finding { subject: NAMESPACES, state: State::Missing, found, remedy: Some(remedy) }
    }

    /// What forbids namespaces here, and what mends it; the most telling first.
    fn forbids(&self) -> Option<(String, String)> {
        let ordinary = self.uid != 0;
        let setting = |name: &str, value: &str| format!("sudo sysctl -w {name}={value}");
        if !self.exists("/proc/self/ns/user") {
            let remedy = "use a kernel built with CONFIG_USER_NS";
            return Some(("this kernel has no user namespaces".to_owned(), remedy.to_owned()));
        }
        if self.is("user/max_user_namespaces", "0") {
            let found = "user.max_user_namespaces is 0: nobody may make one";
            return Some((found.to_owned(), setting("user.max_user_namespaces", "15000")));
        }
        if ordinary && self.is("kernel/unprivileged_userns_clone", "0") {
            let found = "kernel.unprivileged_userns_clone is 0: ordinary users may not make one";
            return Some((found.to_owned(), setting("kernel.unprivileged_userns_clone", "1")));
        }
        if ordinary && self.is("kernel/apparmor_restrict_unprivileged_userns", "1") {
            let found = "AppArmor takes from ordinary users what they may do in one \
                         (kernel.apparmor_restrict_unprivileged_userns is 1)";
            return Some((found.to_owned(), setting("kernel.apparmor_restrict_unprivileged_userns", "0")));
        }
        if self.in_chroot() {
            let found = "we are in a chroot, where the kernel allows none (user_namespaces(7), EPERM)";
            let remedy = "enter the directory with pivot_root instead: `unshare --mount`, or a container";
            return Some((found.to_owned(), remedy.to_owned()));
        }
        self.container().map(|found| {
            let remedy = "allow namespaces to the container: `docker run --security-opt seccomp=unconfined \
                          --security-opt apparmor=unconfined --security-opt systempaths=unconfined …`";
            (found, remedy.to_owned())
        })
    }

    /// In a chroot that is no mount point, no mount is at `/`; in others, the first process of our mount namespace
    /// has another root than we do (which root alone may see).
    fn in_chroot(&self) -> bool {
        let mounts = self.read("/proc/self/mountinfo").unwrap_or_default();
        if !mounts.is_empty() && !mounts.lines().any(|line| line.split(' ').nth(4) == Some("/")) {
            return true;
        }
        let namespace = |process| fs::read_link(self.root.join(format!("proc/{process}/ns/mnt"))).ok();
        let root = |process| {
            let meta = fs::metadata(self.root.join(format!("proc/{process}/root/."))).ok()?;
            Some((meta.dev(), meta.ino()))
        };
        let (ours, first) = (root("self"), root("1"));
        namespace("self") == namespace("1") && ours.is_some() && first.is_some() && ours != first
    }

    fn container(&self) -> Option<String> {
        let status = self.read("/proc/self/status").unwrap_or_default();
        let filtered = status.lines().any(|line| line.split_whitespace().eq(["Seccomp:", "2"]));
        if self.exists("/.dockerenv") || self.exists("/run/.containerenv") {
            return Some("we are in a container that forbids them".to_owned());
        }
        filtered.then(|| "a system call filter around us, as of a container, may forbid them".to_owned())
    }

    fn ids(&self) -> Finding {
        if self.uid == 0 {
            return good(IDS, format!("a range of {RANGE} per sandbox, from {ID_BASE} on"));
        }
        let name = idmap::user_name(self.uid);
        let table = |path| self.read(path).unwrap_or_default();
        let (uids, gids) = (table("/etc/subuid"), table("/etc/subgid"));
        let lent = idmap::subordinate(&uids, &name, self.uid);
        let lent_groups = idmap::subordinate(&gids, &name, self.uid);
        let (Some(lent), Some(_)) = (lent, lent_groups) else {
            let found = "no range in /etc/subuid and /etc/subgid: agent and code share one id";
            let who = if name.is_empty() { self.uid.to_string() } else { name };
            return weaker(IDS, found, lend(&who, &uids, &gids));
        };
        if !self.helpers_present() {
            let found = "newuidmap and newgidmap are missing: agent and code share one id";
            return weaker(IDS, found, "sudo apt-get install uidmap (Fedora: shadow-utils)");
        }
        good(IDS, format!("a range of {} from {}, with newuidmap", lent.count, lent.first))
    }

    fn filter(&self) -> Finding {
        const SUBJECT: &str = "seccomp";
        let actions = self.read("/proc/sys/kernel/seccomp/actions_avail").unwrap_or_default();
        if ["kill_process", "errno"]
            .iter()
            .all(|needed| actions.split_whitespace().any(|word| word == *needed))
        {
            return good(SUBJECT, "system calls are filtered");
        }
        let remedy = Some("use a kernel built with CONFIG_SECCOMP_FILTER, 4.14 or newer".to_owned());
        let found = "this kernel has no filter that we can use".to_owned();
        Finding { subject: SUBJECT, state: State::Missing, found, remedy }
    }

    /// As what a persistent layer is kept, and what that needs.
    fn layers(&self) -> Finding {
        const SUBJECT: &str = "kept layers";
        if self.uid != 0 {
            return good(
                SUBJECT,
                "as plain directories, whose size is watched (the kernel bounds those of root)",
            );
        }
        let is_there = |tool: &&str| TOOL_DIRECTORIES.iter().any(|dir| self.exists(&format!("{dir}/{tool}")));
        if let Some(tool) = TOOLS.iter().find(|tool| !is_there(tool)) {
            let found = format!("{tool} is missing: no sandbox can have a persistent layer");
            return weaker(SUBJECT, found, "apt-get install e2fsprogs");
        }
        if !self.exists("/dev/loop-control") {
            let found = "there are no loop devices: no sandbox can have a persistent layer";
            return weaker(SUBJECT, found, "modprobe loop (a container has to be given /dev/loop-control)");
        }
        good(SUBJECT, "as ext4 in files, bounded by the kernel")
    }

    fn helpers_present(&self) -> bool {
        ["/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin"].iter().any(|directory| {
            ["newuidmap", "newgidmap"].iter().all(|name| self.exists(&format!("{directory}/{name}")))
        })
    }
}

/// The command that lends `user` a range behind all that are lent.
fn lend(user: &str, uids: &str, gids: &str) -> String {
    let ends = uids.lines().chain(gids.lines()).filter_map(|line| {
        let mut fields = line.trim().split(':').skip(1).map(str::parse::<u32>);
        fields.next()?.ok()?.checked_add(fields.next()?.ok()?)
    });
    // useradd(8) begins at 100000, too.
    let first = ends.max().unwrap_or(0).max(100_000);
    let last = first.saturating_add(RANGE - 1);
    format!("sudo usermod --add-subuids {first}-{last} --add-subgids {first}-{last} {user}")
}

fn groups(layout: &Layout) -> Finding {
    const SUBJECT: &str = "control groups";
    let found = match layout {
        Layout::None { cause, remedy } => return weaker(SUBJECT, cause, remedy),
        Layout::V2(v2) => format!("version 2, below {}", Path::display(&v2.base)),
        Layout::V1(_) => "version 1".to_owned(),
        Layout::Hybrid { unified, .. } => format!("version 1, with version 2 at {}", unified.display()),
    };
    match layout.missing().into_iter().find(|missing| missing.controller != "io") {
        None => good(SUBJECT, found),
        Some(missing) => weaker(SUBJECT, format!("{found}; {}", missing.cause), missing.remedy),
    }
}

fn landlock() -> Finding {
    const SUBJECT: &str = "Landlock";
    match fence::abi() {
        Ok(version) => good(SUBJECT, format!("version {version}, a second wall around files")),
        Err(absence) => {
            Finding { subject: SUBJECT, state: State::Weaker, found: absence.to_string(), remedy: None }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(uid: u32, files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        let always =
            [("proc/self/ns/user", ""), ("proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n")];
        for (path, text) in always.iter().chain(files) {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let host = Host { root: root.path().to_owned(), uid };
        (root, host)
    }

    #[test]
    fn what_forbids_namespaces_is_named_with_what_mends_it() {
        let apparmor = ("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n");
        let debian = ("proc/sys/kernel/unprivileged_userns_clone", "0\n");
        let most = ("proc/sys/user/max_user_namespaces", "0\n");
        let filtered = ("proc/self/status", "Name:\tx\nSeccomp:\t2\n");
        let chroot = ("proc/self/mountinfo", "23 22 0:5 / /proc rw - proc proc rw\n");
        let cases = [
            (1000, vec![apparmor], "kernel.apparmor_restrict_unprivileged_userns=0"),
            (1000, vec![debian, apparmor], "kernel.unprivileged_userns_clone=1"),
            (1000, vec![most, debian], "user.max_user_namespaces=15000"),
            (0, vec![most], "user.max_user_namespaces=15000"),
            (0, vec![apparmor, debian], "leave the chroot"),
            (0, vec![chroot], "pivot_root"),
            (0, vec![("run/.containerenv", "")], "docker run"),
            (1000, vec![filtered], "docker run"),
            (1000, vec![], "leave the chroot"),
        ];
        for (uid, files, remedy) in cases {
            let (_root, host) = host(uid, &files);
            let finding = host.namespaces(false);
            assert_eq!(finding.state, State::Missing);
            assert!(finding.remedy.as_ref().unwrap().contains(remedy), "{finding:?}");
            assert_eq!(host.namespaces(true).state, State::Good);
        }
        let (root, host) = host(0, &[("proc/self/root/x", ""), ("proc/1/root/x", "")]);
        assert!(host.namespaces(false).found.contains("we are in a chroot"));
        fs::remove_file(root.path().join("proc/self/ns/user")).unwrap();
        assert!(host.namespaces(false).found.contains("no user namespaces"));
    }

    #[test]
    fn ids_need_a_range_and_the_helpers() {
        let (uid, helpers) = (4_200_000, [("usr/bin/newuidmap", ""), ("usr/bin/newgidmap", "")]);
        let lent = [("etc/subuid", "4200000:200000:65536\n"), ("etc/subgid", "4200000:300000:65536\n")];
        let check = |uid, files: &[(&str, &str)], state, text: &str| {
            let (_root, host) = host(uid, files);
            let finding = host.ids();
            assert_eq!(finding.state, state, "{finding:?}");
            assert!(format!("{finding:?}").contains(text), "{finding:?}");
        };
        check(0, &[], State::Good, "65536 per sandbox");
        check(uid, &[helpers.as_slice(), &lent].concat(), State::Good, "from 200000");
        check(uid, &lent, State::Weaker, "install uidmap");
        check(
            uid,
            &helpers,
            State::Weaker,
            "--add-subuids 100000-165535 --add-subgids 100000-165535 4200000",
        );
        let others = [("etc/subuid", "ann:100000:65536\n"), ("etc/subgid", "bob:165536:65536\nbad\n")];
        check(uid, &others, State::Weaker, "--add-subuids 231072-296607");
    }

    #[test]
    fn images_need_their_tools_and_loop_devices() {
        let tools = TOOLS.map(|tool| format!("sbin/{tool}"));
        let mut files: Vec<(&str, &str)> = tools.iter().map(|tool| (tool.as_str(), "")).collect();
        let check = |uid, files: &[(&str, &str)], state, text: &str| {
            let (_root, host) = host(uid, files);
            let finding = host.layers();
            assert_eq!(finding.state, state, "{finding:?}");
            assert!(format!("{finding:?}").contains(text), "{finding:?}");
        };
        check(0, &files[1..], State::Weaker, "apt-get install e2fsprogs");
        check(0, &files, State::Weaker, "modprobe loop");
        files.push(("dev/loop-control", ""));
        check(0, &files, State::Good, "bounded by the kernel");
        check(1000, &[], State::Good, "watched");
    }

    #[test]
    fn a_filter_needs_the_actions_we_use() {
        for (actions, state) in [("kill_process trap errno allow", State::Good), ("kill", State::Missing)] {
            let (_root, host) = host(0, &[("proc/sys/kernel/seccomp/actions_avail", actions)]);
            assert_eq!(host.filter().state, state, "{actions}");
        }
    }

    #[test]
    fn groups_that_are_missing_come_with_their_remedy() {
        let layout = Layout::None { cause: "not ours".to_owned(), remedy: "delegate it".to_owned() };
        let finding = groups(&layout);
        assert_eq!((finding.found.as_str(), finding.remedy.as_deref()), ("not ours", Some("delegate it")));
        assert_eq!(finding.state, State::Weaker);
    }

    #[test]
    fn what_is_shown_is_there() {
        let exposed = exposed();
        assert!(exposed.shown.contains(&"/usr".to_owned()));
        assert!(exposed.shown.iter().all(|path| Path::new(path).exists()), "{exposed:?}");
        assert_eq!(findings(true).len(), 7);
    }
}
