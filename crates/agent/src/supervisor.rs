//! The face `supervisor`: holds one sandbox from outside.
//!
//! It claims the place, boots process 1, keeps the books of every execution, enforces time, memory and output, and
//! kills whole trees. Everything it owns is in one value and one thread: a round sleeps until a socket or a moment
//! is due, and deals with it. When its server goes away it ends the sandbox and itself; or, where that was asked for, goes
//! on and waits at a socket of its own for the next ([`door`]).

mod admit;
mod attach;
pub(crate) mod boot;
mod deliver;
mod disk;
mod domain;
mod door;
mod execution;
mod hear;
mod held;
mod keep;
mod layer;
mod proxy;
mod serve;
mod slot;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::Signal;
use sandkeep_protocol::mux::{Event, Side, StreamId};
use sandkeep_protocol::routes::supervisor as routes;
use sandkeep_protocol::supervisor as proto;
use sandkeep_sandbox::process;

use crate::calls::Incoming;
use crate::clock;
use crate::link::{Broken, Link};
use boot::Sandbox;
use disk::DiskWatch;
use domain::Domain;
use door::Door;
use execution::{Execution, Killed};

/// The whole state.
#[derive(Debug)]
pub(crate) struct Supervisor {
    /// Leads nowhere while there is no server.
    server: Link,
    /// Since when that is so.
    alone_since_us: Option<u64>,
    /// Where the next server comes in; `None` where the sandbox ends with the first.
    door: Option<Door>,
    incoming: BTreeMap<StreamId, Incoming>,
    bodies: hear::Bodies,
    proxied: proxy::Proxied,
    sandbox: Option<Sandbox>,
    spec: proto::SandboxSpec,
    booted: proto::Booted,
    /// The highest fencing token seen; lower ones are refused.
    token: u64,
    executions: BTreeMap<String, Execution>,
    /// Domains that are ready for an execution, with their numbers.
    idle_domains: Vec<(u32, Domain)>,
    /// Domains that were used: to be made ready when there is nothing else to do.
    spent_domains: Vec<(u32, Domain)>,
    used_domains: BTreeSet<u32>,
    /// How many processes clients have started.
    processes: u64,
    next_look_us: u64,
    /// Of processes that belong to no execution.
    shared_beside: sandkeep_sandbox::watch::SharedMappings,
    /// Calls that brought input, by the call to the agent that passes it on.
    inputs: BTreeMap<StreamId, (StreamId, Incoming)>,
    /// Set by a shutdown: the stream to answer once nothing is left.
    leaving: Option<(StreamId, Incoming)>,
}

/// Which parts of the world are ready after a sleep.
struct Ready {
    server: PollFlags,
    door: bool,
    agent: PollFlags,
    agent_ended: bool,
    disk_measured: bool,
}

impl Supervisor {
    /// Serves until the server is gone or asks for the end, then ends the sandbox.
    pub(crate) fn serve(socket: OwnedFd) -> i32 {
        let Ok(server) = Link::new(socket, Side::Lower) else { return 1 };
        let mut supervisor = Self {
            server,
            alone_since_us: None,
            door: None,
            incoming: BTreeMap::new(),
            bodies: hear::Bodies::default(),
            proxied: proxy::Proxied::default(),
            sandbox: None,
            spec: proto::SandboxSpec::default(),
            booted: proto::Booted::default(),
            token: 0,
            executions: BTreeMap::new(),
            idle_domains: Vec::new(),
            spent_domains: Vec::new(),
            used_domains: BTreeSet::new(),
            processes: 0,
            next_look_us: 0,
            shared_beside: sandkeep_sandbox::watch::SharedMappings::default(),
            inputs: BTreeMap::new(),
            leaving: None,
        };
        while supervisor.leaving.is_none() {
            if supervisor.turn().is_err() {
                break;
            }
        }
        supervisor.end()
    }

    /// One round: tell listeners, flush, sleep, deal with what came.
    fn turn(&mut self) -> Result<(), Broken> {
        // The agent first: if it turns out to be gone, that is told in the same round, before anyone sleeps.
        self.flush_agent();
        self.deliver();
        self.settle();
        if let Err(broken) = self.flush_server() {
            self.server_left(broken)?;
        }
        // Everybody has their answers: now is the time for what nobody waits for.
        self.renew_domains();
        let ready = self.wait()?;
        if ready.agent.intersects(PollFlags::IN | PollFlags::HUP) {
            self.hear_agent();
        }
        if ready.agent_ended {
            self.sandbox_died();
        }
        if ready.disk_measured {
            self.disk_measured();
        }
        if let Err(broken) = self.hear_connection(ready.server) {
            self.server_left(broken)?;
        }
        if ready.door {
            self.hear_door();
        }
        self.keep_time();
        match self.orphaned_at_us() {
            Some(moment) if moment <= clock::boot_us() => Err(Broken::Closed),
            Some(_) | None => Ok(()),
        }
    }

    fn flush_server(&mut self) -> Result<(), Broken> {
        if self.alone_since_us.is_some() { Ok(()) } else { self.server.flush() }
    }

    fn hear_connection(&mut self, ready: PollFlags) -> Result<(), Broken> {
        let left =
            if ready.intersects(PollFlags::IN | PollFlags::HUP) { self.server.receive() } else { Ok(()) };
        // What it said before it left counts.
        while let Some((event, _)) = self.server.next_event()? {
            self.hear_server(event);
        }
        left
    }

    fn wait(&self) -> Result<Ready, Broken> {
        let interest =
            if self.alone_since_us.is_some() { PollFlags::empty() } else { self.server.interest() };
        let mut fds = vec![PollFd::from_borrowed_fd(self.server.fd(), interest)];
        let at_door = self.door.iter().flat_map(Door::interests);
        fds.extend(at_door.map(|(fd, interest)| PollFd::from_borrowed_fd(fd, interest)));
        let agent = fds.len();
        if let Some(sandbox) = &self.sandbox {
            fds.push(PollFd::from_borrowed_fd(sandbox.link.fd(), sandbox.link.interest()));
            fds.push(PollFd::new(&sandbox.agent.pidfd, PollFlags::IN));
            let walk = sandbox.disk_watch.as_ref().and_then(DiskWatch::pipe);
            fds.extend(walk.map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN)));
        }
        let timeout = self.next_moment_us().map(clock::until);
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(Broken::Socket(errno)),
        }
        let at = |n: usize| fds.get(n).map_or(PollFlags::empty(), PollFd::revents);
        Ok(Ready {
            server: at(0),
            door: (1..agent).any(|n| !at(n).is_empty()),
            agent: at(agent),
            agent_ended: !at(agent + 1).is_empty(),
            disk_measured: !at(agent + 2).is_empty(),
        })
    }

    fn next_moment_us(&self) -> Option<u64> {
        let moments = self.executions.values().filter_map(Execution::next_moment_us);
        moments.chain(self.next_look()).chain(self.next_walk()).chain(self.orphaned_at_us()).min()
    }

    fn flush_agent(&mut self) {
        let Some(sandbox) = &mut self.sandbox else { return };
        if sandbox.link.flush().is_err() {
            self.sandbox_died();
        }
    }

    fn hear_agent(&mut self) {
        let Some(sandbox) = &mut self.sandbox else { return };
        let mut broken = sandbox.link.receive().is_err();
        let mut events = Vec::new();
        loop {
            match sandbox.link.next_event() {
                Ok(Some((event, _))) => events.push(event),
                Ok(None) => break,
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        for event in events {
            self.agent_said(event);
        }
        if broken {
            self.sandbox_died();
        }
    }

    fn hear_server(&mut self, event: Event) {
        if self.pass_down(&event) {
            return;
        }
        match event {
            Event::Opened { id, head, .. } => {
                if !self.pass_on(id, &head) {
                    self.incoming.insert(id, Incoming::new(&head));
                }
            }
            Event::Data { id, bytes } => {
                self.server.consume(id, bytes.len());
                let fits = self.incoming.get_mut(&id).is_none_or(|incoming| incoming.take(&bytes));
                if !fits && let Some(incoming) = self.incoming.remove(&id) {
                    incoming.refuse_as_too_long(&mut self.server, id);
                }
                // Its end is the release.
                let is_whole = |call: &Incoming| call.path == routes::PREPARE && call.has_message();
                if self.incoming.get(&id).is_some_and(is_whole)
                    && let Some(call) = self.incoming.remove(&id)
                {
                    self.prepare(id, &call);
                }
            }
            Event::Finished { id } => match self.incoming.remove(&id) {
                Some(incoming) => self.called(id, incoming),
                None => self.release(id),
            },
            Event::Reset { id, .. } => {
                self.incoming.remove(&id);
                for execution in self.executions.values_mut() {
                    execution.tails.retain(|tail| tail.stream != id);
                }
                self.caller_gave_up(id);
            }
            Event::Hello { .. } | Event::Replied { .. } | Event::Writable { .. } | Event::Pong { .. } => {}
        }
    }

    /// Process 1 is gone, or no longer speaks our language: nothing in the sandbox lives on.
    fn sandbox_died(&mut self) {
        self.drop_proxied();
        let Some(sandbox) = self.sandbox.take() else { return };
        let _gone = process::signal(&sandbox.agent.pidfd, Signal::KILL);
        wait_for_end(&sandbox.agent);
        for asked in self.inputs.keys().copied().collect::<Vec<_>>() {
            self.input_answered(asked);
        }
        self.end_holds();
        for execution in self.executions.values_mut().filter(|execution| !execution.is_ended()) {
            execution.kill_tree();
            execution.killed.get_or_insert(Killed::Lost);
            execution.close_books();
            execution.stop_clocks();
            let end = std::mem::take(&mut execution.end);
            execution.phase = execution::Phase::Ended(Box::new(end));
        }
        let_go(sandbox);
    }

    /// Ends everything and answers the one who asked for it, if someone did.
    fn end(mut self) -> i32 {
        self.sandbox_died();
        // Whoever finds no socket may take it that nothing lives here.
        self.door = None;
        if let Some((id, call)) = self.leaving.take() {
            call.answer(&mut self.server, id, Ok(proto::ShutdownResponse::default()));
            let _told = self.server.flush();
        }
        0
    }
}

/// Gives the place back: groups empty, slot free.
fn let_go(sandbox: Sandbox) {
    if let Some(group) = sandbox.group {
        // What cannot be emptied now is swept by the next one in this slot.
        let _left = group.release();
    }
}

fn wait_for_end(child: &process::Child) {
    let mut fds = [PollFd::new(&child.pidfd, PollFlags::IN)];
    while poll(&mut fds, None).is_err() {}
    let _reaped = process::reap(Some(child.pid));
}
