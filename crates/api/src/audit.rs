//! `/api/v1/audit`.

use sandkeep_core::execution::json::Json;
use sandkeep_core::id::{AuditId, PrincipalId, ProjectId, TokenId};
use sandkeep_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A change, and who made it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AuditEntry {
    /// Its id.
    #[schema(value_type = String)]
    pub id: AuditId,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// In which project; `null` for a change of the whole server.
    #[schema(required, value_type = Option<String>)]
    pub project_id: Option<ProjectId>,
    /// Who.
    #[schema(value_type = String)]
    pub principal_id: PrincipalId,
    /// With which token; `null` where it was done at the machine itself.
    #[schema(required, value_type = Option<String>)]
    pub token_id: Option<TokenId>,
    /// What: `token.create`, `sandbox.delete`, …
    pub action: String,
    /// Id of what was changed; of a secret its name.
    pub resource: String,
    /// Of the request that asked for it.
    pub request_id: String,
    /// More: an object whose fields belong to `action`.
    #[schema(value_type = Object)]
    pub detail: Json,
}

/// Which entries a list has, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListAudit {
    /// Id or name of a project: what was changed in it. Unless given, what was changed in the whole server and all its
    /// projects, which only an administrator may see.
    pub project: Option<String>,
    /// Most items of the answer, 1 to 1000; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}
