use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource, TokenSourceExt as _};
use object_store::CredentialProvider;

/// A credential of a store that consists of a bearer token. Implemented for those of object_store.
pub trait BearerCredential: fmt::Debug + Send + Sync + 'static {
    /// Creates the credential with this token's text.
    fn from_bearer(token: String) -> Self;
}

#[cfg(feature = "azure")]
impl BearerCredential for object_store::azure::AzureCredential {
    fn from_bearer(token: String) -> Self {
        Self::BearerToken(token)
    }
}

#[cfg(feature = "gcp")]
impl BearerCredential for object_store::gcp::GcpCredential {
    fn from_bearer(bearer: String) -> Self {
        Self { bearer }
    }
}

/// A provider of credentials from a token source, for a builder's `with_credentials`.
///
/// The store asks for a credential before each of its requests. Wrap the source in a cache: a request then waits for the
/// authorization server only if there is no valid token.
///
/// A store does not report that it refused a token. One that is revoked before it expires is therefore used until it
/// expires; [`TokenConnector`](crate::TokenConnector) replaces it.
///
/// # Errors
///
/// A failed credential is an [`object_store::Error::Generic`] whose source is the [`TokenError`], with its kind and its
/// hint. A token that is bound to a key (DPoP) is no bearer token, and is refused.
///
/// # Cancellation
///
/// As [`TokenSource::token`].
pub struct TokenCredentials<C> {
    source: Arc<dyn TokenSource>,
    request: TokenRequest,
    /// The last token, and the credential with its text.
    last: Mutex<Option<(AccessToken, Arc<C>)>>,
}

impl<C: BearerCredential> TokenCredentials<C> {
    /// Creates a provider of this source's default tokens.
    pub fn new(source: impl TokenSource + 'static) -> Self {
        Self {
            source: Arc::new(source),
            request: TokenRequest::new(),
            last: Mutex::new(None),
        }
    }

    /// Sets the token request, with the store's scope for example.
    #[must_use]
    pub fn request(mut self, request: TokenRequest) -> Self {
        self.request = request;
        self
    }

    fn credential(&self, token: &AccessToken) -> Result<Arc<C>, TokenError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, credential)) = &*last
            && known.is_same(token)
        {
            return Ok(credential.clone());
        }
        let usable = token.require_bearer();
        usable.map_err(|error| {
            error.with_hint("request a bearer token, or use `TokenConnector`, which sends proofs")
        })?;
        let credential = Arc::new(C::from_bearer(token.expose().to_owned()));
        *last = Some((token.clone(), credential.clone()));
        Ok(credential)
    }
}

#[async_trait]
impl<C: BearerCredential> CredentialProvider for TokenCredentials<C> {
    type Credential = C;

    async fn get_credential(&self) -> object_store::Result<Arc<C>> {
        let token = self.source.access_token(&self.request).await;
        let credential = token.and_then(|token| self.credential(&token));
        credential.map_err(|error| object_store::Error::Generic {
            store: "hallpass",
            source: Box::new(error),
        })
    }
}

impl<C> fmt::Debug for TokenCredentials<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCredentials")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}
