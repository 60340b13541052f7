//! `/health`, `/live` and `/ready`.

use std::collections::BTreeMap;

use sandkeep_core::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// That the process answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`: a process that is not cannot say so.
    #[schema(example = "ok")]
    pub status: String,
    /// Version of the server.
    pub version: String,
    /// What whoever runs the server should know, such as that it asks nobody for a key.
    pub warnings: Vec<String>,
}

/// Whether requests will be served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Ready {
    /// All components together.
    pub status: Status,
    /// Each by its name.
    pub components: BTreeMap<String, Component>,
}

/// Whether requests will be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ReadyStatus)]
pub enum Status {
    /// They will.
    Ready,
    /// A component does not answer.
    NotReady,
    /// The server is shutting down.
    Stopping,
}

/// A part that requests need.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Component {
    /// Whether it answered.
    pub ready: bool,
    /// How long the answer took.
    pub latency_us: u64,
    /// When it was asked.
    #[schema(value_type = String, format = DateTime)]
    pub checked_at: Timestamp,
    /// The last error of this server's life, also when all is well since.
    #[schema(required)]
    pub last_error: Option<LastError>,
}

/// What was wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct LastError {
    /// The stable code.
    pub code: String,
    /// What it said.
    pub message: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}
