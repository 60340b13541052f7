//! What the OpenAPI document says about types of `core`, which has no descriptions of its own.
//!
//! Nothing is ever made of these: they are mirrors, used as `value_type`. A test compares each with what its original
//! serialises to, in names and in values.

use serde::Serialize;
use utoipa::ToSchema;

/// A size: a number of bytes, or a text like `512Mi`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(examples(536_870_912, "512Mi"))]
pub enum Size {
    /// Bytes.
    Bytes(u64),
    /// With its unit.
    Text(String),
}

/// A length of time: milliseconds, or a text like `1m30s`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(examples(30_000, "30s"))]
pub enum Duration {
    /// Milliseconds.
    Milliseconds(u64),
    /// With its unit.
    Text(String),
}

/// A name: 1 to 64 visible characters, with spaces only between them.
#[derive(Debug, Serialize, ToSchema)]
#[schema(max_length = 64, pattern = r"^[^\s\x00-\x1f\x7f-\x9f]+( +[^\s\x00-\x1f\x7f-\x9f]+)*$")]
pub struct Name(String);

/// What a label is called.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[schema(min_length = 1, max_length = 256)]
pub struct Label(String);

/// What a label says.
#[derive(Debug, Serialize, ToSchema)]
#[schema(max_length = 256)]
pub struct LabelValue(String);

/// What a label is to say; `null` removes it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(max_length = 256)]
pub struct LabelChange(Option<String>);

/// Processors: a number like `2` or `0.5`, or a text like `500m`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(examples(2, "500m"))]
pub enum Processors {
    /// Processors.
    Number(f64),
    /// With its unit.
    Text(String),
}

/// Language of code.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Language {
    Python,
    Javascript,
    Bash,
}

/// Kind of an execution.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Script,
    Handler,
    Command,
}

/// A role in a project; each may all that the one before it may.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Viewer,
    Operator,
    Editor,
    Owner,
}

/// What a token is good for.
#[derive(Debug, Serialize, ToSchema)]
pub enum Scope {
    #[serde(rename = "sandboxes:read")]
    SandboxesRead,
    #[serde(rename = "sandboxes:write")]
    SandboxesWrite,
    #[serde(rename = "executions:read")]
    ExecutionsRead,
    #[serde(rename = "executions:write")]
    ExecutionsWrite,
    #[serde(rename = "events:read")]
    EventsRead,
    #[serde(rename = "projects:read")]
    ProjectsRead,
    #[serde(rename = "projects:write")]
    ProjectsWrite,
    #[serde(rename = "tokens:read")]
    TokensRead,
    #[serde(rename = "tokens:write")]
    TokensWrite,
    #[serde(rename = "audit:read")]
    AuditRead,
    #[serde(rename = "secrets:read")]
    SecretsRead,
    #[serde(rename = "secrets:write")]
    SecretsWrite,
    #[serde(rename = "secrets:use")]
    SecretsUse,
}

/// The form of a token's text.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TokenFormat {
    Sandkeep,
    E2b,
}

/// Security profile of a sandbox.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Profile {
    Strict,
    Dev,
}

/// Where an execution is. From `succeeded` on it has ended, once and for all.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionStatus {
    Queued,
    Starting,
    Running,
    Succeeded,
    Failed,
    TimedOut,
    Cancelled,
    Lost,
}

/// A thing that is bounded.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitKind {
    Timeout,
    Memory,
    Cpu,
    Processes,
    Disk,
    Inodes,
    Output,
}

/// How a limit is held: `kernel` (cannot be passed), `watched` (measured and killed) or `none`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    None,
    Watched,
    Kernel,
}

/// How bytes stand in a JSON string.
#[derive(Debug, Serialize, ToSchema)]
pub enum Encoding {
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "base64")]
    Base64,
}

/// One of the two streams of output.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Where metrics come from.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetricsSource {
    Cgroup,
    Sampled,
    None,
}

/// Limits of a whole tree of processes.
#[derive(Debug, Serialize, ToSchema)]
pub struct Limits {
    /// Memory, swap not included.
    memory_bytes: u64,
    /// Thousandths of a processor.
    cpu_millis: u32,
    /// Processes and threads alive at once.
    processes: u32,
    /// Bytes on the sandbox's own disk.
    disk_bytes: u64,
    /// Files on the sandbox's own disk.
    inodes: u64,
    /// Wall time of an execution.
    timeout_ms: u64,
    /// Output that is kept.
    output_bytes: u64,
    /// Output after which an execution is ended.
    #[schema(required)]
    output_kill_bytes: Option<u64>,
    /// Open descriptors per process.
    open_files: u32,
}

/// Why a limit is held less than fully.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = EnforcementCause)]
pub struct Cause {
    limit: LimitKind,
    level: Level,
    /// What is missing on the host.
    cause: String,
    /// What mends it.
    remedy: String,
}

/// How each limit is held.
#[derive(Debug, Serialize, ToSchema)]
pub struct Enforcement {
    memory: Level,
    cpu: Level,
    processes: Level,
    disk: Level,
    inodes: Level,
    timeout: Level,
    output: Level,
    /// One for each limit that is not held by the kernel.
    causes: Vec<Cause>,
}

/// A range of positions in an execution's output, `from` included, `to` not.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OutputGap)]
pub struct Gap {
    from: u64,
    to: u64,
}

/// What foreign code raised.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExecutionError)]
pub struct ErrorInfo {
    /// Class of the exception, or an error code of ours.
    name: String,
    message: String,
    /// Its trace, as the language prints it.
    #[schema(required)]
    stack: Option<String>,
}

/// What an execution used, over its whole tree of processes; `null` where the host does not count it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ExecutionMetrics)]
pub struct Metrics {
    wall_ms: u64,
    #[schema(required)]
    cpu_user_ms: Option<u64>,
    #[schema(required)]
    cpu_system_ms: Option<u64>,
    #[schema(required)]
    peak_memory_bytes: Option<u64>,
    #[schema(required)]
    read_bytes: Option<u64>,
    #[schema(required)]
    write_bytes: Option<u64>,
    source: MetricsSource,
}

/// A file that an execution left in the workspace.
#[derive(Debug, Serialize, ToSchema)]
pub struct Artifact {
    /// Path below the workspace.
    path: String,
    size_bytes: u64,
    /// Guessed from the name.
    media_type: String,
    /// In lower-case hexadecimal; `null` past the bound on hashed bytes.
    #[schema(required)]
    sha256: Option<String>,
}

/// One execution, from acceptance to its end.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Execution)]
pub struct Execution {
    id: String,
    sandbox_id: String,
    status: ExecutionStatus,
    #[schema(required)]
    language: Option<Language>,
    kind: Kind,
    #[schema(required, minimum = 0, maximum = 255)]
    exit_code: Option<u8>,
    #[schema(required)]
    signal: Option<u8>,
    /// The limit that ended it.
    #[schema(required)]
    limit: Option<LimitKind>,
    /// Standard output, written as `stdout_encoding` says: the first and the last of it, 1 MiB together with standard error.
    /// In a list there is none of it. `/output` has all that was kept.
    stdout: String,
    /// Standard error, likewise.
    stderr: String,
    stdout_encoding: Encoding,
    stderr_encoding: Encoding,
    /// Bytes of standard output that are not in `stdout`.
    stdout_missing_bytes: u64,
    /// Bytes of standard error that are not in `stderr`.
    stderr_missing_bytes: u64,
    /// The one range of the merged log that is not in this answer.
    #[schema(required)]
    output_gap: Option<Gap>,
    /// What a handler returned: any JSON.
    #[schema(required, value_type = Option<Value>)]
    return_value: Option<serde_json::Value>,
    #[schema(required)]
    error: Option<ErrorInfo>,
    metrics: Metrics,
    artifacts: Vec<Artifact>,
    artifacts_truncated: bool,
    enforcement: Enforcement,
    #[schema(format = DateTime)]
    created_at: String,
    #[schema(required, format = DateTime)]
    started_at: Option<String>,
    #[schema(required, format = DateTime)]
    finished_at: Option<String>,
}
