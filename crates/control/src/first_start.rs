//! What an installation begins with: a master key, the project `default`, an administrator, and a token for it in a file.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::id::{PrincipalId, ProjectId, TokenId};
use sandkeep_core::identity::token::Format;
use sandkeep_core::identity::{Action, Role};
use sandkeep_store::principals::{self, Principal};
use sandkeep_store::tokens::{self, Token};
use sandkeep_store::{Durability, Error, Store, Tx, audit, projects, settings};
use secrecy::{ExposeSecret as _, SecretString};

use crate::audit::made_by;
use crate::clock::Clock;
use crate::fault::problem;
use crate::identity::{TokenHash, hash_of};
use crate::ids::fresh;
use crate::key_file::{self, MadeBy};
use crate::master_key::{self, Given, MasterKey};
use crate::tokens::{new_text, noted};

/// Name of the file with the administrator's token, in the data directory.
pub const ADMIN_FILE: &str = "admin.key";
/// Name of the first principal.
pub const ADMIN: &str = "admin";
/// Name of its token.
const TOKEN_NAME: &str = "admin.key";
/// Where the store keeps the id of the first principal, and that of its token.
const ADMIN_SETTING: &str = "admin_principal_id";
const TOKEN_SETTING: &str = "admin_token_id";
/// What stands in the audit log for the request's id, where no request asked.
const FIRST_START: &str = "first start";
const RESET: &str = "admin reset-key";

/// What a server goes on with.
#[derive(Debug)]
pub struct Begun {
    /// The master key.
    pub master_key: MasterKey,
    /// The file with it, when it was made just now.
    pub made_master_key: Option<PathBuf>,
    /// The file with the administrator's token, when it was made just now.
    pub made_admin_key: Option<PathBuf>,
    /// The project `default`.
    pub project_id: ProjectId,
}

/// Makes the data directory (0700) where it is missing, settles the master key, and makes whatever an installation begins with that is not there yet. To be called at every
/// start; only the first one makes anything.
///
/// A start that breaks off in between is finished by the next: the token in the file counts from when the store knows it, and
/// a file that is there is used as it is and never written over.
///
/// # Errors
/// `data_dir_unusable`, `master_key_mismatch`, `key_file_unusable`; the store's.
pub async fn begin(
    store: &Store,
    clock: &Clock,
    directory: &Path,
    given: Option<&Given>,
) -> Result<Begun, Problem> {
    make(directory)?;
    let settled = master_key::settle(store, clock, directory, given).await?;
    let made_admin_key = match admin(store).await? {
        Some(_) => None,
        None => first_admin(store, clock, directory).await?,
    };
    let input = (fresh(clock), clock.now_us());
    let write = store.write(Durability::Durable, input, |tx, (id, now_us)| {
        Box::pin(projects::ensure_default(tx, *id, *now_us))
    });
    let project_id = write.await.map_err(|error| problem(&error))?.id;
    Ok(Begun { master_key: settled.key, made_master_key: settled.made, made_admin_key, project_id })
}

/// The administrator as whom everybody acts at a server that asks nobody for a key.
///
/// # Errors
/// `internal`: there was no first start; the store's.
pub async fn without_keys(store: &Store) -> Result<sandkeep_core::identity::Principal, Problem> {
    let mut reader = store.reader().await.map_err(|error| problem(&error))?;
    let id = settings::get(&mut reader, ADMIN_SETTING).await.map_err(|error| problem(&error))?;
    let token = settings::get(&mut reader, TOKEN_SETTING).await.map_err(|error| problem(&error))?;
    let none = || Problem::new(ErrorCode::Internal, "this installation has no administrator");
    Ok(sandkeep_core::identity::Principal {
        id: id.ok_or_else(none)?.parse()?,
        admin: true,
        roles: std::collections::BTreeMap::new(),
        token_id: token.ok_or_else(none)?.parse()?,
        bound: None,
        at_most: Role::Owner,
        scopes: sandkeep_core::identity::Scopes::All,
        expires_us: None,
    })
}

/// With SQLite it is there already, with PostgreSQL it holds the keys alone.
fn make(directory: &Path) -> Result<(), Problem> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| {
        let message = format!("the data directory {} cannot be made: {error}", directory.display());
        Problem::new(ErrorCode::DataDirUnusable, message).expecting("a directory that this user may write to")
    })
}

async fn admin(store: &Store) -> Result<Option<PrincipalId>, Problem> {
    let mut reader = store.reader().await.map_err(|error| problem(&error))?;
    let found = settings::get(&mut reader, ADMIN_SETTING).await.map_err(|error| problem(&error))?;
    Ok(found.and_then(|id| id.parse().ok()))
}

/// The file first, then the store. The path of the file, if this call made it.
async fn first_admin(store: &Store, clock: &Clock, directory: &Path) -> Result<Option<PathBuf>, Problem> {
    let path = directory.join(ADMIN_FILE);
    let made = key_file::stage(&path, &new_text(Format::Sandkeep))?.publish_new()?.then(|| path.clone());
    let text = key_file::read(&path, MadeBy::Server)?;
    let text = text.ok_or_else(|| key_file::unusable(&path, "is gone again"))?;
    let first = Admin::new(clock, fresh(clock), &text, FIRST_START).map_err(|_| {
        key_file::unusable(&path, "does not hold a token").expecting("that file removed, and a start")
    })?;
    let project_id = fresh(clock);
    let write = store.write(Durability::Durable, (first, project_id), |tx, (first, project_id)| {
        Box::pin(first.enter(tx, *project_id))
    });
    if write.await.map_err(|error| problem(&error))? {
        return Ok(made);
    }
    // Another server did all this in the same moment, with the token in its own directory. This one's is nobody's.
    let _gone = made.as_deref().map(key_file::remove);
    Ok(None)
}

/// Makes another token for the administrator, writes it to `admin.key` in place of the one that was there, and revokes the
/// earlier one. The path of the file.
///
/// # Errors
/// `not_found` before the first start; `key_file_unusable`, after which the earlier token may be revoked already: repeat it
/// then; the store's.
pub async fn reset_admin_key(store: &Store, clock: &Clock, directory: &Path) -> Result<PathBuf, Problem> {
    let admin = admin(store).await?.ok_or_else(|| {
        Problem::new(ErrorCode::NotFound, "this database has no administrator yet")
            .expecting("a first start of the server")
    })?;
    let path = directory.join(ADMIN_FILE);
    let text = new_text(Format::Sandkeep);
    let staged = key_file::stage(&path, &text)?;
    let next = Admin::new(clock, admin, &text, RESET)?;
    let write = store.write(Durability::Durable, next, |tx, next| Box::pin(next.take_over(tx)));
    write.await.map_err(|error| problem(&error))?;
    staged.replace()?;
    Ok(path)
}

/// A token of the administrator, and what is written with it.
#[derive(Debug)]
struct Admin {
    principal: Principal,
    token: Token,
    hash: TokenHash,
    clock: Clock,
    request_id: &'static str,
}

impl Admin {
    fn new(
        clock: &Clock,
        principal_id: PrincipalId,
        text: &SecretString,
        request_id: &'static str,
    ) -> Result<Self, Problem> {
        let format = Format::of(text.expose_secret())?;
        let created_us = clock.now_us();
        let principal = Principal { id: principal_id, name: ADMIN.to_owned(), admin: true, created_us };
        let token = Token {
            id: fresh(clock),
            project_id: None,
            principal_id,
            name: TOKEN_NAME.to_owned(),
            format: format.to_string(),
            role: Role::Owner.to_string(),
            scopes: sandkeep_core::identity::Scopes::All.to_string(),
            created_us,
            expires_us: None,
            used_us: None,
            revoked_us: None,
        };
        let hash = hash_of(text.expose_secret());
        Ok(Self { principal, token, hash, clock: clock.clone(), request_id })
    }

    /// Everything that the first start writes, unless it is there. Whether it was not.
    async fn enter(&self, tx: &mut Tx, project_id: ProjectId) -> Result<bool, Error> {
        let (own, now_us) = (self.principal.id.to_string(), self.token.created_us);
        if settings::ensure(tx, ADMIN_SETTING, &own, now_us).await? != own {
            return Ok(false);
        }
        let project = projects::ensure_default(tx, project_id, now_us).await?;
        principals::create(tx, &self.principal).await?;
        principals::set_member(tx, project.id, self.principal.id, Role::Owner.as_str()).await?;
        self.add_token(tx).await?;
        Ok(true)
    }

    /// The new token is there, and the earlier one ends, in one.
    async fn take_over(&self, tx: &mut Tx) -> Result<(), Error> {
        let earlier = settings::get(tx, TOKEN_SETTING).await?.and_then(|id| id.parse::<TokenId>().ok());
        if let Some(earlier) = earlier
            && let Some(token) = tokens::get(tx, earlier).await?
            && tokens::revoke(tx, earlier, self.token.created_us).await?.is_updated()
        {
            self.note(tx, Action::TokenRevoke, &token).await?;
        }
        self.add_token(tx).await
    }

    async fn add_token(&self, tx: &mut Tx) -> Result<(), Error> {
        tokens::create(tx, &self.token, &self.hash).await?;
        settings::put(tx, TOKEN_SETTING, &self.token.id.to_string(), self.token.created_us).await?;
        self.note(tx, Action::TokenCreate, &self.token).await
    }

    async fn note(&self, tx: &mut Tx, action: Action, token: &Token) -> Result<(), Error> {
        let change = noted(action, token, self.request_id);
        audit::add(tx, &made_by(&self.clock, self.principal.id, None, change)).await
    }
}
