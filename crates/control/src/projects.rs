//! Projects: made, listed, renamed.

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::id::ProjectId;
use sandkeep_core::identity::{Action, Denied, Name, Principal, Resource, Role, authorize};
use sandkeep_store::idempotency::Earlier;
use sandkeep_store::projects::{self, DEFAULT};
use sandkeep_store::{Connection, Durability, Error, Guarded, Store, Tx, audit, principals};
use serde_json::json;

pub use sandkeep_store::projects::Project;

use crate::audit::{Change, entry};
use crate::clock::Clock;
use crate::fault::problem;
use crate::idempotency::{self, Idempotent};
use crate::identity::Identity;
use crate::ids::fresh;

/// How often a change is begun again because another server changed the same project in between.
const ATTEMPTS: u32 = 5;

/// The service.
#[derive(Debug, Clone)]
pub struct Projects {
    store: Store,
    clock: Clock,
    identity: Identity,
}

impl Projects {
    /// Over this store; `identity` is told what changes.
    #[must_use]
    pub fn new(store: Store, clock: Clock, identity: Identity) -> Self {
        Self { store, clock, identity }
    }

    /// Makes a project, whose owner is whoever makes it.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `name_taken`, `idempotency_key_reused`; the store's.
    pub async fn create(
        &self,
        principal: &Principal,
        name: &Name,
        repeat: Option<Idempotent>,
        request_id: &str,
    ) -> Result<Project, Problem> {
        authorize(principal, Action::ProjectCreate, Resource::Server)?;
        let (id, created_us) = (fresh(&self.clock), self.clock.now_us());
        let project = Project { id, name: name.to_string(), generation: 1, created_us };
        let note = self.note(principal, Action::ProjectCreate, &project, request_id);
        let input = (project.clone(), principal.id, note, repeat);
        let write = self.store.write(Durability::Durable, input, |tx, (project, owner, note, repeat)| {
            Box::pin(async move {
                let id = project.id.to_string();
                let found = idempotency::begin(tx, repeat.as_ref(), &id, project.created_us).await?;
                if found == Earlier::First {
                    projects::create(tx, project.id, &project.name, project.created_us).await?;
                    principals::set_member(tx, project.id, *owner, Role::Owner.as_str()).await?;
                    audit::add(tx, note).await?;
                }
                Ok(found)
            })
        });
        let found = write.await.map_err(|error| problem(&error))?;
        self.identity.changed();
        match idempotency::earlier(found)? {
            None => Ok(project),
            Some(id) => self.get(principal, id.parse()?).await,
        }
    }

    /// Projects that the principal may see, by name, those after `after` (empty: all), `limit` at most.
    ///
    /// # Errors
    /// `forbidden`; the store's.
    pub async fn list(
        &self,
        principal: &Principal,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Project>, Problem> {
        let mut reader = self.store.reader().await.map_err(|error| problem(&error))?;
        let found = visible(&mut reader, principal, after, limit).await.map_err(|error| problem(&error))?;
        // They may all be seen, unless the token is not good for seeing any.
        for project in &found {
            authorize(principal, Action::ProjectRead, Resource::Project(project.id))?;
        }
        Ok(found)
    }

    /// The project of an id.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn get(&self, principal: &Principal, id: ProjectId) -> Result<Project, Problem> {
        authorize(principal, Action::ProjectRead, Resource::Project(id))?;
        let mut reader = self.store.reader().await.map_err(|error| problem(&error))?;
        let found = projects::get(&mut reader, id).await.map_err(|error| problem(&error))?;
        found.ok_or_else(|| Denied::Hidden.into())
    }

    /// The project that a request is made in: the one it names, by id or name, or else the one its token is bound to, or else
    /// `default`. That the principal has a role there is made sure of, and nothing else.
    ///
    /// # Errors
    /// `not_found`; the store's.
    pub async fn of_request(&self, principal: &Principal, named: Option<&str>) -> Result<Project, Problem> {
        let mut reader = self.store.reader().await.map_err(|error| problem(&error))?;
        let found = match (named.map(|text| (text, text.parse::<ProjectId>())), principal.bound) {
            (Some((_, Ok(id))), _) | (None, Some(id)) => projects::get(&mut reader, id).await,
            (Some((name, Err(_))), _) => projects::named(&mut reader, name).await,
            (None, None) => projects::named(&mut reader, DEFAULT).await,
        };
        let found = found.map_err(|error| problem(&error))?;
        found.filter(|project| principal.role_in(project.id).is_some()).ok_or_else(|| Denied::Hidden.into())
    }

    /// Gives a project another name. Of two who do so at once, the last wins.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `name_taken`, `invalid_value`; the store's.
    pub async fn rename(
        &self,
        principal: &Principal,
        id: ProjectId,
        name: &Name,
        request_id: &str,
    ) -> Result<Project, Problem> {
        authorize(principal, Action::ProjectUpdate, Resource::Project(id))?;
        let found = self.get(principal, id).await?;
        if found.name == DEFAULT {
            let problem =
                Problem::refused(ErrorCode::InvalidValue, DEFAULT, "keeps its name", "another project");
            return Err(problem);
        }
        let renamed = Project { name: name.to_string(), ..found };
        let note = self.note(principal, Action::ProjectUpdate, &renamed, request_id);
        let input = (renamed, note);
        let write = self.store.write(Durability::Durable, input, |tx, (renamed, note)| {
            Box::pin(async move {
                let changed = rename(tx, renamed.id, &renamed.name).await?;
                if changed.is_some() {
                    audit::add(tx, note).await?;
                }
                Ok(changed)
            })
        });
        write.await.map_err(|error| problem(&error))?.ok_or_else(|| Denied::Hidden.into())
    }

    fn note(&self, by: &Principal, action: Action, project: &Project, request_id: &str) -> audit::Entry {
        let resource = project.id.to_string();
        let detail = json!({ "name": project.name });
        let change = Change { action, project_id: Some(project.id), resource, request_id, detail };
        entry(&self.clock, by, change)
    }
}

/// Those in which the principal has a role.
async fn visible(
    from: &mut Connection,
    principal: &Principal,
    after: &str,
    limit: u32,
) -> Result<Vec<Project>, Error> {
    match principal.bound {
        Some(id) if principal.role_in(id).is_some() => {
            let found = projects::get(from, id).await?;
            Ok(found.into_iter().filter(|project| project.name.as_str() > after && limit > 0).collect())
        }
        Some(_) => Ok(Vec::new()),
        None if principal.admin => projects::list(from, after, limit).await,
        None => projects::list_of(from, principal.id, after, limit).await,
    }
}

async fn rename(tx: &mut Tx, id: ProjectId, name: &str) -> Result<Option<Project>, Error> {
    for _ in 0..ATTEMPTS {
        let Some(found) = projects::get(tx, id).await? else { return Ok(None) };
        match projects::rename(tx, id, found.generation, name).await? {
            Guarded::Updated => return projects::get(tx, id).await,
            Guarded::Stale => {}
            Guarded::Absent => return Ok(None),
        }
    }
    Err(Error::NotCommitted { why: "others kept renaming the same project".to_owned() })
}
