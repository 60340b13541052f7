//! Host directories shown inside, roots of their own, and the profile `dev`.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use crate::support::{directory, host, is_root, persona, run};

/// A directory of somebody who is neither root nor us, where we may make one.
pub(crate) fn shared(parent: &Path) -> (PathBuf, u32) {
    let path = parent.join("shared");
    fs::create_dir(&path).unwrap();
    fs::write(path.join("given"), "from the host\n").unwrap();
    let owner = if is_root() { 12_345 } else { rustix::process::geteuid().as_raw() };
    if is_root() {
        chown(&path, Some(owner), Some(owner)).unwrap();
        chown(path.join("given"), Some(owner), Some(owner)).unwrap();
        fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).unwrap();
    }
    (path, owner)
}

#[test]
fn a_mount_can_be_read_and_not_written() {
    let parent = directory();
    let (path, _) = shared(parent.path());
    let mount = format!("{}:/data", path.display());
    let line = "cat /data/given; echo x > /data/new; echo x >> /data/given; rm /data/given; chmod 777 /data; mv /data/given /data/b; true";
    let done = run(&["--mount", &mount, "--", "sh", "-c", line]).done();
    assert_eq!(done.assert_status(0).out(), "from the host\n", "{}", done.err());
    assert!(done.err().contains("Read-only file system"), "{}", done.err());
    assert_eq!(fs::read_to_string(path.join("given")).unwrap(), "from the host\n");
    assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
}

#[test]
fn what_is_written_to_a_mount_has_its_owner_on_disk() {
    for profile in ["strict", "dev"] {
        let parent = directory();
        let (path, owner) = shared(parent.path());
        let mount = format!("{}:/data:rw", path.display());
        let line = "stat -c %U /data/given && echo more >> /data/given && mkdir -p /data/a/b && echo new > /data/a/b/c && mv /data/a/b/c /data/a/d && ln -s given /data/link && chmod 640 /data/given && stat -c %U /data/a/d";
        let done = run(&["--profile", profile, "--mount", &mount, "--", "sh", "-c", line]).done();
        let user = if persona() == "nosub" && profile == "dev" { "root" } else { "user" };
        assert_eq!(
            done.assert_status(0).out(),
            format!("{user}\n{user}\n"),
            "{profile}: the code's own: {}",
            done.err()
        );
        assert_eq!(fs::read_to_string(path.join("given")).unwrap(), "from the host\nmore\n");
        assert_eq!(fs::read_to_string(path.join("a/d")).unwrap(), "new\n");
        for name in ["given", "a", "a/b", "a/d", "link"] {
            let meta = path.join(name).symlink_metadata().unwrap();
            assert_eq!(meta.uid(), owner, "{profile}: {name}");
        }
        assert_eq!(path.join("given").metadata().unwrap().mode() & 0o777, 0o640);
    }
}

#[test]
fn a_file_can_be_mounted_over_one_name() {
    let parent = directory();
    let (path, _) = shared(parent.path());
    let mount = format!("{}:/workspace/in.txt", path.join("given").display());
    let done = run(&["--mount", &mount, "--", "sh", "-c", "cat in.txt; ls"]).done();
    assert_eq!(done.assert_status(0).out(), "from the host\nin.txt\n");
}

#[test]
fn a_file_can_be_given_into_a_writable_mount() {
    for profile in ["strict", "dev"] {
        let parent = directory();
        let (path, owner) = shared(parent.path());
        let file = parent.path().join("more");
        fs::write(&file, "given\n").unwrap();
        let mount = format!("{}:/workspace:rw", path.display());
        let copy = format!("{}:a/b/more", file.display());
        let line = "cat a/b/more && echo changed >> a/b/more && touch a/b/new";
        let done =
            run(&["--profile", profile, "--mount", &mount, "--file", &copy, "--", "sh", "-c", line]).done();
        assert_eq!(done.assert_status(0).out(), "given\n", "{profile}: {}", done.err());
        for name in ["a", "a/b", "a/b/more", "a/b/new"] {
            assert_eq!(path.join(name).symlink_metadata().unwrap().uid(), owner, "{profile}: {name}");
        }
        // What stands there and leads elsewhere is not followed.
        let secret = parent.path().join("secret");
        fs::write(&secret, "kept").unwrap();
        symlink(&secret, path.join("link")).unwrap();
        let copy = format!("{}:link", file.display());
        let (status, told) =
            run(&["--profile", profile, "--mount", &mount, "--file", &copy, "--", "true"]).json();
        assert_eq!((status, &told["error"]["name"]), (125, &"mount_refused".into()), "{profile}: {told}");
        assert_eq!(fs::read_to_string(&secret).unwrap(), "kept");
    }
}

#[test]
fn links_in_a_mount_lead_nowhere_on_the_host() {
    let parent = directory();
    let (path, _) = shared(parent.path());
    let secret = parent.path().join("secret");
    fs::write(&secret, "host secret").unwrap();
    symlink(&secret, path.join("absolute")).unwrap();
    symlink("../secret", path.join("relative")).unwrap();
    let mount = format!("{}:/data:rw", path.display());
    let line = "cat /data/absolute /data/relative; cat /data/../secret; true";
    let done = run(&["--mount", &mount, "--", "sh", "-c", line]).done();
    assert_eq!(done.assert_status(0).out(), "", "{}", done.out());
}

/// A root file system of one static program.
pub(crate) fn busybox_root(parent: &Path) -> Option<PathBuf> {
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| {
        // A program without an interpreter is static.
        fs::read(path).is_ok_and(|bytes| !bytes.windows(12).any(|part| part == b"/lib64/ld-li"))
    });
    let Some(busybox) = busybox else {
        println!("SKIPPED busybox root: no static busybox (apt-get install busybox-static)");
        return None;
    };
    let root = parent.join("root");
    for name in ["bin", "etc", "usr/bin"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    fs::copy(busybox, root.join("bin/busybox")).unwrap();
    for applet in [
        "sh", "ls", "cat", "id", "echo", "touch", "mkdir", "true", "ps", "mount", "pwd", "stat", "sleep",
        "env", "rm",
    ] {
        symlink("busybox", root.join("bin").join(applet)).unwrap();
    }
    fs::write(root.join("etc/marker"), "of the image\n").unwrap();
    fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).unwrap();
    Some(root)
}

#[test]
fn a_root_of_its_own_strict() {
    let parent = directory();
    let Some(root) = busybox_root(parent.path()) else { return };
    let root_dir = root.to_string_lossy().into_owned();
    let run = |line: &str| run(&["--root-dir", &root_dir, "--", "sh", "-c", line]).done();
    let done = run(
        "id -u; pwd; cat /etc/marker; ls /usr/bin; echo ok > /workspace/x && echo ok > /tmp/x && cat /workspace/x /tmp/x",
    );
    assert_eq!(done.assert_status(0).out(), "1000\n/workspace\nof the image\nok\nok\n", "{}", done.err());
    let done = run("touch /bin/new || touch /new || touch /etc/new || rm /etc/marker");
    assert_ne!(done.status, 0, "the image was written: {}", done.err());
    assert!(!root.join("bin/new").exists() && !root.join("new").exists() && !root.join("etc/new").exists());
    let done = run("ls -d /root /home/user /proc/self /dev/null /dev/shm; ls /usr/lib 2>/dev/null");
    assert!(
        done.out().contains("/dev/null") && done.out().contains("/proc/self"),
        "{} {}",
        done.out(),
        done.err()
    );
    let left: Vec<_> = fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "the image has new entries: {left:?}");
}

#[test]
fn a_root_of_its_own_dev() {
    let parent = directory();
    let Some(root) = busybox_root(parent.path()) else { return };
    let root_dir = root.to_string_lossy().into_owned();
    let line =
        "id -u; echo new > /etc/new && rm /etc/marker && echo more >> /bin/sh2 && ls /etc/new /bin/sh2";
    let done =
        run(&["--root-dir", &root_dir, "--profile", "dev", "--user", "root", "--", "sh", "-c", line]).done();
    assert_eq!(done.assert_status(0).out(), "0\n/bin/sh2\n/etc/new\n", "{}", done.err());
    assert_eq!(
        fs::read_to_string(root.join("etc/marker")).unwrap(),
        "of the image\n",
        "the image was changed"
    );
    assert!(!root.join("etc/new").exists() && !root.join("bin/sh2").exists());
}

#[test]
fn dev_has_a_root_whose_writes_stay_inside() {
    let name = host::marker();
    let line = format!(
        "id -u; id -un; echo x > /usr/bin/{name} && ls /usr/bin/{name}; echo y >> /etc/hostname && rm /usr/bin/env && ! ls /usr/bin/env 2>/dev/null"
    );
    let done = run(&["--profile", "dev", "--user", "root", "--", "sh", "-c", &line]).done();
    assert_eq!(done.assert_status(0).out(), format!("0\nroot\n/usr/bin/{name}\n"), "{}", done.err());
    assert!(!Path::new("/usr/bin").join(&name).exists() && Path::new("/usr/bin/env").exists());
    // Nor in the next sandbox.
    let next =
        run(&["--profile", "dev", "--user", "root", "--", "ls", &format!("/usr/bin/{name}"), "/usr/bin/env"])
            .done();
    assert_eq!(next.out(), "/usr/bin/env\n", "{}", next.err());
}

#[test]
fn dev_has_a_user_who_is_not_root() {
    let name = host::marker();
    let line =
        format!("id -u; touch /usr/bin/{name} 2>/dev/null || echo refused; touch /home/user/x && echo home");
    let done = run(&["--profile", "dev", "--", "sh", "-c", &line]).done();
    if persona() == "nosub" {
        // One id: in `dev` it is root's, and there is no other.
        println!("as nosub: status {} {:?} {:?}", done.status, done.out(), done.err());
        return;
    }
    assert_eq!(done.assert_status(0).out(), "1000\nrefused\nhome\n", "{}", done.err());
    let done = run(&[
        "--profile",
        "dev",
        "--",
        "sudo",
        "sh",
        "-c",
        &format!("id -u; touch /usr/bin/{name} && echo written"),
    ])
    .done();
    assert_eq!(done.assert_status(0).out(), "0\nwritten\n", "{}", done.err());
    assert!(!Path::new("/usr/bin").join(&name).exists());
}

#[test]
fn strict_has_no_root_and_no_writable_programs() {
    let (status, told) = run(&["--user", "root", "--", "id"]).json();
    assert_eq!((status, &told["error"]["code"]), (125, &"invalid_value".into()));
    let line = "touch /usr/x /etc/x /bin/x /x 2>/dev/null; id -u; for f in $HOME /workspace /tmp /dev/shm; do touch $f/x && echo $f; done; grep -h '^Cap' /proc/self/status | sort -u -k2 | grep -c 0000000000000000; grep NoNewPrivs /proc/self/status";
    let done = run(&["--", "sh", "-c", line]).done();
    let expected = "1000\n/home/user\n/workspace\n/tmp\n/dev/shm\n1\nNoNewPrivs:\t1\n";
    assert_eq!(done.assert_status(0).out(), expected, "{}", done.err());
}

#[test]
fn the_host_does_not_show() {
    let directory = directory();
    let secret = directory.path().join("secret");
    fs::write(&secret, "x").unwrap();
    let line = format!(
        "cat {} /etc/shadow /root/.bashrc 2>/dev/null; ls /home /root /var/lib /run /usr/local/etc /usr/src 2>/dev/null; hostname; ls /proc | grep -c '^[0-9]'",
        secret.display()
    );
    let done = run(&["--", "sh", "-c", &line]).done();
    let out = done.assert_status(0).out();
    assert!(!out.contains('x') || !out.starts_with('x'), "{out}");
    let processes: u32 = out.lines().last().unwrap().parse().unwrap();
    assert!(processes <= 8, "processes of the host show: {out}");
    assert!(out.contains("sandbox\n"), "{out}");
}

#[test]
fn loopback_is_there_and_nothing_else() {
    for address in ["127.0.0.1", "::1"] {
        let code = format!(
            "import socket\n\
             server = socket.create_server(('{address}', 0), family=socket.AF_INET6 if ':' in '{address}' else socket.AF_INET)\n\
             client = socket.create_connection(server.getsockname()[:2])\n\
             client.sendall(b'through loopback')\n\
             print(server.accept()[0].recv(99).decode(), [name for _, name in socket.if_nameindex()])\n"
        );
        let done = run(&["--lang", "python", "-"]).stdin(code).done();
        assert_eq!(done.assert_status(0).out(), "through loopback ['lo']\n", "{address}: {}", done.err());
    }
}
