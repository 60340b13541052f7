//! Principals that were found a moment ago.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use sandkeep_core::identity::Principal;

use super::{KEPT_FOR, TokenHash};

/// Tokens that are kept at most. When there are more the cache starts anew, which costs each one query.
const MOST: usize = 4096;

/// By the hash of their tokens.
#[derive(Debug, Default)]
pub(super) struct Known {
    found: HashMap<TokenHash, (Arc<Principal>, Instant)>,
    changes: u64,
}

impl Known {
    pub(super) fn get(&self, hash: &TokenHash, now: Instant) -> Option<Arc<Principal>> {
        let (principal, since) = self.found.get(hash)?;
        (now.saturating_duration_since(*since) < KEPT_FOR).then(|| Arc::clone(principal))
    }

    /// Whether it was found, be it a while ago.
    pub(super) fn has(&self, hash: &TokenHash) -> bool {
        self.found.contains_key(hash)
    }

    /// How often everything was forgotten: to be asked before a look-up.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// Keeps what a look-up found, unless something changed after it had begun.
    pub(super) fn insert(&mut self, hash: TokenHash, principal: Arc<Principal>, since: u64, now: Instant) {
        if since != self.changes {
            return;
        }
        if self.found.len() >= MOST {
            self.found.retain(|_, (_, since)| now.saturating_duration_since(*since) < KEPT_FOR);
        }
        if self.found.len() >= MOST {
            self.found.clear();
        }
        self.found.insert(hash, (principal, now));
    }

    pub(super) fn forget(&mut self) {
        self.changes += 1;
        self.found.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sandkeep_core::id::{PrincipalId, TokenId};
    use sandkeep_core::identity::{Role, Scopes};

    use super::*;

    fn principal() -> Arc<Principal> {
        Arc::new(Principal {
            id: PrincipalId::new(0, [0; 10]),
            admin: false,
            roles: std::collections::BTreeMap::new(),
            token_id: TokenId::new(0, [0; 10]),
            bound: None,
            at_most: Role::Owner,
            scopes: Scopes::All,
            expires_us: None,
        })
    }

    fn hash(number: usize) -> TokenHash {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&number.to_be_bytes());
        hash
    }

    #[test]
    fn is_kept_for_its_time() {
        let (mut known, begin) = (Known::default(), Instant::now());
        known.insert(hash(1), principal(), 0, begin);
        assert!(known.get(&hash(1), begin + KEPT_FOR - Duration::from_millis(1)).is_some());
        assert!(known.get(&hash(1), begin + KEPT_FOR).is_none());
        assert!(known.has(&hash(1)) && !known.has(&hash(2)));
        assert!(known.get(&hash(2), begin).is_none());
    }

    #[test]
    fn a_look_up_from_before_a_change_is_not_kept() {
        let (mut known, now) = (Known::default(), Instant::now());
        known.insert(hash(1), principal(), known.changes(), now);
        let since = known.changes();
        known.forget();
        assert!(known.get(&hash(1), now).is_none());
        known.insert(hash(1), principal(), since, now);
        assert!(known.get(&hash(1), now).is_none(), "it may be of before the change");
        known.insert(hash(1), principal(), known.changes(), now);
        assert!(known.get(&hash(1), now).is_some());
    }

    #[test]
    fn does_not_grow_without_end() {
        let (mut known, begin) = (Known::default(), Instant::now());
        for number in 0..MOST {
            known.insert(hash(number), principal(), 0, begin);
        }
        known.insert(hash(MOST), principal(), 0, begin + KEPT_FOR);
        assert_eq!(known.found.len(), 1, "what is over is removed first");
        for number in 0..3 * MOST {
            known.insert(hash(number), principal(), 0, begin + KEPT_FOR);
            assert!(known.found.len() <= MOST);
        }
    }
}
