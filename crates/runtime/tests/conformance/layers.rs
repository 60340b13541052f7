//! Writable layers that outlive their sandbox.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use sandkeep_core::code::ErrorCode;
use sandkeep_core::enforcement::Level;
use sandkeep_core::execution::{ExecutionState, Language};
use sandkeep_core::limits::LimitKind;
use sandkeep_core::sandbox::Profile;
use sandkeep_core::sandbox::place::MOUNTS_MAX;
use sandkeep_core::size::ByteSize;
use sandkeep_runtime::driver::{ExecutionSpec, Layer, Mount, Root, SandboxSpec, User};
use sandkeep_runtime::{Driver, Sandbox};

use crate::support::{command, fresh, run, sandbox_spec, script, shell, until_output};

/// A place for a layer, removed in the end whatever happened to it; and the incarnations of the sandbox that has it.
struct Place {
    _parent: tempfile::TempDir,
    spec: SandboxSpec,
}

const DISK: ByteSize = ByteSize::from_mib(32);
const INODES: u64 = 1024;

impl Place {
    fn new() -> Self {
        let parent = tempfile::tempdir().unwrap();
        let mut spec = sandbox_spec();
        spec.layer =
            Layer::Persistent { directory: parent.path().join("layer").to_str().unwrap().to_owned() };
        (spec.limits.disk, spec.limits.inodes) = (DISK, INODES);
        Self { _parent: parent, spec }
    }

    fn dev() -> Self {
        let mut place = Self::new();
        place.spec.profile = Profile::Dev;
        place
    }

    fn directory(&self) -> &str {
        let Layer::Persistent { directory } = &self.spec.layer else { unreachable!("made so") };
        directory
    }

    /// The next incarnation.
    async fn start(&mut self, driver: &dyn Driver) -> Box<dyn Sandbox> {
        let sandbox = driver.create(&self.spec).await.unwrap();
        self.spec.incarnation += 1;
        sandbox
    }

    async fn refused(&self, driver: &dyn Driver) -> ErrorCode {
        driver.create(&self.spec).await.map(drop).unwrap_err().code
    }

    async fn remove(&self, driver: &dyn Driver) {
        driver.remove_layer(self.directory()).await.unwrap();
        assert!(!Path::new(self.directory()).exists());
    }
}

fn as_root(mut spec: ExecutionSpec) -> ExecutionSpec {
    spec.user = User::Root;
    spec
}

/// What `ls` would say of them: type and mode, owner, group, and the content of what is a file.
const TELL: &str =
    "for f in dir dir/file link run; do stat -c '%n %A %u:%g' $f; done; cat dir/file; readlink link; ./run";

pub async fn what_is_kept_is_there_again(driver: &dyn Driver) {
    let mut place = Place::new();
    let sandbox = place.start(driver).await;
    let make = "umask 027; mkdir dir; echo text > dir/file; chmod 604 dir/file; ln -s /etc/passwd link; \
                printf '#!/bin/sh\\necho ran\\n' > run; chmod 755 run; cp -r . ~/copy; \
                for d in /tmp /run /dev/shm; do echo gone > $d/here; done 2>/dev/null; ls /tmp/here /dev/shm/here";
    run(sandbox.as_ref(), &shell(make)).await.assert_succeeded();
    let before = run(sandbox.as_ref(), &shell(TELL)).await.assert_succeeded().out();
    assert!(
        before.contains("dir drwxr-x--- 1000:1000\n") && before.contains("text\n/etc/passwd\nran\n"),
        "{before}"
    );
    sandbox.stop().await;
    // The next one has other ids where ids are by slot.
    let _in_its_place = fresh(driver).await;
    for _ in 0..2 {
        let sandbox = place.start(driver).await;
        assert_eq!(run(sandbox.as_ref(), &shell(TELL)).await.assert_succeeded().out(), before);
        let home = shell(
            "cd ~/copy && cat dir/file && ls -A /tmp /dev/shm && touch /workspace/more && rm ../copy/run",
        );
        let heard = run(sandbox.as_ref(), &home).await;
        let out = heard.out();
        assert!(out.starts_with("text\n") && !out.contains("here"), "{out}{}", heard.err());
        sandbox.stop().await;
    }
    place.remove(driver).await;
}

pub async fn dev_keeps_what_its_root_changed(driver: &dyn Driver) {
    let mut place = Place::dev();
    let sandbox = place.start(driver).await;
    let many = sandbox.facts().id_count > 1;
    let give = if many { "chown 1:2 /usr/local/bin/tool; chown 1000:1000 /srv" } else { "true" };
    let change = format!(
        "printf '#!/bin/sh\\necho tool\\n' > /usr/local/bin/tool; chmod 755 /usr/local/bin/tool; {give}; \
         echo 'extra:x:1234:' >> /etc/group; mkdir -p /opt/a /var/lib/b; rm /usr/bin/env; \
         mv /usr/local/bin/tool /usr/local/bin/moved; ln -s /etc /usr/local/share/link"
    );
    run(sandbox.as_ref(), &as_root(shell(&change))).await.assert_succeeded();
    let tell = as_root(shell(
        "moved; stat -c '%A %u:%g' /usr/local/bin/moved /srv; grep extra /etc/group; ls -d /opt/a /var/lib/b; \
         test -e /usr/bin/env && echo still there; ls -d /usr/local/bin/tool; readlink /usr/local/share/link; \
         touch /usr/local/bin/again && rm /usr/local/bin/again; cat /etc/hostname",
    ));
    let before = run(sandbox.as_ref(), &tell).await;
    let owner = if many { "1:2" } else { "0:0" };
    assert!(before.out().starts_with(&format!("tool\n-rwxr-xr-x {owner}\n")), "{}", before.out());
    assert!(!before.out().contains("still there"));
    sandbox.stop().await;
    let sandbox = place.start(driver).await;
    let mut tell = tell;
    tell.id = crate::support::new_execution_id();
    let after = run(sandbox.as_ref(), &tell).await;
    assert_eq!((after.out(), after.err()), (before.out(), before.err()));
    sandbox.stop().await;
    place.remove(driver).await;
}

pub async fn a_layer_is_one_sandboxs(driver: &dyn Driver) {
    let mut place = Place::new();
    let first = place.start(driver).await;
    run(first.as_ref(), &shell("echo mine > file")).await.assert_succeeded();
    assert_eq!(place.refused(driver).await, ErrorCode::LayerInUse);
    let problem = driver.remove_layer(place.directory()).await.unwrap_err();
    assert_eq!(problem.code, ErrorCode::LayerInUse, "{problem}");
    assert_eq!(run(first.as_ref(), &shell("cat file")).await.assert_succeeded().out(), "mine\n");
    first.stop().await;
    let second = place.start(driver).await;
    assert_eq!(run(second.as_ref(), &shell("cat file")).await.assert_succeeded().out(), "mine\n");
    second.stop().await;
    place.remove(driver).await;
}

pub async fn its_disk_is_bounded(driver: &dyn Driver) {
    let mut place = Place::new();
    let sandbox = place.start(driver).await;
    // More than fits: in one file, and kept going, so that it can be seen.
    let fill = shell("head -c 64M /dev/zero > large; echo $?; du -sm large >&2; exec sleep 20");
    let mut running = sandbox.start(&fill).await.unwrap();
    if sandbox.enforcement().disk == Level::Kernel {
        let heard = until_output(running.as_mut(), "1\n").await;
        drop(running);
        assert!(!heard.out().contains('0'), "{heard:?}");
    } else {
        let heard = crate::support::all_of(running.as_mut()).await;
        assert_eq!((heard.end().state, heard.end().limit), (ExecutionState::Failed, Some(LimitKind::Disk)));
        assert_eq!(sandbox.enforcement().disk, Level::Watched);
    }
    // What was removed is free once the journal has it: on a busy host that is a moment later.
    let again = shell(
        "ls -l large; cp large /tmp/x 2>/dev/null; rm large && sync && head -c 16M /dev/zero > fits && echo room",
    );
    let heard = run(sandbox.as_ref(), &again).await;
    assert!(heard.assert_succeeded().out().ends_with("room\n"), "it can be cleaned up");
    sandbox.stop().await;
    place.remove(driver).await;
}

pub async fn its_files_are_bounded(driver: &dyn Driver) {
    let mut place = Place::new();
    let sandbox = place.start(driver).await;
    let many = "import os, time\ntry:\n    for n in range(5000):\n        os.mkdir(str(n))\n\
                except OSError as e:\n    print(e.strerror, flush=True)\n    raise SystemExit\ntime.sleep(20)";
    let heard = run(sandbox.as_ref(), &script(Language::Python, many)).await;
    if sandbox.enforcement().inodes == Level::Kernel {
        assert_eq!(heard.assert_succeeded().out(), "No space left on device\n");
    } else {
        assert_eq!((heard.end().state, heard.end().limit), (ExecutionState::Failed, Some(LimitKind::Inodes)));
    }
    run(sandbox.as_ref(), &shell("rmdir [0-9]*; touch file")).await.assert_succeeded();
    sandbox.stop().await;
    place.remove(driver).await;
}

pub async fn killed_with_all_its_processes_it_starts_again(driver: &dyn Driver) {
    let mut place = Place::new();
    for round in 0..6 {
        let sandbox = place.start(driver).await;
        let writer = shell(
            "cat done 2>/dev/null; while :; do echo more >> log; cp log copy; done & echo on >> done; sync; echo on; wait",
        );
        let mut running = sandbox.start(&writer).await.unwrap();
        let heard = until_output(running.as_mut(), &"on\n".repeat(round + 1)).await;
        assert_eq!(heard.out(), "on\n".repeat(round + 1), "what was written before is there");
        let facts = sandbox.facts();
        // The supervisor alone, then both, in either order: nobody is left to clean up.
        let victims = match round % 3 {
            0 => vec![facts.supervisor_pid],
            1 => vec![facts.supervisor_pid, facts.agent_pid],
            _ => vec![facts.agent_pid, facts.supervisor_pid],
        };
        for pid in victims {
            let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
            let _already_gone = kill_process(pid, Signal::KILL);
        }
        drop(running);
        drop(sandbox);
    }
    let sandbox = place.start(driver).await;
    run(sandbox.as_ref(), &shell("rm log copy done")).await.assert_succeeded();
    sandbox.stop().await;
    place.remove(driver).await;
}

pub async fn it_is_removed_whole(driver: &dyn Driver) {
    let mut place = Place::dev();
    let sandbox = place.start(driver).await;
    // Where it is watched, what is too deep to be measured is ended; that it can be removed is a test of its own.
    let levels = if sandbox.enforcement().inodes == Level::Kernel { 700 } else { 400 };
    let hostile = "import os\nfor n in range(LEVELS):\n    os.mkdir('d')\n    os.chdir('d')\n\
                   open('\\n\\x1b[2J', 'w').close()\nos.chdir('/workspace')\n\
                   os.makedirs('closed/inner')\nos.symlink('/', 'closed/link')\nos.mkfifo('closed/fifo')\n\
                   os.chmod('closed/inner', 0)\nos.chmod('closed', 0)\nos.chmod('/workspace', 0)\n\
                   os.chmod(os.path.expanduser('~'), 0)";
    run(sandbox.as_ref(), &script(Language::Python, &hostile.replace("LEVELS", &levels.to_string())))
        .await
        .assert_succeeded();
    let by_root = "mkdir -p /var/closed/x; chmod 0 /var/closed /var; rm /usr/bin/env; touch /usr/local/bin/x; chmod 4755 /usr/local/bin/x";
    let mut spec = as_root(shell(by_root));
    spec.cwd = Some("/".to_owned());
    run(sandbox.as_ref(), &spec).await.assert_succeeded();
    sandbox.stop().await;
    place.remove(driver).await;
    driver.remove_layer(place.directory()).await.unwrap();
}

pub async fn what_is_no_layer_is_refused_and_left_alone(driver: &dyn Driver) {
    let mut place = Place::new();
    let parent = Path::new(place.directory()).parent().unwrap().to_owned();
    let make = |name: &str, mode: u32| {
        let path = parent.join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let mine = make("mine", 0o755);
    fs::write(mine.join("files"), "precious").unwrap();
    let (open, linked) = (make("open", 0o777), parent.join("linked"));
    symlink(&mine, &linked).unwrap();
    let file = parent.join("file");
    fs::write(&file, "").unwrap();
    for path in [mine.clone(), open, linked, file, parent.join("no/parent"), PathBuf::from("relative")] {
        place.spec.layer = Layer::Persistent { directory: path.to_str().unwrap().to_owned() };
        assert_eq!(place.refused(driver).await, ErrorCode::LayerUnusable, "{}", path.display());
        if path.exists() {
            let problem = driver.remove_layer(path.to_str().unwrap()).await.unwrap_err();
            assert_eq!(problem.code, ErrorCode::LayerUnusable, "{problem}");
        }
    }
    assert_eq!(fs::read(mine.join("files")).unwrap(), b"precious");
    assert_eq!(fs::read_dir(&mine).unwrap().count(), 1);
    run(fresh(driver).await.as_ref(), &command(&["true"])).await.assert_succeeded();
}

/// Nobody else on the host may come near what hostile code left: programs with set-uid, for one.
pub async fn nobody_else_can_enter_it(driver: &dyn Driver) {
    let mut place = Place::new();
    let sandbox = place.start(driver).await;
    run(sandbox.as_ref(), &shell("cp /bin/sh sh; chmod 4755 sh")).await.assert_succeeded();
    sandbox.stop().await;
    let directory = Path::new(place.directory());
    assert_eq!(fs::metadata(directory).unwrap().permissions().mode() & 0o077, 0);
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let (name, mode) = (entry.file_name(), entry.metadata().unwrap().permissions().mode());
        assert!(mode & 0o077 == 0 || name == "holder", "{}: {mode:o}", name.display());
    }
    place.remove(driver).await;
}

pub async fn a_link_in_a_kept_layer_leads_nowhere(driver: &dyn Driver) {
    let outside = tempfile::Builder::new().prefix("sandkeep-outside").tempdir_in("/tmp").unwrap();
    fs::set_permissions(outside.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let root = busybox_root();
    let mut place = Place::dev();
    place.spec.root = Root::Directory(root.path().to_str().unwrap().to_owned());
    let sandbox = place.start(driver).await;
    let links = format!(
        "for d in home workspace tmp run usr; do mv /$d /was-$d; ln -s {0} /$d; done; rm -r /etc; ln -s {0} /etc; ls -l /",
        outside.path().display()
    );
    run(sandbox.as_ref(), &as_root(command(&["/bin/busybox", "sh", "-c", &links]))).await;
    sandbox.stop().await;
    for _ in 0..2 {
        let sandbox = place.start(driver).await;
        let look = "set -e; echo kept > /home/user/file; test -d /etc; test ! -L /home; cat /home/user/file";
        let heard = run(sandbox.as_ref(), &command(&["/bin/busybox", "sh", "-c", look])).await;
        assert_eq!(heard.assert_succeeded().out(), "kept\n", "{}", heard.err());
        sandbox.stop().await;
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "something was made on the host");
    }
    place.remove(driver).await;
}

/// Root, shim, layer and as many mounts as may be: all of them are handed to process 1 in one message.
pub async fn a_layer_goes_with_as_many_mounts_as_may_be(driver: &dyn Driver) {
    let (root, shown) = (busybox_root(), tempfile::tempdir().unwrap());
    fs::set_permissions(shown.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut place = Place::dev();
    place.spec.root = Root::Directory(root.path().to_str().unwrap().to_owned());
    let mount = |n: usize| Mount {
        source: shown.path().to_str().unwrap().to_owned(),
        target: format!("/mnt/{n}").parse().unwrap(),
        writable: false,
    };
    place.spec.mounts = (0..MOUNTS_MAX).map(mount).collect();
    let sandbox = place.start(driver).await;
    let count = command(&["/bin/busybox", "sh", "-c", "set -- /mnt/*; echo $#"]);
    assert_eq!(run(sandbox.as_ref(), &count).await.assert_succeeded().out(), format!("{MOUNTS_MAX}\n"));
    sandbox.stop().await;
    place.remove(driver).await;
}

/// A root file system of one program.
fn busybox_root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for directory in ["bin", "etc", "usr"] {
        fs::create_dir(root.path().join(directory)).unwrap();
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
    fs::copy(busybox.expect("busybox-static is installed"), root.path().join("bin/busybox")).unwrap();
    for applet in ["sh", "ls", "ln", "mv", "rm", "cat", "test"] {
        symlink("busybox", root.path().join("bin").join(applet)).unwrap();
    }
    root
}
