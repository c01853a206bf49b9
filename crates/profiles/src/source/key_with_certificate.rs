//! A private key and its certificate, stored separately and read as one text.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use hallpass_core::{Secret, SecretError, SecretSource};

/// The line between a private key and a certificate that is stored separately: damage to one is not seen in the other.
pub(crate) const SEPARATOR: &str = "\n# hallpass: the certificate of this key\n";

/// A source that reads a private key and its certificate as one text.
pub(crate) struct KeyWithCertificate {
    key: Arc<dyn SecretSource>,
    certificate: Arc<dyn SecretSource>,
    last: Mutex<Option<[Secret; 3]>>,
}

impl KeyWithCertificate {
    pub(crate) fn new(key: Arc<dyn SecretSource>, certificate: Arc<dyn SecretSource>) -> Self {
        Self {
            key,
            certificate,
            last: Mutex::default(),
        }
    }
}

#[async_trait]
impl SecretSource for KeyWithCertificate {
    async fn secret(&self) -> Result<Secret, SecretError> {
        let key = self.key.secret().await?;
        let certificate = self.certificate.secret().await?;
        let both = format!("{}{SEPARATOR}{}", key.expose(), certificate.expose());
        let both = Secret::new(both)?;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some([both.clone(), key, certificate]);
        Ok(both)
    }

    fn epoch(&self) -> u64 {
        self.key.epoch().wrapping_add(self.certificate.epoch())
    }

    fn refused(&self, secret: &Secret) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some([both, key, certificate]) = &*last
            && both.is_clone_of(secret)
        {
            self.key.refused(key);
            self.certificate.refused(certificate);
        }
    }
}

impl fmt::Debug for KeyWithCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyWithCertificate")
            .field("key", &self.key)
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}
