use std::{fmt, sync::Arc};

use async_trait::async_trait;
use hallpass_core::TokenError;

use crate::Algorithm;

/// A signer of assertions: the extension point for keys that live in a KMS or an HSM and never enter this process.
///
/// A key in memory is a [`SigningKey`](crate::SigningKey). One signer holds one key: `algorithm`, `key_id`,
/// `certificate_thumbprint` and `public_jwk` describe the key that [`sign`](Self::sign) uses, and do not change.
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
    /// Returns the signature algorithm.
    fn algorithm(&self) -> Algorithm;

    /// Returns the `kid` under which the server knows the key.
    fn key_id(&self) -> Option<&str> {
        None
    }

    /// Returns the SHA-256 hash of the DER form of the key's certificate, for `x5t#S256` in the header.
    fn certificate_thumbprint(&self) -> Option<[u8; 32]> {
        None
    }

    /// Returns the key's certificate and its chain in DER, for `x5c` in the header: the key's own certificate first, each
    /// followed by that of its issuer. With this default, the header has none.
    fn certificate_chain(&self) -> &[Vec<u8>] {
        &[]
    }

    /// Returns the public key as a JWK (RFC 7517), which DPoP proofs contain ([`Dpop`](crate::Dpop)). It must not hold
    /// the private key. A signer with this default cannot be used for DPoP.
    fn public_jwk(&self) -> Option<String> {
        None
    }

    /// Hashes and signs these bytes. ECDSA: r and s concatenated, each with its leading zeros, not DER (RFC 7518
    /// section 3.4); [`Algorithm::signature_from_der`] converts DER.
    ///
    /// It is called once for each attempt of a token request, within the deadline of the call, unless assertions are
    /// [reused](crate::PrivateKeyJwt::reuse_assertions); for [`Dpop`](crate::Dpop), also once for each request to an API.
    ///
    /// # Errors
    ///
    /// [`Unavailable`](hallpass_core::ErrorKind::Unavailable) if a retry may succeed, which causes one;
    /// [`Configuration`](hallpass_core::ErrorKind::Configuration) if a change is needed.
    ///
    /// # Cancellation
    ///
    /// Dropping the future abandons only this signature.
    async fn sign(&self, message: &[u8]) -> Result<Vec<u8>, TokenError>;

    /// Returns a number that changes when the key is known to have changed; see
    /// [`TokenSource::credential_epoch`](hallpass_core::TokenSource::credential_epoch).
    fn epoch(&self) -> u64 {
        0
    }
}

/// Forwards every method, including those with a default.
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

            fn certificate_chain(&self) -> &[Vec<u8>] {
                (**self).certificate_chain()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Minimal;

    #[async_trait]
    impl Signer for Minimal {
        fn algorithm(&self) -> Algorithm {
            Algorithm::Es256
        }

        async fn sign(&self, _: &[u8]) -> Result<Vec<u8>, TokenError> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn a_signer_without_more_has_nothing_for_the_header() {
        assert_eq!(Minimal.key_id(), None);
        assert_eq!(Minimal.certificate_thumbprint(), None);
        assert!(Minimal.certificate_chain().is_empty());
        assert_eq!((Minimal.public_jwk(), Minimal.epoch()), (None, 0));
    }
}
