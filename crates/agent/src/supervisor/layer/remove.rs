//! Removing a layer, whatever hostile code left in it.

use std::fs::{self, File};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use sandkeep_sandbox::process::{self, Fork, Namespaces, Status};
use sandkeep_sandbox::{tree, userns};

use super::place::{FILES, Place, absent};
use super::record::{Kind, Record, State};
use super::unusable;
use crate::supervisor::boot::Problem;

/// Removes the layer at `directory` and the directory. One that is not there is removed; one whose removal was
/// interrupted is removed further.
///
/// # Errors
/// `layer_in_use`; `layer_unusable` for what is no layer, or when the kernel refuses.
pub(crate) fn remove(directory: &str) -> Result<(), Problem> {
    let path = Path::new(directory);
    let Some(place) = Place::enter(path)? else { return Ok(()) };
    let Some(record) = place.record()? else { return place.remove() };
    // From here on nobody starts with half of it.
    place.write(&Record { state: State::Removing, ..record.clone() })?;
    match &record.kind {
        // The kernel keeps what is still mounted until it no longer is.
        Kind::Image { .. } => {}
        Kind::Files(ids) => {
            let ids = userns::with_map(ids).map_err(|error| {
                unusable(path, &format!("its files belong to ids that we cannot have any more: {error}"))
            })?;
            let files = match File::open(place.at(FILES)) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => return place.remove(),
                opened => opened.map_err(|error| unusable(path, &error))?,
            };
            clear(&ids, &files, &place.lock)
                .map_err(|errno| unusable(path, &format!("cannot remove all of it: {errno}")))?;
            absent(fs::remove_dir(place.at(FILES))).map_err(|error| unusable(path, &error))?;
        }
    }
    place.remove()
}

/// As somebody who has authority over all ids of the files. A child, since nobody comes back from there; it has the
/// lock too, so that nobody takes the layer before it is done, however we end.
fn clear(ids: &OwnedFd, files: &File, lock: &File) -> Result<(), Errno> {
    let child = match process::fork(Namespaces::NONE, None)? {
        Fork::Child => {
            process::close_all_but(0, &[ids.as_fd(), files.as_fd(), lock.as_fd()]);
            let cleared = userns::enter(ids)
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
                .and_then(|()| tree::clear(files));
            process::exit_now(cleared.err().map_or(0, Errno::raw_os_error))
        }
        Fork::Parent(child) => child,
    };
    let mut ended = [PollFd::new(&child.pidfd, PollFlags::IN)];
    while poll(&mut ended, None).is_err() {}
    match process::reap(Some(child.pid))?.map(|ended| ended.status) {
        Some(Status::Exited(0)) => Ok(()),
        Some(Status::Exited(errno)) => Err(Errno::from_raw_os_error(errno)),
        Some(Status::Signalled(_)) | None => Err(Errno::INTR),
    }
}
