//! Who changed what.
//!
//! Every service that changes something makes an [`entry`] before it begins, and adds it in the transaction of the change
//! (`sandkeep_store::audit::add`): so there is neither a change without its entry nor an entry without its change.

use sandkeep_core::code::Problem;
use sandkeep_core::id::{PrincipalId, ProjectId, TokenId};
use sandkeep_core::identity::{Action, Principal, Resource, authorize};
use sandkeep_store::Store;
use sandkeep_store::audit;
pub use sandkeep_store::audit::Entry;
use sandkeep_store::executions::Before;
use serde_json::Value;

use crate::clock::Clock;
use crate::fault::problem;
use crate::ids::fresh;

/// A change that is to be noted.
#[derive(Debug, Clone)]
pub struct Change<'a> {
    /// What is done.
    pub action: Action,
    /// In which project; `None`: in the whole server.
    pub project_id: Option<ProjectId>,
    /// Id of what it is done to; of a secret its name.
    pub resource: String,
    /// Of the request.
    pub request_id: &'a str,
    /// More, as a JSON object. No secrets.
    pub detail: Value,
}

/// The entry of a change that `by` makes.
#[must_use]
pub fn entry(clock: &Clock, by: &Principal, change: Change<'_>) -> Entry {
    made_by(clock, by.id, Some(by.token_id), change)
}

/// The entry of a change that somebody makes at the machine itself, without a token.
pub(crate) fn made_by(
    clock: &Clock,
    principal_id: PrincipalId,
    token_id: Option<TokenId>,
    change: Change<'_>,
) -> Entry {
    Entry {
        id: fresh(clock),
        at_us: clock.now_us(),
        project_id: change.project_id,
        principal_id,
        token_id,
        action: change.action.as_str().to_owned(),
        resource: change.resource,
        request_id: change.request_id.to_owned(),
        detail: change.detail.to_string(),
    }
}

/// Reads the log.
#[derive(Debug, Clone)]
pub struct Audit {
    store: Store,
}

impl Audit {
    /// Over this store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// Entries of a project, or of the whole server with all its projects, newest first.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn list(
        &self,
        principal: &Principal,
        project_id: Option<ProjectId>,
        before: &Before,
        limit: u32,
    ) -> Result<Vec<Entry>, Problem> {
        let resource = project_id.map_or(Resource::Server, Resource::Project);
        authorize(principal, Action::AuditRead, resource)?;
        let mut reader = self.store.reader().await.map_err(|error| problem(&error))?;
        audit::list(&mut reader, project_id, before, limit).await.map_err(|error| problem(&error))
    }
}
