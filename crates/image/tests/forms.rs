//! The forms in which images come: each leads to the same image.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod support;

use std::fs;
use std::path::Path;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_image::{Source, Store};
use serde_json::json;
use support::{Image, Tar, archive, blob, gzip, write};

fn image() -> Image {
    let lower = Tar::new().dir("etc").file("etc/a", "lower").file("etc/gone", "x").end();
    let upper = Tar::new().file("etc/a", "upper").file("etc/.wh.gone", "").end();
    Image::of([lower, upper])
        .config(json!({"Env": ["A=1"], "Cmd": ["/bin/x"]}))
        .named("docker.io/library/thing:2")
}

#[track_caller]
fn check(path: &Path, expected: &Image) {
    let place = tempfile::tempdir().unwrap();
    let store = Store::open(&place.path().join("store")).unwrap();
    let source = Source::open(path).unwrap();
    let image = source.image().unwrap();
    assert_eq!(image.id.to_string(), expected.id());
    assert_eq!(image.names, ["thing:2"]);
    assert_eq!(image.config.argv(), ["/bin/x"]);
    let held = store.ready(&source, &image, || ()).unwrap();
    assert_eq!(held.config, image.config);
    assert_eq!(fs::read_to_string(held.root.join("etc/a")).unwrap(), "upper");
    assert!(!held.root.join("etc/gone").exists());
}

#[test]
fn every_form_leads_to_the_same_image() {
    let zstd =
        |bytes: &[u8]| ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest);
    for image in [image(), image().compressed(gzip), image().compressed(zstd)] {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        write(&image.layout(), &path("layout"));
        check(&path("layout"), &image);
        for (name, files) in
            [("oci.tar", image.layout()), ("old.tar", image.saved()), ("new.tar", image.saved_now())]
        {
            fs::write(path(name), archive(&files)).unwrap();
            check(&path(name), &image);
        }
    }
}

#[test]
fn archives_may_be_written_by_any_tar() {
    let image = image();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("image.tar");
    // Names from `.`, extended headers for times, and links for what is stored once.
    let mut tar = Tar::new().dir("./");
    for (name, bytes) in image.saved() {
        tar = tar.pax(&[("mtime", b"1.5")]);
        tar = if name.starts_with(&format!("{:064x}", 1)) {
            tar.file("./elsewhere/layer.tar", bytes).symlink(&format!("./{name}"), "../elsewhere/layer.tar")
        } else {
            tar.file(&format!("./{name}"), bytes)
        };
    }
    fs::write(&path, tar.end()).unwrap();
    check(&path, &image);
}

/// A layout of an index with these descriptors.
fn index(mut files: Vec<(String, Vec<u8>)>, manifests: &serde_json::Value) -> Vec<(String, Vec<u8>)> {
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    files.push(("index.json".to_owned(), serde_json::to_vec(&index).unwrap()));
    files
}

#[test]
fn of_many_platforms_this_one_is_taken() {
    let (ours, mut other) = (image(), image());
    other.architecture = "riscv64".to_owned();
    let mut files = Vec::new();
    let mut manifests = Vec::new();
    for image in [&other, &ours] {
        let mut manifest = image.manifest(&mut files);
        manifest["platform"] = json!({"os": "linux", "architecture": image.architecture});
        manifests.push(manifest);
    }
    // An attestation, whose manifest is not even there.
    manifests.push(json!({
        "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": support::digest(b"x"), "size": 1,
        "platform": {"os": "unknown", "architecture": "unknown"},
    }));
    // In an index in an index, as builders write it.
    let inner = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": manifests})).unwrap();
    let inner = blob(&mut files, "application/vnd.oci.image.index.v1+json", &inner);
    let place = tempfile::tempdir().unwrap();
    write(&index(files, &json!([inner])), place.path());
    check(place.path(), &ours);
}

#[track_caller]
fn refused(files: &[(String, Vec<u8>)], code: ErrorCode, words: &str) {
    let place = tempfile::tempdir().unwrap();
    write(files, place.path());
    let source = Source::open(place.path()).unwrap();
    let problem = Problem::from(source.image().expect_err(words));
    assert_eq!(problem.code, code, "{problem}");
    assert!(problem.to_string().contains(words), "{problem}");
}

#[test]
fn what_is_not_for_this_host_is_said_to_be() {
    let mut other = image();
    other.architecture = "riscv64".to_owned();
    refused(&other.layout(), ErrorCode::ImageUnsupported, "is for linux/riscv64");
    let mut files = Vec::new();
    let mut manifest = other.manifest(&mut files);
    manifest["platform"] = json!({"os": "linux", "architecture": "riscv64"});
    refused(&index(files, &json!([manifest])), ErrorCode::ImageUnsupported, "is for linux/riscv64");
}

#[test]
fn of_several_images_one_has_to_be_named() {
    let (one, two) = (image(), image().config(json!({})).named("other:1"));
    let mut files = Vec::new();
    let manifests = [one.manifest(&mut files), two.manifest(&mut files)];
    let files = index(files, &json!(manifests));
    refused(&files, ErrorCode::ImageUnsupported, "holds 2 images");
    // The same image twice is one, with both names.
    let mut files = Vec::new();
    let manifests = [one.manifest(&mut files), image().named("again:1").manifest(&mut files)];
    let place = tempfile::tempdir().unwrap();
    write(&index(files, &json!(manifests)), place.path());
    assert_eq!(Source::open(place.path()).unwrap().image().unwrap().names, ["thing:2", "again:1"]);
}

#[test]
fn what_cannot_be_read_is_named() {
    let typed = |media_type: &str| {
        let mut image = image();
        image.media_type = media_type.to_owned();
        image.layout()
    };
    let foreign = [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
    ];
    for media_type in foreign {
        refused(&typed(media_type), ErrorCode::ImageUnsupported, "fetched from elsewhere");
    }
    let unknown = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
    refused(&typed(unknown), ErrorCode::ImageUnsupported, "unknown media type");
    // More layers than the configuration has, and fewer.
    let image = image();
    let mut files = image.layout();
    let manifest = files.iter().position(|(_, bytes)| bytes.starts_with(br#"{"config""#)).unwrap();
    let mut said: serde_json::Value = serde_json::from_slice(&files[manifest].1).unwrap();
    said["layers"].as_array_mut().unwrap().pop();
    let mut changed = Vec::new();
    let descriptor =
        blob(&mut changed, "application/vnd.oci.image.manifest.v1+json", &serde_json::to_vec(&said).unwrap());
    files.pop();
    files.extend(changed);
    refused(&index(files, &json!([descriptor])), ErrorCode::ImageInvalid, "has 1 layers");
}

#[test]
fn indexes_are_not_followed_for_ever() {
    let mut files = Vec::new();
    let mut descriptor = json!({"mediaType": "x", "digest": support::digest(b""), "size": 0});
    for _ in 0..8 {
        let index = serde_json::to_vec(&json!({"manifests": [descriptor]})).unwrap();
        descriptor = blob(&mut files, "application/vnd.oci.image.index.v1+json", &index);
    }
    refused(&index(files, &json!([descriptor])), ErrorCode::ImageTooLarge, "indexes in indexes");
    let many = vec![json!({"mediaType": "x", "digest": support::digest(b""), "size": 0}); 2_000];
    refused(&index(Vec::new(), &json!(many)), ErrorCode::ImageTooLarge, "manifests");
}
