//! A session keyring of the sandbox's own, so that whoever started us lends no keys to the code.
//!
//! The agent joins one at its start and its children inherit it. An execution needs no further one: the code
//! cannot reach any keyring (the filter refuses `keyctl`, `add_key` and `request_key`), and an ordinary user may
//! own 200 keys in all, so a keyring per execution would run out.

#![expect(unsafe_code, reason = "neither std nor rustix has keyctl(2)")]

use std::io;

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// The calling process has a new, empty, anonymous session keyring.
    Own,
    /// There is none to be had: the kernel was built without, a filter around us refuses to name them, or the user
    /// owns too many (200; one per sandbox). The code cannot reach any either way, since its filter refuses the calls.
    Unavailable,
}

/// `KEYCTL_JOIN_SESSION_KEYRING` of linux/keyctl.h.
const JOIN_SESSION_KEYRING: libc::c_int = 1;

/// Leaves the inherited session keyring for a new one.
///
/// # Errors
/// What `keyctl(2)` says, other than `ENOSYS` and `EDQUOT`, and `EPERM` and `EACCES` from a filter around us: `ENOMEM`.
pub fn join_new() -> io::Result<Joined> {
    let anonymous = std::ptr::null::<libc::c_char>();
    // SAFETY: a null name asks for an anonymous keyring; the call reads no memory of ours.
    let serial = unsafe { libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, anonymous) };
    if serial >= 0 {
        return Ok(Joined::Own);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOSYS | libc::EPERM | libc::EACCES | libc::EDQUOT) => Ok(Joined::Unavailable),
        _ => Err(error),
    }
}
