//! Calls that are for the agent: passed through stream by stream, in both directions, as fast as they are taken.
//!
//! The supervisor does not look into them. Only what is listed here passes; everything that starts or kills code goes
//! through the supervisor's own books.

use std::collections::BTreeMap;

use sandkeep_protocol::head::{Head, ResponseHead};
use sandkeep_protocol::mux::{Event, StreamId, reset_code};
use sandkeep_protocol::routes::agent as agent_routes;

use super::Supervisor;

/// Calls that are passed on.
const PASSED: [&str; 2] = [agent_routes::READ_FILE, agent_routes::PING];

/// Streams of the server, each with its twin towards the agent.
#[derive(Debug, Default)]
pub(super) struct Proxied {
    twins: BTreeMap<StreamId, StreamId>,
    /// Bytes of the agent's that the server has not taken yet, by the agent's stream: credit is given back later.
    owed: BTreeMap<StreamId, usize>,
}

impl Proxied {
    fn server_of(&self, agent: StreamId) -> Option<StreamId> {
        self.twins.iter().find(|(_, twin)| **twin == agent).map(|(server, _)| *server)
    }

    fn forget(&mut self, server: StreamId) -> Option<StreamId> {
        let twin = self.twins.remove(&server)?;
        self.owed.remove(&twin);
        Some(twin)
    }
}

impl Supervisor {
    /// Opens the twin of a call that is for the agent; false when it is for us.
    pub(super) fn pass_on(&mut self, id: StreamId, head: &Head) -> bool {
        if !PASSED.contains(&head.path.as_str()) {
            return false;
        }
        let twin = self.sandbox.as_mut().and_then(|sandbox| sandbox.link.open(head, Vec::new()).ok());
        match twin {
            Some(twin) => drop(self.proxied.twins.insert(id, twin)),
            None => self.server.reset(id, reset_code::REFUSED),
        }
        true
    }

    /// What the server says on such a call; false when it is not one.
    pub(super) fn pass_down(&mut self, event: &Event) -> bool {
        let (Event::Data { id, .. } | Event::Finished { id } | Event::Reset { id, .. }) = event else {
            return false;
        };
        let Some(twin) = self.proxied.twins.get(id).copied() else { return false };
        let Some(sandbox) = &mut self.sandbox else { return true };
        match event {
            Event::Data { id, bytes } => {
                self.server.consume(*id, bytes.len());
                sandbox.link.send(twin, bytes);
            }
            Event::Finished { .. } => sandbox.link.finish(twin),
            Event::Reset { id, code } => {
                sandbox.link.reset(twin, *code);
                self.proxied.forget(*id);
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
                self.proxied.forget(server);
            }
            Event::Reset { code, .. } => {
                self.server.reset(server, *code);
                self.proxied.forget(server);
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
                && let Some(owed) = self.proxied.owed.remove(twin)
            {
                sandbox.link.consume(*twin, owed);
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
