//! A layer as a file system in a file, where we are root: its size is the disk limit, and the kernel keeps it.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::io::Errno;
use sandkeep_core::code::chain;
use sandkeep_protocol::supervisor as proto;
use sandkeep_sandbox::ext4::{self, Superblock};

use super::place::{IMAGE, Place, UNDO, wait_for_lock};
use super::record::{Kind, Record, State};
use super::{in_use, unusable};
use crate::supervisor::boot::{Problem, problem};

/// Makes a fresh image within `limits`.
///
/// # Errors
/// `limit_out_of_range`, `layer_tools_missing`, `layer_unusable`.
pub(super) fn make(place: &Place, limits: &proto::SandboxLimits) -> Result<(), Problem> {
    let _left = fs::remove_file(place.at(IMAGE));
    let made = ext4::make(&place.at(IMAGE), limits.disk_bytes, inodes(limits), &place.lock);
    made.map_err(|error| failed(place, &error))
}

/// Whether `limits` are such as an image can have.
///
/// # Errors
/// `limit_out_of_range`.
pub(super) fn check(limits: &proto::SandboxLimits) -> Result<(), Problem> {
    if limits.disk_bytes < ext4::LEAST_BYTES {
        let least = format!("{} bytes or more", ext4::LEAST_BYTES);
        return Err(out_of_range("disk", limits.disk_bytes, "is too little for a layer that is kept", least));
    }
    let least = *ext4::inodes(limits.disk_bytes).start();
    if limits.inodes < least {
        let why = "is less than a file system of this size has";
        return Err(out_of_range("inodes", limits.inodes, why, format!("{least} or more")));
    }
    Ok(())
}

/// Opens the image and brings it to `limits`; gives a mount that nobody but its descriptor holds.
///
/// # Errors
/// `layer_in_use`, `layer_damaged`, `limit_out_of_range` for limits that it cannot be brought to, `layer_unusable`.
pub(super) fn mount(place: &Place, limits: &proto::SandboxLimits, kind: &Kind) -> Result<OwnedFd, Problem> {
    let Kind::Image { disk_bytes, inodes: asked } = kind else { unreachable!("only called for images") };
    let path = place.at(IMAGE);
    let image = File::options().read(true).write(true).open(&path).map_err(|error| damaged(place, &error))?;
    match wait_for_lock(&image, UNMOUNT_LOOKS) {
        Ok(true) => {}
        Ok(false) => return Err(in_use(&place.path)),
        Err(errno) => return Err(unusable(&place.path, &errno)),
    }
    settle(&image, place)?;
    let size = take_back_length(&image, place, *disk_bytes)?;
    // What was asked for before stays askable, whatever the file system made of it.
    if size != *disk_bytes || (limits.disk_bytes, limits.inodes) != (size, *asked) {
        fit(size, Superblock::read(&image, &path).map_err(|error| failed(place, &error))?, limits)?;
        // Not only when more is asked for: it may have been interrupted just after the file had become larger.
        ext4::grow(&path, limits.disk_bytes, &place.at(UNDO), &place.lock)
            .map_err(|error| failed(place, &error))?;
        let kind = Kind::Image { disk_bytes: limits.disk_bytes, inodes: limits.inodes };
        place.write(&Record { state: State::Made, kind })?;
    }
    mount_or_mend(&image, place)
}

/// Ten seconds: the kernel keeps the lock until the loop device is free, and what is unmounted is written out first.
const UNMOUNT_LOOKS: u32 = 5_000;

/// Finishes what was interrupted, mends what is known to be wrong.
fn settle(image: &File, place: &Place) -> Result<(), Problem> {
    let (path, undo) = (place.at(IMAGE), place.at(UNDO));
    let settled = if undo.exists() {
        ext4::take_back(&path, &undo, &place.lock)
    } else if Superblock::read(image, &path).map_err(|error| failed(place, &error))?.has_errors {
        ext4::mend(&path, &place.lock)
    } else {
        Ok(())
    };
    settled.map_err(|error| failed(place, &error))
}

/// The image's size. A growth that ended before the file system had become larger (no room on the host, a kill) may have
/// left a larger file: that goes back to the `recorded` size, or the limits it was used with would be refused for good.
fn take_back_length(image: &File, place: &Place, recorded: u64) -> Result<u64, Problem> {
    let size = image.metadata().map_err(|error| unusable(&place.path, &error))?.len();
    if size <= recorded {
        return Ok(size);
    }
    let has = Superblock::read(image, &place.at(IMAGE)).map_err(|error| failed(place, &error))?;
    if has.size_bytes > recorded {
        return Ok(size);
    }
    image.set_len(recorded).map_err(|error| unusable(&place.path, &error))?;
    Ok(recorded)
}

/// Whether an image of `size` bytes can be brought to `limits`. It is never made smaller. Its inodes grow with it, in
/// whole groups, and take nothing but its own room: so they need only be about what was asked for.
fn fit(size: u64, has: Superblock, limits: &proto::SandboxLimits) -> Result<(), Problem> {
    if limits.disk_bytes < size {
        let least = format!("{size} or more: the layer has that, and cannot be made smaller");
        return Err(out_of_range("disk", limits.disk_bytes, "is less than the layer has", least));
    }
    let will_have = has.inodes_at(limits.disk_bytes);
    if (will_have / 2..=will_have * 2).contains(&inodes(limits)) {
        return Ok(());
    }
    let why = "does not go with the disk: a layer keeps the ratio it was made with";
    Err(out_of_range("inodes", limits.inodes, why, format!("about {will_have}")))
}

/// As many as were asked for, but no more than there are blocks to put files in.
fn inodes(limits: &proto::SandboxLimits) -> u64 {
    limits.inodes.min(*ext4::inodes(limits.disk_bytes).end())
}

fn mount_or_mend(image: &File, place: &Place) -> Result<OwnedFd, Problem> {
    match ext4::mount(image) {
        // No authority, or no ext4 in this kernel: nothing is wrong with the image.
        Err(error @ ext4::Error::Mount(Errno::PERM | Errno::ACCESS | Errno::NODEV)) => {
            Err(unusable(&place.path, &chain(&error)))
        }
        Err(ext4::Error::Mount(_)) => {
            ext4::mend(&place.at(IMAGE), &place.lock).map_err(|error| failed(place, &error))?;
            ext4::mount(image).map_err(|error| damaged(place, &chain(&error)))
        }
        mounted => mounted.map_err(|error| failed(place, &error)),
    }
}

fn failed(place: &Place, error: &ext4::Error) -> Problem {
    match error {
        ext4::Error::Missing(tool) => {
            let text = format!("{tool} is not installed, and layers of root's sandboxes are made with it");
            let mut problem = problem("layer_tools_missing", text);
            problem.expected = Some("apt-get install e2fsprogs".to_owned());
            problem
        }
        ext4::Error::Tool { tool: "e2fsck", .. } => damaged(place, &chain(error)),
        ext4::Error::File { source, .. } if source.kind() == io::ErrorKind::InvalidData => {
            damaged(place, &"it is no ext4 file system")
        }
        ext4::Error::File { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof => {
            damaged(place, &"it is cut short")
        }
        ext4::Error::Loop(_) => {
            let mut problem = unusable(&place.path, &chain(error));
            problem.expected = Some("modprobe loop, or give the container /dev/loop-control".to_owned());
            problem
        }
        ext4::Error::Tool { .. } | ext4::Error::Mount(_) | ext4::Error::File { .. } => {
            unusable(&place.path, &chain(error))
        }
    }
}

/// The image cannot be used, and not be mended without somebody who decides what is to be lost.
fn damaged(place: &Place, why: &dyn std::fmt::Display) -> Problem {
    let path = place.at(IMAGE);
    let mut problem = problem("layer_damaged", format!("{}: {why}", Path::display(&path)));
    problem.expected = Some(format!("e2fsck -f {} by hand, or remove the layer", Path::display(&path)));
    problem
}

fn out_of_range(limit: &str, value: u64, why: &str, expected: String) -> Problem {
    let mut problem = problem("limit_out_of_range", format!("{limit}: `{value}` {why}"));
    (problem.value, problem.expected) = (Some(value.to_string()), Some(expected));
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn limits(disk_bytes: u64, inodes: u64) -> proto::SandboxLimits {
        proto::SandboxLimits { disk_bytes, inodes, ..Default::default() }
    }

    #[test]
    fn an_image_has_room_for_a_journal_and_inodes_in_every_group() {
        let code = |disk, inodes| check(&limits(disk, inodes)).err().map(|problem| problem.code);
        assert_eq!(code(16 * MIB, 256), None);
        assert_eq!(code(15 * MIB, 256).as_deref(), Some("limit_out_of_range"));
        assert_eq!(code(MIB << 20, 65_536).as_deref(), Some("limit_out_of_range"));
        assert_eq!(code(MIB << 20, 131_072), None);
        assert_eq!(inodes(&limits(16 * MIB, 65_536)), 4096, "no more than blocks");
    }

    #[test]
    fn an_image_grows_with_its_inodes_and_does_not_shrink() {
        let has = Superblock { size_bytes: 1024 * MIB, inodes_per_group: 8192, has_errors: false };
        let fits = |disk, inodes| fit(1024 * MIB, has, &limits(disk, inodes)).is_ok();
        assert!(fits(1024 * MIB, 65_536) && fits(2048 * MIB, 131_072) && fits(1500 * MIB, 96_000));
        assert!(!fits(1023 * MIB, 65_536), "smaller");
        assert!(!fits(2048 * MIB, 65_535), "less than half of what there would be");
        assert!(!fits(1024 * MIB, 131_073), "more than twice of what there is");
    }
}
