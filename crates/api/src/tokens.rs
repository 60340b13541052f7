//! `/api/v1/tokens`.

use sandkeep_core::id::{PrincipalId, ProjectId, TokenId};
use sandkeep_core::identity::token::Format;
use sandkeep_core::identity::{Name, Role, Scope};
use sandkeep_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::schema;

/// A token that is wanted. What is absent is as the token in hand has it; more than that cannot be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What its owner calls it.
    #[schema(value_type = schema::Name)]
    pub name: Name,
    /// Id or name of the one project that it is good for.
    #[serde(default)]
    pub project: Option<String>,
    /// The most of a role that it gives.
    #[serde(default)]
    #[schema(value_type = Option<schema::Role>)]
    pub role: Option<Role>,
    /// What it is good for; all that its role may, when absent.
    #[serde(default)]
    #[schema(value_type = Option<Vec<schema::Scope>>)]
    pub scopes: Option<Vec<Scope>>,
    /// Until when.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// The form of its text: `sandkeep` unless given.
    #[serde(default)]
    #[schema(value_type = Option<schema::TokenFormat>)]
    pub format: Option<Format>,
}

/// A token that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct CreatedToken {
    /// Its id, which is no secret.
    #[schema(value_type = String)]
    pub id: TokenId,
    /// Its text, which is shown this once; `null` when the same request had made it before.
    #[schema(required)]
    pub token: Option<String>,
}

/// A token, without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Token {
    /// Its id.
    #[schema(value_type = String)]
    pub id: TokenId,
    /// What its owner calls it.
    pub name: String,
    /// The one project that it is good for; `null` for all of its owner's.
    #[schema(required, value_type = Option<String>)]
    pub project_id: Option<ProjectId>,
    /// Its owner.
    #[schema(value_type = String)]
    pub principal_id: PrincipalId,
    /// The most of a role that it gives.
    pub role: String,
    /// What it is good for; `["*"]` for everything.
    pub scopes: Vec<String>,
    /// The form of its text.
    pub format: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Until when it is good.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When it was last used, within half a minute.
    #[schema(required, value_type = Option<String>, format = DateTime)]
    pub used_at: Option<Timestamp>,
}

/// Which tokens a list has, newest first: one's own, and for an owner everybody's. Revoked ones are in none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ListTokens {
    /// Id or name of a project: those that are bound to it. Unless given, those that are bound to none.
    pub project: Option<String>,
    /// Most items of the answer, 1 to 1000; 100 unless given.
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}
