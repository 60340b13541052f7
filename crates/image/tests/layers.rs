//! What layers amount to: against examples, and against a model of what overlays show.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use proptest::prelude::*;
use sandkeep_image::limits::Limits;
use sandkeep_image::unpack_unchecked;
use support::Tar;
use tar::EntryType;

/// The tree below `root`: path to what is there.
fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let meta = path.symlink_metadata().unwrap();
            let what = if meta.is_dir() {
                waiting.push(path);
                "directory".to_owned()
            } else if meta.is_symlink() {
                format!("-> {}", fs::read_link(&path).unwrap().display())
            } else {
                format!("file {}", fs::read_to_string(&path).unwrap())
            };
            found.insert(name, what);
        }
    }
    found
}

fn unpacked(layers: &[Vec<u8>]) -> (tempfile::TempDir, BTreeMap<String, String>) {
    let (directory, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    unpack_unchecked(kept.path(), directory.path(), layers.iter().map(Vec::as_slice), Limits::DEFAULT)
        .unwrap();
    let tree = tree(directory.path());
    (directory, tree)
}

#[track_caller]
fn check(layers: &[Tar], expected: &[(&str, &str)]) {
    let layers: Vec<Vec<u8>> = layers.iter().map(|layer| layer.clone().end()).collect();
    let expected = expected.iter().map(|(path, what)| ((*path).to_owned(), (*what).to_owned())).collect();
    assert_eq!(unpacked(&layers).1, expected);
}

#[test]
fn whiteouts_hide_what_is_below_them() {
    let lower = || {
        Tar::new().dir("d").file("d/a", "1").file("d/b", "1").dir("d/e").file("d/e/f", "1").file("top", "1")
    };
    let all =
        [("d", "directory"), ("d/a", "file 1"), ("d/b", "file 1"), ("d/e", "directory"), ("d/e/f", "file 1")];
    check(&[lower(), Tar::new().file(".wh.top", "")], &all);
    check(&[lower(), Tar::new().file(".wh.d", "")], &[("top", "file 1")]);
    check(&[lower(), Tar::new().file("d/.wh..wh..opq", "")], &[("d", "directory"), ("top", "file 1")]);
    // What the same layer has stays, in whatever order.
    check(
        &[lower(), Tar::new().dir("d").file("d/.wh..wh..opq", "").file("d/n", "2")],
        &[("d", "directory"), ("d/n", "file 2"), ("top", "file 1")],
    );
    check(
        &[lower(), Tar::new().dir("d").file("d/n", "2").file("d/.wh..wh..opq", "")],
        &[("d", "directory"), ("d/n", "file 2"), ("top", "file 1")],
    );
    check(
        &[lower(), Tar::new().file("top", "2").file(".wh.top", "").file(".wh.d", "")],
        &[("top", "file 2")],
    );
    check(
        &[lower(), Tar::new().file(".wh.top", "").file("top", "2").file(".wh.d", "")],
        &[("top", "file 2")],
    );
    check(
        &[lower(), Tar::new().dir("d").dir("d/e").file("d/e/g", "2").file(".wh.d", "")],
        &[("d", "directory"), ("d/e", "directory"), ("d/e/g", "file 2"), ("top", "file 1")],
    );
    // And again by a layer above.
    check(
        &[lower(), Tar::new().file(".wh.d", ""), Tar::new().file("d/z", "3").file(".wh.top", "")],
        &[("d", "directory"), ("d/z", "file 3")],
    );
}

#[test]
fn whiteouts_of_nothing_hide_nothing() {
    let lower = || Tar::new().file("a", "1").symlink("l", "a");
    let all = [("a", "file 1"), ("l", "-> a")];
    check(&[lower(), Tar::new().file(".wh.b", "").file("x/.wh.a", "").file("x/.wh..wh..opq", "")], &all);
    check(&[lower(), Tar::new().file("a/.wh.b", "").file("a/.wh..wh..opq", "")], &all);
    check(&[lower(), Tar::new().file(".wh..wh.aufs", "").file(".wh..wh.plnk/9", "")], &all);
    check(&[lower(), Tar::new().file(".wh.l", "")], &all[..1]);
}

#[test]
fn what_comes_later_replaces_what_was_there() {
    let each = [
        (Tar::new().file("x", "1"), ("x", "file 1")),
        (Tar::new().symlink("x", "/etc"), ("x", "-> /etc")),
        (Tar::new().dir("x").file("x/y", "1"), ("x", "directory")),
    ];
    for (lower, _) in &each {
        for (upper, expected) in &each {
            let (directory, found) = unpacked(&[lower.clone().end(), upper.clone().end()]);
            assert_eq!(found["x"], expected.1);
            // The same within one layer.
            let both =
                [lower.clone().end()[..lower.clone().end().len() - 1024].to_vec(), upper.clone().end()]
                    .concat();
            assert_eq!(unpacked(&[both]).1, found);
            drop(directory);
        }
    }
    // Directories are merged.
    check(
        &[Tar::new().dir("d").file("d/a", "1"), Tar::new().dir("d").file("d/b", "2")],
        &[("d", "directory"), ("d/a", "file 1"), ("d/b", "file 2")],
    );
}

#[test]
fn links_of_lower_layers_are_directories() {
    let lower = || {
        Tar::new()
            .dir("usr")
            .dir("usr/lib")
            .file("usr/lib/a", "1")
            .symlink("lib", "usr/lib")
            .symlink("abs", "/usr/lib")
            .symlink("up", "../../../usr/lib")
    };
    let links = [
        ("abs", "-> /usr/lib"),
        ("lib", "-> usr/lib"),
        ("up", "-> ../../../usr/lib"),
        ("usr", "directory"),
        ("usr/lib", "directory"),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&links[..], more].concat();
    for through in ["lib", "abs", "up"] {
        check(
            &[lower(), Tar::new().file(&format!("{through}/b"), "2").dir(&format!("{through}/c"))],
            &with(&[("usr/lib/a", "file 1"), ("usr/lib/b", "file 2"), ("usr/lib/c", "directory")]),
        );
        check(&[lower(), Tar::new().file(&format!("{through}/.wh.a"), "")], &with(&[]));
        check(
            &[lower(), Tar::new().link("hard", &format!("{through}/a"))],
            &with(&[("hard", "file 1"), ("usr/lib/a", "file 1")]),
        );
        // A whiteout that is reached by another path than what the layer has made.
        check(
            &[lower(), Tar::new().file(&format!("{through}/b"), "2").file("usr/lib/.wh..wh..opq", "")],
            &with(&[("usr/lib/b", "file 2")]),
        );
    }
}

#[test]
fn names_may_be_long_and_paths_absolute() {
    let long = format!("{}/{}", "d".repeat(120), "n".repeat(200));
    let (_directory, found) = unpacked(&[Tar::new().file(&long, "1").symlink("l", &long).end()]);
    assert_eq!((found[&long].as_str(), found["l"].as_str()), ("file 1", format!("-> {long}").as_str()));
    let (_directory, found) = unpacked(&[Tar::new().pax(&[("path", b"from/pax")]).file("short", "1").end()]);
    assert_eq!(found["from/pax"], "file 1");
    check(
        &[Tar::new().file("/etc/x", "1").link("/y", "/etc/x")],
        &[("etc", "directory"), ("etc/x", "file 1"), ("y", "file 1")],
    );
}

#[test]
fn links_of_files_share_them() {
    let layer = Tar::new()
        .file("a", "1")
        .link("b", "a")
        .link("a", "b")
        .link("b", "./a")
        .symlink("s", "a")
        .link("t", "s");
    let (directory, found) = unpacked(&[layer.end()]);
    assert_eq!(found["t"], "-> a");
    let inode = |name: &str| directory.path().join(name).symlink_metadata().unwrap().ino();
    assert_eq!(inode("a"), inode("b"));
    assert_eq!(inode("s"), inode("t"));
    // And across layers.
    let (directory, _) = unpacked(&[Tar::new().file("a", "1").end(), Tar::new().link("b", "a").end()]);
    assert_eq!(directory.path().join("b").metadata().unwrap().nlink(), 2);
}

#[test]
fn modes_and_times_are_kept_and_set_id_bits_are_not() {
    let layer = Tar::new()
        .dir_as("tmp", 0o1777, 0)
        .dir_as("mail", 0o6775, 0)
        .file_as("su", "x", 0o4755, 0)
        .file_as("write", "x", 0o2755, 0)
        .file_as("secret", "x", 0o000, 0)
        .dir_as("closed", 0o000, 0)
        .file_as("closed/in", "x", 0o641, 0);
    let (directory, _) = unpacked(&[layer.end()]);
    let meta = |name: &str| directory.path().join(name).metadata().unwrap();
    let mode = |name: &str| meta(name).permissions().mode() & 0o7777;
    assert_eq!((mode("tmp"), mode("mail")), (0o1777, 0o775));
    assert_eq!((mode("su"), mode("write")), (0o755, 0o755));
    // Readable for whoever holds the store, and directories passable.
    assert_eq!((mode("secret"), mode("closed"), mode("closed/in")), (0o400, 0o700, 0o641));
    assert_eq!(meta("su").mtime(), 1_700_000_000);
}

#[test]
fn devices_are_left_out_with_what_they_replace() {
    let kinds = [EntryType::Char, EntryType::Block, EntryType::Fifo];
    for kind in kinds {
        check(
            &[Tar::new().file("a", "1").file("b", "1"), Tar::new().special(kind, "a").special(kind, "n/x")],
            &[("b", "file 1")],
        );
    }
}

// --- against a model --------------------------------------------------------------------------------------------------

/// A directory of one layer: what it has, what it hides of lower layers, and whether it hides everything.
#[derive(Debug, Clone, Default)]
struct Dir {
    has: BTreeMap<String, Node>,
    hides: BTreeSet<String>,
    opaque: bool,
}

#[derive(Debug, Clone)]
enum Node {
    File(u8),
    Link,
    Dir(Dir),
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just("c".to_owned())]
}

fn dir() -> impl Strategy<Value = Dir> {
    let leaf = || prop_oneof![any::<u8>().prop_map(Node::File), Just(Node::Link)];
    let parts = |node| {
        (
            proptest::collection::btree_map(name(), node, 0..3),
            proptest::collection::btree_set(name(), 0..2),
            prop::bool::weighted(0.2),
        )
    };
    let build = |(has, hides, opaque)| Dir { has, hides, opaque };
    let node = leaf().boxed().prop_recursive(3, 24, 3, move |node| {
        prop_oneof![leaf(), parts(node).prop_map(build).prop_map(Node::Dir)]
    });
    parts(node.boxed()).prop_map(build)
}

/// What an overlay of `upper` over `lower` shows; neither has anything hidden left.
fn merge(lower: Dir, upper: &Dir) -> Dir {
    let mut shown = if upper.opaque { BTreeMap::new() } else { lower.has };
    for name in &upper.hides {
        shown.remove(name);
    }
    for (name, node) in &upper.has {
        let merged = match (node, shown.remove(name)) {
            (Node::Dir(upper), Some(Node::Dir(lower))) => Node::Dir(merge(lower, upper)),
            (Node::Dir(upper), _) => Node::Dir(merge(Dir::default(), upper)),
            (other, _) => other.clone(),
        };
        shown.insert(name.clone(), merged);
    }
    Dir { has: shown, ..Dir::default() }
}

/// The directory as entries of a layer: directories before what is in them, whiteouts before or behind the rest.
fn entries(dir: &Dir, path: &str, whiteouts_first: bool, mut tar: Tar) -> Tar {
    let whiteouts = |mut tar: Tar| {
        for name in &dir.hides {
            tar = tar.file(&format!("{path}.wh.{name}"), "");
        }
        if dir.opaque { tar.file(&format!("{path}.wh..wh..opq"), "") } else { tar }
    };
    if whiteouts_first {
        tar = whiteouts(tar);
    }
    for (name, node) in &dir.has {
        let below = format!("{path}{name}");
        tar = match node {
            Node::File(content) => tar.file(&below, content.to_string()),
            Node::Link => tar.symlink(&below, "a"),
            Node::Dir(dir) => entries(dir, &format!("{below}/"), whiteouts_first, tar.dir(&below)),
        };
    }
    if whiteouts_first { tar } else { whiteouts(tar) }
}

fn shown(dir: &Dir, path: &str, into: &mut BTreeMap<String, String>) {
    for (name, node) in &dir.has {
        let below = format!("{path}{name}");
        let what = match node {
            Node::File(content) => format!("file {content}"),
            Node::Link => "-> a".to_owned(),
            Node::Dir(dir) => {
                shown(dir, &format!("{below}/"), into);
                "directory".to_owned()
            }
        };
        into.insert(below, what);
    }
}

proptest! {
    #[test]
    fn layers_show_what_an_overlay_of_them_shows(layers in proptest::collection::vec((dir(), any::<bool>()), 1..5)) {
        let mut expected = BTreeMap::new();
        let merged = layers.iter().fold(Dir::default(), |lower, (upper, _)| merge(lower, upper));
        shown(&merged, "", &mut expected);
        let archives: Vec<Vec<u8>> =
            layers.iter().map(|(dir, first)| entries(dir, "", *first, Tar::new()).end()).collect();
        prop_assert_eq!(unpacked(&archives).1, expected);
    }
}
