//! The store: unpacked once, by many at once, killed in the middle, in use while it is to be removed.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sandkeep_core::code::ErrorCode;
use sandkeep_image::{Digest, Source, Store};
use support::{Image, Tar, archive};

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn store(&self) -> Store {
        Store::open(&self.path()).unwrap()
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// An image with this file in it.
    fn source(&self, content: &str) -> (Source, sandkeep_image::Image) {
        let path = self.directory.path().join(format!("{content}.tar"));
        let image =
            Image::of([Tar::new().file("content", content).end()]).named(&format!("{content}:latest"));
        fs::write(&path, archive(&image.saved())).unwrap();
        let source = Source::open(&path).unwrap();
        let image = source.image().unwrap();
        (source, image)
    }

    fn left(&self, part: &str) -> usize {
        fs::read_dir(self.path().join(part)).unwrap().count()
    }
}

#[test]
fn an_image_is_unpacked_once() {
    let place = Place::new();
    let (source, image) = place.source("one");
    let unpacked = AtomicUsize::new(0);
    let make = || {
        let count = || {
            unpacked.fetch_add(1, Ordering::Relaxed);
        };
        let held = place.store().ready(&source, &image, count).unwrap();
        assert_eq!(fs::read_to_string(held.root.join("content")).unwrap(), "one");
    };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            // A source is a file by its own descriptor for each, as in processes of their own.
            scope.spawn(|| {
                let (source, image) =
                    (Source::open(&place.directory.path().join("one.tar")).unwrap(), image.clone());
                let count = || {
                    unpacked.fetch_add(1, Ordering::Relaxed);
                };
                drop(place.store().ready(&source, &image, count).unwrap());
            });
        }
    });
    make();
    assert_eq!(unpacked.load(Ordering::Relaxed), 1);
    assert_eq!((place.left("unpacked"), place.left("partial")), (1, 0));
}

#[test]
fn what_is_in_use_stays() {
    let place = Place::new();
    let store = place.store();
    let (source, image) = place.source("used");
    let held = store.ready(&source, &image, || ()).unwrap();
    assert!(store.list().unwrap()[0].in_use);
    assert_eq!(store.remove(image.id).unwrap_err().code(), ErrorCode::ImageInUse);
    assert!(store.prune(|_| true).unwrap().is_empty());
    assert!(held.root.join("content").exists());
    // Two may use it, and one that is left is enough.
    let second = place.store().hold(image.id).unwrap().unwrap();
    drop(held);
    assert_eq!(store.remove(image.id).unwrap_err().code(), ErrorCode::ImageInUse);
    drop(second);
    assert!(!store.list().unwrap()[0].in_use);
    assert_eq!(store.remove(image.id).unwrap(), 4096);
    assert_eq!((place.left("unpacked"), place.left("partial")), (0, 0));
    assert!(store.hold(image.id).unwrap().is_none());
    assert_eq!(store.remove(image.id).unwrap_err().code(), ErrorCode::ImageUnknown);
}

#[test]
fn names_lead_to_images() {
    let place = Place::new();
    let store = place.store();
    let mut ids = Vec::new();
    for content in ["one", "two"] {
        let (source, image) = place.source(content);
        store.ready(&source, &image, || ()).unwrap();
        store.name(image.id, &image.names).unwrap();
        ids.push(image.id);
    }
    let found = |reference: &str| store.find(reference).map(|stored| stored.id).map_err(|error| error.code());
    assert_eq!(found("one:latest"), Ok(ids[0]));
    assert_eq!(found("two"), Ok(ids[1]), "no tag is the tag `latest`");
    assert_eq!(found(&ids[0].to_string()), Ok(ids[0]));
    assert_eq!(found(&ids[1].short()), Ok(ids[1]));
    for unknown in ["three", "", "python:3.12-slim", &ids[0].hex()[..4], "sha256:", "../one"] {
        assert_eq!(found(unknown), Err(ErrorCode::ImageUnknown), "{unknown}");
    }
    // A name is given anew.
    store.name(ids[1], &["one:latest".to_owned()]).unwrap();
    assert_eq!(found("one"), Ok(ids[1]));
    let names: Vec<_> = store.list().unwrap().into_iter().map(|stored| (stored.id, stored.names)).collect();
    assert_eq!(names, [(ids[0], vec![]), (ids[1], vec!["one:latest".to_owned(), "two:latest".to_owned()])]);
    // And goes with its image.
    let pruned = store.prune(|stored| stored.names.is_empty()).unwrap();
    assert_eq!(pruned.iter().map(|stored| stored.id).collect::<Vec<_>>(), [ids[0]]);
    store.remove(ids[1]).unwrap();
    assert_eq!(found("two"), Err(ErrorCode::ImageUnknown));
    assert_eq!(fs::read_to_string(place.path().join("names.json")).unwrap(), "{}");
}

#[test]
fn what_may_not_be_on_disk_counts_in_its_boot_only() {
    let place = Place::new();
    let store = place.store();
    let (source, image) = place.source("boot");
    let record = place.path().join("unpacked").join(image.id.hex()).join("image.json");
    let unpacked = || {
        let mut unpacked = false;
        store.ready(&source, &image, || unpacked = true).unwrap();
        unpacked
    };
    assert!(unpacked() && !unpacked());
    // As it is found after the next boot.
    let text = fs::read_to_string(&record).unwrap();
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let other = text.replace(boot.trim(), "another boot");
    assert_ne!(text, other, "{text}");
    fs::write(&record, &other).unwrap();
    assert!(store.hold(image.id).unwrap().is_none() && store.list().unwrap().is_empty());
    assert!(unpacked());
    fs::write(&record, &other).unwrap();
    store.prune(|_| false).unwrap();
    assert_eq!(place.left("unpacked"), 0, "what does not count is swept");
    // Kept, it is there for good.
    store.keep(&store.ready(&source, &image, || ()).unwrap()).unwrap();
    assert!(!fs::read_to_string(&record).unwrap().contains(boot.trim()));
    assert_eq!(fs::read_dir(record.parent().unwrap()).unwrap().count(), 3);
    // A remnant is not taken for an image.
    fs::remove_file(&record).unwrap();
    assert!(unpacked());
}

#[test]
fn the_store_is_ours_alone() {
    let place = Place::new();
    let store = place.store();
    let (source, image) = place.source("private");
    let held = store.ready(&source, &image, || ()).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.path()), 0o700);
    assert_eq!(mode(held.root.parent().unwrap()), 0o700);
    for open in [0o755, 0o770, 0o701] {
        fs::set_permissions(place.path(), fs::Permissions::from_mode(open)).unwrap();
        assert_eq!(Store::open(&place.path()).unwrap_err().code(), ErrorCode::ImageStoreUnusable);
    }
    let link = place.directory.path().join("link");
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::symlink(place.path(), &link).unwrap();
    assert_eq!(Store::open(&link).unwrap_err().code(), ErrorCode::ImageStoreUnusable);
}

#[test]
fn owners_are_the_images_where_root_keeps_them() {
    let place = Place::new();
    let layer = Tar::new()
        .file_as("theirs", "x", 0o644, 33)
        .dir_as("dir", 0o755, 1000)
        .file("dir/of root", "x")
        .pax(&[("uid", b"7"), ("gid", b"8")])
        .file("pax", "x")
        .file_as("beyond", "x", 0o644, 70_000)
        .symlink("link", "x");
    let path = place.directory.path().join("image.tar");
    fs::write(&path, archive(&Image::of([layer.end()]).saved())).unwrap();
    let source = Source::open(&path).unwrap();
    let held = place.store().ready(&source, &source.image().unwrap(), || ()).unwrap();
    let owner = |name: &str| {
        let meta = held.root.join(name).symlink_metadata().unwrap();
        (meta.uid(), meta.gid())
    };
    let names = ["theirs", "dir", "dir/of root", "pax", "beyond", "link"];
    if rustix::process::geteuid().is_root() {
        let expected = [(33, 33), (1000, 1000), (0, 0), (7, 8), (65_534, 65_534), (0, 0)];
        assert_eq!(names.map(owner), expected);
    } else {
        let us = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        assert_eq!(names.map(owner), [us; 6]);
    }
    assert_eq!(place.store().list().unwrap()[0].clamped, 1);
}

// --- killed in the middle ---------------------------------------------------------------------------------------------

/// Files of the image that is being unpacked when the kill comes.
const MANY: usize = 1_000;
const CHILD: &str = "SANDKEEP_IMAGE_CHILD";

fn many() -> Image {
    let layer = (0..MANY).fold(Tar::new().dir("d"), |tar, n| tar.file(&format!("d/{n}"), "x"));
    Image::of([layer.end()])
}

/// What the killed process does: this same test program, told where.
#[test]
fn unpacks_when_told_to() {
    let Some(place) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let source = Source::open(&place.join("image.tar")).unwrap();
    let store = Store::open(&place.join("store")).unwrap();
    let _held = store.ready(&source, &source.image().unwrap(), || ()).unwrap();
}

fn child(place: &Place) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "unpacks_when_told_to"]).env(CHILD, place.directory.path());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[track_caller]
fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_kill_in_the_middle_leaves_what_is_swept() {
    let place = Place::new();
    let image = many();
    fs::write(place.directory.path().join("image.tar"), archive(&image.saved())).unwrap();
    let id = Digest::parse(&image.id()).unwrap();
    let files = place.path().join("partial").join(id.hex()).join("root/d");
    for round in 0_usize..4 {
        let mut killed = child(&place);
        // Looked for by name: to list the directory again and again would keep it from being filled.
        until("it unpacks", || files.join((round * MANY / 8).to_string()).exists());
        killed.kill().unwrap();
        killed.wait().unwrap();
        assert!(place.store().hold(id).unwrap().is_none(), "half an image is there");
        assert_eq!(place.left("unpacked"), 0);
        assert_eq!(place.left("partial"), 1);
        if round == 1 {
            // Another image's maker sweeps.
            let (source, other) = place.source("other");
            let held = place.store().ready(&source, &other, || ()).unwrap();
            assert_eq!(place.left("partial"), 0, "what the kill left is still there");
            drop(held);
            place.store().remove(other.id).unwrap();
        }
    }
    // The next one makes it whole, and those who waited for the killed one find it.
    let mut killed = child(&place);
    until("it unpacks", || files.join("1").exists());
    let mut waiting: Vec<_> = (0..3).map(|_| child(&place)).collect();
    killed.kill().unwrap();
    killed.wait().unwrap();
    for child in &mut waiting {
        assert!(child.wait().unwrap().success());
    }
    let held = place.store().hold(id).unwrap().unwrap();
    assert_eq!(fs::read_dir(held.root.join("d")).unwrap().count(), MANY);
    assert_eq!((place.left("unpacked"), place.left("partial")), (1, 0));
}

#[test]
fn a_kill_while_removing_leaves_what_is_swept() {
    let place = Place::new();
    let (source, image) = place.source("gone");
    drop(place.store().ready(&source, &image, || ()).unwrap());
    // Where the kill came after the rename.
    let (from, to) = (
        place.path().join("unpacked").join(image.id.hex()),
        place.path().join("partial").join(image.id.hex()),
    );
    fs::rename(from, to).unwrap();
    assert!(place.store().list().unwrap().is_empty());
    place.store().prune(|_| true).unwrap();
    assert_eq!(place.left("partial"), 0);
    drop(place.store().ready(&source, &image, || ()).unwrap());
    assert_eq!(place.store().list().unwrap().len(), 1);
}
