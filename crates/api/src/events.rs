//! `/api/v1/events`: what happened, as a feed that can be read on from any position.

use sandkeep_core::execution::json::Json;
use sandkeep_core::id::ProjectId;
use sandkeep_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Event {
    /// Its place in the feed; give the last one seen as `after` to read on.
    pub position: i64,
    /// Whose.
    #[schema(value_type = String)]
    pub project_id: ProjectId,
    /// What: `execution.succeeded`, `sandbox.running`, …
    pub kind: String,
    /// Id of what it happened to.
    pub subject: String,
    /// More: an object whose fields belong to `kind`.
    #[schema(value_type = Object)]
    pub data: Json,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub happened_at: Timestamp,
}

/// A part of the feed.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Events {
    /// In their order.
    pub items: Vec<Event>,
    /// Give this as `after` to read on. It grows with what happens elsewhere too.
    pub after: i64,
}

/// Which events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListEvents {
    /// Id or name of the project; the key's own, or `default`, when absent.
    pub project: Option<String>,
    /// Only those after this position; all that are kept unless given. Where some of them are not kept any more, the request
    /// is refused with `events_forgotten`.
    pub after: Option<i64>,
    /// Only of this kind, or of the kinds that begin with it: `execution`.
    pub kind: Option<String>,
    /// Only what happened to this.
    pub subject: Option<String>,
    /// Most items of the answer, 1 to 1000; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
}
