//! Calls of clients that are for the agent: passed through stream by stream, in both directions, as fast as they are
//! taken.
//!
//! The supervisor does not look into them. Only what is listed here passes, and of its head only what the agent reads.

use std::collections::{BTreeMap, BTreeSet};

use sandkeep_protocol::envelope::{Code, ConnectError};
use sandkeep_protocol::head::Head;
use sandkeep_protocol::mux::{Event, StreamId, reset_code};
use sandkeep_protocol::routes::agent as agent_routes;

use super::Supervisor;
use crate::agent::envd;
use crate::calls::Incoming;

/// A stream of the server, and its twin towards the agent.
#[derive(Debug)]
struct Twin {
    stream: StreamId,
    /// Bytes of the server's that the agent has not taken yet: credit is given back later.
    owed_to_server: usize,
    /// Bytes of the agent's that the server has not taken yet.
    owed_to_agent: usize,
    /// A process was admitted for it, and the agent has not answered yet.
    awaited: bool,
}

/// Streams of the server that are passed on.
#[derive(Debug, Default)]
pub(super) struct Proxied {
    twins: BTreeMap<StreamId, Twin>,
    /// Streams to the agent whose client went away before the process that it wanted was begun. They go their way until the
    /// agent answers: given up sooner, the admission would be nobody's, for ever.
    left: BTreeSet<StreamId>,
}

impl Proxied {
    /// The streams towards the agent.
    pub(super) fn into_inwards(self) -> impl Iterator<Item = StreamId> {
        self.twins.into_values().map(|twin| twin.stream)
    }

    fn of_agent(&mut self, agent: StreamId) -> Option<(StreamId, &mut Twin)> {
        self.twins.iter_mut().find(|(_, twin)| twin.stream == agent).map(|(server, twin)| (*server, twin))
    }

    /// Whether a call may be changing files.
    pub(super) fn has_calls(&self) -> bool {
        !self.twins.is_empty()
    }
}

impl Supervisor {
    /// Opens the twin of a call that is for the agent as it is; false when it is for us.
    pub(super) fn pass_on(&mut self, id: StreamId, head: &Head) -> bool {
        let passes = [agent_routes::READ_FILE, agent_routes::PING].contains(&head.path.as_str())
            || envd::METHODS.contains(&head.path.as_str());
        if passes && let Err(error) = self.open_twin(id, head, None) {
            Incoming::new(head).refuse(&mut self.server, id, &error);
        }
        passes
    }

    /// Opens a twin towards the agent, for a process with the name of its admission.
    ///
    /// # Errors
    /// `unavailable`, `resource_exhausted`.
    pub(super) fn open_twin(
        &mut self,
        id: StreamId,
        head: &Head,
        admission: Option<&str>,
    ) -> Result<StreamId, ConnectError> {
        let Some(sandbox) = &mut self.sandbox else {
            return Err(ConnectError::new(Code::Unavailable, "sandbox_lost: the sandbox has ended"));
        };
        let head = envd::head_inwards(head, admission);
        let opened = sandbox.link.open(&head, Vec::new());
        let stream = opened.map_err(|error| {
            ConnectError::new(Code::ResourceExhausted, format!("too_many_executions: {error}"))
        })?;
        let awaited = admission.is_some();
        self.proxied.twins.insert(id, Twin { stream, owed_to_server: 0, owed_to_agent: 0, awaited });
        Ok(stream)
    }

    /// What the server says on such a call; false when it is not one.
    pub(super) fn pass_down(&mut self, event: &Event) -> bool {
        let (Event::Data { id, .. } | Event::Finished { id } | Event::Reset { id, .. }) = event else {
            return false;
        };
        let Some(twin) = self.proxied.twins.get_mut(id) else { return false };
        let Some(sandbox) = &mut self.sandbox else { return true };
        match event {
            Event::Data { bytes, .. } => {
                sandbox.link.send(twin.stream, bytes);
                twin.owed_to_server += bytes.len();
            }
            Event::Finished { .. } => sandbox.link.finish(twin.stream),
            Event::Reset { id, .. } if twin.awaited => {
                self.proxied.left.insert(twin.stream);
                self.proxied.twins.remove(id);
            }
            Event::Reset { id, code } => {
                sandbox.link.reset(twin.stream, *code);
                self.proxied.twins.remove(id);
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
        if self.proxied.left.remove(id) {
            if let Some(sandbox) = &mut self.sandbox {
                sandbox.link.reset(*id, reset_code::CANCEL);
            }
            return true;
        }
        let Some((server, twin)) = self.proxied.of_agent(*id) else { return false };
        twin.awaited = false;
        match event {
            Event::Replied { head, .. } => self.server.reply_with(server, head),
            Event::Data { bytes, .. } => {
                self.server.send(server, bytes);
                twin.owed_to_agent += bytes.len();
            }
            Event::Finished { .. } => {
                self.server.finish(server);
                self.end_twin(server);
            }
            Event::Reset { code, .. } => {
                self.server.reset(server, *code);
                self.proxied.twins.remove(&server);
            }
            Event::Hello { .. } | Event::Opened { .. } | Event::Writable { .. } | Event::Pong { .. } => {}
        }
        true
    }

    /// The agent has said all. Whatever the server still says on that call is for nobody.
    fn end_twin(&mut self, server: StreamId) {
        let Some(twin) = self.proxied.twins.remove(&server) else { return };
        self.server.consume(server, twin.owed_to_server);
        if let Some(sandbox) = &mut self.sandbox {
            sandbox.link.reset(twin.stream, reset_code::CANCEL);
        }
    }

    /// Gives each side credit for what the other has room for.
    pub(super) fn settle(&mut self) {
        let Some(sandbox) = &mut self.sandbox else { return };
        for (server, twin) in &mut self.proxied.twins {
            if twin.owed_to_agent > 0 && self.server.room(*server) > 0 {
                sandbox.link.consume(twin.stream, std::mem::take(&mut twin.owed_to_agent));
            }
            if twin.owed_to_server > 0 && sandbox.link.room(twin.stream) > 0 {
                self.server.consume(*server, std::mem::take(&mut twin.owed_to_server));
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
