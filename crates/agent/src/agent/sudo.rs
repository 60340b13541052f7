//! Becoming root inside, for code of profile `dev`: the agent's side of /usr/bin/sudo.
//!
//! The only thing that the agent listens on, and only in that profile. Whoever connects runs in the sandbox already and
//! can get no more than what the profile grants. The command joins the groups of the execution that asked, so it
//! counts and dies with it; where there are no groups it dies with its connection.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use buffa::Message as _;
use rustix::event::PollFlags;
use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{Pid, Signal};
use sandkeep_protocol::agent::SpawnRequest;
use sandkeep_sandbox::process::{self, Ended};

use super::pipes::{self, Read};
use super::running::Running;
use super::spawn;
use super::{Prepared, hear};
use sandkeep_sandbox::start::init;

/// Where the shim finds us.
pub(crate) const SOCKET: &str = "/run/sudo.sock";
/// Connections at once; more wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 64;
/// Longest request: arguments and environment, as much as exec takes in practice.
const MOST_BYTES: usize = 1 << 20;

/// The listener and everyone on it.
#[derive(Debug)]
pub(crate) struct Sudo {
    listener: OwnedFd,
    connections: Vec<Connection>,
    /// Somebody waits whom we had no descriptor for: not to be asked after before something else has happened.
    full: bool,
}

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    streams: Vec<OwnedFd>,
    request: Vec<u8>,
    command: Option<Running>,
}

impl Sudo {
    /// Listens.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub(crate) fn listen() -> rustix::io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let listener = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::bind(&listener, &SocketAddrUnix::new(SOCKET)?)?;
        rustix::fs::chmod(SOCKET, Mode::from_raw_mode(0o666))?;
        rustix::net::listen(&listener, 16)?;
        Ok(Self { listener, connections: Vec::new(), full: false })
    }

    /// What to poll: the listener first, then every connection.
    pub(crate) fn sources(&self) -> Vec<(BorrowedFd<'_>, PollFlags)> {
        let has_room = self.connections.len() < MOST_CONNECTIONS && !self.full;
        let accepts = if has_room { PollFlags::IN } else { PollFlags::empty() };
        let listener = (self.listener.as_fd(), accepts);
        let connections = self.connections.iter().map(|c| (c.socket.as_fd(), PollFlags::IN));
        std::iter::once(listener).chain(connections).collect()
    }

    /// Deals with what is ready, in the order of [`Sudo::sources`].
    pub(crate) fn advance<'a>(
        &mut self,
        ready: &[bool],
        prepared: &Prepared,
        executions: impl Iterator<Item = &'a Running> + Clone,
    ) {
        let mut index = 0;
        self.connections.retain_mut(|connection| {
            index += 1;
            !ready.get(index).copied().unwrap_or(false) || connection.advance(prepared, executions.clone())
        });
        self.full = ready.first().copied().unwrap_or(false) && !self.accept();
    }

    /// Takes one who waits; false when there is no descriptor for it.
    fn accept(&mut self) -> bool {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match rustix::net::accept_with(&self.listener, flags) {
            Ok(socket) => {
                let (streams, request) = (Vec::new(), Vec::new());
                self.connections.push(Connection { socket, streams, request, command: None });
                true
            }
            Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::NOBUFS) => false,
            // Whoever it was has gone.
            Err(_) => true,
        }
    }

    /// A child has ended; true when it was one of ours, which is told.
    pub(crate) fn ended(&mut self, ended: &Ended) -> bool {
        let owner = self
            .connections
            .iter()
            .position(|c| c.command.as_ref().is_some_and(|command| command.pid == ended.pid));
        let Some(owner) = owner else { return false };
        let mut connection = self.connections.swap_remove(owner);
        if let Some(mut command) = connection.command.take() {
            let said = match command.failure() {
                Some(failure) => format!("{}: {}", failure.step.name(), failure.errno).into_bytes(),
                None => init::encode(command.status_of(ended)).to_vec(),
            };
            let _gone = rustix::net::send(&connection.socket, &said, rustix::net::SendFlags::NOSIGNAL);
        }
        true
    }
}

impl Connection {
    /// Reads on; false when the connection is over.
    fn advance<'a>(&mut self, prepared: &Prepared, executions: impl Iterator<Item = &'a Running>) -> bool {
        if self.command.is_some() {
            // The shim says nothing more: it hung up, and the command goes with it.
            return matches!(pipes::read(&self.socket, &mut [0; 64]), Read::Later);
        }
        match hear(&self.socket) {
            Ok((bytes, streams)) if !bytes.is_empty() => {
                self.streams.extend(streams);
                self.request.extend(bytes);
            }
            Err(Errno::AGAIN) => return true,
            Ok(_) | Err(_) => return false,
        }
        if self.request.len() > MOST_BYTES || self.streams.len() > 3 {
            return false;
        }
        let Some(message) = self.complete() else { return true };
        match self.start(&message, prepared, executions) {
            Ok(command) => {
                self.command = Some(command);
                true
            }
            Err(text) => {
                let _gone =
                    rustix::net::send(&self.socket, text.as_bytes(), rustix::net::SendFlags::NOSIGNAL);
                false
            }
        }
    }

    fn complete(&self) -> Option<Vec<u8>> {
        let (length, message) = self.request.split_first_chunk::<4>()?;
        (message.len() >= u32::from_le_bytes(*length) as usize).then(|| message.to_vec())
    }

    fn start<'a>(
        &mut self,
        message: &[u8],
        prepared: &Prepared,
        mut executions: impl Iterator<Item = &'a Running>,
    ) -> Result<Running, String> {
        let asked = SpawnRequest::decode_from_slice(message).map_err(|error| error.to_string())?;
        let streams = <[OwnedFd; 3]>::try_from(std::mem::take(&mut self.streams))
            .map_err(|_| "the standard streams are missing".to_owned())?;
        let peer = socket_peercred(&self.socket).map_err(|errno| errno.to_string())?.pid;
        let owner = executions
            .find(|execution| execution.holds(peer))
            .ok_or_else(|| "whoever asks belongs to no execution".to_owned())?;
        // Only what the shim may decide: everything else is as for the execution that asks.
        let uid = if asked.uid == 0 { 0 } else { sandkeep_sandbox::idmap::USER_ID };
        let request = SpawnRequest {
            execution_id: owner.execution_id.clone(),
            argv: asked.argv,
            env: asked.env,
            cwd: asked.cwd,
            uid,
            gid: uid,
            clone_into_group: owner.ways_in.clone_into_group,
            own_pid_namespace: owner.own_pids,
            rlimits: owner.ways_in.rlimits.clone(),
            ..Default::default()
        };
        let copies = owner.ways_in.descriptors.iter().map(OwnedFd::try_clone).collect::<std::io::Result<_>>();
        let descriptors = copies.map_err(|error| error.to_string())?;
        spawn::spawn_on(request, descriptors, prepared, streams)
            .map_err(|failure| format!("{}: {}", failure.step.name(), failure.errno))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(command) = &self.command {
            let _gone = process::signal(&command.pidfd, Signal::KILL);
        }
    }
}

/// Whether two processes are in the same control groups, as far as can be told.
pub(super) fn same_groups(one: Pid, other: Pid) -> bool {
    let groups = |pid: Pid| std::fs::read_to_string(format!("/proc/{}/cgroup", pid.as_raw_nonzero())).ok();
    groups(one).is_some_and(|mine| groups(other) == Some(mine))
}
