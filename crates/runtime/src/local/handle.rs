//! Handles on one sandbox and its executions.

use std::sync::{Arc, Mutex, PoisonError};

use sandkeep_core::code::Problem;
use sandkeep_core::enforcement::Enforcement;
use sandkeep_core::id::SandboxId;
use sandkeep_core::sandbox::Profile;
use sandkeep_protocol::agent as inner;
use sandkeep_protocol::routes::{agent as agent_routes, supervisor as routes};
use sandkeep_protocol::supervisor as proto;

use super::connection::{Answers, Connection};
use super::embed::Supervisor;
use super::{convert, resolve};
use crate::driver::{
    BoxFuture, Cancel, Control, Event, ExecutionSpec, Facts, Root, Running, Sandbox, SandboxSpec,
};

/// What executions need of their sandbox.
#[derive(Debug)]
struct Held {
    connection: Connection,
    incarnation: u64,
    token: u64,
    root: Root,
    profile: Profile,
}

/// A sandbox.
#[derive(Debug)]
pub(super) struct Handle {
    id: SandboxId,
    held: Arc<Held>,
    enforcement: Enforcement,
    facts: Facts,
    /// Taken by whoever waits for its end.
    supervisor: Mutex<Option<Supervisor>>,
}

impl Handle {
    pub(super) fn new(
        spec: &SandboxSpec,
        connection: Connection,
        supervisor: Supervisor,
        booted: &proto::Booted,
    ) -> Self {
        let held = Held {
            connection,
            incarnation: spec.incarnation,
            token: spec.token,
            root: spec.root.clone(),
            profile: spec.profile,
        };
        Self {
            id: spec.id,
            held: Arc::new(held),
            enforcement: convert::enforcement(booted),
            facts: convert::facts(booted, supervisor.id()),
            supervisor: Mutex::new(Some(supervisor)),
        }
    }

    #[cfg(test)]
    pub(super) fn profile(&self) -> Profile {
        self.held.profile
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.held.connection
    }

    async fn begin(&self, spec: &ExecutionSpec) -> Result<Box<dyn Running>, Problem> {
        let held = Arc::clone(&self.held);
        let request = resolve::start(spec, &held.root, held.profile, held.incarnation)?;
        let answers = held.connection.stream(routes::START, &request)?;
        let execution_id = spec.id.to_string();
        Ok(Box::new(Followed { answers, handle: Lever { held, execution_id, token: spec.token } }))
    }

    async fn end(&self) {
        let held = &self.held;
        let request = proto::ShutdownRequest { incarnation: held.incarnation, token: held.token };
        // A supervisor that is gone already has nothing left.
        let _gone: Result<proto::ShutdownResponse, Problem> =
            held.connection.call(routes::SHUTDOWN, &request).await;
        let supervisor = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(supervisor) = supervisor {
            // It exits right after its answer; a thread of the runtime's blocking pool waits for that.
            let _waited = tokio::task::spawn_blocking(move || supervisor.wait()).await;
        }
    }
}

impl Sandbox for Handle {
    fn id(&self) -> SandboxId {
        self.id
    }

    fn enforcement(&self) -> &Enforcement {
        &self.enforcement
    }

    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn start<'a>(&'a self, spec: &'a ExecutionSpec) -> BoxFuture<'a, Result<Box<dyn Running>, Problem>> {
        Box::pin(self.begin(spec))
    }

    fn read_file<'a>(&'a self, path: &'a str, max_bytes: u64) -> BoxFuture<'a, Result<Vec<u8>, Problem>> {
        Box::pin(async move {
            let request = inner::ReadFileRequest { path: path.to_owned(), max_bytes };
            let mut answers = self.held.connection.stream(agent_routes::READ_FILE, &request)?;
            let mut bytes = Vec::new();
            while let Some(piece) = answers.next::<inner::ReadFileEvent>().await? {
                bytes.extend(piece.data);
            }
            Ok(bytes)
        })
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.end())
    }
}

/// One execution, followed.
#[derive(Debug)]
struct Followed {
    answers: Answers,
    handle: Lever,
}

impl Running for Followed {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Event>, Problem>> {
        Box::pin(async {
            loop {
                let Some(event) = self.answers.next::<proto::Event>().await? else { return Ok(None) };
                // Kinds of events that we do not know are from a newer supervisor, and not for us.
                if let Some(event) = convert::event(event) {
                    return Ok(Some(event));
                }
            }
        })
    }

    fn control(&self) -> Box<dyn Control> {
        Box::new(self.handle.clone())
    }
}

/// Acts on one execution.
#[derive(Debug, Clone)]
struct Lever {
    held: Arc<Held>,
    execution_id: String,
    token: u64,
}

impl Control for Lever {
    fn cancel(&self, how: Cancel) -> BoxFuture<'_, Result<bool, Problem>> {
        Box::pin(async move {
            let mode = match how {
                Cancel::Politely => proto::CancelMode::CANCEL_MODE_TERM,
                Cancel::Now => proto::CancelMode::CANCEL_MODE_KILL,
            };
            let request = proto::CancelRequest {
                execution_id: self.execution_id.clone(),
                incarnation: self.held.incarnation,
                token: self.token,
                mode: mode.into(),
            };
            let answer: proto::CancelResponse = self.held.connection.call(routes::CANCEL, &request).await?;
            Ok(answer.cancelled)
        })
    }

    fn send_input(&self, data: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move {
            let request = proto::SendInputRequest {
                execution_id: self.execution_id.clone(),
                incarnation: self.held.incarnation,
                token: self.token,
                data,
            };
            let _done: proto::SendInputResponse =
                self.held.connection.call(routes::SEND_INPUT, &request).await?;
            Ok(())
        })
    }

    fn close_input(&self) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move {
            let request = proto::CloseInputRequest {
                execution_id: self.execution_id.clone(),
                incarnation: self.held.incarnation,
                token: self.token,
            };
            let _done: proto::CloseInputResponse =
                self.held.connection.call(routes::CLOSE_INPUT, &request).await?;
            Ok(())
        })
    }
}
