//! The name of a request that may arrive twice.

use sandkeep_core::code::{ErrorCode, Problem};

/// One value of the header `Idempotency-Key`: 128 random bits in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// A fresh one.
    ///
    /// # Errors
    /// `internal`: the kernel gives no random bits.
    pub fn fresh() -> Result<Self, Problem> {
        let mut bytes = [0u8; 16];
        // The generator of the TLS library, which is there on every system that a client runs on.
        let random = rustls::crypto::ring::default_provider().secure_random;
        random
            .fill(&mut bytes)
            .map_err(|error| Problem::new(ErrorCode::Internal, format!("no random bits: {error:?}")))?;
        Ok(IdempotencyKey(bytes.iter().map(|byte| format!("{byte:02x}")).collect()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}
