//! Fresh ids.

use rustix::rand::{GetRandomFlags, getrandom};
use sandkeep_core::id::{
    AuditId, ExecutionId, PrincipalId, ProjectId, RANDOM_BYTES, SandboxId, SecretId, ServerId, TokenId,
};

use crate::clock::Clock;

/// An id that can be made of a time and random bytes.
pub trait Fresh: Sized {
    /// Makes it.
    fn of(now_ms: u64, random: [u8; RANDOM_BYTES]) -> Self;
}

macro_rules! fresh {
    ($($id:ident),+) => {
        $(impl Fresh for $id {
            fn of(now_ms: u64, random: [u8; RANDOM_BYTES]) -> Self {
                Self::new(now_ms, random)
            }
        })+
    };
}
fresh!(AuditId, ExecutionId, PrincipalId, ProjectId, SandboxId, SecretId, ServerId, TokenId);

/// A fresh id of the kind that is asked for.
#[must_use]
pub fn fresh<T: Fresh>(clock: &Clock) -> T {
    T::of(clock.now_ms(), random())
}

/// `N` bytes that nobody can guess.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let mut filled = 0;
    while filled < N {
        // Interrupted by a signal before the pool was ready, at the very start of a machine, at most.
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty()).unwrap_or(0);
    }
    bytes
}
