use std::{fmt, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use hallpass_core::{SecretSource, TokenError};
use tokio::{runtime::Handle, sync::Mutex};

use crate::{Algorithm, Signer};

mod builder;
mod fault;
mod module;
mod place;
mod state;

pub use builder::Pkcs11SignerBuilder;
use place::Place;
use state::State;

/// Signs with a key in a hardware token, by PKCS#11: an HSM, a smart card, a TPM, a cloud's HSM. No key material leaves
/// the token, and none is asked for.
///
/// A session is opened at the first signature, with the PIN that the source has then, and kept. One that ended, since
/// the token was removed or something logged out, is opened anew, once for each signature.
///
/// A PIN that the token refused is not tried a second time, since a token locks itself after a few: the error stays,
/// without the token being asked, until the source has another PIN.
///
/// It may be shared: signatures are made one after the other, on a thread that may block, and a call that waits for its
/// turn blocks nothing. The module is loaded once a process and never unloaded; several signers may use one token.
///
/// Not supported: PINs that are typed at the token itself, and keys that want the PIN at each signature
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
/// let how = PrivateKeyJwt::new(AssertionSettings::new("https://login.example")?, signer);
/// # let _ = how;
/// # Ok(())
/// # }
/// ```
pub struct Pkcs11Signer {
    place: Arc<Place>,
    key_id: Option<String>,
    state: Arc<Mutex<State>>,
}

impl Pkcs11Signer {
    /// Starts with the module, the vendor's library, by its absolute path; how the key signs; and where the PIN lives.
    ///
    /// ECDSA is asked for by `CKM_ECDSA` over a hash that is made here, which every token has; RSA by
    /// `CKM_SHA256_RSA_PKCS` and `CKM_SHA256_RSA_PKCS_PSS`; Ed25519 by `CKM_EDDSA`.
    pub fn builder(
        module: impl Into<PathBuf>,
        algorithm: Algorithm,
        pin: impl SecretSource + 'static,
    ) -> Pkcs11SignerBuilder {
        Pkcs11SignerBuilder::new(module.into(), algorithm, Box::new(pin))
    }

    /// Opens a session and finds the key, unless that was done before: at a service's start, what is set up wrongly is
    /// told then, and not at the first token request.
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
        let pin = self.place.pin.secret().await?;
        let place = self.place.clone();
        blocking(move || {
            state.open(&place, pin)?;
            Ok(())
        })
        .await
    }
}

#[async_trait]
impl Signer for Pkcs11Signer {
    fn algorithm(&self) -> Algorithm {
        self.place.algorithm
    }

    fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Signs in the token.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](hallpass_core::ErrorKind::Unavailable) where the token is gone, busy or out of order;
    /// [`Configuration`](hallpass_core::ErrorKind::Configuration) where module, token or key are not found, the key is
    /// of another kind, or the PIN is wrong, locked or cannot be read. No error holds the PIN.
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives up this signature; what the token began, it ends, before it makes the next one.
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TokenError> {
        let message: Arc<[u8]> = message.into();
        let mut state = self.state.clone().lock_owned().await;
        if state.is_open() {
            let (place, message) = (self.place.clone(), message.clone());
            let (same, signed) = blocking(move || {
                let signed = state.sign(&place, &message)?;
                Ok((state, signed))
            })
            .await?;
            if let Some(signature) = signed {
                return Ok(signature);
            }
            tracing::debug!("the session with the token ended; a new one is opened");
            state = same;
        }
        let pin = self.place.pin.secret().await?;
        let place = self.place.clone();
        blocking(move || {
            let open = state.open(&place, pin)?;
            open.sign(&place, &message)
                .map_err(|fault| fault.told(&place))
        })
        .await
    }

    /// Another PIN may end what a refused one began.
    fn epoch(&self) -> u64 {
        self.place.pin.epoch()
    }
}

impl fmt::Debug for Pkcs11Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pkcs11Signer")
            .field("place", &self.place)
            .field("key_id", &self.key_id)
            .finish_non_exhaustive()
    }
}

/// Does what may block on a thread that may be blocked; where there is no runtime there is no worker to spare.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TokenError> + Send + 'static,
) -> Result<T, TokenError> {
    let result = match Handle::try_current() {
        // It fails where the work panicked, which it does not, or where the runtime shuts down.
        Ok(runtime) => runtime.spawn_blocking(work).await.unwrap_or_else(|_| {
            Err(TokenError::unavailable(
                "the token was not asked: the runtime is shutting down",
            ))
        }),
        Err(_) => work(),
    };
    // The call is not retried: a token that is busy or gone would be asked again, and a person with it.
    result.map_err(|error| error.with_local(true))
}

#[cfg(test)]
#[cfg(any(feature = "aws-lc-rs", feature = "ring"))]
mod tests;
