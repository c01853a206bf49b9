use std::fmt;

use async_trait::async_trait;
use hallpass_core::TokenError;
use hallpass_endpoint::BuildError;

use crate::{Algorithm, PublicKey, Signer, public_key::check_algorithm};

/// One private key in a key management service, which signs with it on request.
///
/// Implement it for a service, and pass it to [`KmsSigner::new`]. `hallpass-aws-kms`, `hallpass-google-kms` and
/// `hallpass-azure-keyvault` do so.
#[async_trait]
pub trait KmsKey: Send + Sync + fmt::Debug {
    /// Signs `input`: the hash of the message (SHA-384 for [`Es384`](Algorithm::Es384), SHA-256 for the others), or for
    /// [`EdDsa`](Algorithm::EdDsa) the message itself.
    ///
    /// Returns the signature in the form of a JWS; [`Algorithm::signature_from_der`] converts an ECDSA signature in DER.
    ///
    /// # Errors
    ///
    /// As [`Signer::sign`].
    ///
    /// # Cancellation
    ///
    /// Dropping the future abandons only this signature.
    async fn sign(&self, algorithm: Algorithm, input: &[u8]) -> Result<Vec<u8>, TokenError>;
}

/// A signer whose private key is in a key management service.
///
/// The public key is known, so that it has a [`public_jwk`](Signer::public_jwk) for [`Dpop`](crate::Dpop), and a `kid`
/// that follows from the key: its hash (RFC 7638).
///
/// Each signature is a call to the service. A message is hashed in this process, and only its hash is sent, unless the
/// key is on Ed25519.
#[derive(Clone, Debug)]
pub struct KmsSigner<K> {
    key: K,
    public: PublicKey,
    /// The algorithms that key and service support.
    algorithms: Vec<Algorithm>,
    algorithm: Algorithm,
    key_id: String,
    certificate: Option<[u8; 32]>,
    chain: Vec<Vec<u8>>,
}

impl<K: KmsKey> KmsSigner<K> {
    /// Creates a signer with a key, its public key, and the algorithms that the service allows for it. The first that
    /// fits the key is used, unless [`with_algorithm`](Self::with_algorithm) changes it; a key of RSA signs with
    /// [`Algorithm::Rs256`] if it may.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if no algorithm fits the key.
    pub fn new(key: K, public: PublicKey, allowed: &[Algorithm]) -> Result<Self, BuildError> {
        let mut algorithms = public.algorithms().to_vec();
        algorithms.retain(|algorithm| allowed.contains(algorithm));
        let Some(&algorithm) = algorithms.first() else {
            return Err(BuildError::new(
                "key",
                "the service allows no signature algorithm that fits the public key; use an asymmetric key for signatures with ES256, ES384, EdDSA, PS256 or RS256",
            ));
        };
        Ok(Self {
            key,
            key_id: public.thumbprint(),
            public,
            algorithms,
            algorithm,
            certificate: None,
            chain: Vec::new(),
        })
    }

    /// Sets the signature algorithm.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if the key or the service does not support it.
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Result<Self, BuildError> {
        check_algorithm(algorithm, &self.algorithms)?;
        self.algorithm = algorithm;
        Ok(self)
    }

    /// Sets the `kid` in the header of an assertion. Default: the hash of the public key (RFC 7638, SHA-256).
    #[must_use]
    pub fn with_key_id(mut self, key_id: impl Into<String>) -> Self {
        self.key_id = key_id.into();
        self
    }

    /// Names the key's certificate in the header of an assertion by its hash (`x5t#S256`): for servers that identify
    /// clients by certificates. Everything in the text but the key's own certificate is skipped.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if none of the certificates in this PEM text belongs to the key.
    pub fn with_certificate(mut self, pem: &str) -> Result<Self, BuildError> {
        self.certificate = Some(self.public.certificate_thumbprint(pem)?);
        Ok(self)
    }

    /// Sends the key's certificate and its chain as well (`x5c`), as `SigningKey::with_certificate_chain` does.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if the chain does not start with the key's certificate, has another order, is damaged or is too
    /// long.
    pub fn with_certificate_chain(mut self, pem: &str) -> Result<Self, BuildError> {
        self.chain = self.public.certificate_chain(pem)?;
        self.with_certificate(pem)
    }

    /// Returns the key in the service.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// Returns the public key.
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Returns the public key as a JWK with `alg`, `kid` and `use`, to register at the server.
    pub fn public_jwk(&self) -> String {
        self.public
            .to_described_jwk(self.algorithm, Some(&self.key_id))
    }
}

#[async_trait]
impl<K: KmsKey> Signer for KmsSigner<K> {
    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn key_id(&self) -> Option<&str> {
        Some(&self.key_id)
    }

    fn certificate_thumbprint(&self) -> Option<[u8; 32]> {
        self.certificate
    }

    fn certificate_chain(&self) -> &[Vec<u8>] {
        &self.chain
    }

    fn public_jwk(&self) -> Option<String> {
        Some(self.public_jwk())
    }

    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        let hash = self.algorithm.hash(message);
        let input = hash.as_deref().unwrap_or(message);
        let signature = self.key.sign(self.algorithm, input).await?;
        let (length, expected) = (signature.len(), self.public.signature_len());
        if length != expected {
            return Err(TokenError::unusable_response(format!(
                "the key service returned a signature of {length} bytes, but one with {} and this key has {expected}",
                self.algorithm
            )));
        }
        Ok(signature)
    }
}

#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
#[cfg(test)]
mod tests;
