//! The face `agent`: process 1 of a sandbox. It starts what it is told to start and passes on what that says.
//!
//! It has no policy: the supervisor has resolved ids, limits and paths. It listens on nothing; its one
//! connection is the socket it was born with, and when that closes it ends, and the kernel ends everything in
//! the sandbox with it.

pub(crate) mod birth;
pub(crate) mod changed;
pub(crate) mod envd;
pub(crate) mod files;
pub(crate) mod fs;
pub(crate) mod pipes;
pub(crate) mod running;
pub(crate) mod spawn;
pub(crate) mod sudo;
pub(crate) mod terminal;
pub(crate) mod voice;
pub(crate) mod warm;

use std::collections::BTreeMap;
use std::io::IoSliceMut;
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use sandkeep_protocol::agent as proto;
use sandkeep_protocol::envelope::{Code, ConnectError};
use sandkeep_protocol::mux::{Event, Side, StreamId};
use sandkeep_protocol::routes::{agent as routes, process as envd_routes};
use sandkeep_sandbox::fence::Fence;
use sandkeep_sandbox::start::Walls;
use sandkeep_sandbox::{process, seccomp};

use crate::calls::{self, Incoming};
use crate::clock;
use crate::link::{Broken, Link};
use running::{Running, Source};

/// Most trees that the supervisor hands to a newborn: its mounts, its root, our shim, and a kept layer.
pub(crate) const MOST_TREES: usize = sandkeep_core::sandbox::place::MOUNTS_MAX + 3;

/// The life of process 1, from the fork to its end.
pub(crate) fn live(socket: OwnedFd, locks: Vec<OwnedFd>, mut birth: birth::Birth) -> ! {
    let kept: Vec<&OwnedFd> = std::iter::once(&socket).chain(&locks).collect();
    if birth::shed_descriptors(&kept).is_err() {
        process::exit_now(1);
    }
    let _named = rustix::thread::set_name(c"sandkeep-agent");
    // A first process is out of reach of every signal that it has no handler for.
    process::drop_fault_handlers();
    match birth::come_of_age(&socket, &mut birth) {
        Ok((prepared, sudo)) => {
            // However it ends: with process 1 gone, the kernel ends everything in the sandbox.
            let _broken = Agent::serve(socket, prepared, sudo);
            process::exit_now(0)
        }
        Err(error) => {
            birth::answer(&socket, &error.told());
            process::exit_now(1)
        }
    }
}

/// One message of the other side during birth, with its descriptors.
///
/// # Errors
/// The socket's; an end is an empty message.
pub(crate) fn hear(socket: &OwnedFd) -> rustix::io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_TREES))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffer = vec![0; 4096];
    let got = loop {
        let mut into = [IoSliceMut::new(&mut buffer)];
        match recvmsg(socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(rustix::io::Errno::INTR) => {}
            other => break other?.bytes,
        }
    };
    let mut descriptors = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    buffer.truncate(got);
    Ok((buffer, descriptors))
}

/// What was prepared once for all executions.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// The second wall, where the kernel has it.
    pub(crate) fence: Option<Fence>,
    /// The user namespace of code in profile `dev`.
    pub(crate) userns: Option<OwnedFd>,
    pub(crate) memory: seccomp::Memory,
    /// Where terminals come from.
    pub(crate) terminals: OwnedFd,
    pub(crate) many_ids: bool,
    /// Whether the host's interpreters are what they were on the host, for as long as the sandbox lives.
    pub(crate) unchanged: bool,
}

impl Prepared {
    /// What all code stands behind.
    pub(crate) fn walls(&self) -> Walls<'_> {
        Walls { fence: self.fence.as_ref(), filter: seccomp::program(self.memory) }
    }

    /// Whether there is a root inside.
    pub(crate) fn is_dev(&self) -> bool {
        self.userns.is_some()
    }
}

/// The agent's whole state.
#[derive(Debug)]
pub(crate) struct Agent {
    link: Link,
    prepared: Prepared,
    /// In profile `dev`.
    sudo: Option<sudo::Sudo>,
    children: OwnedFd,
    /// With the descriptors that came along, unless we had no room for them.
    incoming: BTreeMap<StreamId, (Incoming, Option<Vec<OwnedFd>>)>,
    running: BTreeMap<StreamId, Running>,
    /// Workers that look for changed files, by their stream.
    lookers: BTreeMap<StreamId, changed::Looker>,
    /// Calls that brought input, and for which execution.
    inputs: BTreeMap<StreamId, String>,
    /// Files being read, by their stream.
    readings: BTreeMap<StreamId, files::Reading>,
    envd: envd::Envd,
    warm: warm::Warm,
    /// When an execution last ended, in nanoseconds since 1970.
    last_end_ns: u64,
}

/// What a sleep was ended by.
struct Ready {
    link: PollFlags,
    children: bool,
    sources: Vec<(StreamId, Source)>,
    sudo: Vec<bool>,
}

impl Agent {
    /// Serves until the supervisor is gone.
    pub(crate) fn serve(socket: OwnedFd, prepared: Prepared, sudo: Option<sudo::Sudo>) -> Broken {
        let children = match process::child_signals() {
            Ok(children) => children,
            Err(errno) => return Broken::Socket(errno),
        };
        let link = match Link::new(socket, Side::Lower) {
            Ok(link) => link,
            Err(errno) => return Broken::Socket(errno),
        };
        let (incoming, running, lookers, inputs, readings, envd, warm) = Default::default();
        let mut agent = Self {
            link,
            prepared,
            sudo,
            children,
            incoming,
            running,
            lookers,
            inputs,
            readings,
            envd,
            warm,
            last_end_ns: 0,
        };
        loop {
            if let Err(broken) = agent.turn() {
                return broken;
            }
        }
    }

    /// One round: flush, sleep until something happens, deal with it.
    fn turn(&mut self) -> Result<(), Broken> {
        self.link.flush()?;
        let Ready { link: link_ready, children: children_ready, sources, sudo } = self.wait()?;
        if link_ready.contains(PollFlags::IN) || link_ready.contains(PollFlags::HUP) {
            self.link.receive()?;
        }
        if link_ready.contains(PollFlags::OUT) {
            self.link.flush()?;
        }
        while let Some((event, descriptors)) = self.link.next_event()? {
            self.heard(event, descriptors);
        }
        for (id, source) in sources {
            self.move_bytes(id, source);
        }
        if let Some(listener) = &mut self.sudo {
            listener.advance(&sudo, &self.prepared, self.running.values());
        }
        if children_ready {
            self.reap();
        }
        self.forget_finished();
        self.answer_inputs();
        self.envd.inputs.hand_on(&mut self.running, &mut self.link);
        self.read_on();
        self.keep_time();
        Ok(())
    }

    fn answer_inputs(&mut self) {
        let (link, running) = (&mut self.link, &self.running);
        self.inputs.retain(|id, execution_id| {
            let fed = running.values().find(|running| running.execution_id == *execution_id);
            let waits = fed.is_some_and(|running| !running.takes_input());
            if !waits {
                calls::answer(link, *id, &proto::InputResponse::default());
            }
            waits
        });
    }

    fn wait(&self) -> Result<Ready, Broken> {
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.link.fd(), self.link.interest()),
            PollFd::new(&self.children, PollFlags::IN),
        ];
        let mut sources = Vec::new();
        for (id, running) in &self.running {
            for (source, fd, interest) in running.sources(*id, &self.link) {
                fds.push(PollFd::from_borrowed_fd(fd, interest));
                sources.push((*id, source));
            }
        }
        for (id, looker) in &self.lookers {
            if self.link.room(*id) >= pipes::READ_BYTES {
                fds.push(PollFd::from_borrowed_fd(looker.fd(), PollFlags::IN));
                sources.push((*id, Source::Looker));
            }
        }
        let children = self.envd.files.sources(&self.link).map(|(id, fd)| (id, fd, Source::Files));
        let watchers = self.envd.watchers.sources(&self.link).map(|(id, fd)| (id, fd, Source::Watcher));
        for (id, fd, source) in children.chain(watchers) {
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
            sources.push((id, source));
        }
        let own = fds.len();
        fds.extend(
            self.sudo
                .iter()
                .flat_map(sudo::Sudo::sources)
                .map(|(fd, interest)| PollFd::from_borrowed_fd(fd, interest)),
        );
        let timeout = self.next_moment_us().map(clock::until);
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Broken::Socket(errno)),
        }
        let sudo = fds[own..].iter().map(|fd| !fd.revents().is_empty()).collect();
        let ready = fds[2..own].iter().zip(sources).filter(|(fd, _)| !fd.revents().is_empty());
        let sources = ready.map(|(_, source)| source).collect();
        Ok(Ready { link: fds[0].revents(), children: !fds[1].revents().is_empty(), sources, sudo })
    }

    fn heard(&mut self, event: Event, descriptors: Vec<OwnedFd>) {
        match event {
            Event::Opened { id, head, .. } if head.path == envd_routes::STREAM_INPUT => {
                self.envd.inputs.open(id, &head, &mut self.link);
            }
            Event::Opened { id, head, fds } => {
                let whole = descriptors.len() == usize::from(fds);
                self.incoming.insert(id, (Incoming::new(&head), whole.then_some(descriptors)));
            }
            Event::Data { id, bytes } if self.envd.inputs.take(id, &bytes) => {}
            Event::Data { id, bytes } => {
                self.link.consume(id, bytes.len());
                let fits = self.incoming.get_mut(&id).is_none_or(|(incoming, _)| incoming.take(&bytes));
                if !fits && let Some((incoming, _)) = self.incoming.remove(&id) {
                    incoming.refuse_as_too_long(&mut self.link, id);
                }
            }
            Event::Finished { id } if self.envd.inputs.finished(id) => {}
            Event::Finished { id } => {
                if let Some((incoming, descriptors)) = self.incoming.remove(&id) {
                    self.called(id, incoming, descriptors);
                }
            }
            Event::Reset { id, .. } => {
                self.incoming.remove(&id);
                self.lookers.remove(&id);
                self.readings.remove(&id);
                self.inputs.remove(&id);
                self.envd.forget(id);
                self.leave(id);
                // The supervisor has given up on what it started: it has killed it, or will.
                if let Some(running) = self.running.remove(&id) {
                    running.abandon();
                    self.let_go(running);
                }
            }
            Event::Hello { .. } | Event::Replied { .. } | Event::Writable { .. } | Event::Pong { .. } => {}
        }
    }

    fn called(&mut self, id: StreamId, call: Incoming, descriptors: Option<Vec<OwnedFd>>) {
        if envd::is_envd(&call.path) {
            return self.envd_called(id, call);
        }
        let call = &call;
        match call.path.as_str() {
            routes::ADMIT => match call.message() {
                Ok(request) => {
                    call.begin(&mut self.link, id);
                    self.envd.admit(id, request, descriptors);
                }
                Err(error) => call.refuse(&mut self.link, id, &error),
            },
            routes::SPAWN => self.spawn(id, call, descriptors),
            routes::SIGNAL => {
                let outcome = call.message().and_then(|request| self.signal(&request));
                call.answer(&mut self.link, id, outcome);
            }
            routes::INPUT => {
                let outcome = call.message().and_then(|request: proto::InputRequest| {
                    self.named(&request.execution_id)?.input(&request.data);
                    Ok(request.execution_id)
                });
                match outcome {
                    // Answered once there is room for more: that is what holds up a sender of endless input.
                    Ok(execution_id) => drop(self.inputs.insert(id, execution_id)),
                    Err(error) => call.refuse(&mut self.link, id, &error),
                }
            }
            routes::CLOSE_INPUT => {
                let outcome = call.message().and_then(|request: proto::CloseInputRequest| {
                    self.named(&request.execution_id)?.close_input();
                    Ok(proto::CloseInputResponse::default())
                });
                call.answer(&mut self.link, id, outcome);
            }
            routes::LIST_CHANGED => self.list_changed(id, call),
            routes::READ_FILE => self.read_file(id, call),
            routes::PING => {
                let executions = u32::try_from(self.running.len()).unwrap_or(u32::MAX);
                let response = proto::PingResponse { executions };
                call.answer(&mut self.link, id, Ok(response));
            }
            path => {
                let error = ConnectError::new(Code::Unimplemented, format!("the agent has no method {path}"));
                call.refuse(&mut self.link, id, &error);
            }
        }
    }

    fn spawn(&mut self, id: StreamId, call: &Incoming, descriptors: Option<Vec<OwnedFd>>) {
        let request = match call.message::<proto::SpawnRequest>() {
            Ok(request) => request,
            Err(error) => return call.refuse(&mut self.link, id, &error),
        };
        call.begin(&mut self.link, id);
        let spawned = spawn::complete(descriptors).and_then(|descriptors| {
            spawn::spawn(request, descriptors, &self.prepared, &mut self.warm, self.last_end_ns, None)
        });
        match spawned {
            Ok(running) => {
                self.running.insert(id, running);
            }
            Err(failure) => {
                voice::not_runnable(&mut self.link, id, failure);
                calls::end(&mut self.link, id, Ok(()));
            }
        }
    }

    fn signal(&mut self, request: &proto::SignalRequest) -> Result<proto::SignalResponse, ConnectError> {
        let signalled = self.named(&request.execution_id)?.signal(request.signal);
        Ok(proto::SignalResponse { signalled })
    }

    fn named(&mut self, execution_id: &str) -> Result<&mut Running, ConnectError> {
        let found = self.running.values_mut().find(|running| running.execution_id == execution_id);
        found.ok_or_else(|| {
            ConnectError::new(Code::NotFound, format!("no execution {execution_id} is running"))
        })
    }

    fn list_changed(&mut self, id: StreamId, call: &Incoming) {
        let looker = call.message().and_then(changed::Looker::start);
        match looker {
            Ok(looker) => {
                call.begin(&mut self.link, id);
                self.lookers.insert(id, looker);
            }
            Err(error) => call.refuse(&mut self.link, id, &error),
        }
    }

    fn read_file(&mut self, id: StreamId, call: &Incoming) {
        let opened = call.message().and_then(|request: proto::ReadFileRequest| {
            files::Reading::start(&request.path, request.max_bytes).map_err(|errno| {
                let code =
                    if errno == rustix::io::Errno::NOENT { Code::NotFound } else { Code::InvalidArgument };
                ConnectError::new(code, format!("file_unreadable: {}: {errno}", request.path))
            })
        });
        match opened {
            Ok(reading) => {
                call.begin(&mut self.link, id);
                self.readings.insert(id, reading);
            }
            Err(error) => call.refuse(&mut self.link, id, &error),
        }
    }

    /// Sends of every file being read what its stream takes; the rest when there is room again.
    fn read_on(&mut self) {
        let link = &mut self.link;
        self.readings.retain(|id, reading| {
            while link.room(*id) > pipes::READ_BYTES + 1024 {
                let Some(data) = reading.next() else {
                    calls::end(link, *id, Ok(()));
                    return false;
                };
                calls::push(link, *id, &proto::ReadFileEvent { data });
            }
            true
        });
    }

    fn move_bytes(&mut self, id: StreamId, source: Source) {
        match source {
            Source::Looker => self.relay_changes(id),
            Source::Files => self.envd.files.advance(id, &self.prepared, &mut self.link),
            Source::Watcher => self.envd.watchers.advance(id, &mut self.link),
            Source::Report | Source::Stdout | Source::Stderr | Source::Result | Source::Stdin => {
                if let Some(running) = self.running.get_mut(&id) {
                    running.advance(source, &mut self.link, id);
                }
            }
        }
    }

    fn relay_changes(&mut self, id: StreamId) {
        let Some(looker) = self.lookers.get_mut(&id) else { return };
        if !looker.relay(&mut self.link, id) {
            self.lookers.remove(&id);
            calls::end(&mut self.link, id, Ok(()));
        }
    }

    /// Collects every ended child: executions, and what was orphaned to us.
    fn reap(&mut self) {
        pipes::drain_signals(&self.children);
        while let Ok(Some(ended)) = process::reap(None) {
            self.warm.ended(ended.pid);
            if self.sudo.as_mut().is_some_and(|sudo| sudo.ended(&ended)) {
                continue;
            }
            let owner =
                self.running.iter_mut().find(|(_, running)| running.pid == ended.pid && !running.exited);
            if let Some((id, running)) = owner {
                running.ended(ended, &mut self.link, *id);
            }
        }
    }

    fn forget_finished(&mut self) {
        let done: Vec<StreamId> =
            self.running.iter().filter(|(_, running)| running.is_finished()).map(|(id, _)| *id).collect();
        for id in done {
            if let Some(running) = self.running.remove(&id) {
                self.last_end_ns = clock::unix_ns();
                self.let_go(running);
                calls::end(&mut self.link, id, Ok(()));
                self.warm.advance();
            }
        }
    }

    /// Nothing more is to be told of it.
    fn let_go(&mut self, mut running: Running) {
        running.clean_up();
        self.part_with(&mut running);
    }
}
