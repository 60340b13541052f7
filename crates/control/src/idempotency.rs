//! One request, however often it comes, makes one thing.
//!
//! A service takes the key ([`begin`]) first thing in the transaction that creates, and creates only after
//! [`Earlier::First`]; afterwards [`earlier`] says which resource the answer is about. What fails takes no key with it.

use sandkeep_core::code::{ErrorCode, Problem};
use sandkeep_core::id::ProjectId;
use sandkeep_core::identity::Principal;
use sandkeep_store::idempotency::{self, Earlier, Scope};
use sandkeep_store::{Result, Tx};
use sha2::{Digest as _, Sha256};

/// The longest key.
const MOST_CHARS: usize = 255;

/// Which request it is: who calls it so, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotent {
    scope: Scope,
    body_hash: [u8; 32],
}

impl Idempotent {
    /// Of the header's value. `route` is the method and the pattern of the path, `POST /api/v1/tokens`; `project_id` the
    /// project that the request is made in, for a matter of the server the one it would be made in otherwise.
    ///
    /// # Errors
    /// `invalid_value`.
    pub fn new(
        principal: &Principal,
        project_id: ProjectId,
        route: &str,
        key: &str,
        body: &[u8],
    ) -> std::result::Result<Self, Problem> {
        let visible = key.bytes().all(|byte| byte.is_ascii_graphic());
        if key.is_empty() || key.len() > MOST_CHARS || !visible {
            let expected = "1 to 255 visible ASCII characters, such as a random UUID";
            let problem = Problem::refused(ErrorCode::InvalidValue, key, "is not a key", expected);
            return Err(problem.within("Idempotency-Key"));
        }
        let (principal, route, key) = (principal.id.to_string(), route.to_owned(), key.to_owned());
        let scope = Scope { project_id, principal, route, key };
        Ok(Self { scope, body_hash: Sha256::digest(body).into() })
    }
}

/// Takes the key for `resource_id`, or says what has it. Without a key every request is the first. Of two at once the later
/// waits for the earlier.
///
/// # Errors
/// The store's.
pub async fn begin(
    tx: &mut Tx,
    request: Option<&Idempotent>,
    resource_id: &str,
    now_us: i64,
) -> Result<Earlier> {
    match request {
        Some(of) => idempotency::take(tx, &of.scope, &of.body_hash, resource_id, now_us).await,
        None => Ok(Earlier::First),
    }
}

/// Id of what the same request made earlier; `None` when this one is the first.
///
/// # Errors
/// `idempotency_key_reused`: another request had the key.
pub fn earlier(found: Earlier) -> std::result::Result<Option<String>, Problem> {
    match found {
        Earlier::First => Ok(None),
        Earlier::Same { resource_id } => Ok(Some(resource_id)),
        Earlier::Other => {
            let message = "another request, with another body, had this Idempotency-Key";
            Err(Problem::new(ErrorCode::IdempotencyKeyReused, message)
                .expecting("a new key for a new request"))
        }
    }
}
