//! The key that tokens are bound to (DPoP, RFC 9449).

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use hallpass_core::{Proof, ProofRequest, Prover, SecretSource, TokenError};
use hallpass_endpoint::BuildError;
use hallpass_jwt::Dpop;
use hallpass_secrets::SecretReference;
use tokio::sync::OnceCell;

use super::signed::parse_private_key;
use crate::{error::ProfileError, settings::Settings};

impl Settings {
    /// Reads the private key that tokens are bound to (`dpop`); `None` without the setting.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] if the secret cannot be read, or contains no key for ES256 or EdDSA.
    ///
    /// # Cancellation
    ///
    /// Dropping the future abandons this read only.
    pub async fn dpop_key(&self) -> Result<Option<Dpop>, TokenError> {
        let prover = self.key_prover()?;
        match prover {
            Some(prover) => prover.key().await.cloned().map(Some),
            None => Ok(None),
        }
    }

    fn key_prover(&self) -> Result<Option<KeyProver>, ProfileError> {
        let Some(reference) = &self.dpop else {
            return Ok(None);
        };
        Ok(Some(KeyProver {
            source: self.open_secret("dpop", reference)?,
            reference: (**reference).clone(),
            key: OnceCell::new(),
        }))
    }
}

/// Returns the prover of the key that the settings name, which reads it for its first proof.
pub(super) fn prover(settings: &Settings) -> Result<Option<Arc<dyn Prover>>, ProfileError> {
    let prover = settings.key_prover()?;
    Ok(prover.map(|prover| -> Arc<dyn Prover> { Arc::new(prover) }))
}

/// A prover with the key that a reference names. It is read once: tokens stay bound to it.
struct KeyProver {
    source: Arc<dyn SecretSource>,
    reference: SecretReference,
    key: OnceCell<Dpop>,
}

impl KeyProver {
    async fn key(&self) -> Result<&Dpop, TokenError> {
        self.key.get_or_try_init(|| self.read()).await
    }

    async fn read(&self) -> Result<Dpop, TokenError> {
        let secret = self.source.secret().await?;
        let key = parse_private_key(secret.expose()).and_then(Dpop::new);
        key.map_err(|error| {
            let message = format!("`{}`: {}", self.reference, error.message());
            let error = ProfileError::from(BuildError::new("dpop", message));
            TokenError::from(
                error.with_hint("generate a key with `hallpass keygen`, for `es256` or `eddsa`"),
            )
        })
    }
}

#[async_trait]
impl Prover for KeyProver {
    async fn prove(&self, request: &ProofRequest<'_>) -> Result<Proof, TokenError> {
        self.key().await?.prove(request).await
    }

    fn store_nonce(&self, request: &ProofRequest<'_>, nonce: &str) {
        if let Some(key) = self.key.get() {
            key.store_nonce(request, nonce);
        }
    }
}

impl fmt::Debug for KeyProver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyProver")
            .field("reference", &self.reference)
            .finish_non_exhaustive()
    }
}
