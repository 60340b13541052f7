//! What every driver can do, and the words for asking.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use sandkeep_core::code::Problem;
use sandkeep_core::defaults;
use sandkeep_core::enforcement::Enforcement;
use sandkeep_core::execution::{Artifact, EndFacts, Metrics, NotRunnable, Work};
use sandkeep_core::id::{ExecutionId, SandboxId};
use sandkeep_core::limits::Limits;
use sandkeep_core::output::{Mask, Stream};
use sandkeep_core::sandbox::{MountTarget, Profile, place};

/// An async result behind a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Makes sandboxes real, in one place.
pub trait Driver: fmt::Debug + Send + Sync {
    /// The word for it: `local`, later `docker`, `kubernetes`.
    fn name(&self) -> &'static str;

    /// Makes a sandbox that waits for work. Dropping the future leaves nothing behind.
    ///
    /// # Errors
    /// A [`Problem`] with its code; nothing is left behind.
    fn create<'a>(&'a self, spec: &'a SandboxSpec) -> BoxFuture<'a, Result<Box<dyn Sandbox>, Problem>>;

    /// Whether sandboxes can be made here now. Next to nothing is done while the last one that was asked for was made; else
    /// `trial` is made, and ended. To be awaited to its end.
    ///
    /// # Errors
    /// A [`Problem`] with its code: why none can be made. That there are as many as there may be is no reason.
    fn check<'a>(&'a self, trial: &'a SandboxSpec) -> BoxFuture<'a, Result<(), Problem>>;

    /// Whether its sandboxes go on when their handle is dropped, or the process that held it ends. Then they are found
    /// again here, or end by themselves after some time.
    fn outlives(&self) -> bool;

    /// The sandboxes that live and are found again here, held or not.
    ///
    /// # Errors
    /// A [`Problem`] with its code: nobody knows.
    fn list_owned(&self) -> BoxFuture<'_, Result<Vec<Owned>, Problem>>;

    /// Takes a sandbox over that this or another process made. Whoever held it before is fenced off: its connection closes.
    /// Of several with the same token, one gets it.
    ///
    /// # Errors
    /// `sandbox_lost`: it is gone, and so is all that ran in it. `stale_token`: somebody with a higher token has it, or with
    /// the same. Any other says nothing about the sandbox, and may be tried again.
    fn attach(&self, owned: Owned, token: u64) -> BoxFuture<'_, Result<Box<dyn Sandbox>, Problem>>;

    /// Removes the persistent layer in `directory`, and the directory, whatever code left there. One that is not
    /// there is removed. Not cancelled by dropping the future; asked again, it goes on where it was interrupted.
    ///
    /// # Errors
    /// `layer_in_use`: a sandbox has it; `layer_unusable`: it is none, or the host refuses.
    fn remove_layer<'a>(&'a self, directory: &'a str) -> BoxFuture<'a, Result<(), Problem>>;
}

/// One life of a sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owned {
    /// Which sandbox.
    pub id: SandboxId,
    /// Which start of it.
    pub incarnation: u64,
}

/// A live sandbox. Dropping the handle ends it, unless its driver's sandboxes [outlive](Driver::outlives) that.
pub trait Sandbox: fmt::Debug + Send + Sync {
    /// Its id.
    fn id(&self) -> SandboxId;

    /// How each limit is held where it runs.
    fn enforcement(&self) -> &Enforcement;

    /// What the sandbox's supervisor and agent look like from the host.
    fn facts(&self) -> &Facts;

    /// Starts an execution. Starting the same id again listens to the same execution.
    ///
    /// # Errors
    /// A [`Problem`]: the interpreter is missing, the sandbox has ended.
    fn start<'a>(&'a self, spec: &'a ExecutionSpec) -> BoxFuture<'a, Result<Box<dyn Running>, Problem>> {
        self.resume(spec, 0)
    }

    /// The same for whoever was told of an execution before, up to `position` of its output: it is started unless it was, and
    /// heard from there on.
    ///
    /// # Errors
    /// Those of [`Sandbox::start`].
    fn resume<'a>(
        &'a self,
        spec: &'a ExecutionSpec,
        position: u64,
    ) -> BoxFuture<'a, Result<Box<dyn Running>, Problem>>;

    /// Does all that stands before the code of an execution, and holds it back: for whoever is still writing down that it has
    /// begun. Dropping what is returned leaves nothing behind, and no code has run; so does the end of this process.
    ///
    /// # Errors
    /// Those of [`Sandbox::start`]; some of them come with the release.
    fn prepare<'a>(&'a self, spec: &'a ExecutionSpec) -> BoxFuture<'a, Result<Box<dyn Prepared>, Problem>>;

    /// Says that all that is known of an ended execution is stored: its output and result may be dropped. Until then a sandbox
    /// that outlives its handle keeps them.
    ///
    /// # Errors
    /// A [`Problem`]: it has not ended, the token is stale, the sandbox is gone.
    fn forget(&self, id: ExecutionId, token: u64) -> BoxFuture<'_, Result<(), Problem>>;

    /// Executions that have ended and are not forgotten.
    ///
    /// # Errors
    /// A [`Problem`]: the sandbox is gone.
    fn ended(&self) -> BoxFuture<'_, Result<Vec<ExecutionId>, Problem>>;

    /// The bytes of a plain file in it, as it is now. Links are not followed.
    ///
    /// # Errors
    /// `file_unreadable`: it is not there, not a plain file, or larger than `max_bytes`.
    fn read_file<'a>(&'a self, path: &'a str, max_bytes: u64) -> BoxFuture<'a, Result<Vec<u8>, Problem>>;

    /// Returns when it has ended, asked to or not: nothing runs in it any more, or nothing is left that would hold it. That
    /// somebody else has taken it over is no end. Cancel-safe.
    ///
    /// # Errors
    /// A [`Problem`]: it cannot be waited for.
    fn gone(&self) -> BoxFuture<'_, Result<(), Problem>>;

    /// Kills everything in it and returns when nothing is left.
    fn stop(&self) -> BoxFuture<'_, ()>;
}

/// An execution whose code is held back.
pub trait Prepared: fmt::Debug + Send {
    /// Lets the code begin. Its time is counted from here.
    ///
    /// # Errors
    /// Those of [`Sandbox::start`].
    fn release(self: Box<Self>) -> BoxFuture<'static, Result<Box<dyn Running>, Problem>>;
}

/// One execution, followed.
pub trait Running: fmt::Debug + Send {
    /// What happens next; `None` after the end was told. Cancel-safe: nothing is lost when the future is dropped.
    ///
    /// # Errors
    /// The sandbox is gone and nobody knows how the execution ended.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Event>, Problem>>;

    /// A handle for cancelling and feeding it while someone else follows it.
    fn control(&self) -> Box<dyn Control>;
}

/// Acts on an execution while it runs.
pub trait Control: fmt::Debug + Send + Sync {
    /// Asks it to end (SIGTERM, and SIGKILL after five seconds), or kills it at once. False when it had ended before.
    ///
    /// # Errors
    /// The sandbox is gone.
    fn cancel(&self, how: Cancel) -> BoxFuture<'_, Result<bool, Problem>>;

    /// Gives it more standard input, when it was started with [`Stdin::Open`].
    ///
    /// # Errors
    /// The sandbox is gone.
    fn send_input(&self, bytes: Vec<u8>) -> BoxFuture<'_, Result<(), Problem>>;

    /// Ends its standard input.
    ///
    /// # Errors
    /// The sandbox is gone.
    fn close_input(&self) -> BoxFuture<'_, Result<(), Problem>>;
}

/// How to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancel {
    /// SIGTERM first.
    Politely,
    /// SIGKILL to the whole tree.
    Now,
}

/// What happens to an execution.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Foreign code runs.
    Started,
    /// A piece of output at `offset` of the merged log. Borders mean nothing.
    Output {
        /// Position of the first byte.
        offset: u64,
        /// Where it was written.
        stream: Stream,
        /// Never empty.
        bytes: Vec<u8>,
    },
    /// The log does not have these bytes.
    Gap {
        /// First missing position.
        from: u64,
        /// First position after them.
        to: u64,
    },
    /// It is over; nothing follows.
    Ended(Box<Ended>),
}

/// The facts of an end, before they are a verdict.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ended {
    /// What [`sandkeep_core::execution::conclude`] decides on.
    pub facts: EndFacts,
    /// What a handler handed back, as it wrote it.
    pub returned: Option<Vec<u8>>,
    /// It handed back more than is taken.
    pub returned_too_much: bool,
    /// Why the code could not be started: what the kernel said, and at which step.
    pub not_runnable: Option<NotRunnable>,
    /// What it used.
    pub metrics: Metrics,
    /// What it made or changed.
    pub artifacts: Vec<Artifact>,
    /// There was more than is listed.
    pub artifacts_truncated: bool,
    /// Bytes ever written to standard output, kept or not.
    pub stdout_bytes: u64,
    /// Bytes ever written to standard error, kept or not.
    pub stderr_bytes: u64,
    /// Milliseconds since 1970 UTC.
    pub started_at_ms: u64,
    /// Milliseconds since 1970 UTC.
    pub finished_at_ms: u64,
}

/// What a sandbox looks like from the host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Process id of the supervisor.
    pub supervisor_pid: u32,
    /// Process id of the agent.
    pub agent_pid: u32,
    /// The claimed slot.
    pub slot: u32,
    /// Host id of the code's user.
    pub user_host_id: u32,
    /// Host id of the agent.
    pub agent_host_id: u32,
    /// How many ids are mapped.
    pub id_count: u32,
    /// Version of Landlock in use; 0 without.
    pub landlock_abi: u32,
}

/// What to make.
#[derive(Debug, Clone)]
pub struct SandboxSpec {
    /// Its id.
    pub id: SandboxId,
    /// Which start of it this is, from 1.
    pub incarnation: u64,
    /// Fencing token of whoever asks.
    pub token: u64,
    /// How much of a system it is.
    pub profile: Profile,
    /// Where programs come from.
    pub root: Root,
    /// Host directories and files shown inside.
    pub mounts: Vec<Mount>,
    /// Where what is written is kept.
    pub layer: Layer,
    /// What it may use.
    pub limits: Limits,
}

impl SandboxSpec {
    /// The first start of a sandbox of the host's programs, which is not kept.
    pub fn of_host(id: SandboxId, limits: Limits) -> Self {
        Self {
            id,
            incarnation: 1,
            token: 1,
            profile: defaults::PROFILE,
            root: Root::Host,
            mounts: Vec::new(),
            layer: Layer::Ephemeral,
            limits,
        }
    }

    /// Checks what the types cannot say. Every driver does so before it starts anything.
    ///
    /// # Errors
    /// `mount_refused`.
    pub fn check(&self) -> Result<(), Problem> {
        place::check_mounts(self.mounts.iter().map(|mount| &mount.target))
    }
}

/// Where what is written in a sandbox is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layer {
    /// In memory, and gone with the sandbox.
    Ephemeral,
    /// In a directory of the host, for the next incarnation: the home, the workspace, and in profile `dev` everything
    /// that the root inside can change. What is in memory all the same: `/tmp`, `/run`, `/dev/shm`.
    Persistent {
        /// Absolute path. Holds the layer, or is empty; made if only its parent exists. One sandbox has it at a time.
        directory: String,
    },
}

/// Where programs come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// The host's own, read-only.
    Host,
    /// A directory with a root file system: an absolute path.
    Directory(String),
}

/// A host path shown inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path on the host.
    pub source: String,
    /// Where it is shown inside.
    pub target: MountTarget,
    /// Whether the code may write there.
    pub writable: bool,
}

/// What to run.
#[derive(Debug, Clone)]
pub struct ExecutionSpec {
    /// Its id.
    pub id: ExecutionId,
    /// Fencing token of whoever asks.
    pub token: u64,
    /// What to run.
    pub work: Work,
    /// On top of the sandbox's environment.
    pub env: BTreeMap<String, String>,
    /// Working directory, absolute; `/workspace` unless given.
    pub cwd: Option<String>,
    /// Who the code is inside.
    pub user: User,
    /// Standard input.
    pub stdin: Stdin,
    /// One pipe for both output streams: exact order across them.
    pub merge_stderr: bool,
    /// What is not to be seen in its output.
    pub mask: Mask,
    /// Within those of the sandbox: time, output and open files are taken from here.
    pub limits: Limits,
    /// Files put into the workspace before the start: path below it, bytes.
    pub files: Vec<(String, Vec<u8>)>,
    /// Whether to look for new and changed files.
    pub artifacts: bool,
}

impl ExecutionSpec {
    /// Checks what the types cannot say. Every driver does so before it starts anything.
    ///
    /// # Errors
    /// Those of [`Work::check`]; `mount_refused` for files that cannot lie in one workspace.
    pub fn check(&self) -> Result<(), Problem> {
        self.work.check()?;
        place::check_files(self.files.iter().map(|(path, _)| path.as_str()))
    }
}

/// Who the code is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum User {
    /// `user`, 1000.
    User,
    /// Inside-root, 0: profile `dev` only.
    Root,
}

/// Standard input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stdin {
    /// Nothing.
    Empty,
    /// These bytes, then its end.
    Bytes(Vec<u8>),
    /// Comes through [`Control::send_input`].
    Open,
}
