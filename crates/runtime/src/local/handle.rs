//! Handles on one sandbox and its executions.
//!
//! The limits are kept by the supervisor. Should it stand still (a SIGSTOP, a debugger), it keeps none, and would be waited
//! for in vain: whoever waits here does so for as long as a supervisor that lives could need, and then kills it. With it
//! goes the agent, and with that everything in the sandbox.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::enforcement::Enforcement;
use sandkeep_core::id::{ExecutionId, SandboxId};
use sandkeep_core::sandbox::Profile;
use sandkeep_protocol::agent as inner;
use sandkeep_protocol::routes::{agent as agent_routes, supervisor as routes};
use sandkeep_protocol::supervisor as proto;

use super::connection::{Answers, Connection};
use super::embed::Supervisor;
use super::reach::Reach;
use super::{convert, resolve};
use crate::driver::{
    BoxFuture, Cancel, Control, Event, ExecutionSpec, Facts, Owned, Prepared, Root, Running, Sandbox,
    SandboxSpec,
};

/// A supervisor answers in microseconds; on a machine that swaps, in seconds.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// A shutdown waits until all processes are gone, which the supervisor waits for with a bound of its own.
const LEAVES_WITHIN: Duration = Duration::from_secs(15);
/// An execution that is not over this long after its timeout is asked for, again and again: killing, draining and looking
/// for files may take a while.
const OVERDUE_AFTER: Duration = Duration::from_secs(5);

/// The first version of the protocol in which a supervisor can hold code back.
const PREPARES_FROM: u32 = 2;

/// What executions need of their sandbox.
#[derive(Debug)]
struct Held {
    connection: Connection,
    reach: Reach,
    incarnation: u64,
    token: u64,
    root: Root,
    profile: Profile,
    /// See [`super::Local::warming_python`].
    warm_python: Option<Arc<[String]>>,
}

impl Held {
    fn request(&self, spec: &ExecutionSpec, position: u64) -> Result<proto::StartExecution, Problem> {
        let mut request = resolve::start(spec, &self.root, self.profile, self.incarnation, position)?;
        if let Some(modules) = self.warm_python.as_ref().filter(|_| resolve::may_be_warm(spec, &self.root)) {
            request.warm = buffa::MessageField::some(proto::WarmPython { modules: modules.to_vec() });
        }
        Ok(request)
    }

    /// Waits for an answer; a supervisor that gives none is killed.
    async fn within<T>(
        &self,
        patience: Duration,
        answer: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        match tokio::time::timeout(patience, answer).await {
            Ok(answer) => answer,
            Err(_) => {
                self.reach.kill();
                Err(silent(patience))
            }
        }
    }
}

/// Asks after an execution that should be over, until nobody follows it any more: that the supervisor lives is all that
/// matters of the answer.
async fn watch(held: Weak<Held>, execution_id: String, timeout: Duration) {
    tokio::time::sleep(timeout).await;
    loop {
        tokio::time::sleep(OVERDUE_AFTER).await;
        let Some(held) = held.upgrade() else { return };
        let request = proto::GetRequest { execution_id: execution_id.clone() };
        let asked = held.connection.call::<_, proto::ExecutionStatus>(routes::GET, &request);
        if held.within(ANSWERS_WITHIN, asked).await.is_err() {
            return;
        }
    }
}

/// A sandbox.
#[derive(Debug)]
pub(super) struct Handle {
    id: SandboxId,
    held: Arc<Held>,
    enforcement: Enforcement,
    facts: Facts,
    /// Whether its supervisor can hold code back.
    prepares: bool,
    /// Taken by whoever waits for its end.
    supervisor: Mutex<Option<Supervisor>>,
}

/// What of a specification is needed for as long as the sandbox is held.
pub(super) struct Wanted {
    id: SandboxId,
    incarnation: u64,
    token: u64,
    root: Root,
    profile: Profile,
    /// See [`super::Local::warming_python`].
    warm_python: Option<Arc<[String]>>,
}

impl Wanted {
    pub(super) fn of(spec: &SandboxSpec, warm_python: Option<Arc<[String]>>) -> Self {
        let SandboxSpec { id, incarnation, token, profile, .. } = *spec;
        Self { id, incarnation, token, root: spec.root.clone(), profile, warm_python }
    }
}

impl Handle {
    pub(super) fn new(
        wanted: Wanted,
        connection: Connection,
        supervisor: Supervisor,
        booted: &proto::Booted,
        version: u32,
    ) -> Self {
        let Wanted { id, incarnation, token, root, profile, warm_python } = wanted;
        let reach = Reach::of(supervisor.id(), Some(booted.agent_pid));
        let held = Held { connection, reach, incarnation, token, root, profile, warm_python };
        Self {
            id,
            held: Arc::new(held),
            enforcement: convert::enforcement(booted),
            facts: convert::facts(booted, supervisor.id()),
            prepares: version >= PREPARES_FROM,
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

    /// One that was found again.
    ///
    /// # Errors
    /// `protocol_error`: its supervisor says of it what we do not know.
    pub(super) fn found(
        owned: Owned,
        token: u64,
        connection: Connection,
        supervisor: Supervisor,
        answer: proto::AttachResponse,
        warm_python: Option<Arc<[String]>>,
    ) -> Result<Self, Problem> {
        let unknown =
            || Problem::new(ErrorCode::ProtocolError, "a supervisor holds what this release does not know");
        let (spec, booted) = (answer.spec.into_option(), answer.booted.into_option());
        let (spec, booted) = spec.zip(booted).ok_or_else(unknown)?;
        let (root, profile) = convert::root_and_profile(&spec).ok_or_else(unknown)?;
        let wanted =
            Wanted { id: owned.id, incarnation: owned.incarnation, token, root, profile, warm_python };
        Ok(Self::new(wanted, connection, supervisor, &booted, answer.version))
    }

    fn begin(&self, spec: &ExecutionSpec, position: u64) -> Result<Followed, Problem> {
        let held = Arc::clone(&self.held);
        let request = held.request(spec, position)?;
        let answers = held.connection.stream(routes::START, &request)?;
        Ok(Followed::new(answers, held, spec))
    }

    fn hold(&self, spec: &ExecutionSpec) -> Result<Waiting, Problem> {
        let held = Arc::clone(&self.held);
        let request = held.request(spec, 0)?;
        if self.prepares && spec.files.is_empty() {
            let answers = held.connection.open_stream(routes::PREPARE, &request)?;
            return Ok(Waiting::Prepared(Followed::new(answers, held, spec)));
        }
        Ok(Waiting::Unasked { held, request: Box::new(request), spec: Box::new(spec.clone()) })
    }

    async fn end(&self) {
        let held = &self.held;
        let request = proto::ShutdownRequest { incarnation: held.incarnation, token: held.token };
        // A supervisor that is gone already has nothing left.
        let left = held.connection.call::<_, proto::ShutdownResponse>(routes::SHUTDOWN, &request);
        let _gone = held.within(LEAVES_WITHIN, left).await;
        let supervisor = self.supervisor.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(supervisor) = supervisor {
            // It exits right after its answer.
            supervisor.wait().await;
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

    fn resume<'a>(
        &'a self,
        spec: &'a ExecutionSpec,
        position: u64,
    ) -> BoxFuture<'a, Result<Box<dyn Running>, Problem>> {
        Box::pin(async move {
            let followed = self.begin(spec, position)?;
            Ok(Box::new(followed) as Box<dyn Running>)
        })
    }

    fn prepare<'a>(&'a self, spec: &'a ExecutionSpec) -> BoxFuture<'a, Result<Box<dyn Prepared>, Problem>> {
        Box::pin(async move { Ok(Box::new(self.hold(spec)?) as Box<dyn Prepared>) })
    }

    fn forget(&self, id: ExecutionId, token: u64) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(async move {
            let (execution_id, incarnation) = (id.to_string(), self.held.incarnation);
            let request = proto::ForgetRequest { execution_id, incarnation, token };
            let asked = self.held.connection.call::<_, proto::ForgetResponse>(routes::FORGET, &request);
            self.held.within(ANSWERS_WITHIN, asked).await.map(drop)
        })
    }

    fn ended(&self) -> BoxFuture<'_, Result<Vec<ExecutionId>, Problem>> {
        Box::pin(async {
            let request = proto::ListRequest::default();
            let asked = self.held.connection.call::<_, proto::ListResponse>(routes::LIST, &request);
            let known = self.held.within(ANSWERS_WITHIN, asked).await?.executions;
            let over = |one: &proto::ExecutionStatus| {
                one.state.as_known() == Some(proto::ExecutionState::EXECUTION_STATE_ENDED) && !one.stored
            };
            Ok(known.iter().filter(|one| over(one)).filter_map(|one| one.execution_id.parse().ok()).collect())
        })
    }

    fn read_file<'a>(&'a self, path: &'a str, max_bytes: u64) -> BoxFuture<'a, Result<Vec<u8>, Problem>> {
        Box::pin(async move {
            let request = inner::ReadFileRequest { path: path.to_owned(), max_bytes };
            let mut answers = self.held.connection.stream(agent_routes::READ_FILE, &request)?;
            let mut bytes = Vec::new();
            while let Some(piece) = answers.next::<inner::ReadFileEvent>().await? {
                bytes.extend(piece.data);
                // It comes from the agent, which stands beside the code.
                if bytes.len() as u64 > max_bytes {
                    let text = format!("{path}: more came than the {max_bytes} bytes that were asked for");
                    return Err(Problem::new(ErrorCode::FileUnreadable, text));
                }
            }
            Ok(bytes)
        })
    }

    fn gone(&self) -> BoxFuture<'_, Result<(), Problem>> {
        Box::pin(self.held.reach.gone())
    }

    fn stop(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.end())
    }
}

/// One execution whose code is held back.
#[derive(Debug)]
enum Waiting {
    /// By the supervisor, until the request ends. Dropped, this gives the call up.
    Prepared(Followed),
    /// The supervisor is of a release that cannot, or files would be there before: so it is not asked yet.
    Unasked { held: Arc<Held>, request: Box<proto::StartExecution>, spec: Box<ExecutionSpec> },
}

impl Prepared for Waiting {
    fn release(self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn Running>, Problem>> {
        Box::pin(async move {
            let followed = match *self {
                Self::Prepared(mut followed) => {
                    followed.answers.finish();
                    followed
                }
                Self::Unasked { held, request, spec } => {
                    let answers = held.connection.stream(routes::START, &*request)?;
                    Followed::new(answers, held, &spec)
                }
            };
            Ok(Box::new(followed) as Box<dyn Running>)
        })
    }
}

impl Followed {
    fn new(answers: Answers, held: Arc<Held>, spec: &ExecutionSpec) -> Self {
        let execution_id = spec.id.to_string();
        let timeout = Duration::from_millis(spec.limits.timeout.as_millis());
        // Ended with whoever follows.
        let watch = tokio::spawn(watch(Arc::downgrade(&held), execution_id.clone(), timeout));
        Self { answers, handle: Lever { held, execution_id, token: spec.token }, watch }
    }
}

/// One execution, followed.
#[derive(Debug)]
struct Followed {
    answers: Answers,
    handle: Lever,
    watch: tokio::task::JoinHandle<()>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

impl Running for Followed {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Event>, Problem>> {
        Box::pin(async {
            loop {
                let next = self.answers.next::<proto::Event>().await;
                let next = next.map_err(|problem| self.handle.held.reach.explain(problem))?;
                let Some(event) = next else { return Ok(None) };
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
            let asked = self.held.connection.call::<_, proto::CancelResponse>(routes::CANCEL, &request);
            Ok(self.held.within(ANSWERS_WITHIN, asked).await?.cancelled)
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

/// Whoever gave no answer in time.
pub(super) fn silent(patience: Duration) -> Problem {
    let text = format!("the sandbox's supervisor gave no answer for {} s and was killed", patience.as_secs());
    Problem::new(ErrorCode::SandboxLost, text)
}
