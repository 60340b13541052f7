// What must hold for any bytes given as a layer of an image, or as an archive of images. Shared by the fuzz target and
// by the test that replays the corpus.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;

use sandkeep_image::limits::{DEPTH, Limits};
use sandkeep_image::{Error, Source, unpack_unchecked};

const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    file_bytes: 1 << 18,
    entries: 100,
    name_bytes: 1 << 16,
    ratio: 100,
    ratio_free_bytes: 1 << 20,
};
const PRECIOUS: &str = "of the host";

pub(crate) fn holds(data: &[u8]) {
    check(data);
    let summed = summed(data);
    if summed != data {
        check(&summed);
    }
}

/// The same with right checksums of headers, which changes at random hardly ever hit.
fn summed(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    let mut at = 0_usize;
    while let Some(header) =
        data.get_mut(at..at.saturating_add(512)).filter(|header| header.iter().any(|byte| *byte != 0))
    {
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let digits = String::from_utf8_lossy(&header[124..136]).into_owned();
        let size = usize::from_str_radix(digits.trim_matches(['\0', ' ']), 8).unwrap_or(0);
        at = at.saturating_add(512).saturating_add(size.next_multiple_of(512));
    }
    data
}

fn check(data: &[u8]) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let (root, kept, host) =
        (place.path().join("root"), place.path().join("kept"), place.path().join("host"));
    // Alone, and above itself: what it made is then of a lower layer.
    for layers in [&[data][..], &[data, data]] {
        fs::create_dir(&root).expect("a directory of our own");
        fs::create_dir(&kept).expect("a directory of our own");
        fs::write(&host, PRECIOUS).expect("a file of our own");
        if let Err(error) = unpack_unchecked(&kept, &root, layers.iter().copied(), LIMITS) {
            safe_to_show(&error);
        }
        assert_eq!(fs::read_to_string(&host).expect("our file is there"), PRECIOUS);
        assert_eq!(
            fs::read_dir(place.path()).expect("our directory").count(),
            3,
            "something was made outside"
        );
        harmless(&root, 0);
        harmless(&kept, 0);
        fs::remove_dir_all(&root).expect("what was made can be removed");
        fs::remove_dir_all(&kept).expect("what was kept can be removed");
    }
    archive(place.path(), data);
}

/// Reading an archive of images never panics, and never takes what is no image for one.
fn archive(place: &Path, data: &[u8]) {
    let path = place.join("image.tar");
    fs::write(&path, data).expect("a file of our own");
    match Source::open(&path).and_then(|source| source.images()) {
        Ok(images) => assert!(!images.is_empty()),
        Err(error) => safe_to_show(&error),
    }
}

fn safe_to_show(error: &Error) {
    let text = error.to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
    assert!(text.len() < 2_000, "{text:?}");
}

/// No device, no set-id program, nothing deep, and nothing that its owner cannot enter.
fn harmless(directory: &Path, depth: usize) {
    assert!(depth <= DEPTH, "{} is too deep", directory.display());
    for entry in fs::read_dir(directory).expect("it can be entered") {
        let entry = entry.expect("it can be listed");
        let (kind, meta) =
            (entry.file_type().expect("it has a type"), entry.metadata().expect("it has a mode"));
        assert!(!kind.is_char_device() && !kind.is_block_device() && !kind.is_fifo() && !kind.is_socket());
        assert!(kind.is_symlink() || meta.permissions().mode() & 0o6000 == 0, "{entry:?} has a set-id bit");
        assert!(!kind.is_file() || meta.len() <= LIMITS.file_bytes);
        if kind.is_dir() {
            harmless(&entry.path(), depth + 1);
        }
    }
}
