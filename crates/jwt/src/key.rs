use std::fmt;

use async_trait::async_trait;
use hallpass_core::TokenError;
use hallpass_endpoint::BuildError;

use crate::{Algorithm, Signer, provider::KeyPair, public_key::check_algorithm};

mod error;
mod generate;
mod jwk;
mod jwk_set;
mod pem;

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
    /// The certificates in DER, the key's own one first.
    chain: Vec<Vec<u8>>,
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
        jwk::read(jwk).map(Self::from_private_jwk)
    }

    /// Reads a private key from a JWK set (RFC 7517 section 5): the key with this `kid`, or without one the only key that
    /// can sign. A key of the set that cannot be used does not concern the others. The text may also be a single JWK,
    /// regardless of its `kid`.
    ///
    /// ```
    /// use hallpass_jwt::SigningKey;
    ///
    /// # fn example(set: &str) -> Result<(), hallpass_endpoint::BuildError> {
    /// let key = SigningKey::from_jwk_set(set, Some("orders-2026"))?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if no key or several have this `kid`, if there is no `kid` to choose by, or if the set has more
    /// than 100 keys or 256 KiB; also those of [`from_jwk`](Self::from_jwk).
    pub fn from_jwk_set(set: &str, key_id: Option<&str>) -> Result<Self, BuildError> {
        jwk_set::read(set, key_id).map(Self::from_private_jwk)
    }

    fn from_private_jwk(jwk: jwk::PrivateJwk) -> Self {
        let jwk::PrivateJwk {
            pair,
            algorithm,
            key_id,
            certificate,
        } = jwk;
        Self {
            algorithm,
            key_id,
            certificate,
            ..Self::from_pair(pair)
        }
    }

    /// Sets the signature algorithm.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if the algorithm does not fit the key.
    pub fn with_algorithm(mut self, algorithm: Algorithm) -> Result<Self, BuildError> {
        check_algorithm(algorithm, self.pair.public_key().algorithms())?;
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
        let thumbprint = self.pair.public_key().thumbprint();
        self.with_key_id(thumbprint)
    }

    /// Names the key's certificate in the header of an assertion by its hash (`x5t#S256`): for servers that identify
    /// clients by certificates. The text may be the one that the key was read from; everything but the key's own
    /// certificate is skipped.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if none of the certificates in this PEM text belongs to the key.
    pub fn with_certificate(mut self, pem: &str) -> Result<Self, BuildError> {
        self.certificate = Some(self.pair.public_key().certificate_thumbprint(pem)?);
        Ok(self)
    }

    /// Sends the key's certificate and its chain in the header of an assertion (`x5c`, RFC 7515 section 4.1.6), with the
    /// hash of [`with_certificate`](Self::with_certificate): for servers that trust the certificate's issuer. The text
    /// starts with the key's own certificate, and each certificate is followed by that of its issuer; the last may be
    /// that of an authority.
    ///
    /// The order is checked by names. The server verifies the signatures.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] if the first certificate does not belong to the key, the order differs, a certificate is damaged
    /// or there twice, or the chain has more than 10 certificates or 32 KiB.
    pub fn with_certificate_chain(mut self, pem: &str) -> Result<Self, BuildError> {
        self.chain = self.pair.public_key().certificate_chain(pem)?;
        self.with_certificate(pem)
    }

    /// Returns the public key as a JWK with `alg`, `kid` and `use`, to register at the server. It is not secret.
    pub fn public_jwk(&self) -> String {
        let public = self.pair.public_key();
        public.to_described_jwk(self.algorithm, self.key_id.as_deref())
    }

    fn from_pair(pair: KeyPair) -> Self {
        Self {
            algorithm: pair.public_key().algorithms()[0],
            pair,
            key_id: None,
            certificate: None,
            chain: Vec::new(),
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

    fn certificate_chain(&self) -> &[Vec<u8>] {
        &self.chain
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

#[cfg(test)]
mod tests;
