//! Terminals of code: pairs from the sandbox's own devpts, whose other end is ours.
//!
//! The directory is opened before any code runs, and names in it are the kernel's: a root inside that moves /dev about
//! leads us nowhere. The code's end is given to the code, so that it may open it again by name (`/dev/tty`, `tmux`).

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, fchown, openat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{InputModes, OptionalActions, Winsize, tcgetattr, tcsetattr, tcsetwinsize};

/// Characters that a terminal shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) columns: u16,
    pub(crate) rows: u16,
}

impl Size {
    /// As clients give it; what is not given is that of the classic terminal. `None` for what no terminal can be.
    pub(crate) fn of(columns: u32, rows: u32) -> Option<Self> {
        let or = |given: u32, usual| if given == 0 { Some(usual) } else { u16::try_from(given).ok() };
        Some(Self { columns: or(columns, 80)?, rows: or(rows, 24)? })
    }
}

/// What programs are told the terminal can do, unless the client says: what the terminals of browsers and clients are.
pub(crate) const TERM: &str = "xterm-256color";

/// The directory that terminals come from. To be opened while /dev is still as we made it.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn directory() -> rustix::io::Result<OwnedFd> {
    openat(CWD, "/dev/pts", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// A new terminal: our end, which does not block, and the code's, which belongs to `owner` if there is a choice.
///
/// # Errors
/// The kernel's refusal; `ENOSPC` when there are no more.
pub(crate) fn open(
    directory: &OwnedFd,
    size: Size,
    owner: Option<(u32, u32)>,
) -> rustix::io::Result<(OwnedFd, OwnedFd)> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let ours = openat(directory, "ptmx", flags, Mode::empty())?;
    unlockpt(&ours)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let theirs = ioctl_tiocgptpeer(&ours, flags)?;
    if let Some((uid, gid)) = owner {
        fchown(&theirs, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    let mut modes = tcgetattr(&theirs)?;
    // So that erasing a character erases all of its bytes.
    modes.input_modes |= InputModes::IUTF8;
    tcsetattr(&theirs, OptionalActions::Now, &modes)?;
    resize(&ours, size)?;
    Ok((ours, theirs))
}

/// Changes the size; the kernel tells whoever is in the foreground.
///
/// # Errors
/// The kernel's refusal.
pub(crate) fn resize(ours: impl AsFd, size: Size) -> Result<(), Errno> {
    let size = Winsize { ws_col: size.columns, ws_row: size.rows, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(ours, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_that_a_terminal_can_have() {
        let check = |columns, rows, expect: Option<(u16, u16)>| {
            assert_eq!(Size::of(columns, rows).map(|size| (size.columns, size.rows)), expect);
        };
        check(0, 0, Some((80, 24)));
        check(132, 0, Some((132, 24)));
        check(65_535, 1, Some((65_535, 1)));
        check(65_536, 1, None);
        check(1, 65_536, None);
    }
}
