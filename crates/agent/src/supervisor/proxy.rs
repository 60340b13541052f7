//! Calls that are for the agent: passed through stream by stream, in both directions, as fast as they are taken.
//!
//! The supervisor does not look into them. Only what is listed here passes. A process that such a call starts gets a
//! domain from here, like any execution, and the end of the call kills whatever is left in it.

use std::collections::BTreeMap;

use sandkeep_protocol::head::{Head, ResponseHead};
use sandkeep_protocol::mux::{Event, StreamId, reset_code};
use sandkeep_protocol::routes::{agent as agent_routes, process as process_routes};
use sandkeep_protocol::supervisor as proto;

use super::Supervisor;
use super::domain::Domain;
use crate::agent::envd;

/// Calls that are passed on.
const PASSED: [&str; 7] = [
    agent_routes::READ_FILE,
    agent_routes::PING,
    process_routes::START,
    process_routes::LIST,
    process_routes::SEND_INPUT,
    process_routes::CLOSE_STDIN,
    process_routes::SEND_SIGNAL,
];

/// A stream towards the agent.
#[derive(Debug)]
struct Twin {
    stream: StreamId,
    /// Of the process that the call started.
    domain: Option<(u32, Domain)>,
}

/// Streams of the server, each with its twin towards the agent.
#[derive(Debug, Default)]
pub(super) struct Proxied {
    twins: BTreeMap<StreamId, Twin>,
    /// Bytes of the agent's that the server has not taken yet, by the agent's stream: credit is given back later.
    owed: BTreeMap<StreamId, usize>,
}

impl Proxied {
    fn server_of(&self, agent: StreamId) -> Option<StreamId> {
        self.twins.iter().find(|(_, twin)| twin.stream == agent).map(|(server, _)| *server)
    }

    /// Whether a process that a call started may live.
    pub(super) fn has_processes(&self) -> bool {
        self.twins.values().any(|twin| twin.domain.is_some())
    }

    /// Ends those; the agent then ends their calls.
    pub(super) fn kill(&self) {
        for (_, domain) in self.twins.values().filter_map(|twin| twin.domain.as_ref()) {
            domain.kill();
        }
    }
}

impl Supervisor {
    /// Opens the twin of a call that is for the agent; false when it is for us.
    pub(super) fn pass_on(&mut self, id: StreamId, head: &Head) -> bool {
        if !PASSED.contains(&head.path.as_str()) {
            return false;
        }
        match self.open_twin(head) {
            Some(twin) => drop(self.proxied.twins.insert(id, twin)),
            None => self.server.reset(id, reset_code::REFUSED),
        }
        true
    }

    fn open_twin(&mut self, head: &Head) -> Option<Twin> {
        let mut head = head.clone();
        envd::drop_own_words(&mut head);
        let (mut domain, mut descriptors) = (None, Vec::new());
        if head.path == process_routes::START {
            // Without groups nothing here watches what it uses; that comes with live sandboxes.
            self.sandbox.as_ref()?.group.as_ref()?;
            let (number, taken) = self.take_domain(&proto::ExecutionLimits::default()).ok()?;
            let (ways_in, clone_into) = taken.ways_in().ok()?;
            descriptors = ways_in;
            let mut say = |name: &str, so: bool| {
                if so {
                    head.headers.push((name.to_owned(), "1".to_owned()));
                }
            };
            say(envd::CLONE_INTO_HEADER, clone_into);
            say(envd::OWN_PID_HEADER, matches!(taken, Domain::Namespace(_)));
            domain = Some((number, taken));
        }
        let sandbox = self.sandbox.as_mut()?;
        let stream = sandbox.link.open(&head, descriptors).ok()?;
        Some(Twin { stream, domain })
    }

    /// The call is over: what its process left behind goes, and its domain can be used again.
    fn part(&mut self, server: StreamId) {
        let Some(twin) = self.proxied.twins.remove(&server) else { return };
        self.proxied.owed.remove(&twin.stream);
        let Some((number, domain)) = twin.domain else { return };
        domain.kill();
        self.spend_domain(number, domain);
    }

    /// What the server says on such a call; false when it is not one.
    pub(super) fn pass_down(&mut self, event: &Event) -> bool {
        let (Event::Data { id, .. } | Event::Finished { id } | Event::Reset { id, .. }) = event else {
            return false;
        };
        let Some(twin) = self.proxied.twins.get(id).map(|twin| twin.stream) else { return false };
        let Some(sandbox) = &mut self.sandbox else { return true };
        match event {
            Event::Data { id, bytes } => {
                self.server.consume(*id, bytes.len());
                sandbox.link.send(twin, bytes);
            }
            Event::Finished { .. } => sandbox.link.finish(twin),
            Event::Reset { id, code } => {
                sandbox.link.reset(twin, *code);
                self.part(*id);
            }
            Event::Hello { .. }
            | Event::Opened { .. }
            | Event::Replied { .. }
            | Event::Writable { .. }
            | Event::Pong { .. } => {}
        }
        true
    }

    /// What the agent says on such a call; false when it is not one.
    pub(super) fn pass_up(&mut self, event: &Event) -> bool {
        let (Event::Replied { id, .. }
        | Event::Data { id, .. }
        | Event::Finished { id }
        | Event::Reset { id, .. }) = event
        else {
            return false;
        };
        let Some(server) = self.proxied.server_of(*id) else { return false };
        match event {
            Event::Replied { head, .. } => self.reply(server, head),
            Event::Data { id, bytes } => {
                self.server.send(server, bytes);
                *self.proxied.owed.entry(*id).or_default() += bytes.len();
            }
            Event::Finished { .. } => {
                self.server.finish(server);
                self.part(server);
            }
            Event::Reset { code, .. } => {
                self.server.reset(server, *code);
                self.part(server);
            }
            Event::Hello { .. } | Event::Opened { .. } | Event::Writable { .. } | Event::Pong { .. } => {}
        }
        true
    }

    fn reply(&mut self, server: StreamId, head: &ResponseHead) {
        self.server.reply_with(server, head);
    }

    /// Gives the agent credit for what the server has room for.
    pub(super) fn settle(&mut self) {
        let Some(sandbox) = &mut self.sandbox else { return };
        for (server, twin) in &self.proxied.twins {
            if self.server.room(*server) > 0
                && let Some(owed) = self.proxied.owed.remove(&twin.stream)
            {
                sandbox.link.consume(twin.stream, owed);
            }
        }
    }

    /// The agent is gone: nothing of it will come any more.
    pub(super) fn drop_proxied(&mut self) {
        for server in std::mem::take(&mut self.proxied).twins.into_keys() {
            self.server.reset(server, reset_code::CANCEL);
        }
    }
}
