//! Mounts and roots as unlucky people and hostile images have them: refused with what would be right, or made to work.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use crate::places::{busybox_root, shared};
use crate::support::{directory, is_root, run, skipped_without_root};

const MOUNT: &str = "mount_refused";
const ROOT: &str = "root_unusable";

/// Runs `true` so and looks at the refusal: nothing of it may be a fault of ours.
#[track_caller]
fn refused(args: &[&str], code: &str, message: &str) {
    let args = [args, &["--", "true"]].concat();
    let (status, told) = run(&args).json();
    let error = &told["error"];
    assert_eq!((status, error["code"].as_str()), (125, Some(code)), "{args:?}: {told}");
    let text =
        format!("{}; {}", error["message"].as_str().unwrap(), error["expected"].as_str().unwrap_or(""));
    assert!(text.contains(message), "{args:?}: {text}");
}

#[test]
fn a_mount_that_has_no_place_is_refused_with_the_reason() {
    let parent = directory();
    let (path, _) = shared(parent.path());
    let (dir, file) = (path.display().to_string(), path.join("given").display().to_string());
    let cases = [
        (&dir, "/usr/new", "cannot be made in a place that is read-only"),
        (&file, "/usr/bin/new", "cannot be made in a place that is read-only"),
        (&dir, "/etc/passwd", "it is no directory there"),
        (&file, "/etc", "it is a directory there"),
        (&file, "/workspace", "it is a directory there"),
        (&dir, "/dev/shm", "would cover /dev"),
        (&dir, "/run", "would cover /run/sandkeep"),
        (&dir, "/run/sudo.sock", "would cover /run/sudo.sock"),
        (&dir, "/.empty", "would cover /.empty"),
        (&dir, "/etc/hosts/x", "Not a directory"),
    ];
    for (source, target, why) in cases {
        refused(&["--mount", &format!("{source}:{target}")], MOUNT, why);
    }
    // Where /bin is a link, as on every merged system.
    if Path::new("/bin").is_symlink() {
        refused(&["--mount", &format!("{dir}:/bin")], MOUNT, "it is a link there");
    }
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1, "something was made on the host");
}

#[test]
fn a_file_is_shown_over_a_file_of_the_host() {
    let parent = directory();
    let (path, _) = shared(parent.path());
    let mount = format!("{}:/etc/passwd", path.join("given").display());
    let done = run(&["--mount", &mount, "--", "cat", "/etc/passwd"]).done();
    assert_eq!(done.assert_status(0).out(), "from the host\n", "{}", done.err());
    let mount = format!("{}:/usr/bin/env", path.join("given").display());
    let done = run(&["--mount", &mount, "--", "cat", "/usr/bin/env"]).done();
    assert_eq!(done.assert_status(0).out(), "from the host\n", "{}", done.err());
}

#[test]
fn mounts_lie_in_each_other_whatever_their_order() {
    let parent = directory();
    let (path, _) = shared(parent.path());
    let other = parent.path().join("other");
    fs::create_dir_all(other.join("in/deep")).unwrap();
    let outer = format!("{}:/a", other.display());
    let inner = format!("{}:/a/in", path.display());
    for args in [[&outer, &inner], [&inner, &outer]] {
        let done =
            run(&["--mount", args[0], "--mount", args[1], "--", "sh", "-c", "ls /a; cat /a/in/given"]).done();
        assert_eq!(done.assert_status(0).out(), "in\nfrom the host\n", "{}", done.err());
    }
    let absent = format!("{}:/a/none", path.display());
    refused(&["--mount", &absent, "--mount", &outer], MOUNT, "it lies in another mount");
    if !is_root() {
        let writable = format!("{}:/a:rw", other.display());
        refused(&["--mount", &absent, "--mount", &writable], MOUNT, "it lies in another mount");
    }
    refused(&["--mount", &inner, "--mount", &inner], MOUNT, "two mounts");
    let names: Vec<_> = fs::read_dir(&other).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["in"], "something was made on the host");
}

#[test]
fn mounts_are_as_many_as_is_said_and_no_more() {
    let parent = directory();
    let (path, _) = shared(parent.path());
    let mounts: Vec<String> = (0..61).map(|n| format!("{}:/m/{n}", path.display())).collect();
    let args: Vec<&str> = mounts.iter().flat_map(|mount| ["--mount", mount]).collect();
    refused(&args, MOUNT, "`61` mounts are too many; at most 60");
    for profile in ["strict", "dev"] {
        let rest = ["--profile", profile, "--", "sh", "-c", "ls /m | wc -l; cat /m/59/given"];
        let done = run(&[&args[2..], &rest].concat()).done();
        // The first of 61 is left out.
        assert_eq!(done.assert_status(0).out(), "60\nfrom the host\n", "{profile}: {}", done.err());
    }
}

#[test]
fn a_source_that_changed_since_it_was_named_is_not_shown() {
    // The command looks at sources before it starts anything; here they are exchanged behind its back, through the driver.
    use crate::support::driver::{block_on, sandbox_spec};
    use sandkeep_runtime::Driver as _;
    use sandkeep_runtime::driver::Mount;

    let parent = directory();
    let (path, _) = shared(parent.path());
    let socket = path.join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let names = [socket, path.join("gone"), "/dev/null".into()];
    for source in names {
        let mut spec = sandbox_spec();
        let source = source.display().to_string();
        spec.mounts =
            vec![Mount { source: source.clone(), target: "/data".parse().unwrap(), writable: false }];
        let problem = block_on(async { crate::support::local().create(&spec).await }).unwrap_err();
        assert_eq!(problem.code.as_str(), MOUNT, "{source}: {problem}");
    }
}

/// What a program expects of any sandbox; says `all` when it has it.
const NEEDS: &str = "cat /etc/hosts /proc/self/stat /dev/null > /dev/null && test -d /dev/pts && test ! -e /dev/odd && \
    for d in /tmp /workspace /dev/shm ~; do echo x > $d/x || exit 1; done; echo all";

#[test]
fn an_image_may_have_anything_where_a_sandbox_has_its_places() {
    let parent = directory();
    let Some(root) = busybox_root(parent.path()) else { return };
    fs::create_dir(root.join("other")).unwrap();
    let root_dir = root.display().to_string();
    for place in ["dev", "etc", "home", "home/user", "proc", "run", "tmp", "workspace"] {
        let path = root.join(place);
        let aside = root.join("aside");
        if path.exists() {
            fs::rename(&path, &aside).unwrap();
        }
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        for to in ["/nowhere", "../../../../../../etc", "/other", "user", "/proc/self/root"] {
            symlink(to, &path).unwrap();
            works(&root_dir, &format!("{place} is a link to {to}"));
            fs::remove_file(&path).unwrap();
        }
        fs::write(&path, "a file").unwrap();
        works(&root_dir, &format!("{place} is a file"));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        fs::create_dir_all(root.join("dev/odd")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
        works(&root_dir, &format!("{place} is closed"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        fs::remove_dir_all(root.join("dev")).unwrap();
        let _gone = fs::remove_dir_all(&path);
        if aside.exists() {
            fs::rename(&aside, &path).unwrap();
        }
    }
    assert_eq!(
        fs::read_to_string(root.join("etc/marker")).unwrap(),
        "of the image\n",
        "the image was changed"
    );
}

#[track_caller]
fn works(root_dir: &str, what: &str) {
    for profile in ["strict", "dev"] {
        let done = run(&["--root-dir", root_dir, "--profile", profile, "--", "sh", "-c", NEEDS]).done();
        assert_eq!(done.out(), "all\n", "{profile}: {what}: {}", done.err());
    }
}

#[test]
fn an_image_of_somebody_else_works_too() {
    if skipped_without_root("an_image_of_somebody_else_works_too", "files of others are made") {
        return;
    }
    let parent = directory();
    let Some(root) = busybox_root(parent.path()) else { return };
    for name in ["dev", "home", "etc", "usr/bin", ""] {
        let path = root.join(name);
        fs::create_dir_all(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(54_321), Some(54_321)).unwrap();
    }
    works(&root.display().to_string(), "it belongs to an id that no sandbox has");
}

#[test]
fn a_link_of_an_image_does_not_lead_to_what_the_agent_holds() {
    let parent = directory();
    let Some(root) = busybox_root(parent.path()) else { return };
    let (path, _) = shared(parent.path());
    let root_dir = root.display().to_string();
    let mount = format!("{}:/data", path.display());
    // Whatever number the agent's descriptor of the shown directory has.
    for number in 0..64 {
        let link = root.join("a");
        symlink(format!("/proc/self/fd/{number}"), &link).unwrap();
        let file = format!("{}:/a/given", path.join("given").display());
        refused(
            &["--root-dir", &root_dir, "--mount", &mount, "--mount", &file],
            MOUNT,
            "cannot be made there",
        );
        fs::remove_file(&link).unwrap();
        assert_eq!(fs::read_to_string(path.join("given")).unwrap(), "from the host\n", "descriptor {number}");
    }
}

#[test]
fn what_is_no_root_is_refused() {
    let parent = directory();
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    let closed = parent.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    refused(&["--root-dir", &file.display().to_string()], ROOT, "is not a directory");
    refused(&["--root-dir", "/"], ROOT, "the host's own root");
    refused(&["--root-dir", "/proc/self/root"], ROOT, "the host's own root");
    if !is_root() {
        refused(&["--root-dir", &closed.display().to_string()], ROOT, "cannot be read");
    }
    let empty = parent.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let done = run(&["--root-dir", &empty.display().to_string(), "--", "true"]).done();
    done.assert_status(127);
    let Some(root) = busybox_root(parent.path()) else { return };
    fs::create_dir(root.join("etc/hosts")).unwrap();
    refused(&["--root-dir", &root.display().to_string()], ROOT, "/etc/hosts");
}

/// A mount that goes with its guard.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn tmpfs(at: &'a Path) -> Self {
        fs::create_dir_all(at).unwrap();
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", at, "tmpfs", flags, None).unwrap();
        Mounted(at)
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _gone = rustix::mount::unmount(self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[test]
fn a_root_with_mounts_in_it_is_refused_unless_they_are_covered() {
    if skipped_without_root("a_root_with_mounts_in_it_is_refused_unless_they_are_covered", "mounts are made")
    {
        return;
    }
    let parent = directory();
    let Some(root) = busybox_root(parent.path()) else { return };
    let root_dir = root.display().to_string();
    let (data, proc) = (root.join("data"), root.join("proc"));
    {
        let _mounted = Mounted::tmpfs(&data);
        refused(&["--root-dir", &root_dir], ROOT, "unmount that, or copy the tree");
        let below = data.join("root");
        fs::create_dir(&below).unwrap();
        // What is mounted above or beside is nobody's business.
        let done = run(&["--root-dir", &below.display().to_string(), "--", "true"]).done();
        done.assert_status(127);
    }
    let _mounted = Mounted::tmpfs(&proc);
    works(&root_dir, "something is mounted at its /proc");
}

#[test]
fn files_that_cannot_lie_in_one_workspace_are_refused() {
    let (one, other) = ("/etc/hostname:a", "/etc/hostname:a/b");
    refused(&["--file", one, "--file", one], MOUNT, "`a` is the name of two files");
    refused(&["--file", one, "--file", other], MOUNT, "`a` is the name of a file and of a directory");
    let long = format!("/etc/hostname:{}", "n".repeat(256));
    refused(&["--file", &long], MOUNT, "has a name of more than 255 bytes");
}
