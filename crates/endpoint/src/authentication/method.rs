use std::{fmt, sync::Arc};

use async_trait::async_trait;
use hallpass_core::TokenError;

use super::{context::AuthenticationContext, credentials::Credentials};
use crate::{BuildError, SecurityProfile};

/// A client authentication method at a token endpoint: an extension point.
///
/// It yields [`Credentials`]: one header or a few form parameters, never both, as a request uses exactly one method
/// (RFC 6749 section 2.3). It is called for each attempt, so an assertion is always fresh.
///
/// ```
/// use hallpass_core::{TokenError, async_trait};
/// use hallpass_endpoint::{AuthenticationContext, ClientAuthentication, Credentials};
///
/// /// A client without a secret of its own: its network address is what the server trusts.
/// #[derive(Debug)]
/// struct NetworkIdentity;
///
/// #[async_trait]
/// impl ClientAuthentication for NetworkIdentity {
///     async fn credentials(&self, context: &AuthenticationContext<'_>) -> Result<Credentials, TokenError> {
///         Ok(Credentials::parameters([("client_id", context.client_id())]))
///     }
/// }
/// ```
#[async_trait]
pub trait ClientAuthentication: Send + Sync + fmt::Debug {
    /// Returns the credentials for one attempt.
    ///
    /// # Errors
    ///
    /// A [`TokenError`] of kind [`Configuration`](hallpass_core::ErrorKind::Configuration) if no credentials can be
    /// made; nothing is sent then.
    async fn credentials(
        &self,
        context: &AuthenticationContext<'_>,
    ) -> Result<Credentials, TokenError>;

    /// Returns a number that changes when the credentials do; see
    /// [`TokenSource::credential_epoch`](hallpass_core::TokenSource::credential_epoch).
    fn epoch(&self) -> u64 {
        0
    }

    /// Returns a digest of the credentials, the same in each process that has them, and another one after a rotation;
    /// see [`TokenSource::credential_digest`](hallpass_core::TokenSource::credential_digest).
    ///
    /// It covers all that a refusal may concern: the method, its settings and the credential itself, but nothing that
    /// differs between two attempts. [`credential_digest`](crate::credential_digest) computes one. With the default,
    /// `None`, processes do not share refusals.
    async fn digest(&self, client_id: &str) -> Option<[u8; 32]> {
        let _ = client_id;
        None
    }

    /// Returns true if the server binds tokens to what this client authenticates with, such as a certificate; see
    /// [`TokenSource::binds_tokens`](hallpass_core::TokenSource::binds_tokens).
    fn binds_tokens(&self) -> bool {
        false
    }

    /// Returns the method's name in `token_endpoint_auth_methods_supported` (RFC 7591 section 2), by which
    /// [`Strongest`](crate::Strongest) chooses; `None` if it has none.
    fn method(&self) -> Option<&'static str> {
        None
    }

    /// Returns the algorithm of the assertions that it signs, if known in advance; for the same choice.
    fn algorithm(&self) -> Option<&'static str> {
        None
    }

    /// Returns true if it needs the server's metadata, such as for the audience of an assertion: a source with an endpoint
    /// that is not [discovered](crate::Endpoint::discover) is then not built.
    fn needs_discovery(&self) -> bool {
        false
    }

    /// Checks that the method satisfies this security profile, when a source is built. By default the
    /// [method](Self::method) and the [algorithm](Self::algorithm) decide, and a method without a name is refused.
    ///
    /// It need not be complete: the credentials of each attempt are checked too.
    ///
    /// # Errors
    ///
    /// A [`BuildError`] that names the section of the profile.
    fn check_profile(&self, profile: SecurityProfile) -> Result<(), BuildError> {
        profile.check_method(self.method(), self.algorithm())
    }

    /// Reports that the server refused these credentials: drop them, or their secret, from any cache.
    ///
    /// The caller then asks for credentials again, and retries once if they come from another
    /// [secret](Credentials::from_secret) or the [epoch](Self::epoch) changed. An implementation with a
    /// [`SecretSource`](hallpass_core::SecretSource) forwards to [`SecretSource::refused`](hallpass_core::SecretSource::refused). Must not block.
    fn refused(&self, credentials: &Credentials) {
        let _ = credentials;
    }
}

/// Forwards every method, including those with a default.
macro_rules! forward {
    ($($pointer:ty),+) => {$(
        #[async_trait]
        impl<T: ClientAuthentication + ?Sized> ClientAuthentication for $pointer {
            async fn credentials(
                &self,
                context: &AuthenticationContext<'_>,
            ) -> Result<Credentials, TokenError> {
                (**self).credentials(context).await
            }

            fn epoch(&self) -> u64 {
                (**self).epoch()
            }

            async fn digest(&self, client_id: &str) -> Option<[u8; 32]> {
                (**self).digest(client_id).await
            }

            fn binds_tokens(&self) -> bool {
                (**self).binds_tokens()
            }

            fn method(&self) -> Option<&'static str> {
                (**self).method()
            }

            fn algorithm(&self) -> Option<&'static str> {
                (**self).algorithm()
            }

            fn needs_discovery(&self) -> bool {
                (**self).needs_discovery()
            }

            fn check_profile(&self, profile: SecurityProfile) -> Result<(), BuildError> {
                (**self).check_profile(profile)
            }

            fn refused(&self, credentials: &Credentials) {
                (**self).refused(credentials);
            }
        }
    )+};
}

forward!(Arc<T>, Box<T>);
