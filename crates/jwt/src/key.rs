use std::fmt;

use async_trait::async_trait;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hallpass_core::TokenError;
use hallpass_endpoint::BuildError;
use serde_json::json;

use crate::{
    Algorithm, Signer,
    provider::{self, KeyPair, PublicKey},
};

mod damage;
mod error;
mod generate;
mod jwk;
mod pem;

use error::invalid_key;

/// A private key in memory: RSA of 2048 bits or more, EC on P-256 or P-384, or Ed25519.
///
/// It is checked when it is read, and determines the algorithm: nothing chooses another one later.
#[cfg_attr(
    feature = "aws-lc-rs",
    doc = "The memory that aws-lc-rs keeps it in is wiped when it is dropped."
)]
#[cfg_attr(
    not(feature = "aws-lc-rs"),
    doc = "ring does not wipe the memory that it keeps it in."
)]
pub struct SigningKey {
    pair: KeyPair,
    algorithm: Algorithm,
    key_id: Option<String>,
    certificate: Option<[u8; 32]>,
}

impl SigningKey {
    /// Reads the only private key in a PEM text: `PRIVATE KEY` (PKCS#8), `RSA PRIVATE KEY` (PKCS#1) or `EC PRIVATE
    /// KEY` (SEC1). Certificates and parameters next to it are skipped.
    ///
    /// An RSA key signs with [`Algorithm::Rs256`], unless [`with_algorithm`](Self::with_algorithm) changes it; each
    /// other kind has one algorithm.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that says what is wrong and how to fix it: an encrypted key, a public one, more than one, one
    /// that is too small or of an unsupported kind.
    pub fn from_pem(pem: &str) -> Result<Self, BuildError> {
        Ok(Self::from_pair(pem::key_pair(pem)?))
    }

    /// Reads a private JWK (RFC 7517, RFC 7518 section 6, RFC 8037 section 2), with its `alg`, `kid` and `x5t#S256`
    /// where it has them.
    ///
    /// # Errors
    ///
    /// Those of [`from_pem`](Self::from_pem); also if its `alg` does not fit the key, or its `use` or `key_ops`
    /// exclude signatures.
    pub fn from_jwk(jwk: &str) -> Result<Self, BuildError> {
        let jwk::PrivateJwk {
            pair,
            algorithm,
            key_id,
            certificate,
        } = jwk::read(jwk)?;
        let key = Self {
            key_id,
            certificate,
            ..Self::from_pair(pair)
        };
        match algorithm {
            Some(algorithm) => key.with_algorithm(algorithm),
            None => Ok(key),
        }
    }

    /// Sets the signature algorithm.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if the algorithm does not fit the key.
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Result<Self, BuildError> {
        let fit = self.pair.algorithms();
        if !fit.contains(&algorithm) {
            let fit: Vec<&str> = fit.iter().map(|fit| fit.name()).collect();
            return Err(invalid_key(format!(
                "it cannot sign with {algorithm}, only with {}",
                fit.join(" and ")
            )));
        }
        self.algorithm = algorithm;
        Ok(self)
    }

    /// Sets the `kid` in the header of an assertion: the key's identifier at the server.
    #[must_use]
    pub fn with_key_id(mut self, key_id: impl Into<String>) -> Self {
        self.key_id = Some(key_id.into());
        self
    }

    /// Sets the `kid` to the hash of the public key (RFC 7638, SHA-256). It follows from the key, so a rotated key
    /// brings its own. [`public_jwk`](Self::public_jwk) has it too.
    #[must_use]
    pub fn with_thumbprint_as_key_id(self) -> Self {
        let public = self.pair.public_key();
        // Only the required members, in alphabetical order, without spaces (RFC 7638 section 3).
        let canonical = match &public {
            PublicKey::Ec { curve, x, y } => format!(
                r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#,
                curve.name(),
                encode(x),
                encode(y)
            ),
            PublicKey::Ed25519 { x } => {
                format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x))
            }
            PublicKey::Rsa { n, e } => {
                format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(e), encode(n))
            }
        };
        let hash = provider::sha256(canonical.as_bytes());
        self.with_key_id(encode(&hash))
    }

    /// Names the key's certificate in the header of an assertion by its hash (`x5t#S256`): for servers that identify
    /// clients by certificates. The text may be the one that the key was read from; everything but the key's own
    /// certificate is skipped.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if none of the certificates in this PEM text belongs to the key.
    pub fn with_certificate(mut self, pem: &str) -> Result<Self, BuildError> {
        let certificates = pem::certificates(pem)?;
        let own = certificates
            .iter()
            .find(|certificate| self.pair.is_certified_by(certificate));
        let own = own.ok_or_else(|| {
            BuildError::new(
                "certificate",
                "the text contains no certificate of this key; use the PEM certificate issued for it",
            )
        })?;
        self.certificate = Some(provider::sha256(own));
        Ok(self)
    }

    /// Returns the public key as a JWK with `alg`, `kid` and `use`, to register at the server. It is not secret.
    pub fn public_jwk(&self) -> String {
        let mut jwk = match self.pair.public_key() {
            PublicKey::Ec { curve, x, y } => {
                json!({ "kty": "EC", "crv": curve.name(), "x": encode(&x), "y": encode(&y) })
            }
            PublicKey::Ed25519 { x } => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(&x) })
            }
            PublicKey::Rsa { n, e } => json!({ "kty": "RSA", "n": encode(&n), "e": encode(&e) }),
        };
        jwk["use"] = "sig".into();
        jwk["alg"] = self.algorithm.name().into();
        if let Some(key_id) = &self.key_id {
            jwk["kid"] = key_id.as_str().into();
        }
        jwk.to_string()
    }

    fn from_pair(pair: KeyPair) -> Self {
        Self {
            algorithm: pair.algorithms()[0],
            pair,
            key_id: None,
            certificate: None,
        }
    }
}

#[async_trait]
impl Signer for SigningKey {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    fn certificate_thumbprint(&self) -> Option<[u8; 32]> {
        self.certificate
    }

    fn public_jwk(&self) -> Option<String> {
        Some(self.public_jwk())
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        self.pair
            .sign(self.algorithm, message)
            .ok_or_else(|| TokenError::configuration("the private key could not sign"))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("algorithm", &self.algorithm)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

fn encode(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests;
