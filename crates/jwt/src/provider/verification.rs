//! Verification of signatures, by the library.

use library::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};

use super::library;
use crate::{
    Algorithm, PublicKey,
    public_key::{Curve, Parts},
};

impl PublicKey {
    /// Returns true if this key signed the message with this algorithm; false for an algorithm that does not fit the key.
    /// The signature has the form of a JWS (RFC 7518 section 3): ECDSA's is `r` and `s`, concatenated.
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        match (&self.0, algorithm) {
            (Parts::Ec { curve, x, y }, Algorithm::Es256 | Algorithm::Es384) => {
                let by: &'static dyn VerificationAlgorithm = match (curve, algorithm) {
                    (Curve::P256, Algorithm::Es256) => &ECDSA_P256_SHA256_FIXED,
                    (Curve::P384, Algorithm::Es384) => &ECDSA_P384_SHA384_FIXED,
                    _ => return false,
                };
                // Uncompressed (SEC 1 section 2.3.3): a 4, then both coordinates.
                let point = [&[4], &x[..], y].concat();
                let key = UnparsedPublicKey::new(by, point);
                key.verify(message, signature).is_ok()
            }
            (Parts::Ed25519 { x }, Algorithm::EdDsa) => {
                let key = UnparsedPublicKey::new(&ED25519, x);
                key.verify(message, signature).is_ok()
            }
            (Parts::Rsa { n, e }, Algorithm::Ps256 | Algorithm::Rs256) => {
                let by = match algorithm {
                    Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
                    _ => &RSA_PKCS1_2048_8192_SHA256,
                };
                let key = RsaPublicKeyComponents { n, e };
                key.verify(by, message, signature).is_ok()
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use hallpass_core::TokenError;

    use super::*;
    use crate::{Signer as _, SigningKey};

    #[tokio::test]
    async fn a_key_verifies_its_own_signatures_only() -> Result<(), TokenError> {
        let generated = |algorithm| SigningKey::generate(algorithm).unwrap().0;
        let mut keys: Vec<_> = [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa]
            .map(generated)
            .into();
        if cfg!(feature = "aws-lc-rs") {
            let (key, pem) = SigningKey::generate_rsa(Algorithm::Rs256, 2048).unwrap();
            let same = SigningKey::from_pem(pem.expose()).unwrap();
            keys.extend([key, same.with_algorithm(Algorithm::Ps256).unwrap()]);
        }
        let all = [
            Algorithm::Es256,
            Algorithm::Es384,
            Algorithm::EdDsa,
            Algorithm::Ps256,
            Algorithm::Rs256,
        ];
        for key in &keys {
            let mut signature = key.sign(b"message").await?;
            for other in &keys {
                let public = PublicKey::from_jwk(&other.public_jwk()).unwrap();
                for algorithm in all {
                    let same = key.public_jwk() == other.public_jwk()
                        && key.algorithm() == algorithm
                        || key.algorithm() == algorithm
                            && other.algorithm() != algorithm
                            && matches!(algorithm, Algorithm::Ps256 | Algorithm::Rs256)
                            && matches!(other.algorithm(), Algorithm::Ps256 | Algorithm::Rs256);
                    assert_eq!(public.verify(algorithm, b"message", &signature), same);
                    assert!(!public.verify(algorithm, b"other", &signature));
                    assert!(!public.verify(algorithm, b"message", &[]));
                }
            }
            signature[7] ^= 1;
            let public = PublicKey::from_jwk(&key.public_jwk()).unwrap();
            assert!(!public.verify(key.algorithm(), b"message", &signature));
        }
        Ok(())
    }
}
