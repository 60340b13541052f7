//! Loop devices: a file as a block device, for as long as somebody uses it.

#![expect(unsafe_code, reason = "rustix has no loop device requests")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// `linux/loop.h`.
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;
/// What ext4 has here, and what direct transfers to the file below are made of.
const BLOCK_BYTES: u32 = 4096;
/// Others may take the free device that we were shown.
const ATTEMPTS: u32 = 64;

/// `struct loop_config` with its `struct loop_info64`.
#[repr(C)]
struct Config {
    fd: u32,
    block_size: u32,
    /// Device, inode, device id, offset, size limit.
    numbers: [u64; 5],
    /// Number, encryption type and key size.
    ignored: [u32; 3],
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    crypt_key: [u8; 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// A loop device that is let go of when its last user is: this value, or whatever it was mounted as.
#[derive(Debug)]
pub struct Device {
    _open: File,
    /// Its path below /dev.
    pub path: String,
}

impl Device {
    /// A device that shows `image`. The kernel holds on to this very open file, and so to a lock taken through it,
    /// until nobody uses the device any more.
    ///
    /// # Errors
    /// The kernel's refusal: `EPERM` for anyone but the host's root, `ENOENT` where there are no loop devices.
    pub fn of(image: &File) -> io::Result<Self> {
        let control = File::options().read(true).write(true).open("/dev/loop-control")?;
        for _ in 0..ATTEMPTS {
            // SAFETY: takes no argument.
            let number = checked(unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) })?;
            let path = format!("/dev/loop{number}");
            let open = File::options().read(true).write(true).open(&path)?;
            match configure(&open, image) {
                Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
                done => return done.map(|()| Self { _open: open, path }),
            }
        }
        Err(io::Error::from_raw_os_error(libc::EBUSY))
    }
}

fn configure(device: &File, image: &File) -> io::Result<()> {
    let config = Config {
        fd: image.as_raw_fd().unsigned_abs(),
        block_size: BLOCK_BYTES,
        numbers: [0; 5],
        ignored: [0; 3],
        // Direct, as far as the file system below can: its pages would else be kept twice, once for nobody's account.
        flags: LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO,
        file_name: [0; 64],
        crypt_name: [0; 64],
        crypt_key: [0; 32],
        init: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: the argument is a live struct of the layout that this request reads.
    checked(unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, std::ptr::from_ref(&config)) }).map(drop)
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_is_laid_out_as_the_kernel_reads_it() {
        assert_eq!(size_of::<Config>(), 304);
        assert_eq!(std::mem::offset_of!(Config, flags), 8 + 52);
        assert_eq!(std::mem::offset_of!(Config, file_name), 8 + 56);
    }
}
