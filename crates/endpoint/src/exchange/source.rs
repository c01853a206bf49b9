use super::{grant::Grant, token::GrantClient};

/// A source that uses one grant: the bound for a function that configures the [`SourceBuilder`](crate::SourceBuilder)
/// of any of them. Only this crate's sources implement it.
///
/// ```
/// use hallpass_endpoint::{GrantSource, Retry, SourceBuilder};
///
/// fn house_rules<S: GrantSource>(builder: SourceBuilder<S>) -> SourceBuilder<S> {
///     builder.retry(Retry::new().max_retries(4)).require_granted_scopes()
/// }
/// ```
pub trait GrantSource: Sized {
    #[doc(hidden)]
    type Grant: Grant;

    #[doc(hidden)]
    fn from_client(client: GrantClient<Self::Grant>) -> Self;
}

/// Implements [`TokenSource`](hallpass_core::TokenSource) and [`GrantSource`] for a source that is one client of one grant.
macro_rules! token_source {
    ($source:ident, $grant:ident) => {
        #[async_trait::async_trait]
        impl hallpass_core::TokenSource for $source {
            async fn token(
                &self,
                request: &hallpass_core::TokenRequest,
            ) -> Result<hallpass_core::AccessToken, hallpass_core::TokenError> {
                self.0.token(request).await
            }

            fn check_token(
                &self,
                request: &hallpass_core::TokenRequest,
                token: &hallpass_core::AccessToken,
            ) -> Result<(), hallpass_core::TokenError> {
                self.0.check_token(request, token)
            }

            fn credential_epoch(&self) -> u64 {
                self.0.epoch()
            }

            async fn credential_digest(&self) -> Option<[u8; 32]> {
                self.0.digest().await
            }

            fn binds_tokens(&self) -> bool {
                self.0.binds_tokens()
            }
        }

        impl crate::GrantSource for $source {
            type Grant = $grant;

            fn from_client(client: crate::exchange::token::GrantClient<$grant>) -> Self {
                Self(client)
            }
        }
    };
}

pub(crate) use token_source;
