//! Which trees are found on hosts of every kind, from trees of plain files. Runs as any user, anywhere.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use sandkeep_sandbox::cgroup::{Controllers, Error, GroupLimits, Host, Layout, PARENT, Pool};

const V2_MOUNT: &str = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
const ALL: &str = "cpuset cpu io memory hugetlb pids rdma\n";

/// A host made of plain files; they belong to whoever runs the test.
struct Fake {
    dir: tempfile::TempDir,
    mountinfo: String,
    own_groups: String,
    uid: u32,
}

impl Fake {
    fn new(mountinfo: &str, own_groups: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("sys/fs/cgroup")).unwrap();
        let uid = rustix::process::geteuid().as_raw();
        Self { dir, mountinfo: mountinfo.into(), own_groups: own_groups.into(), uid }
    }

    /// Adds a group of the version 2 tree, or of any tree with a path such as `../memory`.
    fn group(self, path: &str, files: &[(&str, &str)]) -> Self {
        let group = self.at(path);
        fs::create_dir_all(&group).unwrap();
        for (name, content) in files {
            fs::write(group.join(name), content).unwrap();
        }
        self
    }

    fn v1(self, names: &[&str]) -> Self {
        names.iter().fold(self, |fake, name| fake.group(name, &[("cgroup.procs", "1\n")]))
    }

    fn uid(mut self, uid: u32) -> Self {
        self.uid = uid;
        self
    }

    fn at(&self, path: &str) -> PathBuf {
        let root = self.dir.path().join("sys/fs/cgroup");
        if path.is_empty() { root } else { root.join(path) }
    }

    fn layout(&self) -> Layout {
        Layout::of(&Host {
            root: self.dir.path().into(),
            mountinfo: self.mountinfo.clone(),
            own_groups: self.own_groups.clone(),
            uid: self.uid,
        })
    }

    /// A user id that owns nothing here.
    fn stranger() -> u32 {
        rustix::process::geteuid().as_raw() + 1000
    }
}

fn v1_mounts(names: &[&str]) -> String {
    names.iter().fold(String::new(), |text, name| {
        let super_options = name.replace("_", ",");
        text + &format!("31 23 0:28 / /sys/fs/cgroup/{name} rw,relatime - cgroup cgroup rw,{super_options}\n")
    })
}

/// Files of an inner group.
fn inner<'a>(handed: &'a str, procs: &'a str) -> [(&'a str, &'a str); 4] {
    [
        ("cgroup.type", "domain\n"),
        ("cgroup.controllers", ALL),
        ("cgroup.subtree_control", handed),
        ("cgroup.procs", procs),
    ]
}

/// Files of the root group.
fn root<'a>() -> [(&'a str, &'a str); 3] {
    [("cgroup.controllers", ALL), ("cgroup.subtree_control", ""), ("cgroup.procs", "1\n2\n")]
}

#[track_caller]
fn check_base(fake: &Fake, base: &str, evacuate: bool) {
    match fake.layout() {
        Layout::V2(v2) => assert_eq!((v2.base.as_path(), v2.evacuate), (fake.at(base).as_path(), evacuate)),
        other @ (Layout::V1(_) | Layout::Hybrid { .. } | Layout::None { .. }) => panic!("{other:?}"),
    }
}

#[track_caller]
fn check_none(layout: &Layout, in_cause: &str, in_remedy: &str) {
    match layout {
        Layout::None { cause, remedy } => {
            assert!(cause.contains(in_cause), "cause: {cause}");
            assert!(remedy.contains(in_remedy), "remedy: {remedy}");
        }
        other @ (Layout::V1(_) | Layout::Hybrid { .. } | Layout::V2(_)) => panic!("{other:?}"),
    }
}

#[test]
fn version_1_alone_and_hybrid() {
    let names = ["memory", "pids", "cpu_cpuacct", "blkio", "freezer", "name=systemd"];
    let fake = Fake::new(&v1_mounts(&names), "4:memory:/elsewhere\n").v1(&names);
    let Layout::V1(v1) = fake.layout() else { panic!("{:?}", fake.layout()) };
    assert_eq!(v1.memory, Some(fake.at("memory")));
    assert_eq!((&v1.cpu, &v1.cpuacct), (&Some(fake.at("cpu_cpuacct")), &Some(fake.at("cpu_cpuacct"))));
    assert_eq!(fake.layout().controllers(), Controllers { memory: true, pids: true, cpu: true, io: true });

    let mounts = v1_mounts(&names) + "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
    let fake = Fake::new(&mounts, "0::/\n").v1(&names).v1(&["unified"]);
    assert!(matches!(fake.layout(), Layout::Hybrid { unified, .. } if unified == fake.at("unified")));
    check_none(&fake.uid(Fake::stranger()).layout(), "cgroup v1 trees belong to root", "run as root");
}

#[test]
fn a_missing_version_1_controller_is_told() {
    let names = ["memory", "pids"];
    let fake = Fake::new(&v1_mounts(&names), "").v1(&names);
    assert_eq!(
        fake.layout().controllers(),
        Controllers { memory: true, pids: true, ..Controllers::default() }
    );
    check_missing(&fake.layout(), &[("cpu", "v1 tree for cpu"), ("io", "v1 tree for blkio")]);
}

/// A kernel started with `cgroup_disable=memory`, as some small boards do: what groups do not hold is watched, and that
/// is done without groups altogether.
#[test]
fn groups_without_memory_or_processes_are_not_used() {
    for (names, lacks) in [(["pids", "cpu"], "v1 tree for memory"), (["memory", "cpu"], "v1 tree for pids")] {
        let fake = Fake::new(&v1_mounts(&names), "").v1(&names);
        check_none(&fake.layout(), lacks, "mount -t cgroup -o");
    }
    for (there, lacks) in [("cpu io pids", "memory"), ("cpu io memory", "pids")] {
        let files = [("cgroup.controllers", there), ("cgroup.subtree_control", ""), ("cgroup.procs", "1\n")];
        let real_root = Fake::new(V2_MOUNT, "0::/\n").group("", &files);
        check_none(&real_root.layout(), lacks, &format!("cgroup_enable={lacks}"));
    }
}

#[test]
fn version_2_for_root_is_the_root_of_the_tree() {
    let fake = Fake::new(V2_MOUNT, "0::/user.slice/user-0.slice/session-1.scope\n")
        .group("", &root())
        .group("user.slice", &inner("", ""))
        .group("user.slice/user-0.slice", &inner("", ""))
        .group("user.slice/user-0.slice/session-1.scope", &inner("", "77\n"));
    check_base(&fake, "", false);
    assert_eq!(fake.layout().controllers(), Controllers { memory: true, pids: true, cpu: true, io: true });
}

/// An ordinary user under systemd: the tree is root's down to `user@1000.service`.
#[test]
fn version_2_for_a_user_begins_where_ownership_does() {
    if rustix::process::geteuid().is_root() {
        let service = "user.slice/user@1.service";
        let fake = Fake::new(V2_MOUNT, &format!("0::/{service}/app.slice/run-1.scope\n"))
            .group("", &root())
            .group("user.slice", &inner("memory pids cpu", ""))
            .group(service, &inner("memory pids", ""))
            .group(&format!("{service}/app.slice"), &inner("memory pids", ""))
            .group(&format!("{service}/app.slice/run-1.scope"), &inner("", "77\n"))
            .uid(1000);
        give(&fake.at(service), 1000);
        check_base(&fake, service, false);
    } else {
        println!("SKIPPED: only root can make files of two owners");
    }
}

fn give(path: &Path, uid: u32) {
    std::os::unix::fs::chown(path, Some(uid), None).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), uid);
        }
    }
}

/// A container, or `systemd-run --scope -p Delegate=yes`: we sit in the only group that is ours.
#[test]
fn version_2_moves_us_out_of_a_base_that_holds_processes() {
    let fake = Fake::new(V2_MOUNT, "0::/\n").group("", &inner("", "1\n77\n"));
    check_base(&fake, "", true);
    let empty = Fake::new(V2_MOUNT, "0::/app\n").group("", &inner("", "")).group("app", &inner("", "77\n"));
    check_base(&empty, "", false);
    // Once moved, the next process finds the controllers handed down.
    let done = Fake::new(V2_MOUNT, "0::/sandkeep-outside\n")
        .group("", &inner("memory pids cpu", ""))
        .group("sandkeep-outside", &inner("", "77\n"));
    check_base(&done, "", false);
}

#[test]
fn version_2_in_a_mount_that_shows_only_a_part() {
    let mount = V2_MOUNT.replace("0:26 / ", "0:26 /docker/abc ");
    let fake =
        Fake::new(&mount, "0::/docker/abc/app\n").group("", &inner("", "")).group("app", &inner("", "7\n"));
    check_base(&fake, "", false);
    check_none(&Fake::new(&mount, "0::/elsewhere\n").group("", &root()).layout(), "outside", "mount cgroup2");
    check_none(
        &Fake::new(V2_MOUNT, "0::/../other\n").group("", &root()).layout(),
        "outside",
        "mount cgroup2",
    );
}

#[test]
fn what_is_missing_is_named_with_its_remedy() {
    check_none(&Fake::new("", "").layout(), "no cgroup file system is mounted", "mount -t cgroup2");
    let read_only = V2_MOUNT.replace("rw,nosuid", "ro,nosuid");
    check_none(&Fake::new(&read_only, "0::/\n").group("", &root()).layout(), "read-only", "writable");
    let foreign = Fake::new(V2_MOUNT, "0::/session-1.scope\n")
        .group("", &root())
        .group("session-1.scope", &inner("", "7\n"));
    check_none(
        &foreign.uid(Fake::stranger()).layout(),
        "session-1.scope belongs to another user",
        "systemd-run --user --scope -p Delegate=yes",
    );
    let bare = [
        ("cgroup.type", "domain\n"),
        ("cgroup.controllers", "cpuset\n"),
        ("cgroup.subtree_control", ""),
        ("cgroup.procs", ""),
    ];
    let none = Fake::new(V2_MOUNT, "0::/app\n").group("", &bare).group("app", &bare);
    check_none(&none.layout(), "controllers memory,pids,cpu are not in", "Delegate=cpu memory pids io");
    // Nothing can be read at all.
    check_none(&Fake::new(V2_MOUNT, "0::/\n").layout(), "belongs to another user", "Delegate");
}

#[test]
fn a_partial_delegation_says_what_it_lacks() {
    let some = [
        ("cgroup.type", "domain\n"),
        ("cgroup.controllers", "memory pids\n"),
        ("cgroup.subtree_control", "memory pids\n"),
        ("cgroup.procs", ""),
    ];
    let fake = Fake::new(V2_MOUNT, "0::/\n").group("", &some);
    assert_eq!(
        fake.layout().controllers(),
        Controllers { memory: true, pids: true, ..Controllers::default() }
    );
    check_missing(&fake.layout(), &[("cpu", "this kernel has no"), ("io", "this kernel has no")]);
    let below = Fake::new(V2_MOUNT, "0::/mine\n").group("", &[]).group("mine", &some);
    check_missing(&below.layout(), &[("cpu", "not in"), ("io", "no delegation")]);
}

#[track_caller]
fn check_missing(layout: &Layout, expected: &[(&str, &str)]) {
    let missing = layout.missing();
    assert_eq!(missing.len(), expected.len(), "{missing:?}");
    for (missing, (controller, in_cause)) in missing.iter().zip(expected) {
        assert!(missing.controller == *controller && missing.cause.contains(in_cause), "{missing:?}");
    }
}

#[test]
fn a_pool_without_trees_refuses_with_the_cause() {
    let layout = Fake::new("", "").layout();
    assert!(
        matches!(Pool::open(&layout, PARENT, None), Err(Error::Unavailable { cause, .. }) if cause.contains("mounted"))
    );
}

/// Every write that a version 2 group gets, on files that only remember what was written.
#[test]
fn version_2_limits_are_written_to_the_right_files() {
    let events: &[(&str, &str)] =
        &[("cgroup.events", "populated 0\nfrozen 0\n"), ("cgroup.max.depth", "max\n")];
    let limits: &[(&str, &str)] = &[
        ("memory.max", "max\n"),
        ("memory.swap.max", "max\n"),
        ("memory.oom.group", "0\n"),
        ("pids.max", "max\n"),
        ("cpu.max", "max 100000\n"),
        ("cgroup.freeze", "0\n"),
        ("cpu.stat", "usage_usec 12\nuser_usec 7\nsystem_usec 5\n"),
        (
            "io.stat",
            "8:0 rbytes=4096 wbytes=512 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2 rios=1 wios=1\n",
        ),
        ("memory.events", "low 0\nhigh 0\nmax 0\noom 0\noom_kill 3\n"),
        ("pids.events", "max 2\n"),
        ("memory.stat", "anon 1\nkernel 4096\nkernel_stack 1\ninactive_file 1000\nactive_file 92\n"),
        ("memory.current", "8192\n"),
    ];
    let full: Vec<_> = [events, limits, &inner("", "")].concat();
    let fake =
        ["", "sandkeep", "sandkeep/s4", "sandkeep/s4/agent", "sandkeep/s4/code", "sandkeep/s4/code/e0"]
            .into_iter()
            .fold(Fake::new(V2_MOUNT, "0::/\n"), |fake, path| fake.group(path, &full));
    let read = |path: &str| fs::read_to_string(fake.at(path)).unwrap();

    let pool = Pool::open(&fake.layout(), PARENT, Some(1 << 30)).unwrap();
    assert_eq!(read("sandkeep/memory.max"), "1073741824");
    assert_eq!(read("sandkeep/cgroup.subtree_control"), "+memory +pids +cpu +io");

    let want = GroupLimits { memory: Some((64 << 20) + 17), cpu_millis: Some(1500), processes: Some(99) };
    let group = pool.claim(4, &want).unwrap();
    let code = |file: &str| read(&format!("sandkeep/s4/code/{file}"));
    assert_eq!(
        ["memory.max", "memory.swap.max", "cpu.max", "pids.max"].map(code),
        ["67108864", "0", "150000 100000", "99"]
    );
    assert_eq!(read("sandkeep/s4/agent/memory.max"), "max\n", "the agent stands outside the code's limits");
    assert_eq!(group.kernel_memory_bytes(), Some(4096));
    assert_eq!(group.held_bytes(), Some(8192 - 1092), "cached files can be dropped");

    let domain =
        group.domain(0, Some(&GroupLimits { cpu_millis: Some(5), ..GroupLimits::default() })).unwrap();
    assert_eq!(read("sandkeep/s4/code/e0/cpu.max"), "1000 100000", "the kernel takes no less than 1 ms");
    assert_eq!(
        (domain.oom_kills().unwrap(), domain.refused_forks().unwrap()),
        (0, 0),
        "counted from the claim on"
    );
    fs::write(fake.at("sandkeep/s4/code/e0/memory.events"), "oom_kill 4\n").unwrap();
    fs::write(fake.at("sandkeep/s4/code/e0/cpu.stat"), "user_usec 107\nsystem_usec 6\n").unwrap();
    fs::write(
        fake.at("sandkeep/s4/code/e0/io.stat"),
        "8:0 rbytes=8192 wbytes=1024\n8:16 rbytes=1 wbytes=2\n",
    )
    .unwrap();
    let usage = domain.usage().unwrap();
    assert_eq!(domain.oom_kills().unwrap(), 1);
    assert_eq!(
        (usage.cpu_user_us, usage.cpu_system_us, usage.read_bytes, usage.write_bytes),
        (100, 1, 4096, 512)
    );
    assert_eq!(usage.peak_memory_bytes, None, "no memory.peak before 5.19");

    // Claimed again with nothing asked for, nothing stays.
    drop((domain, group));
    pool.claim(4, &GroupLimits::default()).unwrap();
    assert_eq!(["memory.max", "cpu.max", "pids.max"].map(code), ["max", "max 100000", "max"]);
}
