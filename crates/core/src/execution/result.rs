//! What is told about an execution: the JSON of `sandkeep run --json`.
//!
//! Field names are a contract. A field that does not apply is `null`, never absent, so that a reader can
//! tell "none" from "an older version did not know". Sizes are bytes, times are RFC 3339 in UTC.

use serde::{Deserialize, Serialize};

use super::end::End;
use super::json::Json;
use super::language::Language;
use super::spec::Kind;
use super::state::ExecutionState;
use crate::enforcement::Enforcement;
use crate::id::{ExecutionId, SandboxId};
use crate::limits::LimitKind;
use crate::output::{Gap, Kept};
use crate::time::Timestamp;

/// One execution, from acceptance to its end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExecutionResult {
    /// Its id.
    pub id: ExecutionId,
    /// The sandbox it ran in.
    pub sandbox_id: SandboxId,
    /// How it ended, or where it is.
    pub status: ExecutionState,
    /// Its language; `None` for a command.
    pub language: Option<Language>,
    /// Its kind.
    pub kind: Kind,
    /// Exit code of its first process, `0..=255`.
    pub exit_code: Option<u8>,
    /// Number of the signal that ended its first process.
    pub signal: Option<u8>,
    /// The limit that ended it.
    pub limit: Option<LimitKind>,
    /// Standard output, as `stdout_encoding` says: what is told from its start and from its end.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
    /// How to read `stdout`.
    pub stdout_encoding: Encoding,
    /// How to read `stderr`.
    pub stderr_encoding: Encoding,
    /// Bytes of standard output that are not in `stdout`.
    pub stdout_missing_bytes: u64,
    /// Bytes of standard error that are not in `stderr`.
    pub stderr_missing_bytes: u64,
    /// The one range of the merged log that is not told here.
    pub output_gap: Option<Gap>,
    /// What a handler returned. JSON `null` both when it returned null and when it returned nothing: ask
    /// `kind` and `error` for the difference.
    pub return_value: Option<Json>,
    /// What a handler or script raised, or why nothing could run.
    pub error: Option<ErrorInfo>,
    /// What it used.
    pub metrics: Metrics,
    /// New or changed files, by path.
    pub artifacts: Vec<Artifact>,
    /// Whether there were more files, or larger ones, than are listed.
    pub artifacts_truncated: bool,
    /// How each limit was held while it ran.
    pub enforcement: Enforcement,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When foreign code could first run.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// How bytes are written into a JSON string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// As they are: they are UTF-8.
    #[serde(rename = "utf-8")]
    Utf8,
    /// As standard base64 with padding: they are not.
    #[serde(rename = "base64")]
    Base64,
}

/// What foreign code raised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorInfo {
    /// Class of the exception, or an error code of ours.
    pub name: String,
    /// Its message.
    pub message: String,
    /// Its trace, as the language prints it.
    pub stack: Option<String>,
}

/// What an execution used, over its whole tree of processes. `None` where the host does not count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Metrics {
    /// Wall time in milliseconds from start to end.
    pub wall_ms: u64,
    /// Processor time in user mode, in milliseconds.
    pub cpu_user_ms: Option<u64>,
    /// Processor time in the kernel, in milliseconds.
    pub cpu_system_ms: Option<u64>,
    /// Most memory at once, in bytes.
    pub peak_memory_bytes: Option<u64>,
    /// Bytes read from disks.
    pub read_bytes: Option<u64>,
    /// Bytes written to disks.
    pub write_bytes: Option<u64>,
    /// Where the numbers come from.
    pub source: MetricsSource,
}

/// Where metrics come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricsSource {
    /// Counted by the kernel for a control group of its own.
    Cgroup,
    /// Summed from looks at the tree while it ran; short peaks may be missed.
    Sampled,
    /// Nothing ran.
    #[default]
    None,
}

/// A file that is new or changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Path below the workspace.
    pub path: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Media type guessed from the name.
    pub media_type: String,
    /// SHA-256 in lower-case hexadecimal; `None` past the bound on hashed bytes.
    pub sha256: Option<String>,
}

impl ExecutionResult {
    /// A result in which nothing has happened yet.
    pub fn queued(
        id: ExecutionId,
        sandbox_id: SandboxId,
        kind: Kind,
        language: Option<Language>,
        enforcement: Enforcement,
        created_at: Timestamp,
    ) -> Self {
        ExecutionResult {
            id,
            sandbox_id,
            status: ExecutionState::Queued,
            language,
            kind,
            exit_code: None,
            signal: None,
            limit: None,
            stdout: String::new(),
            stderr: String::new(),
            stdout_encoding: Encoding::Utf8,
            stderr_encoding: Encoding::Utf8,
            stdout_missing_bytes: 0,
            stderr_missing_bytes: 0,
            output_gap: None,
            return_value: None,
            error: None,
            metrics: Metrics::default(),
            artifacts: Vec::new(),
            artifacts_truncated: false,
            enforcement,
            created_at,
            started_at: None,
            finished_at: None,
        }
    }

    /// Writes the end into status, exit code, signal and limit.
    pub fn set_end(&mut self, end: &End) {
        self.status = end.state;
        self.exit_code = end.exit_code();
        self.signal = end.signal();
        self.limit = end.limit;
    }

    /// Writes what is told of standard output.
    pub fn set_stdout(&mut self, kept: &Kept) {
        (self.stdout, self.stdout_encoding, self.stdout_missing_bytes) = kept.to_text();
    }

    /// Writes what is told of standard error.
    pub fn set_stderr(&mut self, kept: &Kept) {
        (self.stderr, self.stderr_encoding, self.stderr_missing_bytes) = kept.to_text();
    }
}
