use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use hallpass_core::{Secret, SecretError, SecretSource, SecretStore};

/// A replaceable secret in this process's memory: for tests, and for programs that end before their refresh token
/// expires. A saved secret is lost when the process ends; a [`FileSecret`](crate::FileSecret) persists it.
///
/// ```
/// use hallpass_core::{Secret, SecretSource, SecretStore};
/// use hallpass_secrets::MemorySecret;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemorySecret::new(Secret::new("first")?);
/// store.save(&Secret::new("second")?).await?;
/// assert_eq!(store.secret().await?.expose(), "second");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MemorySecret(Mutex<Secret>);

impl MemorySecret {
    /// Creates a source that returns this secret until another one is saved.
    pub fn new(secret: Secret) -> Self {
        Self(Mutex::new(secret))
    }

    fn held(&self) -> MutexGuard<'_, Secret> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl SecretSource for MemorySecret {
    async fn secret(&self) -> Result<Secret, SecretError> {
        Ok(self.held().clone())
    }
}

#[async_trait]
impl SecretStore for MemorySecret {
    async fn save(&self, secret: &Secret) -> Result<(), SecretError> {
        *self.held() = secret.clone();
        Ok(())
    }
}
