use std::{fmt, sync::Arc};

use async_trait::async_trait;
use hallpass_core::TokenError;

use crate::Algorithm;

/// Who signs an assertion: an extension point for keys that live in a KMS or an HSM and never come into this process.
///
/// A key in memory is a [`SigningKey`](crate::SigningKey). One signer holds one key: `algorithm`, `key_id`,
/// `certificate_thumbprint` and `public_jwk` belong to what [`sign`](Self::sign) uses, and do not change.
///
/// ```
/// use hallpass_core::{TokenError, async_trait};
/// use hallpass_jwt::{Algorithm, Signer};
///
/// /// A key that a daemon on this machine holds.
/// #[derive(Debug)]
/// struct Daemon {
///     key: String,
/// }
///
/// # impl Daemon {
/// #     async fn ask(&self, _message: &[u8]) -> std::io::Result<Vec<u8>> {
/// #         Ok(vec![0; 64])
/// #     }
/// # }
/// #[async_trait]
/// impl Signer for Daemon {
///     fn algorithm(&self) -> Algorithm {
///         Algorithm::Es256
///     }
///
///     fn key_id(&self) -> Option<&str> {
///         Some(&self.key)
///     }
///
///     async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TokenError> {
///         let answer = self.ask(message).await;
///         answer.map_err(|_| TokenError::unavailable("the signing daemon does not answer"))
///     }
/// }
/// ```
#[async_trait]
pub trait Signer: Send + Sync + fmt::Debug {
    /// How it signs.
    fn algorithm(&self) -> Algorithm;

    /// The `kid` under which the server knows the key.
    fn key_id(&self) -> Option<&str> {
        None
    }

    /// The SHA-256 hash of the DER form of the key's certificate, which the header then names as `x5t#S256`.
    fn certificate_thumbprint(&self) -> Option<[u8; 32]> {
        None
    }

    /// The public key as a JWK (RFC 7517), which a proof of possession names ([`Dpop`](crate::Dpop)). It must not hold
    /// the private one. A signer that keeps this default cannot be used there.
    fn public_jwk(&self) -> Option<String> {
        None
    }

    /// Signs these bytes, which it hashes itself. ECDSA: r and s joined, each with its leading zeros, not DER
    /// (RFC 7518 section 3.4); [`Algorithm::signature_from_der`] makes the one of the other.
    ///
    /// It is asked once for each attempt of a token request, within the deadline of the call; for
    /// [`Dpop`](crate::Dpop), once more for each request to an API.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](hallpass_core::ErrorKind::Unavailable) where time may mend it, which has the call try again;
    /// [`Configuration`](hallpass_core::ErrorKind::Configuration) where someone must.
    ///
    /// # Cancellation
    ///
    /// Dropping the future gives up this signature alone.
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TokenError>;

    /// A number that changes when the key is known to have changed; see
    /// [`TokenSource::credential_epoch`](hallpass_core::TokenSource::credential_epoch).
    fn epoch(&self) -> u64 {
        0
    }
}

/// Forwards every method, the defaulted ones too.
macro_rules! forward {
    ($($pointer:ty),+) => {$(
        #[async_trait]
        impl<S: Signer + ?Sized> Signer for $pointer {
            fn algorithm(&self) -> Algorithm {
                (**self).algorithm()
            }

            fn key_id(&self) -> Option<&str> {
                (**self).key_id()
            }

            fn certificate_thumbprint(&self) -> Option<[u8; 32]> {
                (**self).certificate_thumbprint()
            }

            fn public_jwk(&self) -> Option<String> {
                (**self).public_jwk()
            }

            async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TokenError> {
                (**self).sign(message).await
            }

            fn epoch(&self) -> u64 {
                (**self).epoch()
            }
        }
    )+};
}

forward!(Arc<S>, Box<S>);
