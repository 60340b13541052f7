//! Layers and archives that were made to do harm: each is refused by name, and nothing of it is left, inside the store
//! or outside.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests fail like tests")]

mod support;

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use sandkeep_core::code::ErrorCode;
use sandkeep_image::limits::{self, Limits};
use sandkeep_image::{Error, Source, Store};
use support::{Image, Tar, archive, gzip};
use tar::EntryType;

/// A store beside something that must stay as it is.
struct Place {
    directory: tempfile::TempDir,
}

const PRECIOUS: &str = "of the host\n";

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("host")).unwrap();
        fs::write(directory.path().join("host/file"), PRECIOUS).unwrap();
        fs::set_permissions(directory.path().join("host/file"), fs::Permissions::from_mode(0o600)).unwrap();
        Self { directory }
    }

    fn store(&self, limits: Limits) -> Store {
        Store::with_limits(&self.directory.path().join("store"), limits).unwrap()
    }

    fn host(&self) -> String {
        self.directory.path().join("host").to_str().unwrap().to_owned()
    }

    /// Puts the image of these files into the store, as the command does.
    fn import(&self, files: &[(String, Vec<u8>)], limits: Limits) -> Result<PathBuf, Error> {
        let path = self.directory.path().join("image.tar");
        fs::write(&path, archive(files)).unwrap();
        let source = Source::open(&path)?;
        let held = self.store(limits).ready(&source, &source.image()?, || ())?;
        Ok(held.root)
    }

    #[track_caller]
    fn assert_untouched(&self) {
        let host = self.directory.path().join("host");
        assert_eq!(fs::read_to_string(host.join("file")).unwrap(), PRECIOUS);
        assert_eq!(fs::metadata(host.join("file")).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(&host).unwrap().count(), 1, "something was made on the host");
        let top: Vec<_> =
            fs::read_dir(self.directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(top.iter().all(|name| name == "host" || name == "store" || name == "image.tar"), "{top:?}");
    }

    #[track_caller]
    fn assert_empty(&self) {
        for part in ["unpacked", "partial", "layers", "incoming"] {
            let left =
                fs::read_dir(self.directory.path().join("store").join(part)).map_or(0, Iterator::count);
            assert_eq!(left, 0, "something is left in {part}");
        }
    }
}

#[track_caller]
fn refused(layers: Vec<Vec<u8>>, limits: Limits, code: ErrorCode, words: &str) {
    let place = Place::new();
    let error = place.import(&Image::of(layers).layout(), limits).expect_err(words);
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(words), "{error}: does not say `{words}`");
    assert!(!error.to_string().chars().any(char::is_control), "{error:?}: not safe to show");
    place.assert_untouched();
    place.assert_empty();
}

#[track_caller]
fn invalid(layer: Tar, words: &str) {
    refused(vec![layer.end()], Limits::DEFAULT, ErrorCode::ImageInvalid, words);
}

fn named(name: &[u8]) -> Tar {
    Tar::new().raw(&Tar::header(EntryType::Regular, name, b"", 0), b"")
}

#[test]
fn paths_that_lead_out_are_refused() {
    for path in [&b"../host/file"[..], b"a/../../host/file", b"/../host/file", b"a/..", b"..", b"./../x"] {
        invalid(named(path), "leads upwards");
    }
    invalid(Tar::new().pax(&[("path", b"../host/file")]).file("x", "1"), "leads upwards");
    invalid(Tar::new().file(&format!("{}/../../x", "d".repeat(120)), "1"), "leads upwards");
    invalid(Tar::new().link("x", "../host/file"), "leads upwards");
    invalid(Tar::new().pax(&[("linkpath", b"../host/file")]).link("x", "y"), "leads upwards");
    invalid(Tar::new().pax(&[("path", b"a\0b")]).file("x", "1"), "NUL");
    invalid(Tar::new().pax(&[("linkpath", b"a\0b")]).symlink("x", "y"), "a link that cannot be");
    invalid(named(b"\x1b]0;owned\x07/.."), "leads upwards");
}

#[test]
fn links_lead_nowhere_but_into_the_image() {
    let place = Place::new();
    let host = place.host();
    let tries = [
        // Through a link that the layer itself brings.
        Tar::new().symlink("l", &host).file("l/file", "evil").file("l/new", "evil"),
        Tar::new().symlink("l", "../../../../../../..").file(&format!("l{host}/file"), "evil"),
        Tar::new().symlink("a", "/").symlink("a/b", &host).file("a/b/file", "evil"),
        // Over a link: what is written replaces it.
        Tar::new().symlink("l", &format!("{host}/file")).file("l", "evil"),
        Tar::new().symlink("l", &host).dir("l").file("l/file", "evil"),
        Tar::new().symlink("l", &format!("{host}/file")).link("h", "l").file("h", "evil"),
        // Hiding through a link.
        Tar::new().symlink("l", &host).dir(&host[1..]).file("l/.wh.file", "").file("l/.wh..wh..opq", ""),
        Tar::new().symlink("l", &host).dir(&host[1..]).dir("l/file"),
    ];
    for layer in tries {
        // As one layer, and with everything below another.
        for layers in [vec![layer.clone().end()], vec![layer.clone().end(), layer.clone().end()]] {
            match place.import(&Image::of(layers).layout(), Limits::DEFAULT) {
                Ok(root) => assert!(root.starts_with(place.directory.path().join("store"))),
                Err(error) => assert_eq!(error.code(), ErrorCode::ImageInvalid, "{error}"),
            }
            place.assert_untouched();
        }
    }
}

#[test]
fn links_that_cannot_be_are_refused() {
    let place = Place::new();
    let host = place.host();
    invalid(Tar::new().link("h", &format!("{host}/file")), "is not there");
    invalid(Tar::new().symlink("l", &host).link("h", "l/file"), "is not there");
    invalid(Tar::new().link("h", "missing"), "is not there");
    invalid(Tar::new().dir("d").link("h", "d"), "is a directory");
    invalid(Tar::new().link("h", "/"), "is the root");
    invalid(Tar::new().link("h", ""), "a link to nothing");
    invalid(Tar::new().symlink("h", ""), "a link to nothing");
    invalid(Tar::new().symlink("l", "missing").file("l/x", "1"), "leads nowhere");
    invalid(Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", "1"), "leads in circles");
    invalid(Tar::new().file("f", "1").file("f/x", "1"), "no directory");
    invalid(Tar::new().dir("d").file("d/f", "1").link("d", "d/f"), "is not there");
}

#[test]
fn whiteouts_that_cannot_be_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh.", "a/.wh.."] {
        invalid(Tar::new().file(name, ""), "hides nothing");
    }
    invalid(Tar::new().file(".wh.a/b", ""), "lies in what it hides");
}

#[test]
fn no_device_and_no_set_id_program_is_made() {
    let place = Place::new();
    let mut device = Tar::header(EntryType::Char, b"mem", b"", 0);
    device.set_device_major(1).unwrap();
    device.set_device_minor(1).unwrap();
    device.set_cksum();
    let layer = Tar::new()
        .raw(&device, b"")
        .special(EntryType::Block, "disk")
        .special(EntryType::Char, "whiteout")
        .special(EntryType::Fifo, "pipe")
        .file_as("su", "x", 0o6755, 0)
        .dir_as("d", 0o6777, 0)
        .pax(&[
            ("SCHILY.xattr.security.capability", b"\x01\0\0\x02\xff\n\xff\xff"),
            ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ])
        .program("capable", "x");
    let root = place.import(&Image::of([layer.end()]).layout(), Limits::DEFAULT).unwrap();
    let mut names = Vec::new();
    for entry in fs::read_dir(&root).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        assert!(!kind.is_char_device() && !kind.is_block_device() && !kind.is_fifo(), "{entry:?}");
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o6000, 0, "{entry:?}");
        let attributes = rustix::fs::llistxattr(entry.path(), &mut [0_u8; 512][..]).unwrap();
        assert_eq!(attributes, 0, "{entry:?} has extended attributes");
        names.push(entry.file_name().into_string().unwrap());
    }
    names.sort();
    assert_eq!(names, ["capable", "d", "su"]);
    let stored = &place.store(Limits::DEFAULT).list().unwrap()[0];
    assert_eq!((stored.left_out, stored.entries), (4, 7));
}

#[test]
fn amounts_are_bounded() {
    let large = |limits, layer: Tar, words: &str| {
        refused(vec![layer.end()], limits, ErrorCode::ImageTooLarge, words);
    };
    let small =
        Limits { bytes: 100_000, file_bytes: 50_000, entries: 20, name_bytes: 200, ..Limits::DEFAULT };
    large(small, Tar::new().file("f", vec![0; 50_001]), "file of 50001 bytes");
    large(small, Tar::new().file("a", vec![0; 50_000]).file("b", vec![0; 50_000]), "bytes of disk");
    large(small, (0..21).fold(Tar::new(), |tar, n| tar.dir(&format!("{n}"))), "too many files");
    large(small, (0..21).fold(Tar::new(), |tar, _| tar.dir("d")), "too many files");
    large(small, (0..21).fold(Tar::new(), |tar, n| tar.file(&format!(".wh.{n}"), "")), "too many files");
    large(
        small,
        (0..5).fold(Tar::new(), |tar, n| tar.dir(&format!("{n}{}", "x".repeat(90)))),
        "bytes of names",
    );
    // Bounds are of all layers together, and what was hidden again counts.
    let layers =
        vec![Tar::new().file("a", vec![0; 50_000]).end(), Tar::new().file("a", vec![0; 50_000]).end()];
    refused(layers, small, ErrorCode::ImageTooLarge, "bytes of disk");
    let many = vec![Tar::new().end(); limits::LAYERS + 1];
    refused(many, Limits::DEFAULT, ErrorCode::ImageTooLarge, "layers");
}

#[test]
fn a_file_that_claims_to_be_huge_is_refused_before_it_is_written() {
    let header = Tar::header(EntryType::Regular, b"huge", b"", u64::MAX / 2);
    refused(
        vec![Tar::new().raw(&header, b"").end()],
        Limits::DEFAULT,
        ErrorCode::ImageTooLarge,
        "has a file of",
    );
    let header = Tar::header(EntryType::GNULongName, b"L", b"", 2 << 30);
    refused(
        vec![Tar::new().raw(&header, b"x").end()],
        Limits::DEFAULT,
        ErrorCode::ImageTooLarge,
        "extended header of",
    );
    let header = Tar::header(EntryType::XHeader, b"x", b"", u64::MAX);
    let layer = vec![Tar::new().raw(&header, b"x").end()];
    let place = Place::new();
    let error = place.import(&Image::of(layer).layout(), Limits::DEFAULT).unwrap_err();
    assert!(matches!(error.code(), ErrorCode::ImageTooLarge | ErrorCode::ImageInvalid), "{error}");
    place.assert_empty();
}

#[test]
fn what_grows_out_of_proportion_is_refused() {
    let limits = Limits { ratio: 100, ratio_free_bytes: 1 << 20, ..Limits::DEFAULT };
    let bomb = Tar::new().file("zeros", vec![0; 8 << 20]).end();
    let zstd =
        |bytes: &[u8]| ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest);
    for how in [&gzip as &dyn Fn(&[u8]) -> Vec<u8>, &zstd] {
        let place = Place::new();
        let image = Image::of([bomb.clone()]).compressed(how);
        let error = place.import(&image.layout(), limits).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ImageTooLarge, "{error}");
        place.assert_empty();
        // Within what is free of the ratio it is a file of zeros.
        place.import(&image.layout(), Limits { ratio_free_bytes: 16 << 20, ..limits }).unwrap();
    }
}

#[test]
fn depth_is_bounded_also_through_links() {
    let deep = "d/".repeat(limits::DEPTH);
    let place = Place::new();
    place.import(&Image::of([Tar::new().dir(&deep).end()]).layout(), Limits::DEFAULT).unwrap();
    invalid(Tar::new().dir(&format!("{deep}d")), "is too deep");
    // A link at the bottom makes a short path of a long one.
    let bottom = "d/".repeat(limits::DEPTH - 1);
    let layer = Tar::new().dir(&bottom).symlink("short", &bottom).dir("short/1").dir("short/1/2");
    invalid(layer, "is too deep");
}

#[test]
fn ambiguous_archives_are_refused() {
    // Another reader heeds the other of the two sizes and sees what is hidden here.
    let hidden = Tar::new().file("hidden", "evil").end();
    invalid(Tar::new().pax(&[("size", b"0")]).file("cover", &hidden), "has two sizes");
    invalid(Tar::new().pax(&[("size", b"4096")]).file("cover", "1"), "has two sizes");
    invalid(Tar::new().pax(&[("comment", b"a\nb"), ("size", b"0")]).file("cover", &hidden), "has two sizes");
    for kind in [EntryType::Directory, EntryType::Symlink, EntryType::Link, EntryType::Char, EntryType::Fifo]
    {
        let header = Tar::header(kind, b"x", b"y", 512);
        invalid(Tar::new().file("y", "").raw(&header, &[0; 512]), "is no file and has contents");
    }
    invalid(Tar::new().pax(&[("path", b"a")]).pax(&[("path", b"b")]).file("x", "1"), "two extended headers");
    let long = Tar::header(EntryType::GNULongName, b"L", b"", 2);
    invalid(Tar::new().raw(&long, b"a\0").raw(&long, b"b\0").file("x", "1"), "two extended headers");
    invalid(Tar::new().pax(&[("path", b"a")]), "ends after an extended header");
    let broken = Tar::header(EntryType::XHeader, b"x", b"", 9);
    invalid(Tar::new().raw(&broken, b"8 path=a\n").file("x", "1"), "a broken extended header");
    let unknown = Tar::header(EntryType::new(b'V'), b"label", b"", 0);
    invalid(Tar::new().raw(&unknown, b""), "unknown type");
    let mut summed = Tar::header(EntryType::Regular, b"x", b"", 0);
    summed.as_mut_bytes()[150] ^= 1;
    invalid(Tar::new().raw(&summed, b""), "is damaged");
    let mut mode = Tar::header(EntryType::Regular, b"x", b"", 0);
    mode.as_old_mut().mode = *b"notoctal";
    mode.set_cksum();
    invalid(Tar::new().raw(&mode, b""), "a mode that is none");
}

#[test]
fn sparse_files_are_refused() {
    let header = Tar::header(EntryType::GNUSparse, b"x", b"", 0);
    let layers = vec![Tar::new().raw(&header, b"").end()];
    refused(layers, Limits::DEFAULT, ErrorCode::ImageUnsupported, "sparse");
    let layers = vec![
        Tar::new().pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.name", b"../x")]).file("x", "1").end(),
    ];
    refused(layers, Limits::DEFAULT, ErrorCode::ImageUnsupported, "sparse");
}

#[test]
fn damaged_layers_are_refused() {
    let plain = Tar::new().file("a", vec![7; 5_000]).file("b", "2").end();
    let zipped = gzip(&plain);
    let check = |stored: &[u8], words: &str| {
        // In a layout the manifest says what is stored; in an archive of Docker only the plain form is named.
        for files in [
            Image::of([plain.clone()]).stored_as(0, stored.to_vec()).layout(),
            Image::of([plain.clone()]).stored_as(0, stored.to_vec()).saved(),
        ] {
            let place = Place::new();
            let error = place.import(&files, Limits::DEFAULT).expect_err(words);
            assert_eq!(error.code(), ErrorCode::ImageInvalid, "{error}");
            place.assert_empty();
        }
    };
    for cut in [0, 1, 300, 512, 2_000, 6_000, plain.len() - 1] {
        check(&plain[..cut], "cut plain");
    }
    for cut in [1, 5, 20, zipped.len() / 2, zipped.len() - 1] {
        check(&zipped[..cut], "cut gzip");
    }
    let mut flipped = zipped.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    check(&flipped, "flipped gzip");
    check(&[&zipped[..], b"garbage behind"].concat(), "garbage behind gzip");
    check(&[&plain[..], b"more"].concat(), "more behind the end");
    check(b"\x28\xb5\x2f\xfd\xff\xff", "broken zstd");
    check(b"not a tar at all", "no tar");
}

#[test]
fn blobs_that_are_not_what_they_are_named_are_refused() {
    let image = || Image::of([Tar::new().file("a", "1").end()]).compressed(gzip);
    let files = image().layout();
    for (number, (name, bytes)) in files.iter().enumerate().filter(|(_, (name, _))| name.starts_with("blobs"))
    {
        let mut changed = files.clone();
        changed[number].1 = [&bytes[..], b" "].concat();
        let place = Place::new();
        let error = place.import(&changed, Limits::DEFAULT).expect_err(name);
        assert_eq!(error.code(), ErrorCode::ImageInvalid, "{error}");
        place.assert_empty();
        let mut absent = files.clone();
        absent.remove(number);
        let error = place.import(&absent, Limits::DEFAULT).expect_err(name);
        assert!(error.to_string().contains("lacks its file"), "{error}");
    }
    // The same bytes under another name of their size: the digest of what is stored is checked too.
    let other = Image::of([Tar::new().file("a", "2").end()]).compressed(gzip);
    let mut files = image().layout();
    let (layer, others) =
        (files.iter().position(|(name, _)| name.starts_with("blobs")).unwrap(), other.layout());
    files[layer].1 = others[layer].1.clone();
    let error = Place::new().import(&files, Limits::DEFAULT).unwrap_err();
    assert!(error.to_string().contains("digest"), "{error}");
}

#[test]
fn what_is_no_image_is_refused() {
    let place = Place::new();
    let open = |bytes: &[u8]| {
        let path = place.directory.path().join("image.tar");
        fs::write(&path, bytes).unwrap();
        Source::open(&path).and_then(|source| source.images()).unwrap_err()
    };
    let code = |bytes: &[u8]| open(bytes).code();
    assert_eq!(code(b""), ErrorCode::ImageInvalid);
    assert_eq!(code(b"text"), ErrorCode::ImageInvalid);
    assert_eq!(code(&Tar::new().file("x", "1").end()), ErrorCode::ImageInvalid);
    for manifest in
        ["[]", "{}", "[{}]", "null", "[", r#"[{"Config":"../../../../etc/hostname"}]"#, r#"[{"Config":"x"}]"#]
    {
        assert_eq!(
            code(&Tar::new().file("manifest.json", manifest).end()),
            ErrorCode::ImageInvalid,
            "{manifest}"
        );
    }
    for index in [
        "{",
        r#"{"manifests":[]}"#,
        r#"{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:../../x","size":1}]}"#,
    ] {
        assert_eq!(code(&Tar::new().file("index.json", index).end()), ErrorCode::ImageInvalid, "{index}");
    }
    // Compressed as a whole.
    let image = archive(&Image::of([Tar::new().end()]).layout());
    let error = open(&gzip(&image));
    assert_eq!(error.code(), ErrorCode::ImageUnsupported);
    assert!(sandkeep_core::code::Problem::from(error).to_string().contains("gunzip"));
    // Cut within a layer that it holds.
    let image = archive(&Image::of([Tar::new().file("a", vec![1; 9_000]).end()]).layout());
    assert_eq!(code(&image[..4_000]), ErrorCode::ImageInvalid);
    let many = (0..=limits::ARCHIVE_ENTRIES).fold(Tar::new(), |tar, n| tar.file(&format!("{n}"), ""));
    assert_eq!(code(&many.end()), ErrorCode::ImageTooLarge);
    let large = vec![b' '; usize::try_from(limits::DOCUMENT_BYTES).unwrap() + 1];
    assert_eq!(code(&Tar::new().file("manifest.json", large).end()), ErrorCode::ImageTooLarge);
    place.assert_untouched();
}

#[test]
fn a_layout_that_points_elsewhere_says_nothing_of_it() {
    let place = Place::new();
    let layout = place.directory.path().join("store");
    fs::create_dir(&layout).unwrap();
    symlink(Path::new("../host/file"), layout.join("index.json")).unwrap();
    let error = Source::open(&layout).unwrap().images().unwrap_err();
    assert_eq!(error.code(), ErrorCode::ImageInvalid);
    assert!(!error.to_string().contains("of the host"), "{error}");
    // A FIFO must not make us wait.
    fs::remove_file(layout.join("index.json")).unwrap();
    let fifo = rustix::fs::mknodat(
        rustix::fs::CWD,
        layout.join("index.json"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    );
    fifo.unwrap();
    assert_eq!(Source::open(&layout).unwrap().images().unwrap_err().code(), ErrorCode::ImageInvalid);
    assert_eq!(Source::open(&layout.join("index.json")).unwrap_err().code(), ErrorCode::ImageInvalid);
    assert_eq!(Source::open(&layout.join("absent")).unwrap_err().code(), ErrorCode::FileUnreadable);
}
