//! From what a client sent to a principal.
//!
//! A token is looked up by the SHA-256 of its text. Comparing that takes no constant time and need not: who can tell how
//! many of its bits fit learns of a hash that they cannot choose the text for. A token holds at least 160 random bits, so
//! a slow hash would protect nothing.
//!
//! What was found is kept for [`KEPT_FOR`], so that a busy client costs no query for each request. A revocation or a change
//! of role is noticed at once by the server that made it, and within that time by the others.

mod known;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::id::TokenId;
use sandkeep_core::identity::token::{self, Format};
use sandkeep_core::identity::{Principal, Scopes};
use sandkeep_store::tokens::Token;
use sandkeep_store::{Durability, Store, principals, tokens};
use sha2::{Digest as _, Sha256};

use crate::clock::Clock;
use crate::fault::problem;
use known::Known;

/// How long a principal may go on as it was found.
pub const KEPT_FOR: Duration = Duration::from_secs(5);
/// How often [`Identity::write_used`] should be called: as exact as the time of last use is.
pub const WRITE_USED_EVERY: Duration = Duration::from_secs(30);

/// SHA-256 of a token's text.
pub(crate) type TokenHash = [u8; 32];

/// Knows principals by their tokens. Clones are the same.
#[derive(Debug, Clone)]
pub struct Identity {
    store: Store,
    clock: Clock,
    known: Arc<Mutex<Known>>,
    used: Arc<Mutex<BTreeMap<TokenId, i64>>>,
}

impl Identity {
    /// Over this store.
    #[must_use]
    pub fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock, known: Arc::default(), used: Arc::default() }
    }

    /// The principal that `text`, a token, stands for.
    ///
    /// # Errors
    /// `unauthenticated`, `token_expired`; the store's.
    pub async fn authenticate(&self, text: &str) -> Result<Arc<Principal>, Problem> {
        Format::of(text)?;
        let hash = hash_of(text);
        let found = lock(&self.known).get(&hash, self.clock.monotonic());
        let principal = match found {
            Some(principal) => principal,
            None => self.look_up(hash).await?,
        };
        let now_us = self.clock.now_us();
        token::standing(false, principal.expires_us, now_us)?;
        lock(&self.used).insert(principal.token_id, now_us);
        Ok(principal)
    }

    /// Whether `text` was found to be a token not long ago, and nothing changed about tokens since. It may have ended in between.
    #[must_use]
    pub fn stood_lately(&self, text: &str) -> bool {
        lock(&self.known).has(&hash_of(text))
    }

    async fn look_up(&self, hash: TokenHash) -> Result<Arc<Principal>, Problem> {
        // From before the look-up, so that it is not kept longer than said where that takes its time.
        let (since, begun) = (lock(&self.known).changes(), self.clock.monotonic());
        let principal = Arc::new(self.find(&hash).await?);
        lock(&self.known).insert(hash, Arc::clone(&principal), since, begun);
        Ok(principal)
    }

    async fn find(&self, hash: &TokenHash) -> Result<Principal, Problem> {
        let mut reader = self.store.reader().await.map_err(|error| problem(&error))?;
        let found = tokens::of_hash(&mut reader, hash).await.map_err(|error| problem(&error))?;
        let found = found.ok_or_else(unknown)?;
        token::standing(found.revoked_us.is_some(), found.expires_us, self.clock.now_us())?;
        let owner =
            principals::get(&mut reader, found.principal_id).await.map_err(|error| problem(&error))?;
        let owner = owner.ok_or_else(unknown)?;
        let roles = principals::memberships(&mut reader, owner.id).await.map_err(|error| problem(&error))?;
        principal(&found, owner.admin, &roles)
    }

    /// Forgets what was found: something changed about who may do what. A look-up that is on its way is not kept either.
    pub(crate) fn changed(&self) {
        lock(&self.known).forget();
    }

    /// Writes down when tokens were last used, all in one relaxed write; nothing when none was. How many there were.
    ///
    /// # Errors
    /// The store's. What was to be written is lost then, and the next use of a token is written again.
    pub async fn write_used(&self) -> Result<usize, Problem> {
        let used = std::mem::take(&mut *lock(&self.used));
        let count = used.len();
        if count == 0 {
            return Ok(0);
        }
        let write = self.store.write(Durability::Relaxed, used, |tx, used| {
            Box::pin(async move {
                for (id, used_us) in used {
                    tokens::used(tx, *id, *used_us).await?;
                }
                Ok(())
            })
        });
        write.await.map(|()| count).map_err(|error| problem(&error))
    }
}

/// A poisoned map is still a map: every change of it is one call.
fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn hash_of(text: &str) -> TokenHash {
    Sha256::digest(text.as_bytes()).into()
}

/// Of a row that a newer release wrote, what this one does not know gives nothing.
fn principal(
    token: &Token,
    admin: bool,
    memberships: &[principals::Membership],
) -> Result<Principal, Problem> {
    let at_most = token.role.parse().map_err(|_| unknown())?;
    let roles = memberships.iter().filter_map(|of| Some((of.project_id, of.role.parse().ok()?)));
    Ok(Principal {
        id: token.principal_id,
        admin,
        roles: roles.collect(),
        token_id: token.id,
        bound: token.project_id,
        at_most,
        scopes: Scopes::stored(&token.scopes),
        expires_us: token.expires_us,
    })
}

fn unknown() -> Problem {
    Problem::new(ErrorCode::Unauthenticated, "this server knows no such token")
        .expecting("a token that this server made, and that was not revoked")
}
