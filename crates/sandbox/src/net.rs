//! The network of a sandbox that was granted none: a namespace with loopback up and nothing else.
#![expect(unsafe_code, reason = "interface flags are set by an ioctl without a wrapper")]

use std::os::fd::AsRawFd;

use rustix::io;
use rustix::net::{AddressFamily, SocketType, socket};

/// Brings `lo` up in our network namespace.
///
/// # Errors
/// The kernel's refusal; `EPERM` without authority over the namespace.
pub fn loopback_up() -> io::Result<()> {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    // SAFETY: ifreq is plain data, for which zero bytes are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(*b"lo") {
        *to = libc::c_char::try_from(from).expect("ASCII");
    }
    let flags = libc::IFF_UP | libc::IFF_RUNNING;
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags).expect("small flags");
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which `request` is.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    if done == 0 {
        return Ok(());
    }
    Err(io::Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(io::Errno::IO))
}
