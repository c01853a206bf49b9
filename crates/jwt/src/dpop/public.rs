//! The public key in a proof's header: the members that RFC 7638 requires and no others.

use hallpass_endpoint::BuildError;

use crate::{Algorithm, PublicKey};

/// Reads a signer's public JWK.
pub(super) fn read(text: &str, algorithm: Algorithm) -> Result<PublicKey, BuildError> {
    if !matches!(algorithm, Algorithm::Es256 | Algorithm::EdDsa) {
        return Err(wrong(format!(
            "proofs are signed with ES256 or EdDSA, and the key signs with {algorithm}; use a key on P-256 or Ed25519"
        )));
    }
    let key = PublicKey::from_jwk(text)
        .map_err(|error| wrong(format!("the signer's public key: {}", error.message())))?;
    if !key.algorithms().contains(&algorithm) {
        return Err(wrong(format!(
            "the signer's public key does not fit {algorithm}, with which it signs"
        )));
    }
    Ok(key)
}

fn wrong(message: String) -> BuildError {
    BuildError::new("dpop", message)
}
