//! Tokens: made, listed, revoked.

use sandkeep_core::code::Problem;
use sandkeep_core::id::{ProjectId, TokenId};
use sandkeep_core::identity::token::{Format, RANDOM_BYTES};
use sandkeep_core::identity::{Action, Asked, Denied, Grant, Name, Principal, Resource, Role, authorize};
use sandkeep_store::idempotency::Earlier;
use sandkeep_store::tokens;
use sandkeep_store::{Durability, Guarded, Store, audit, projects};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use zeroize::Zeroizing;

pub use sandkeep_store::executions::Before;
pub use sandkeep_store::tokens::Token;

use crate::audit::{Change, entry};
use crate::clock::Clock;
use crate::fault::problem;
use crate::idempotency::{self, Idempotent};
use crate::identity::{Identity, TokenHash, hash_of};
use crate::ids::{fresh, random};

/// A token that is to be made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// For people.
    pub name: Name,
    /// What it should be good for.
    pub asked: Asked,
    /// Form of its text.
    pub format: Format,
}

/// A token that was made.
#[derive(Debug)]
pub struct CreatedToken {
    /// As it stands in the store.
    pub token: Token,
    /// Its text, this once. `None` when the same request had made it before: it was in the answer to the first, and it
    /// stands nowhere else.
    pub text: Option<SecretString>,
}

/// The service.
#[derive(Debug, Clone)]
pub struct Tokens {
    store: Store,
    clock: Clock,
    identity: Identity,
}

impl Tokens {
    /// Over this store; `identity` is told what changes.
    #[must_use]
    pub fn new(store: Store, clock: Clock, identity: Identity) -> Self {
        Self { store, clock, identity }
    }

    /// Makes a token for the principal itself, good for at most what the token is that it came with.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_value`, `idempotency_key_reused`; the store's.
    pub async fn create(
        &self,
        principal: &Principal,
        request: NewToken,
        repeat: Option<Idempotent>,
        request_id: &str,
    ) -> Result<CreatedToken, Problem> {
        let project = request.asked.project;
        authorize(principal, Action::TokenCreate, Resource::Token { project, owner: principal.id })?;
        let now_us = self.clock.now_us();
        let grant = principal.grant(request.asked, now_us)?;
        let token = row(fresh(&self.clock), principal, &request.name, request.format, &grant, now_us);
        let text = new_text(request.format);
        let note = entry(&self.clock, principal, noted(Action::TokenCreate, &token, request_id));
        let found = self
            .write(New { token: token.clone(), hash: hash_of(text.expose_secret()), note, repeat })
            .await?;
        match idempotency::earlier(found.ok_or(Denied::Hidden)?)? {
            None => Ok(CreatedToken { token, text: Some(text) }),
            Some(id) => Ok(CreatedToken { token: self.get(id.parse()?).await?, text: None }),
        }
    }

    /// What had the key of this request; `None`: there is no such project.
    async fn write(&self, new: New) -> Result<Option<Earlier>, Problem> {
        let write = self.store.write(Durability::Durable, new, |tx, new| {
            Box::pin(async move {
                let New { token, hash, note, repeat } = new;
                // An administrator has a role in every project, also in one that is not there.
                if let Some(project_id) = token.project_id
                    && projects::get(tx, project_id).await?.is_none()
                {
                    return Ok(None);
                }
                let id = token.id.to_string();
                let found = idempotency::begin(tx, repeat.as_ref(), &id, token.created_us).await?;
                if found == Earlier::First {
                    tokens::create(tx, token, hash).await?;
                    audit::add(tx, note).await?;
                }
                Ok(Some(found))
            })
        });
        write.await.map_err(|error| problem(&error))
    }

    async fn get(&self, id: TokenId) -> Result<Token, Problem> {
        let mut reader = self.store.reader().await.map_err(|error| problem(&error))?;
        let found = tokens::get(&mut reader, id).await.map_err(|error| problem(&error))?;
        found.ok_or_else(|| Denied::Hidden.into())
    }

    /// Tokens of a project, or those bound to none, newest first, without those revoked: one's own, or everybody's for whoever
    /// may see them.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn list(
        &self,
        principal: &Principal,
        project: Option<ProjectId>,
        before: &Before,
        limit: u32,
    ) -> Result<Vec<Token>, Problem> {
        authorize(principal, Action::TokenRead, Resource::Token { project, owner: principal.id })?;
        let everybodys = match project {
            Some(project) => principal.role_in(project) == Some(Role::Owner),
            None => principal.role_in_server() == Some(Role::Owner),
        };
        let of = (!everybodys).then_some(principal.id);
        let mut reader = self.store.reader().await.map_err(|error| problem(&error))?;
        tokens::list(&mut reader, project, of, before, limit).await.map_err(|error| problem(&error))
    }

    /// Revokes a token; again, that changes nothing. This server refuses the token from now on, others within
    /// [`KEPT_FOR`](crate::identity::KEPT_FOR).
    ///
    /// # Errors
    /// `not_found`, `forbidden`; the store's.
    pub async fn revoke(&self, principal: &Principal, id: TokenId, request_id: &str) -> Result<(), Problem> {
        let token = self.get(id).await?;
        let resource = Resource::Token { project: token.project_id, owner: token.principal_id };
        authorize(principal, Action::TokenRevoke, resource)?;
        let note = entry(&self.clock, principal, noted(Action::TokenRevoke, &token, request_id));
        let input = (id, note, self.clock.now_us());
        let write = self.store.write(Durability::Durable, input, |tx, (id, note, now_us)| {
            Box::pin(async move {
                let revoked = tokens::revoke(tx, *id, *now_us).await?;
                if revoked.is_updated() {
                    audit::add(tx, note).await?;
                }
                Ok(revoked)
            })
        });
        let revoked = write.await.map_err(|error| problem(&error))?;
        self.identity.changed();
        match revoked {
            Guarded::Updated | Guarded::Stale => Ok(()),
            Guarded::Absent => Err(Denied::Hidden.into()),
        }
    }
}

/// What is written when a token is made.
#[derive(Debug)]
struct New {
    token: Token,
    hash: TokenHash,
    note: audit::Entry,
    repeat: Option<Idempotent>,
}

pub(crate) fn row(
    id: TokenId,
    principal: &Principal,
    name: &Name,
    format: Format,
    grant: &Grant,
    now_us: i64,
) -> Token {
    Token {
        id,
        project_id: grant.project,
        principal_id: principal.id,
        name: name.to_string(),
        format: format.to_string(),
        role: grant.at_most.to_string(),
        scopes: grant.scopes.to_string(),
        created_us: now_us,
        expires_us: grant.expires_us,
        used_us: None,
        revoked_us: None,
    }
}

pub(crate) fn noted<'a>(action: Action, token: &Token, request_id: &'a str) -> Change<'a> {
    let Token { id, project_id, principal_id, name, format, role, scopes, .. } = token;
    let detail = json!({
        "name": name, "of": principal_id, "format": format, "role": role, "scopes": scopes,
        "expires_us": token.expires_us,
    });
    Change { action, project_id: *project_id, resource: id.to_string(), request_id, detail }
}

pub(crate) fn new_text(format: Format) -> SecretString {
    format.compose(&Zeroizing::new(random::<RANDOM_BYTES>())).into()
}
