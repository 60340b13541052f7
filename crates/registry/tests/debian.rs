//! Pulls from Debian's `docker-registry`: plain, with passwords, with TLS, by tag and digest, through mirrors.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests fail like tests, and skips are told"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use sandkeep_core::code::ErrorCode;
use support::debian::{PASSWORD, Registry, USER, With};
use support::image::{Image, Tar};
use support::{Place, base, derived};

#[test]
fn an_image_is_pulled_and_shares_what_is_there() {
    let Some(registry) = Registry::start(With::default()) else { return };
    registry.push(&derived("one"), "team/one", "1");
    let pinned = registry.push(&derived("two"), "team/two", "latest");
    let place = Place::new();
    let name = |rest: &str| format!("{}/{rest}", registry.name);
    assert_eq!(place.ready(&name("team/one:1")), (2, 0));
    let root = |reference: &str| {
        let id = place.store().find(reference).unwrap().id;
        place.store().root_of(id)
    };
    assert_eq!(fs::read_to_string(root(&name("team/one:1")).join("usr/base")).unwrap(), "of the base\n");
    // Of the second only what the first has not. No tag is the tag `latest`.
    assert_eq!(place.ready(&name("team/two")), (1, 1));
    assert_eq!(fs::read_to_string(root(&name("team/two")).join("two")).unwrap(), "two");
    assert_eq!(place.ready(&name(&format!("team/two@{pinned}"))), (0, 2));
    assert_eq!(root(&name(&format!("team/two@{pinned}"))), root(&name("team/two:latest")));
    // A tag that moved is what it is now.
    registry.push(&derived("three"), "team/one", "1");
    assert_eq!(place.ready(&name("team/one:1")), (1, 1));
    assert!(root(&name("team/one:1")).join("three").exists());
}

#[test]
fn what_is_not_there_is_unknown() {
    let Some(registry) = Registry::start(With::default()) else { return };
    registry.push(&Image::of([base()]), "one", "1");
    let place = Place::new();
    for rest in ["two:1", "one:2", &format!("one@sha256:{}", "0".repeat(64))] {
        place.refused(&format!("{}/{rest}", registry.name), ErrorCode::ImageUnknown, "has no");
    }
    // A registry that is gone, and a name without an address.
    let gone = registry.name.clone();
    drop(registry);
    place.refused(&format!("{gone}/one:1"), ErrorCode::RegistryUnavailable, "cannot be reached");
    place.refused("registry.invalid/one:1", ErrorCode::RegistryUnavailable, "cannot be reached");
}

#[test]
fn passwords_are_shown_to_whom_they_are_for() {
    let Some(registry) = Registry::start(With { auth: true, ..With::default() }) else { return };
    registry.push(&derived("one"), "one", "1");
    let (place, name) = (Place::new(), format!("{}/one:1", registry.name));
    place.refused(&name, ErrorCode::RegistryDenied, "docker login 127.0.0.1");
    place.login("127.0.0.1:1", USER, PASSWORD);
    place.refused(&name, ErrorCode::RegistryDenied, "without credentials");
    place.login(&registry.name, USER, "wrong");
    place.refused(&name, ErrorCode::RegistryDenied, "does not accept");
    place.write(".docker/config.json", "{");
    place.refused(&name, ErrorCode::CredentialsUnusable, "config.json");
    place.write(".docker/config.json", r#"{"credsStore": "of-nobody"}"#);
    place.refused(&name, ErrorCode::CredentialsUnusable, "docker-credential-of-nobody cannot be run");
    place.write(".docker/config.json", r#"{"credsStore": "../../bin/sh"}"#);
    place.refused(&name, ErrorCode::CredentialsUnusable, "is not the name of a helper");
    place.login(&registry.name, USER, PASSWORD);
    assert_eq!(place.ready(&name), (2, 0));
}

const CHILD: &str = "SANDKEEP_REGISTRY_CHILD";

/// What [`a_helper_is_asked`] starts with another search path: this same test program.
#[test]
fn pulls_when_told_to() {
    let Ok(reference) = std::env::var(CHILD) else { return };
    let place = Place::new();
    place.write(".docker/config.json", r#"{"credHelpers": {"127.0.0.1:1": "no", "REGISTRY": "test"}}"#
        .replace("REGISTRY", reference.split_once('/').unwrap().0).as_str());
    assert_eq!(place.ready(&reference), (2, 0));
}

#[test]
fn a_helper_is_asked() {
    let Some(registry) = Registry::start(With { auth: true, ..With::default() }) else { return };
    registry.push(&derived("one"), "one", "1");
    let helpers = tempfile::tempdir().unwrap();
    let helper = helpers.path().join("docker-credential-test");
    let answer = format!(r#"{{"ServerURL":"x","Username":"{USER}","Secret":"{PASSWORD}"}}"#);
    let text =
        format!("#!/bin/sh\n[ \"$1\" = get ] && [ \"$(cat)\" = {} ] && echo '{answer}'\n", registry.name);
    fs::write(&helper, text).unwrap();
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", helpers.path().display(), std::env::var("PATH").unwrap());
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "pulls_when_told_to"]).env("PATH", path);
    assert!(child.env(CHILD, format!("{}/one:1", registry.name)).status().unwrap().success());
}

#[test]
fn certificates_are_looked_at() {
    let Some(registry) = Registry::start(With { tls: true, ..With::default() }) else { return };
    registry.push(&derived("one"), "one", "1");
    let (mut place, name) = (Place::new(), format!("{}/one:1", registry.name));
    place.registries(&format!("[registries.\"{}\"]\nplain_http = false", registry.name));
    place.refused(&name, ErrorCode::RegistryUnavailable, "ertificate");
    let ca = registry.certificate().display().to_string();
    place.registries(&format!("[registries.\"{}\"]\nca = \"{ca}\"", registry.name));
    assert_eq!(place.ready(&name), (2, 0));
    // The same for all registries.
    place.registries("");
    place.ca = Some(registry.certificate());
    assert_eq!(place.ready(&name), (0, 2));
    place.ca = Some("/nowhere.pem".into());
    assert_eq!(place.pull(&name).unwrap_err().code, ErrorCode::ConfigInvalid);
}

#[test]
fn mirrors_are_asked_first_and_not_believed() {
    let (Some(origin), Some(mirror)) = (Registry::start(With::default()), Registry::start(With::default()))
    else {
        return;
    };
    let image = derived("one");
    origin.push(&image, "one", "1");
    mirror.push(&image, "one", "1");
    let config = |mirrors: &str, more: &str| {
        format!("[registries.\"{}\"]\nmirrors = [{mirrors}]\n{more}", origin.name)
    };
    let name = format!("{}/one:1", origin.name);
    // What lacks a layer at its origin comes from the mirror.
    let mut files = Vec::new();
    image.manifest(&mut files);
    let layer = support::image::digest(&files[1].1);
    let good = fs::read(origin.blob_on_disk(&layer)).unwrap();
    fs::remove_file(origin.blob_on_disk(&layer)).unwrap();
    let place = Place::new();
    place.registries(&config(&format!("\"{}\"", mirror.name), ""));
    assert_eq!(place.ready(&name), (2, 0));
    assert!(place.told.lock().unwrap().is_empty());
    // A mirror that lies is told of, and passed over.
    fs::write(origin.blob_on_disk(&layer), &good).unwrap();
    let mut evil = good;
    evil[20] ^= 1;
    fs::write(mirror.blob_on_disk(&layer), &evil).unwrap();
    let place = Place::new();
    place.registries(&config(&format!("\"127.0.0.1:1\", \"{}\"", mirror.name), ""));
    assert_eq!(place.ready(&name), (2, 0));
    let told = place.told.lock().unwrap().join("\n");
    assert!(told.contains("127.0.0.1:1 cannot be reached") && told.contains("something else than"), "{told}");
    // What a tag means is asked of a mirror only when that is said.
    mirror.push(&Image::of([Tar::new().file("mirrored", "x").end()]), "one", "1");
    let place = Place::new();
    place.registries(&config(&format!("\"{}\"", mirror.name), "mirrors_resolve = true"));
    assert_eq!(place.ready(&name), (1, 0));
}
