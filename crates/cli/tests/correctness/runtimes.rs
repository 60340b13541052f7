//! Interpreters of an image: found where the image has them, with the versions that they say, and nothing else of theirs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::image::{Image, Tar};
use crate::images::{Here, busybox_layer, with_files, with_libraries};

fn runtime(image: &Value, language: &str) -> Value {
    let all = image["runtimes"].as_array().unwrap();
    all.iter().find(|runtime| runtime["language"] == language).cloned().unwrap_or(Value::Null)
}

#[test]
fn what_an_image_runs_is_found_once() {
    let here = Here::new();
    // As images say it, or as hostile ones do: with control characters, for ever, or not at all.
    let says = |text: &str| format!("#!/bin/sh\n{text}\n");
    let layer = Tar::new()
        .program("opt/python3", says("echo Python 3.99.1; echo x >> /tmp/ran"))
        .symlink("usr/bin/python3", "/nonexistent")
        .program("usr/bin/node", says("echo v20.1.0"))
        .program("usr/bin/ruby", says("printf '\\033[2J7\\0332.evil'"))
        .program("usr/bin/perl", says("while :; do echo perl; done"))
        .file("usr/bin/php", "not to be run");
    let config = json!({"Env": ["PATH=/usr/bin:/opt:/bin"]});
    let path = here.save(&Image::of([busybox_layer(), layer.end()]).named("many:1").config(config));
    let (status, imported) = here.image(&["import", &path]);
    assert_eq!(status, Some(0), "{imported}");
    let image = &imported[0];
    assert_eq!(
        runtime(image, "python"),
        json!({"language": "python", "path": "/opt/python3", "version": "3.99.1"})
    );
    assert_eq!(
        runtime(image, "javascript"),
        json!({"language": "javascript", "path": "/usr/bin/node", "version": "20.1.0"})
    );
    assert_eq!(runtime(image, "sh"), json!({"language": "sh", "path": "/bin/sh", "version": null}));
    assert_eq!(
        (&runtime(image, "ruby")["version"], &runtime(image, "perl")["version"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!((runtime(image, "php"), runtime(image, "bash")), (Value::Null, Value::Null));
    assert_eq!(here.image(&["show", "many:1"]).1[0]["runtimes"], image["runtimes"]);
    // It is what a script is run by.
    let done = here.run(&["--image", "many:1", "--lang", "python", "-"]).stdin("x").done();
    assert_eq!(done.assert_status(0).out(), "Python 3.99.1\n");
}

#[test]
fn a_run_looks_too_and_the_host_is_not_asked() {
    let here = Here::new();
    let bash =
        ["/usr/bin/bash", "/bin/bash"].into_iter().map(PathBuf::from).find(|path| path.exists()).unwrap();
    let mut files: BTreeSet<PathBuf> = with_libraries(&bash);
    files.remove(&bash);
    let layer = with_files(Tar::new(), &files).program("usr/bin/bash", std::fs::read(&bash).unwrap());
    let image = here.save(&Image::of([layer.end()]));
    here.run(&["--image", &image, "--lang", "bash", "-"]).stdin("exit 0").done().assert_status(0);
    let listed = here.image(&["list"]).1[0].clone();
    let found = runtime(&listed, "bash");
    let said = std::process::Command::new(&bash).arg("--version").output().unwrap().stdout;
    let said = String::from_utf8(said).unwrap();
    assert!(said.contains(&format!("version {}", found["version"].as_str().unwrap())), "{found} {said}");
    assert_eq!(runtime(&listed, "python"), Value::Null, "the host has one, and the image does not");
    // One program and no interpreter: that is known too.
    let alone = here.save(&Image::of([Tar::new()
        .program(
            "busybox",
            std::fs::read(Path::new("/bin/busybox")).or_else(|_| std::fs::read("/usr/bin/busybox")).unwrap(),
        )
        .end()]));
    here.run(&["--image", &alone, "--", "/busybox", "true"]).done().assert_status(0);
    let none = here.image(&["list"]).1.as_array().unwrap().iter().any(|image| image["runtimes"] == json!([]));
    assert!(none);
}
