//! Secrets of a project: set, listed by name, removed, and opened for code that gets one. No call shows a value to a client.

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::id::{ProjectId, SecretId};
use sandkeep_core::identity::{Action, Denied, Name, Principal, Resource, authorize};
use sandkeep_store::secrets::{self, Label, Secret};
use sandkeep_store::{Durability, Error, Guarded, Store, Tx, audit};
use secrecy::{ExposeSecret as _, SecretSlice};
use serde_json::json;

use crate::audit::{Change, entry};
use crate::clock::Clock;
use crate::fault::problem;
use crate::ids::fresh;
use crate::seal::{Place, Sealed, Sealer};

/// The longest value, in bytes: what an environment variable may be on Linux.
pub const VALUE_MOST_BYTES: usize = 128 * 1024;
/// How often a change is begun again because another server changed the same secret in between.
const ATTEMPTS: u32 = 5;

/// The service.
#[derive(Debug, Clone)]
pub struct Secrets {
    store: Store,
    clock: Clock,
    sealer: Sealer,
}

/// What is written when a secret is set.
#[derive(Debug)]
struct Setting {
    sealer: Sealer,
    /// The id, if there is no secret of this name yet.
    id: SecretId,
    project_id: ProjectId,
    name: Name,
    value: SecretSlice<u8>,
    now_us: i64,
    note: audit::Entry,
}

impl Secrets {
    /// Over this store, sealed by `sealer`.
    #[must_use]
    pub fn new(store: Store, clock: Clock, sealer: Sealer) -> Self {
        Self { store, clock, sealer }
    }

    /// Sets a secret, new or not. Its version, from 1.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_value`; the store's.
    pub async fn set(
        &self,
        principal: &Principal,
        project_id: ProjectId,
        name: Name,
        value: SecretSlice<u8>,
        request_id: &str,
    ) -> Result<i64, Problem> {
        authorize(principal, Action::SecretWrite, Resource::Project(project_id))?;
        if value.expose_secret().len() > VALUE_MOST_BYTES {
            let problem = Problem::new(ErrorCode::InvalidValue, "the value is too long");
            return Err(problem.expecting(format!("at most {VALUE_MOST_BYTES} bytes")));
        }
        let note = self.note(principal, Action::SecretWrite, project_id, &name, request_id);
        let (id, now_us) = (fresh(&self.clock), self.clock.now_us());
        let setting = Setting { sealer: self.sealer.clone(), id, project_id, name, value, now_us, note };
        let write = self.store.write(Durability::Durable, setting, |tx, setting| {
            Box::pin(async move {
                let version = setting.write(tx).await?;
                audit::add(tx, &setting.note).await?;
                Ok(version)
            })
        });
        write.await.map_err(|error| problem(&error))
    }

    /// Names of a project's secrets after `after` (empty: all), `limit` at most.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn list(
        &self,
        principal: &Principal,
        project_id: ProjectId,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Label>, Problem> {
        authorize(principal, Action::SecretRead, Resource::Project(project_id))?;
        let mut reader = self.store.reader().await.map_err(|error| problem(&error))?;
        secrets::list(&mut reader, project_id, after, limit).await.map_err(|error| problem(&error))
    }

    /// Removes a secret.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn delete(
        &self,
        principal: &Principal,
        project_id: ProjectId,
        name: Name,
        request_id: &str,
    ) -> Result<(), Problem> {
        authorize(principal, Action::SecretDelete, Resource::Project(project_id))?;
        let note = self.note(principal, Action::SecretDelete, project_id, &name, request_id);
        let input = (project_id, name, note);
        let write = self.store.write(Durability::Durable, input, |tx, (project_id, name, note)| {
            Box::pin(async move {
                let there = secrets::delete(tx, *project_id, name.as_str()).await?;
                if there {
                    audit::add(tx, note).await?;
                }
                Ok(there)
            })
        });
        let there = write.await.map_err(|error| problem(&error))?;
        there.then_some(()).ok_or_else(|| Denied::Hidden.into())
    }

    /// The value of a secret, for code that the principal chooses.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `seal_broken`; the store's.
    pub async fn open(
        &self,
        principal: &Principal,
        project_id: ProjectId,
        name: &Name,
    ) -> Result<SecretSlice<u8>, Problem> {
        authorize(principal, Action::SecretUse, Resource::Project(project_id))?;
        let mut reader = self.store.reader().await.map_err(|error| problem(&error))?;
        let found =
            secrets::named(&mut reader, project_id, name.as_str()).await.map_err(|error| problem(&error))?;
        let Secret { id, version, key_id, wrapped_key, nonce, ciphertext, .. } =
            found.ok_or(Denied::Hidden)?;
        let sealed = Sealed { key_id, wrapped_key, nonce, ciphertext };
        // Whose it is was asked for, not read: a row that somebody moved to this project does not open.
        self.sealer.open(Place { project_id, id: &id.to_string(), version }, &sealed)
    }

    fn note(
        &self,
        by: &Principal,
        action: Action,
        project_id: ProjectId,
        name: &Name,
        request_id: &str,
    ) -> audit::Entry {
        let (resource, detail) = (name.to_string(), json!({}));
        entry(&self.clock, by, Change { action, project_id: Some(project_id), resource, request_id, detail })
    }
}

impl Setting {
    /// The seal is bound to id and version, so it is made once these are known.
    async fn write(&self, tx: &mut Tx) -> Result<i64, Error> {
        for _ in 0..ATTEMPTS {
            let Some(found) = secrets::named(tx, self.project_id, self.name.as_str()).await? else {
                secrets::create(tx, &self.row(self.id, 1, self.now_us)).await?;
                return Ok(1);
            };
            let next = self.row(found.id, found.version + 1, found.created_us);
            match secrets::replace(tx, &next).await? {
                Guarded::Updated => return Ok(next.version),
                Guarded::Stale | Guarded::Absent => {}
            }
        }
        Err(Error::NotCommitted { why: "others kept setting the same secret".to_owned() })
    }

    fn row(&self, id: SecretId, version: i64, created_us: i64) -> Secret {
        let place = Place { project_id: self.project_id, id: &id.to_string(), version };
        let Sealed { key_id, wrapped_key, nonce, ciphertext } =
            self.sealer.seal(place, self.value.expose_secret());
        Secret {
            id,
            project_id: self.project_id,
            name: self.name.to_string(),
            version,
            key_id,
            wrapped_key,
            nonce,
            ciphertext,
            created_us,
            updated_us: self.now_us,
        }
    }
}
