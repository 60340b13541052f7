//! Files as the code's user sees them: what `filesystem.Filesystem` does.
//!
//! The agent may do more than the code, so it does none of this itself. A child of ours becomes the user who calls, with
//! every wall that stands around their code (`start::walls::become_worker`), and does one thing: a path that leads to places of
//! the agent's, a link that is swapped in time, a tree without end lead it no further than they would lead the code, and
//! it can be killed. It says what came of it over a pipe, its only descriptor.
//!
//! ```text
//!   one answer    kind u8: 0 done, 1 refused | length u32, big endian | the message, or the error as JSON
//!   a watch       envelopes of WatchDirResponse, binary; the end with why
//! ```

mod across;
mod change;
mod entry;
mod list;
pub(crate) mod path;
mod remove;
mod watch;

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use sandkeep_protocol::envelope::{self, Code, ConnectError};
use sandkeep_protocol::filesystem as envd;
use sandkeep_sandbox::process::{self, Fork, Namespaces};
use sandkeep_sandbox::rlimit::Rlimits;

use super::envd::codec::Codec;
use super::{Prepared, pipes};
use sandkeep_sandbox::start::{Identity, walls};

/// What is to be done, with clean absolute paths.
#[derive(Debug)]
pub(crate) enum Work {
    Stat(String),
    MakeDir(String),
    Move(String, String),
    ListDir(String, u32),
    Remove(String),
    Watch(watch::Wish),
}

pub(crate) use watch::Wish;

/// Kinds of answers.
pub(crate) const DONE: u8 = 0;
pub(crate) const REFUSED: u8 = 1;

/// Private memory of a worker: several times what the longest list takes, which is about 20 MiB.
const WORKER_BYTES: u64 = 128 << 20;
/// Descriptors of a worker: levels of the deepest tree, and a few.
const WORKER_DESCRIPTORS: u64 = 1024;

/// Starts on `work` as `who`; gives the child and our end of its pipe. Answers are in `codec`.
///
/// # Errors
/// `resource_exhausted` when the kernel gives no pipe or process.
pub(crate) fn start(
    work: &Work,
    who: Identity,
    codec: Codec,
    prepared: &Prepared,
) -> Result<(process::Child, OwnedFd), ConnectError> {
    let failed = |errno: Errno| {
        ConnectError::new(Code::ResourceExhausted, format!("there is no process for this: {errno}"))
    };
    let (ours, theirs) = pipes::to_us().map_err(failed)?;
    match process::fork(Namespaces::NONE, None).map_err(failed)? {
        Fork::Child => {
            let _named = rustix::thread::set_name(c"sandkeep-files");
            let rlimits =
                Rlimits { nofile: WORKER_DESCRIPTORS, data: Some(WORKER_BYTES), ..Rlimits::default() };
            let became = walls::become_worker(who, prepared.userns.as_ref(), prepared.walls(), &rlimits);
            // Others wait for the end of pipes that we hold copies of.
            process::close_all_but(0, &[theirs.as_fd()]);
            match became {
                Ok(()) => perform(work, codec, &theirs),
                Err(failure) => {
                    let text = format!("cannot act as the user: {}: {}", failure.step.name(), failure.errno);
                    refuse(work, &ConnectError::new(Code::Internal, text), &theirs);
                }
            }
            process::exit_now(0)
        }
        Fork::Parent(child) => Ok((child, ours)),
    }
}

fn perform(work: &Work, codec: Codec, out: &OwnedFd) {
    let entry = |entry| buffa::MessageField::some(entry);
    let done = match work {
        Work::Watch(wish) => return watch::watch(wish, out),
        Work::Stat(at) => {
            change::look(at).map(|info| codec.encode(&envd::StatResponse { entry: entry(info) }))
        }
        Work::MakeDir(at) => {
            change::make_directory(at).map(|info| codec.encode(&envd::MakeDirResponse { entry: entry(info) }))
        }
        Work::Move(from, to) => {
            change::shift(from, to).map(|info| codec.encode(&envd::MoveResponse { entry: entry(info) }))
        }
        Work::ListDir(at, depth) => list::list(at, *depth).map(|list| codec.encode(&list)),
        Work::Remove(at) => remove::remove(at).map(|()| codec.encode(&envd::RemoveResponse {})),
    };
    match done {
        Ok(bytes) => say(DONE, &bytes, out),
        Err(error) => say(REFUSED, &error.to_json(), out),
    }
}

fn refuse(work: &Work, error: &ConnectError, out: &OwnedFd) {
    match work {
        Work::Watch(_) => {
            let mut bytes = Vec::new();
            envelope::encode_end(&mut bytes, Err(error.clone()));
            let _unheard = write(out, &bytes);
        }
        Work::Stat(_) | Work::MakeDir(_) | Work::Move(..) | Work::ListDir(..) | Work::Remove(_) => {
            say(REFUSED, &error.to_json(), out);
        }
    }
}

fn say(kind: u8, bytes: &[u8], out: &OwnedFd) {
    let length = u32::try_from(bytes.len()).expect("answers are bounded").to_be_bytes();
    let head = [kind, length[0], length[1], length[2], length[3]];
    // Nobody is left to tell where this fails.
    let _unheard = write(out, &head).and_then(|()| write(out, bytes));
}

fn write(out: &OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(out, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The kind of failure that an error of the kernel is to a client.
pub(crate) fn code(errno: Errno) -> Code {
    match errno {
        Errno::NOENT => Code::NotFound,
        Errno::EXIST => Code::AlreadyExists,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => Code::PermissionDenied,
        Errno::NOSPC | Errno::DQUOT | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::FBIG => {
            Code::ResourceExhausted
        }
        Errno::NOTDIR | Errno::ISDIR | Errno::NAMETOOLONG | Errno::INVAL | Errno::TOOBIG | Errno::NOEXEC => {
            Code::InvalidArgument
        }
        Errno::NOTEMPTY | Errno::BUSY | Errno::XDEV | Errno::TXTBSY | Errno::LOOP => Code::FailedPrecondition,
        _ => Code::Internal,
    }
}

/// An error of the kernel about `path`.
fn refused(path: &str, errno: Errno) -> ConnectError {
    ConnectError::new(code(errno), format!("{path}: {errno}"))
}
