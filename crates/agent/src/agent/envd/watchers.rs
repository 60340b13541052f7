//! Watches of directories: one stream each (`WatchDir`), or events kept until they are asked for (`CreateWatcher`).
//!
//! A child watches as the caller (see `fs::watch`). What it tells is read only as far as there is room for it; when that
//! takes too long the kernel's queue overflows, and the watch ends and says so.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use buffa::Message as _;
use rustix::process::Signal;
use sandkeep_protocol::envelope::{Code, ConnectError, Decoder, Envelope};
use sandkeep_protocol::filesystem as envd;
use sandkeep_protocol::filesystem::__buffa::oneof::watch_dir_response::Event;
use sandkeep_protocol::mux::StreamId;
use sandkeep_protocol::routes::filesystem as routes;
use sandkeep_sandbox::process::{self, Child};

use super::caller::Caller;
use super::codec::{self, Codec};
use super::pulse::{Pulse, out_of_time};
use crate::agent::Agent;
use crate::agent::fs::{self, Wish, Work};
use crate::agent::pipes::{self, READ_BYTES, Read};
use crate::calls::{self, Incoming};
use crate::clock;
use crate::link::Link;

/// Watches at once, of both kinds: each is a process.
const MOST_WATCHERS: usize = 16;
/// Bytes of events that are kept for a client that asks for them: some ten thousand, unless names are chosen to be long.
const MOST_EVENT_BYTES: usize = 1 << 20;
/// A watcher that nobody asked for so long may make way for a new one: its client has forgotten it.
const FORGOTTEN_AFTER_US: u64 = 600_000_000;
/// Longest message of a child: an event with two paths.
const MOST_MESSAGE_BYTES: usize = 1 << 20;

/// All watches, by the calls that began them.
#[derive(Debug, Default)]
pub(crate) struct Watchers(BTreeMap<StreamId, Watcher>);

#[derive(Debug)]
struct Watcher {
    child: Child,
    pipe: OwnedFd,
    decoder: Decoder,
    /// What came and is not told yet.
    bytes: Vec<u8>,
    listener: Listener,
    /// Nothing more comes.
    ended: Option<Result<(), ConnectError>>,
}

/// Whom it is for.
#[derive(Debug)]
enum Listener {
    Stream {
        codec: Codec,
        pulse: Pulse,
    },
    /// Its client waits to hear its name, or the reason why it has none.
    Created {
        call: Incoming,
        deadline_us: u64,
    },
    Polled {
        events: Vec<envd::FilesystemEvent>,
        bytes: usize,
        asked_us: u64,
    },
}

impl Agent {
    /// Begins a watch.
    pub(super) fn watch_called(&mut self, id: StreamId, call: &Incoming) {
        let asked =
            Caller::of(call, &self.prepared).and_then(|who| Ok((wish(call, who)?, listener(call)?, who)));
        let begun = asked.and_then(|(wish, listener, who)| {
            self.envd.watchers.make_room()?;
            let who = who.identity(&self.prepared);
            // Whatever the client speaks, it is translated here.
            let (child, pipe) = fs::start(&Work::Watch(wish), who, Codec::Binary, &self.prepared)?;
            let decoder = Decoder::new(MOST_MESSAGE_BYTES);
            Ok(Watcher { child, pipe, decoder, bytes: Vec::new(), listener, ended: None })
        });
        match begun {
            Ok(watcher) => {
                if let Listener::Stream { codec, .. } = &watcher.listener {
                    codec.begin(&mut self.link, id);
                }
                self.envd.watchers.0.insert(id, watcher);
            }
            Err(error) => call.refuse(&mut self.link, id, &error),
        }
    }
}

fn wish(call: &Incoming, who: Caller) -> Result<Wish, ConnectError> {
    // Both requests have the same fields.
    let request: envd::WatchDirRequest = codec::read(call)?;
    Ok(Wish {
        path: fs::path::expand(&request.path, who.home)?,
        recursive: request.recursive,
        describe: request.include_entry,
        network: request.allow_network_mounts,
    })
}

fn listener(call: &Incoming) -> Result<Listener, ConnectError> {
    if call.path == routes::WATCH_DIR {
        return Ok(Listener::Stream { codec: Codec::of(call), pulse: Pulse::new(call, true)? });
    }
    let timeout = call.timeout_us()?.unwrap_or(CREATE_PATIENCE_US).min(CREATE_PATIENCE_US);
    Ok(Listener::Created { call: call.clone(), deadline_us: clock::boot_us() + timeout })
}

/// To walk through the largest tree that is watched.
const CREATE_PATIENCE_US: u64 = 60_000_000;

fn name(id: StreamId) -> String {
    format!("w{id}")
}

impl Watchers {
    /// What happened since the last time.
    ///
    /// # Errors
    /// `not_found`; and once all events are told, why the watch has ended.
    pub(super) fn events(
        &mut self,
        request: envd::GetWatcherEventsRequest,
    ) -> Result<envd::GetWatcherEventsResponse, ConnectError> {
        let id = self.find(&request.watcher_id)?;
        let watcher = self.0.get_mut(&id).ok_or_else(|| unknown(&request.watcher_id))?;
        let Listener::Polled { events, bytes, asked_us } = &mut watcher.listener else {
            return Err(unknown(&request.watcher_id));
        };
        *asked_us = clock::boot_us();
        if let (true, Some(Err(error))) = (events.is_empty(), &watcher.ended) {
            return Err(error.clone());
        }
        *bytes = 0;
        Ok(envd::GetWatcherEventsResponse { events: std::mem::take(events) })
    }

    /// # Errors
    /// `not_found`.
    pub(super) fn remove(
        &mut self,
        request: envd::RemoveWatcherRequest,
    ) -> Result<envd::RemoveWatcherResponse, ConnectError> {
        let id = self.find(&request.watcher_id)?;
        self.0.remove(&id);
        Ok(envd::RemoveWatcherResponse::default())
    }

    fn find(&self, named: &str) -> Result<StreamId, ConnectError> {
        let polled = self.0.iter().filter(|(_, watcher)| matches!(watcher.listener, Listener::Polled { .. }));
        polled.map(|(id, _)| *id).find(|id| name(*id) == named).ok_or_else(|| unknown(named))
    }

    /// # Errors
    /// `resource_exhausted` when all are in use.
    fn make_room(&mut self) -> Result<(), ConnectError> {
        if self.0.len() < MOST_WATCHERS {
            return Ok(());
        }
        let asked = |watcher: &Watcher| match watcher.listener {
            Listener::Polled { asked_us, .. } => Some(asked_us),
            Listener::Stream { .. } | Listener::Created { .. } => None,
        };
        let polled = self.0.iter().filter_map(|(id, watcher)| Some((asked(watcher)?, *id)));
        let oldest = polled.min().filter(|(asked, _)| asked + FORGOTTEN_AFTER_US < clock::boot_us());
        let Some((_, id)) = oldest else {
            let text = format!("there are {MOST_WATCHERS} watchers already");
            return Err(ConnectError::new(Code::ResourceExhausted, text));
        };
        self.0.remove(&id);
        Ok(())
    }

    /// Pipes to poll, as far as there is room for what comes.
    pub(crate) fn sources(&self, link: &Link) -> impl Iterator<Item = (StreamId, BorrowedFd<'_>)> {
        let open =
            self.0.iter().filter(|(id, watcher)| watcher.ended.is_none() && watcher.has_room(**id, link));
        open.map(|(id, watcher)| (*id, watcher.pipe.as_fd()))
    }

    /// Something came from the child of this watch.
    pub(crate) fn advance(&mut self, id: StreamId, link: &mut Link) {
        let Some(watcher) = self.0.get_mut(&id) else { return };
        watcher.read();
        self.tell(id, link);
    }

    /// Tells what there is room for.
    fn tell(&mut self, id: StreamId, link: &mut Link) {
        let Some(watcher) = self.0.get_mut(&id) else { return };
        if watcher.tell(id, link) {
            self.0.remove(&id);
        }
    }

    /// The client went away. A watcher that is asked for its events outlives the call that made it.
    pub(crate) fn forget(&mut self, id: StreamId) {
        let streams = |watcher: &mut Watcher| !matches!(watcher.listener, Listener::Polled { .. });
        if self.0.get_mut(&id).is_some_and(streams) {
            self.0.remove(&id);
        }
    }

    pub(crate) fn next_moment_us(&self) -> Option<u64> {
        let moments = self.0.values().filter_map(|watcher| match &watcher.listener {
            Listener::Stream { pulse, .. } => pulse.next_moment_us(),
            Listener::Created { deadline_us, .. } => Some(*deadline_us),
            Listener::Polled { .. } => None,
        });
        moments.min()
    }

    /// Does what is due.
    pub(crate) fn keep_time(&mut self, now: u64, link: &mut Link) {
        self.0.retain(|id, watcher| match &mut watcher.listener {
            Listener::Stream { pulse, .. } if pulse.is_over(now) => {
                calls::end(link, *id, Err(out_of_time()));
                false
            }
            Listener::Stream { codec, pulse } => {
                if pulse.is_due(now) {
                    // Who does not take what is there already needs no more.
                    if link.room(*id) > 0 {
                        push(*codec, *id, envd::watch_dir_response::KeepAlive::default().into(), link);
                    }
                    pulse.beat();
                }
                true
            }
            Listener::Created { call, deadline_us } if *deadline_us <= now => {
                call.refuse(link, *id, &out_of_time());
                false
            }
            Listener::Created { .. } | Listener::Polled { .. } => true,
        });
    }
}

impl Watcher {
    fn has_room(&self, id: StreamId, link: &Link) -> bool {
        match &self.listener {
            Listener::Stream { .. } => link.room(id) > 2 * READ_BYTES,
            Listener::Created { .. } => true,
            Listener::Polled { bytes, .. } => *bytes < MOST_EVENT_BYTES,
        }
    }

    fn read(&mut self) {
        let mut buffer = vec![0; READ_BYTES];
        match pipes::read(&self.pipe, &mut buffer) {
            Read::Later => {}
            Read::Bytes(got) => self.bytes.extend_from_slice(&buffer[..got]),
            Read::End => {
                let text = "the watch was ended, perhaps by the code";
                self.ended = Some(Err(ConnectError::new(Code::Aborted, text)));
            }
        }
    }

    /// Tells what has come; true when nothing more is to be told.
    fn tell(&mut self, id: StreamId, link: &mut Link) -> bool {
        let bytes = std::mem::take(&mut self.bytes);
        let mut rest = bytes.as_slice();
        while let Ok(Some(envelope)) = self.decoder.next(&mut rest) {
            match envelope {
                Envelope::Message(message) => self.event(id, &message, link),
                Envelope::End(outcome) => self.ended = Some(outcome),
            }
        }
        let Some(outcome) = &self.ended else { return false };
        match &self.listener {
            Listener::Stream { .. } => calls::end(link, id, outcome.clone()),
            Listener::Created { call, .. } => {
                let error = outcome.clone().err();
                let gone = || ConnectError::new(Code::NotFound, "the directory is gone");
                call.refuse(link, id, &error.unwrap_or_else(gone));
            }
            // Told to whoever asks next.
            Listener::Polled { .. } => return false,
        }
        true
    }

    fn event(&mut self, id: StreamId, message: &[u8], link: &mut Link) {
        let Ok(response) = envd::WatchDirResponse::decode_from_slice(message) else { return };
        let Some(event) = response.event else { return };
        match (&mut self.listener, event) {
            (Listener::Stream { codec, pulse }, event) => {
                push(*codec, id, event, link);
                pulse.beat();
            }
            (Listener::Created { call, .. }, Event::Start(_)) => {
                let created = envd::CreateWatcherResponse { watcher_id: name(id) };
                codec::answer(link, id, call, Ok(created));
                self.listener = Listener::Polled { events: Vec::new(), bytes: 0, asked_us: clock::boot_us() };
            }
            (Listener::Polled { events, bytes, .. }, Event::Filesystem(event)) => {
                events.push(*event);
                *bytes += message.len();
            }
            // A child begins with the start and knows no keepalive.
            (Listener::Created { .. } | Listener::Polled { .. }, _) => {}
        }
    }
}

fn push(codec: Codec, id: StreamId, event: Event, link: &mut Link) {
    codec.push(link, id, &envd::WatchDirResponse { event: Some(event) });
}

fn unknown(named: &str) -> ConnectError {
    ConnectError::new(Code::NotFound, format!("there is no watcher {named:?}"))
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _gone = process::signal(&self.child.pidfd, Signal::KILL);
    }
}
