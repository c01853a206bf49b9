use std::{fmt, sync::Arc};

use async_trait::async_trait;
use hallpass_core::TokenError;
use tokio::{runtime::Handle, sync::Mutex};

use super::{key_location::KeyLocation, state::State};
use crate::{Algorithm, Signer};

/// A signer with a key in a hardware token, by PKCS#11: an HSM, a smart card, a TPM, a cloud's HSM. Key material never
/// leaves the token.
///
/// The first signature opens a session with the source's current PIN, and later ones reuse it. A session that ended,
/// because the token was removed or something logged out, is opened again, once per signature.
///
/// A PIN that the token refused is not tried again, since a token locks itself after a few attempts: the same error is
/// returned, without contacting the token, until the source has another PIN.
///
/// It can be shared: signatures are made one after the other, on a blocking thread, and waiting for a turn blocks
/// nothing. The module is loaded once per process and never unloaded; several signers may use one token.
///
/// Not supported: PINs typed at the token itself, and keys that require the PIN at each signature
/// (`CKA_ALWAYS_AUTHENTICATE`).
///
/// ```no_run
/// use hallpass_core::Secret;
/// use hallpass_jwt::{Algorithm, AssertionSettings, Pkcs11Signer, PrivateKeyJwt};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pin = Secret::new(std::env::var("TOKEN_PIN")?)?;
/// let signer = Pkcs11Signer::builder("/usr/lib/softhsm/libsofthsm2.so", Algorithm::Es256, pin)
///     .token_label("services")
///     .object_label("orders")
///     .key_id("orders-2026")
///     .build()?;
/// let authentication = PrivateKeyJwt::new(AssertionSettings::new("https://login.example")?, signer);
/// # let _ = authentication;
/// # Ok(())
/// # }
/// ```
pub struct Pkcs11Signer {
    pub(super) location: Arc<KeyLocation>,
    pub(super) key_id: Option<String>,
    pub(super) state: Arc<Mutex<State>>,
}

impl Pkcs11Signer {
    /// Opens a session and finds the key, unless that was done before. Call it at startup, so that a wrong setting is
    /// reported then and not at the first token request.
    ///
    /// # Errors
    ///
    /// As [`sign`](Signer::sign).
    ///
    /// # Cancellation
    ///
    /// As [`sign`](Signer::sign).
    pub async fn check(&self) -> Result<(), TokenError> {
        let mut state = self.state.clone().lock_owned().await;
        if state.is_open() {
            return Ok(());
        }
        let pin = self.location.pin.secret().await?;
        let location = self.location.clone();
        blocking(move || {
            state.open(&location, pin)?;
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl Signer for Pkcs11Signer {
    fn algorithm(&self) -> Algorithm {
        self.location.algorithm
    }

    fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Signs in the token.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](hallpass_core::ErrorKind::Unavailable) if the token is removed, busy or failing;
    /// [`Configuration`](hallpass_core::ErrorKind::Configuration) if module, token or key are not found, the key is of
    /// another kind, or the PIN is wrong, locked or cannot be read. No error holds the PIN.
    ///
    /// # Cancellation
    ///
    /// Dropping the future abandons this signature; the token finishes it before the next one.
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        let message: Arc<[u8]> = message.into();
        let mut state = self.state.clone().lock_owned().await;
        if state.is_open() {
            let (location, message) = (self.location.clone(), message.clone());
            let (same, signed) = blocking(move || {
                let signed = state.sign(&location, &message)?;
                Ok((state, signed))
            })
            .await?;
            if let Some(signature) = signed {
                return Ok(signature);
            }
            tracing::debug!("PKCS#11 session reopened");
            state = same;
        }
        let pin = self.location.pin.secret().await?;
        let location = self.location.clone();
        blocking(move || {
            let session = state.open(&location, pin)?;
            session
                .sign(&location, &message)
                .map_err(|error| location.describe(error))
        })
        .await
    }

    /// Returns the PIN's epoch, since another PIN may end a refusal.
    fn epoch(&self) -> u64 {
        self.location.pin.epoch()
    }
}

impl fmt::Debug for Pkcs11Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Signer")
            .field("location", &self.location)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// Runs blocking work on a blocking thread; without a runtime, on the caller's thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TokenError> + Send + 'static,
) -> Result<T, TokenError> {
    let result = match Handle::try_current() {
        // Fails only if the work panicked, which it does not, or the runtime shuts down.
        Ok(runtime) => runtime.spawn_blocking(work).await.unwrap_or_else(|_| {
            Err(TokenError::unavailable(
                "the token was not called, because the runtime is shutting down",
            ))
        }),
        Err(_) => work(),
    };
    // The call is not retried: a busy or removed token would be called again, and a person prompted again.
    result.map_err(|error| error.with_local(true))
}
