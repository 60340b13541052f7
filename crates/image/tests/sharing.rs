//! Layers that images share: kept once, never written, gone with the last image that has them.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail like tests, and skips are told"
)]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sandkeep_core::code::ErrorCode;
use sandkeep_image::limits::Limits;
use sandkeep_image::{Held, Source, Store, unpack_unchecked};
use support::{Image, Tar, archive, write};

const BASE_FILES: usize = 20;
const BASE_BYTES: usize = 64 << 10;

fn base() -> Vec<u8> {
    let file = |tar: Tar, n: usize| tar.file(&format!("usr/{n}"), vec![b'b'; BASE_BYTES]);
    (0..BASE_FILES).fold(Tar::new().dir("usr"), file).end()
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn store(&self) -> Store {
        Store::open(&self.path()).unwrap()
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("store")
    }

    fn layers(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path().join("layers")).into_iter().flatten();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn unpack(&self, image: &Image) -> Held {
        let layout = self.0.path().join(image.id().replace(':', "-"));
        write(&image.layout(), &layout);
        let source = Source::open(&layout).unwrap();
        self.store().ready(&source, &source.image().unwrap(), || ()).unwrap()
    }

    /// Bytes on disk, every file once.
    fn disk(&self) -> u64 {
        let (mut seen, mut total, mut waiting) = (BTreeSet::new(), 0, vec![self.path()]);
        while let Some(path) = waiting.pop() {
            let meta = path.symlink_metadata().unwrap();
            if meta.is_dir() {
                waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            }
            if seen.insert(meta.ino()) {
                total += meta.len();
            }
        }
        total
    }
}

fn inode(path: &Path) -> u64 {
    path.symlink_metadata().unwrap().ino()
}

#[test]
fn two_images_of_one_base_have_its_files_once() {
    let place = Place::new();
    let one = place.unpack(&Image::of([base(), Tar::new().file("one", "1").end()]));
    let alone = place.disk();
    let other =
        place.unpack(&Image::of([base(), Tar::new().file("other", "2").file("usr/0", "changed").end()]));
    assert!(place.disk() - alone < (BASE_FILES * BASE_BYTES / 10) as u64, "{alone} then {}", place.disk());
    assert_eq!(inode(&one.root.join("usr/1")), inode(&other.root.join("usr/1")));
    // What the second changes is its own.
    assert_eq!(fs::read_to_string(other.root.join("usr/0")).unwrap(), "changed");
    assert_eq!(fs::metadata(one.root.join("usr/0")).unwrap().len(), BASE_BYTES as u64);
    assert_eq!(place.layers().len(), 3);
}

#[test]
fn a_layer_that_is_there_is_not_read_again() {
    let place = Place::new();
    drop(place.unpack(&Image::of([base()])));
    let derived = Image::of([base(), Tar::new().file("own", "x").end()]);
    let layout = place.0.path().join("derived");
    write(&derived.layout(), &layout);
    // The base's blob is not even there: a pull leaves out what it need not fetch.
    let blob = support::digest(&base());
    fs::remove_file(layout.join("blobs/sha256").join(blob.trim_start_matches("sha256:"))).unwrap();
    let incoming = place.store().incoming().unwrap();
    assert!(incoming.has_layer(sandkeep_image::Digest::parse(&blob).unwrap()));
    let source = Source::open(&layout).unwrap();
    let held = place.store().ready(&source, &source.image().unwrap(), || ()).unwrap();
    assert!(held.root.join("usr/7").exists() && held.root.join("own").exists());
    // Without the layer the blob is missed.
    drop((held, incoming));
    place.store().prune(|_| true).unwrap();
    let error = place.store().ready(&source, &source.image().unwrap(), || ()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ImageInvalid);
    assert!(place.layers().is_empty(), "{:?}", place.layers());
}

#[test]
fn a_layer_goes_with_the_last_image_that_has_it() {
    let place = Place::new();
    let one = place.unpack(&Image::of([base(), Tar::new().file("one", "1").end()])).id;
    let other = place.unpack(&Image::of([base(), Tar::new().file("other", "2").end()])).id;
    place.store().remove(one).unwrap();
    assert_eq!(place.layers().len(), 2);
    // Not while somebody pulls what may count on it.
    let incoming = place.store().incoming().unwrap();
    place.store().remove(other).unwrap();
    assert_eq!(place.layers().len(), 2);
    drop(incoming);
    assert!(place.layers().is_empty());
    assert_eq!(fs::read_dir(place.path().join("incoming")).unwrap().count(), 0);
}

#[test]
fn where_files_cannot_have_another_name_they_are_copied() {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
    if fs::metadata(here.path()).unwrap().dev() == fs::metadata(there.path()).unwrap().dev() {
        println!("SKIPPED where_files_cannot_have_another_name_they_are_copied: one file system for all");
        return;
    }
    let layer = Tar::new().file_as("a", "content", 0o640, 0).link("b", "a").end();
    unpack_unchecked(here.path(), there.path(), [&layer[..], &layer[..]], Limits::DEFAULT).unwrap();
    assert_eq!(fs::read_to_string(there.path().join("a")).unwrap(), "content");
    let meta = fs::metadata(there.path().join("a")).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.mtime(), meta.nlink()), (0o640, 1_700_000_000, 2));
}

#[test]
fn what_may_not_be_on_disk_counts_in_its_boot_only() {
    let place = Place::new();
    let image = Image::of([base()]);
    let held = place.unpack(&image);
    let record = place.layers()[0].join("layer.json");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let text = fs::read_to_string(&record).unwrap();
    assert!(text.contains(boot.trim()));
    place.store().keep(&held).unwrap();
    assert!(!fs::read_to_string(&record).unwrap().contains(boot.trim()), "kept with its image");
    fs::write(&record, text.replace(boot.trim(), "another boot")).unwrap();
    let before = inode(&place.layers()[0]);
    drop(place.unpack(&Image::of([base(), Tar::new().file("x", "x").end()])));
    let there: Vec<u64> = place.layers().iter().map(|path| inode(path)).collect();
    assert!(!there.contains(&before), "a layer of another boot was used");
}

// --- killed in the middle ---------------------------------------------------------------------------------------------

const CHILD: &str = "SANDKEEP_SHARING_CHILD";
const MANY: usize = 2_000;

/// What the killed process does: this same test program, told where.
#[test]
fn unpacks_when_told_to() {
    let Some(place) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let source = Source::open(&place.join("image.tar")).unwrap();
    let store = Store::open(&place.join("store")).unwrap();
    let _incoming = store.incoming().unwrap();
    let _held = store.ready(&source, &source.image().unwrap(), || ()).unwrap();
}

#[test]
fn a_kill_while_a_layer_is_taken_apart_leaves_what_is_swept() {
    let place = Place::new();
    let layer = (0..MANY).fold(Tar::new(), |tar, n| tar.file(&n.to_string(), "x")).end();
    let partial = place.path().join("partial").join(&support::digest(&layer)[7..]).join("files");
    fs::write(place.0.path().join("image.tar"), archive(&Image::of([layer]).saved())).unwrap();
    for round in 1_usize..4 {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "unpacks_when_told_to"]).env(CHILD, place.0.path());
        let mut killed = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let began = Instant::now();
        while !partial.join((round * MANY / 8).to_string()).exists() {
            assert!(began.elapsed() < Duration::from_secs(60), "it never came so far");
            std::thread::sleep(Duration::from_millis(1));
        }
        killed.kill().unwrap();
        killed.wait().unwrap();
        assert!(place.layers().is_empty(), "half a layer is there");
        assert_eq!(fs::read_dir(place.path().join("incoming")).unwrap().count(), 1);
    }
    place.store().prune(|_| false).unwrap();
    for part in ["partial", "incoming", "layers", "unpacked"] {
        assert_eq!(fs::read_dir(place.path().join(part)).unwrap().count(), 0, "{part}");
    }
}
