//! Container images that these tests make: what runs in them, what of them is honoured, and that they stay as they are.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::image::{Image, Tar, archive, write};
use crate::support::{Run, binary, directory, is_root, persona, run};

/// Images and a store of one test.
pub(crate) struct Here(tempfile::TempDir);

impl Here {
    pub(crate) fn new() -> Self {
        Self(directory())
    }

    /// The image as an archive of `docker save`.
    pub(crate) fn save(&self, image: &Image) -> String {
        let path = self.0.path().join(format!("{}.tar", image.id().replace(':', "-")));
        fs::write(&path, archive(&image.saved())).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.0.path().join("store")
    }

    pub(crate) fn run(&self, args: &[&str]) -> Run {
        run(args).host_variable("SANDKEEP_IMAGE_DIR", self.store().to_str().unwrap())
    }

    /// `sandkeep image ARGS --json`: exit status and what it printed.
    pub(crate) fn image(&self, args: &[&str]) -> (Option<i32>, Value) {
        let mut command = Command::new(binary());
        command.arg("image").args(args).arg("--json").env("SANDKEEP_IMAGE_DIR", self.store());
        let output = command.output().unwrap();
        (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
    }
}

fn busybox() -> Vec<u8> {
    let found = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find_map(|path| fs::read(path).ok());
    found.expect("busybox-static is installed where tests run")
}

/// One static program as several.
pub(crate) fn busybox_layer() -> Vec<u8> {
    let layer = Tar::new().dir("bin").program("bin/busybox", busybox());
    let applets = ["sh", "cat", "ls", "id", "pwd", "env", "echo", "touch", "stat", "rm", "sleep", "mkdir"];
    applets.iter().fold(layer, |tar, applet| tar.symlink(&format!("bin/{applet}"), "busybox")).end()
}

#[test]
fn nothing_but_one_static_program_runs() {
    let here = Here::new();
    let image = here.save(&Image::of([Tar::new().program("busybox", busybox()).end()]));
    let done = here.run(&["--image", &image, "--", "/busybox", "echo", "alone"]).done();
    assert_eq!(done.assert_status(0).out(), "alone\n", "{}", done.err());
    // What it stands on is there all the same, and nothing of it was written to the image.
    let done = here
        .run(&["--image", &image, "--", "/busybox", "ls", "/proc/self/exe", "/dev/null", "/workspace"])
        .done();
    done.assert_status(0);
    let root =
        fs::read_dir(here.store().join("unpacked")).unwrap().next().unwrap().unwrap().path().join("root");
    let left: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["busybox"]);
}

/// Adds files of the host at their own paths, links resolved.
pub(crate) fn with_files(tar: Tar, paths: &BTreeSet<PathBuf>) -> Tar {
    paths.iter().fold(tar, |tar, path| tar.program(path.to_str().unwrap(), fs::read(path).unwrap()))
}

/// A program of the host with the libraries that its loader asks for.
pub(crate) fn with_libraries(program: &Path) -> BTreeSet<PathBuf> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    libraries.chain([program.to_owned()]).collect()
}

#[test]
fn an_image_with_glibc_runs() {
    let here = Here::new();
    let id = ["/usr/bin/id", "/bin/id"].into_iter().map(Path::new).find(|path| path.exists()).unwrap();
    let files = with_libraries(id);
    assert!(files.len() > 2, "it has a loader and a library: {files:?}");
    let image = here.save(&Image::of([with_files(Tar::new(), &files).end()]));
    let done = here.run(&["--image", &image, "--", id.to_str().unwrap(), "-u"]).done();
    assert_eq!(done.assert_status(0).out(), "1000\n", "{}", done.err());
}

#[test]
fn an_image_with_musl_runs() {
    let here = Here::new();
    let source = here.0.path().join("hello.c");
    let program = here.0.path().join("hello");
    fs::write(&source, "#include <stdio.h>\nint main(void) { puts(\"from musl\"); return 7; }\n").unwrap();
    let Ok(built) = Command::new("musl-gcc").arg("-o").args([&program, &source]).status() else {
        println!("SKIPPED an_image_with_musl_runs: no musl-gcc (apt-get install musl-tools)");
        return;
    };
    assert!(built.success());
    let arch = std::env::consts::ARCH;
    let loader = format!("lib/ld-musl-{arch}.so.1");
    let files = Tar::new()
        .program("hello", fs::read(&program).unwrap())
        .program(&loader, fs::read(format!("/{loader}")).unwrap());
    let image = here.save(&Image::of([files.end()]));
    let done = here.run(&["--image", &image, "--", "/hello"]).done();
    assert_eq!(done.assert_status(7).out(), "from musl\n", "{}", done.err());
}

#[test]
fn what_an_image_says_is_honoured() {
    let here = Here::new();
    let layer = Tar::new().dir("app").file("app/given", "of the image\n").end();
    let config = json!({
        "Env": ["PATH=/opt/own:/bin", "GREETING=hello", "KEPT=image"],
        "WorkingDir": "/app", "User": "4711:4711",
        "Entrypoint": ["sh", "-c"], "Cmd": ["pwd; cat given; echo $GREETING $KEPT; id -u; exit 3"],
    });
    let image = here.save(&Image::of([busybox_layer(), layer]).config(config));
    let done = here.run(&["--image", &image, "--env", "GREETING=hi"]).done();
    assert_eq!(done.assert_status(3).out(), "/app\nof the image\nhi image\n1000\n", "{}", done.err());
    // A command of one's own is run as it is, in the same place.
    let done = here.run(&["--image", &image, "--", "sh", "-c", "pwd; echo $PATH"]).done();
    assert_eq!(done.assert_status(0).out(), "/app\n/opt/own:/bin\n", "{}", done.err());
    // An image that says nothing has nothing to run, and a place that is missing is named.
    let silent = here.save(&Image::of([busybox_layer()]));
    let (status, told) = here.run(&["--image", &silent]).json();
    assert_eq!((status, &told["error"]["code"]), (125, &"invalid_value".into()));
    let done = here.run(&["--image", &silent, "--", "pwd"]).done();
    assert_eq!(done.assert_status(0).out(), "/workspace\n");
    let nowhere =
        here.save(&Image::of([busybox_layer()]).config(json!({"WorkingDir": "/gone", "Cmd": ["pwd"]})));
    let (status, told) = here.run(&["--image", &nowhere]).json();
    assert_eq!((status, &told["error"]["name"]), (126, &"not_runnable".into()), "{told}");
    assert!(told["error"]["message"].as_str().unwrap().contains("working directory"), "{told}");
}

#[test]
fn interpreters_are_those_of_the_image() {
    let here = Here::new();
    // By the image's PATH, whatever stands elsewhere; and a script of another interpreter, as only images may have it.
    let layer = Tar::new()
        .program("usr/bin/bash", "#!/bin/sh\necho the wrong one\n")
        .program("opt/own/bash", "#!/bin/sh\necho of the image\nexec sh \"$@\"\n")
        .end();
    let config = json!({"Env": ["PATH=/opt/own:/bin"], "WorkingDir": "/opt"});
    let image = here.save(&Image::of([busybox_layer(), layer]).config(config));
    let code = here.0.path().join("code.sh");
    fs::write(&code, "echo run in $PWD\n").unwrap();
    let done = here.run(&["--image", &image, code.to_str().unwrap()]).done();
    // Scripts stand where their files are.
    assert_eq!(done.assert_status(0).out(), "of the image\nrun in /workspace\n", "{}", done.err());
    let (status, told) = here.run(&["--image", &image, "--lang", "python", "-"]).stdin("1").json();
    assert_eq!((status, &told["error"]["name"]), (127, &"not_found".into()), "{told}");
}

#[test]
fn an_image_stays_as_it_is() {
    let here = Here::new();
    let layer = Tar::new().dir("data").file_as("data/all", "1\n", 0o666, 0).file("data/gone", "").end();
    let image = here.save(&Image::of([busybox_layer(), layer]));
    let line = "echo 2 > /data/all; rm -f /data/gone; touch /data/new; cat /data/all; ls /data";
    for (profile, user, expected) in [("strict", "user", "1\nall\ngone\n"), ("dev", "root", "2\nall\nnew\n")]
    {
        let args = ["--image", &image, "--profile", profile, "--user", user, "--", "sh", "-c", line];
        let done = here.run(&args).done();
        assert_eq!(done.assert_status(0).out(), expected, "{profile}: {}", done.err());
        // Nor does the next sandbox see it.
        let next = here.run(&["--image", &image, "--", "sh", "-c", "cat /data/all; ls /data"]).done();
        assert_eq!(next.assert_status(0).out(), "1\nall\ngone\n", "{profile}: {}", next.err());
    }
}

#[test]
fn owners_are_the_images_where_root_has_it() {
    let here = Here::new();
    let layer = Tar::new()
        .file_as("of-user", "u", 0o600, 1000)
        .file_as("of-root", "r", 0o600, 0)
        .file_as("of-other", "o", 0o604, 33)
        .file_as("set-id", "s", 0o4755, 0)
        .end();
    let image = here.save(&Image::of([busybox_layer(), layer]));
    let line =
        "for f in of-user of-root of-other; do cat /$f 2>/dev/null || echo -n -; done; stat -c %a /set-id";
    let done = here.run(&["--image", &image, "--", "sh", "-c", line]).done();
    // With one id everything on disk is that one's; with a range it is the agent's, and what others may read is read.
    let expected = match persona().as_str() {
        "root" => "u-o755\n",
        "nosub" => "uro755\n",
        _ => "--o755\n",
    };
    assert_eq!(done.assert_status(0).out(), expected, "{}", done.err());
    if is_root() {
        let line = "stat -c '%u %g' /of-user /of-root /of-other";
        let done = here.run(&["--image", &image, "--", "sh", "-c", line]).done();
        assert_eq!(done.assert_status(0).out(), "1000 1000\n0 0\n33 33\n");
    }
}

#[test]
fn an_image_that_is_used_is_not_removed() {
    let here = Here::new();
    let image = Image::of([busybox_layer()]).named("used:1");
    let path = here.save(&image);
    let (status, imported) = here.image(&["import", &path]);
    assert_eq!((status, &imported[0]["names"][0]), (Some(0), &"used:1".into()), "{imported}");
    // By its name, without the file.
    fs::remove_file(&path).unwrap();
    let running = here.run(&["--image", "used:1", "--", "sh", "-c", "echo up; exec sleep 1000"]).start();
    running.until("up\n");
    assert_eq!(here.image(&["list"]).1[0]["in_use"], true);
    let (status, told) = here.image(&["rm", "used:1"]);
    assert_eq!((status, &told["error"]["code"]), (Some(125), &"image_in_use".into()));
    assert_eq!(here.image(&["prune", "--all"]), (Some(0), json!([])));
    running.signal(Signal::INT);
    running.done().assert_status(130);
    let (status, removed) = here.image(&["rm", "used:1"]);
    assert_eq!((status, &removed[0]["id"]), (Some(0), &image.id().into()));
    assert_eq!(here.image(&["list"]), (Some(0), json!([])));
    let (status, told) = here.run(&["--offline", "--image", "used:1", "--", "sh"]).json();
    assert_eq!((status, &told["error"]["code"]), (125, &"image_unknown".into()));
    assert!(told["error"]["expected"].as_str().unwrap().contains("docker save -o FILE REF"), "{told}");
}

#[test]
fn many_sandboxes_share_an_image_that_is_new() {
    let here = Here::new();
    let files = Image::of([busybox_layer()]).layout();
    let layout = here.0.path().join("layout");
    write(&files, &layout);
    let runs: Vec<_> = (0..8)
        .map(|n| here.run(&["--image", layout.to_str().unwrap(), "--", "echo", &n.to_string()]).start())
        .collect();
    for (n, run) in runs.into_iter().enumerate() {
        assert_eq!(run.done().assert_status(0).out(), format!("{n}\n"));
    }
    assert_eq!(here.image(&["list"]).1.as_array().unwrap().len(), 1);
}

#[test]
fn an_image_cannot_place_what_the_sandbox_brings() {
    let here = Here::new();
    let host = here.0.path().join("host");
    fs::create_dir(&host).unwrap();
    let host = host.to_str().unwrap().to_owned();
    let echo = ["/bin/sh", "-c", "echo x > /workspace/x; cat /proc/self/comm"];
    // Each of them where the sandbox mounts or writes: as a link to the host, as a file, as a link in circles.
    for place in
        ["proc", "dev", "etc", "run", "tmp", "workspace", "home", "etc/passwd", "dev/null", "dev/shm"]
    {
        let out = format!("../../../../../..{host}");
        let itself = place.rsplit('/').next().unwrap();
        let layers = [
            ("dev", Tar::new().symlink(place, &host)),
            ("strict", Tar::new().symlink(place, &out)),
            ("strict", Tar::new().file(place, "a file")),
            ("strict", Tar::new().symlink(place, itself)),
        ];
        for (profile, layer) in layers {
            let image = here.save(&Image::of([busybox_layer(), layer.end()]));
            let done =
                here.run(&[&["--image", &image, "--profile", profile, "--"][..], &echo].concat()).done();
            assert!([0, 125].contains(&done.status), "{place}: {} {}", done.status, done.err());
            assert_eq!(fs::read_dir(&host).unwrap().count(), 0, "{place}: something came to the host");
        }
    }
}
