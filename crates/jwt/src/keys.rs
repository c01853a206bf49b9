//! The current signing key: a fixed one, or one that is read again when it rotates.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use hallpass_core::{Secret, SecretSource, TokenError};
use hallpass_endpoint::{BuildError, credential_digest};

use crate::{
    Algorithm, Signer,
    assertion::{CompactAssertion, Header, UnsignedAssertion},
};

/// Returns keys that always yield this one, in memory or elsewhere.
pub(crate) fn fixed(signer: impl Signer + 'static) -> Arc<dyn Keys> {
    Arc::new(FixedKey(Arc::new(signer)))
}

/// Returns keys that yield the one that is currently in this source.
pub(crate) fn rotating<S: Signer + 'static>(
    source: impl SecretSource + 'static,
    read: impl Fn(&str) -> Result<S, BuildError> + Send + Sync + 'static,
) -> Arc<dyn Keys> {
    Arc::new(RotatingKey {
        source,
        read: move |text: &str| -> Result<Arc<dyn Signer>, _> { Ok(Arc::new(read(text)?)) },
        last: Mutex::default(),
    })
}

/// Returns a digest of the current key and its description in the header, with these further parts. `None` if nothing
/// identifies the key.
pub(crate) async fn digest(keys: &dyn Keys, method: &str, more: &[&[u8]]) -> Option<[u8; 32]> {
    let Key { signer, .. } = keys.current().await.ok()?;
    let public = signer.public_jwk();
    let key_id = signer.key_id();
    let thumbprint = signer.certificate_thumbprint();
    if public.is_none() && key_id.is_none() && thumbprint.is_none() {
        return None;
    }
    let public = public.unwrap_or_default();
    let thumbprint = thumbprint.unwrap_or_default();
    let chain = signer.certificate_chain().concat();
    let key: [&[u8]; 5] = [
        signer.algorithm().name().as_bytes(),
        public.as_bytes(),
        key_id.unwrap_or_default().as_bytes(),
        &thumbprint,
        &chain,
    ];
    Some(credential_digest(method, &[&key, more].concat()))
}

/// A signer, with the secret that it was read from; without one, it is the same while the epoch stays the same.
pub(crate) struct Key {
    pub(crate) signer: Arc<dyn Signer>,
    pub(crate) secret: Option<Secret>,
}

impl Key {
    pub(crate) async fn sign(
        &self,
        write: impl FnOnce(Header<'_>) -> Result<UnsignedAssertion, TokenError> + Send,
    ) -> Result<CompactAssertion, TokenError> {
        let signer = &self.signer;
        let algorithm = signer.algorithm();
        let thumbprint = signer.certificate_thumbprint();
        let chain = signer.certificate_chain();
        let header = Header {
            alg: algorithm.name(),
            kid: signer.key_id(),
            thumbprint: thumbprint.map(|hash| BASE64_URL_SAFE_NO_PAD.encode(hash)),
            x5c: chain
                .iter()
                .map(|der| BASE64_STANDARD.encode(der))
                .collect(),
        };
        let unsigned = write(header)?;
        let signature = signer.sign(unsigned.message()).await?;
        algorithm.check(&signature)?;
        Ok(unsigned.signed(&signature))
    }
}

#[async_trait]
pub(crate) trait Keys: Send + Sync + fmt::Debug {
    async fn current(&self) -> Result<Key, TokenError>;

    /// Returns the algorithm, if it is the same for every key.
    fn algorithm(&self) -> Option<Algorithm> {
        None
    }

    fn epoch(&self) -> u64;

    fn refused(&self, secret: &Secret);
}

struct FixedKey(Arc<dyn Signer>);

#[async_trait]
impl Keys for FixedKey {
    async fn current(&self) -> Result<Key, TokenError> {
        Ok(Key {
            signer: self.0.clone(),
            secret: None,
        })
    }

    fn algorithm(&self) -> Option<Algorithm> {
        Some(self.0.algorithm())
    }

    fn epoch(&self) -> u64 {
        self.0.epoch()
    }

    fn refused(&self, _: &Secret) {}
}

impl fmt::Debug for FixedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

struct RotatingKey<S, R> {
    source: S,
    read: R,
    /// Cached, since reading a key is slow: its parts are checked against each other.
    last: Mutex<Option<(Secret, Arc<dyn Signer>)>>,
}

#[async_trait]
impl<S, R> Keys for RotatingKey<S, R>
where
    S: SecretSource,
    R: Fn(&str) -> Result<Arc<dyn Signer>, BuildError> + Send + Sync,
{
    async fn current(&self) -> Result<Key, TokenError> {
        let secret = self.source.secret().await?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let known = last.as_ref().filter(|(known, _)| known.matches(&secret));
        let signer = if let Some((_, signer)) = known {
            signer.clone()
        } else {
            *last = None;
            let signer = (self.read)(secret.expose())
                .map_err(|error| TokenError::configuration(error.to_string()))?;
            *last = Some((secret.clone(), signer.clone()));
            signer
        };
        Ok(Key {
            signer,
            secret: Some(secret),
        })
    }

    fn epoch(&self) -> u64 {
        self.source.epoch()
    }

    fn refused(&self, secret: &Secret) {
        self.source.refused(secret);
    }
}

impl<S: fmt::Debug, R> fmt::Debug for RotatingKey<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RotatingKey").field(&self.source).finish()
    }
}
