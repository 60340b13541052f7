//! An ext4 file system in a sparse file: made, checked, grown with e2fsprogs, and mounted through a loop device.
//!
//! Only for files that we made and that nobody else could write: the kernel does not defend itself against a file
//! system that somebody prepared. Nobody mounts it anywhere: [`mount`] gives a mount that only its descriptor holds,
//! so that whatever happens, it goes with the last process that has it.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

use crate::loopdev::Device;

/// Block size of all of them.
const BLOCK_BYTES: u64 = 4096;
/// Less has no room for a journal, and without one a crash of the host may lose all of it.
pub const LEAST_BYTES: u64 = 16 << 20;
/// What a block group of such blocks has.
const GROUP_BYTES: u64 = 128 << 20;
/// A group has a block of 16 inodes at least.
const MOST_BYTES_PER_INODE: u64 = GROUP_BYTES / 16;
/// Where e2fsprogs may be; the supervisor's environment is empty.
pub const TOOL_DIRECTORIES: [&str; 5] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin"];
/// What is needed of e2fsprogs.
pub const TOOLS: [&str; 4] = ["mkfs.ext4", "e2fsck", "resize2fs", "e2undo"];

/// What could not be done with an image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program of e2fsprogs is not installed.
    #[error("{0} is not installed")]
    Missing(&'static str),
    /// A program of e2fsprogs failed.
    #[error("{tool} failed: {said}")]
    Tool {
        /// Which.
        tool: &'static str,
        /// The end of what it printed.
        said: String,
    },
    /// No loop device is to be had.
    #[error("no loop device")]
    Loop(#[source] io::Error),
    /// The kernel would not mount it.
    #[error("cannot mount ext4")]
    Mount(#[source] rustix::io::Errno),
    /// The file itself cannot be used.
    #[error("cannot use {path}")]
    File {
        /// Its path.
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

type Result<T> = std::result::Result<T, Error>;

/// How many inodes a file system of this size may have: some in every group, and no more than it has blocks.
#[must_use]
pub fn inodes(bytes: u64) -> RangeInclusive<u64> {
    bytes / MOST_BYTES_PER_INODE..=bytes / BLOCK_BYTES
}

/// Makes a new image at `path`. `held` stays open until the program that makes it has ended, however we end.
///
/// # Errors
/// [`Error::Missing`], [`Error::Tool`], or [`Error::File`] if `path` exists.
pub fn make(path: &Path, bytes: u64, inodes: u64, held: &File) -> Result<()> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|file| file.set_len(bytes)).map_err(|source| at(path, source))?;
    let journal_mib = (bytes / 64).clamp(4 << 20, 64 << 20) >> 20;
    let (inodes, journal) = (inodes.to_string(), format!("size={journal_mib}"));
    // Nothing is written to where the sparse file reads as zeros anyway, and no block is kept for the host's root.
    let extended = "lazy_itable_init=1,lazy_journal_init=1,nodiscard";
    let block = BLOCK_BYTES.to_string();
    let options =
        ["-q", "-F", "-b", &block, "-I", "256", "-m", "0", "-N", &inodes, "-J", &journal, "-E", extended];
    run("mkfs.ext4", &options, path, held, 0)
}

/// What an image says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Superblock {
    /// What the file system spans of its file.
    pub size_bytes: u64,
    /// Files, directories and links that each of its block groups can hold.
    pub inodes_per_group: u64,
    /// Something was found to be wrong with it.
    pub has_errors: bool,
}

impl Superblock {
    /// Of `image`, whose path is `path`.
    ///
    /// # Errors
    /// [`Error::File`]; what is no ext4 at all is one with `InvalidData`.
    pub fn read(image: &File, path: &Path) -> Result<Self> {
        // Fields of struct ext4_super_block (fs/ext4/ext4.h), which lies 1 KiB from the start.
        const LENGTH: usize = 60;
        // The upper half of the number of blocks (s_blocks_count_hi).
        const BLOCKS_HIGH: u64 = 1024 + 336;
        const MAGIC: [u8; 2] = 0xEF53_u16.to_le_bytes();
        const ERROR_FS: u8 = 2;
        let mut fields = [0; LENGTH];
        image.read_exact_at(&mut fields, 1024).map_err(|source| at(path, source))?;
        if fields[56..58] != MAGIC {
            return Err(at(path, io::ErrorKind::InvalidData.into()));
        }
        let mut high = [0; 4];
        image.read_exact_at(&mut high, BLOCKS_HIGH).map_err(|source| at(path, source))?;
        let number = |from: usize| u32::from_le_bytes(fields[from..from + 4].try_into().expect("four bytes"));
        let blocks = u64::from(u32::from_le_bytes(high)) << 32 | u64::from(number(4));
        Ok(Self {
            size_bytes: blocks.saturating_mul(BLOCK_BYTES),
            inodes_per_group: number(40).into(),
            has_errors: fields[58] & ERROR_FS != 0,
        })
    }

    /// How many inodes there are if its size is `bytes`: it grows by whole groups.
    #[must_use]
    pub fn inodes_at(&self, bytes: u64) -> u64 {
        bytes.div_ceil(GROUP_BYTES) * self.inodes_per_group
    }
}

/// Mends what can be mended without a question. `held` as for [`make`].
///
/// # Errors
/// [`Error::Tool`]: a person has to look at it.
pub fn mend(path: &Path, held: &File) -> Result<()> {
    // 1: there was something to mend, and it was.
    run("e2fsck", &["-f", "-p"], path, held, 1)
}

/// Makes the file system larger, to `bytes`. `undo` is a path on which nothing is; if it exists before or after this
/// was called, it was interrupted, and [`take_back`] is due. `held` as for [`make`].
///
/// # Errors
/// [`Error::Tool`], [`Error::File`].
pub fn grow(path: &Path, bytes: u64, undo: &Path, held: &File) -> Result<()> {
    let file = File::options().write(true).open(path);
    file.and_then(|file| file.set_len(bytes)).map_err(|source| at(path, source))?;
    // It insists on a check just before.
    mend(path, held)?;
    let undo_path = undo.to_string_lossy();
    run("resize2fs", &["-z", &undo_path], path, held, 0)?;
    std::fs::remove_file(undo).map_err(|source| at(undo, source))
}

/// Undoes an interrupted [`grow`]. `held` as for [`make`].
///
/// # Errors
/// [`Error::Tool`], [`Error::File`].
pub fn take_back(path: &Path, undo: &Path, held: &File) -> Result<()> {
    // It refuses a file that was interrupted before anything was changed, in more than one way. Whether all is well is
    // what the check says.
    let _nothing_to_undo = run("e2undo", &[&undo.to_string_lossy()], path, held, 0);
    mend(path, held)?;
    std::fs::remove_file(undo).map_err(|source| at(undo, source))
}

/// Mounts `image` nowhere: set-uid programs and devices do not work in it. What holds it is the descriptor, what is
/// attached of it, and the kernel holds the open file `image` until then.
///
/// # Errors
/// [`Error::Loop`], [`Error::Mount`].
pub fn mount(image: &File) -> Result<OwnedFd> {
    let device = Device::of(image).map_err(Error::Loop)?;
    let mounted = || {
        let context = fsopen("ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(context.as_fd(), "source", device.path.as_str())?;
        // After an error nothing is made worse; the next start mends it.
        fsconfig_set_string(context.as_fd(), "errors", "remount-ro")?;
        // What the sandbox deletes, the host has again. And no thread writes zeros over what reads as zeros.
        fsconfig_set_flag(context.as_fd(), "discard")?;
        fsconfig_set_flag(context.as_fd(), "noinit_itable")?;
        fsconfig_create(context.as_fd())?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    mounted().map_err(Error::Mount)
}

fn find(tool: &str) -> Option<PathBuf> {
    TOOL_DIRECTORIES.iter().map(|directory| Path::new(directory).join(tool)).find(|path| path.exists())
}

/// Runs a program on the image; its exit status may be up to `most`.
fn run(tool: &'static str, options: &[&str], image: &Path, held: &File, most: i32) -> Result<()> {
    /// As much of its words as fits a message.
    const SAID_CHARS: usize = 400;
    let program = find(tool).ok_or(Error::Missing(tool))?;
    let failed = |source: io::Error| Error::Tool { tool, said: source.to_string() };
    let held = held.try_clone().map_err(failed)?;
    let output = Command::new(program)
        .args(options)
        .arg(image)
        .env_clear()
        // Its standard input is the lock: should we die, nobody else touches the image before this has ended.
        .stdin(Stdio::from(held))
        .output()
        .map_err(failed)?;
    if output.status.code().is_some_and(|code| code <= most) {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let said = said.trim();
    let cut = said.char_indices().rev().nth(SAID_CHARS).map_or(0, |(at, _)| at);
    Err(Error::Tool { tool, said: format!("{} ({})", &said[cut..], output.status) })
}

fn at(path: &Path, source: io::Error) -> Error {
    Error::File { path: path.to_owned(), source }
}
