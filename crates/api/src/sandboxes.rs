//! `/api/v1/sandboxes`.

use std::collections::BTreeMap;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::enforcement::Enforcement;
use sandkeep_core::id::{ProjectId, SandboxId};
use sandkeep_core::limits::{Limits, LimitsRequest};
use sandkeep_core::sandbox::{Profile, SandboxState};
use sandkeep_core::size::ByteSize;
use sandkeep_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::object::{object, word};
use crate::schema;
use crate::share::Share;

/// A sandbox that is wanted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CreateSandbox {
    /// Id or name of its project; the key's own, or `default`, when absent.
    pub project: Option<String>,
    /// What it starts from; the server's default when absent.
    pub template: Option<String>,
    /// Whether it ends by itself.
    pub lifetime: Option<Lifetime>,
    /// Unique in the project among sandboxes that have not ended.
    #[schema(max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    pub name: Option<String>,
    /// Words of the caller's own, to find it by.
    #[schema(value_type = BTreeMap<schema::Label, schema::LabelValue>)]
    pub labels: BTreeMap<String, String>,
    /// Variables of every execution in it.
    pub env: BTreeMap<String, String>,
    /// What it may use.
    #[serde(deserialize_with = "object")]
    pub limits: SandboxLimits,
    /// How much it allows inside itself.
    #[serde(deserialize_with = "word")]
    #[schema(value_type = Option<schema::Profile>)]
    pub profile: Option<Profile>,
}

/// A change of a sandbox; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct UpdateSandbox {
    /// Another name.
    #[schema(max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    pub name: Option<String>,
    /// Labels to set; `null` removes one.
    #[schema(value_type = BTreeMap<schema::Label, schema::LabelChange>)]
    pub labels: BTreeMap<String, Option<String>>,
}

/// Whether a sandbox ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lifetime {
    /// It ends after a time, and its disk with it.
    Ephemeral,
    /// It stops and starts; its disk is kept.
    Persistent,
}

/// Limits of a sandbox; what is absent has the default. One that is given and that the host cannot hold refuses the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SandboxLimits {
    /// Memory of all its processes.
    #[schema(value_type = Option<schema::Size>)]
    pub memory_bytes: Option<ByteSize>,
    /// Processors that it may use.
    #[schema(value_type = Option<schema::Processors>)]
    pub cpu: Option<Share>,
    /// Processes and threads alive at once.
    pub pids: Option<u32>,
    /// Its own disk. It lives in the sandbox's memory: half of that at most.
    #[schema(value_type = Option<schema::Size>)]
    pub disk_bytes: Option<ByteSize>,
    /// Output kept per execution.
    #[schema(value_type = Option<schema::Size>)]
    pub output_bytes: Option<ByteSize>,
}

impl From<SandboxLimits> for LimitsRequest {
    fn from(limits: SandboxLimits) -> Self {
        let SandboxLimits { memory_bytes, cpu, pids, disk_bytes, output_bytes } = limits;
        LimitsRequest {
            memory: memory_bytes,
            cpu: cpu.map(|share| share.0),
            processes: pids,
            disk: disk_bytes,
            output: output_bytes,
            ..LimitsRequest::default()
        }
    }
}

/// A sandbox.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Sandbox {
    /// Its id.
    #[schema(value_type = String)]
    pub id: SandboxId,
    /// Whose it is.
    #[schema(value_type = String)]
    pub project_id: ProjectId,
    /// What its owner calls it.
    #[schema(required)]
    pub name: Option<String>,
    /// Where it is.
    pub status: SandboxStatus,
    /// Why it ends or has ended.
    #[schema(required)]
    pub reason: Option<String>,
    /// What failed last, and when it is tried again.
    #[schema(required)]
    pub failure: Option<Failure>,
    /// What it started from.
    pub template: String,
    /// Whether it ends by itself.
    pub lifetime: Lifetime,
    /// How much it allows inside itself.
    #[schema(value_type = schema::Profile)]
    pub profile: Profile,
    /// Words of its owner's own.
    pub labels: BTreeMap<String, String>,
    /// What it may use.
    #[schema(value_type = schema::Limits)]
    pub limits: Limits,
    /// How each limit is held; `null` before it has run.
    #[schema(required, value_type = Option<schema::Enforcement>)]
    pub enforcement: Option<Enforcement>,
    /// When it was accepted.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last used.
    #[schema(value_type = String, format = DateTime)]
    pub active_at: Timestamp,
    /// When its life is over.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When the last of it was gone.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
}

/// Where a sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SandboxStatus {
    Creating,
    Starting,
    Running,
    Updating,
    Stopping,
    Stopped,
    Paused,
    Error,
    Terminating,
    Terminated,
}

impl From<&SandboxState> for SandboxStatus {
    fn from(state: &SandboxState) -> Self {
        match state {
            SandboxState::Creating => Self::Creating,
            SandboxState::Starting => Self::Starting,
            SandboxState::Running => Self::Running,
            SandboxState::Updating => Self::Updating,
            SandboxState::Stopping => Self::Stopping,
            SandboxState::Stopped => Self::Stopped,
            SandboxState::Paused => Self::Paused,
            SandboxState::Error(_) => Self::Error,
            SandboxState::Terminating(_) => Self::Terminating,
            SandboxState::Terminated(_) => Self::Terminated,
        }
    }
}

impl SandboxStatus {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Updating => "updating",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
            Self::Error => "error",
            Self::Terminating => "terminating",
            Self::Terminated => "terminated",
        }
    }
}

/// A failure that is tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SandboxFailure)]
pub struct Failure {
    /// Why it failed.
    pub reason: String,
    /// Which try this was, from 1.
    pub attempt: u32,
    /// When the next one is due.
    #[schema(value_type = String, format = DateTime)]
    pub next_try_at: Timestamp,
}

/// Which sandboxes a list has, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListSandboxes {
    /// Id or name of the project; the key's own, or `default`, when absent.
    pub project: Option<String>,
    /// Only those in this state. All that have not ended unless given; `terminated` for those that have.
    #[param(inline)]
    pub status: Option<SandboxStatus>,
    /// Only those of this template.
    pub template: Option<String>,
    /// Only the one of this name.
    pub name: Option<String>,
    /// Only those with all of these labels: `team=search,stage=test`.
    pub labels: Option<String>,
    /// Only those made after this time.
    #[param(value_type = Option<String>, format = DateTime)]
    pub created_after: Option<Timestamp>,
    /// Only those made before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    pub created_before: Option<Timestamp>,
    /// Most items of the answer, 1 to 1000; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// What a caller waits for: `?wait=running&timeout_ms=10000`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WaitSandbox {
    /// Answer only when the sandbox is there, or the time is over; the answer is then what is.
    #[param(inline)]
    pub wait: Option<WaitFor>,
    /// How long to wait at most, in milliseconds.
    #[param(maximum = 300_000)]
    pub timeout_ms: Option<u64>,
}

/// What a sandbox is waited to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitFor {
    /// Code can run in it.
    Running,
}

/// The labels of a list's filter.
///
/// # Errors
/// `invalid_query`.
pub fn labels(text: &str) -> Result<BTreeMap<String, String>, Problem> {
    let refused = |part: &str| {
        let expected = "name=value, several divided by commas";
        Problem::refused(ErrorCode::InvalidQuery, part, "is not a label", expected).within("labels")
    };
    let pair = |part: &str| match part.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(refused(part)),
    };
    text.split(',').map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_a_request_and_what_is_unknown_is_not() {
        assert_eq!(serde_json::from_str::<CreateSandbox>("{}").unwrap(), CreateSandbox::default());
        for json in
            ["{\"limits\":{\"memory\":1}}", "{\"nam\":\"x\"}", "{\"limits\":[]}", "{\"profile\":\"lax\"}"]
        {
            assert!(serde_json::from_str::<CreateSandbox>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn limits_are_what_core_asks_for() {
        let json = r#"{"memory_bytes":"64Mi","cpu":0.5,"pids":7,"disk_bytes":1048576,"output_bytes":"1Mi"}"#;
        let limits: SandboxLimits = serde_json::from_str(json).unwrap();
        let request = LimitsRequest::from(limits);
        assert_eq!(request.memory.map(ByteSize::bytes), Some(64 << 20));
        assert_eq!(request.cpu.map(sandkeep_core::cpu::CpuMillis::millis), Some(500));
        assert_eq!((request.processes, request.timeout), (Some(7), None));
        assert_eq!(request.disk.map(ByteSize::bytes), Some(1 << 20));
        assert_eq!(request.output.map(ByteSize::bytes), Some(1 << 20));
    }

    #[test]
    fn labels_are_pairs() {
        let read = labels("a=1,b=,c=x=y").unwrap();
        let pairs: Vec<_> = read.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("a", "1"), ("b", ""), ("c", "x=y")]);
        for text in ["", "a", "=1", "a=1,"] {
            assert_eq!(labels(text).unwrap_err().code, ErrorCode::InvalidQuery, "{text}");
        }
    }
}
