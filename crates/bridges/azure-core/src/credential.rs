use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use async_trait::async_trait;
use azure_core::{
    credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions},
    error::ErrorKind,
    time::OffsetDateTime,
};
use hallpass_core::{
    AccessToken as Token, ScopeSet, TokenError, TokenRequest, TokenSource, TokenSourceExt as _,
};

/// A credential of the Azure SDK from a token source, for the clients of the SDK.
///
/// A client calls it with the scopes of its service. They become the scopes of the token request; the other parts come
/// from [`request`](Self::request). Use a cached source: a client keeps its token until five minutes before the token
/// expires, and then calls the credential for each request until it gets a token that lives longer.
///
/// A client drops its token when a service refuses it with 401, but does not report it to the credential, so that its
/// next call gets the same token from a cache. [`RefusedTokenPolicy`](crate::RefusedTokenPolicy) reports it.
///
/// Claims challenges of Microsoft Entra ID (continuous access evaluation) are not answered: the trait of azure_core has
/// no place for claims. Entra ID sends them only to clients that declare the capability `cp1`, and neither azure_core nor
/// hallpass declares it.
///
/// # Errors
///
/// An [`azure_core::Error`] of kind [`Credential`](ErrorKind::Credential) whose source is the [`TokenError`], with its
/// kind and its hint. The SDK's retry policy does not retry it. A token that is bound to a key (DPoP) is no bearer token,
/// and is refused.
///
/// # Cancellation
///
/// As [`TokenSource::token`].
pub struct SourceCredential {
    source: Arc<dyn TokenSource>,
    defaults: TokenRequest,
    /// The scopes of the last call, and the request with them: a client always has the same ones.
    last: Mutex<(Vec<String>, TokenRequest)>,
}

impl SourceCredential {
    /// Creates a credential with the tokens of this source.
    pub fn new(source: impl TokenSource + 'static) -> Self {
        Self {
            source: Arc::new(source),
            defaults: TokenRequest::new(),
            last: Mutex::default(),
        }
    }

    /// Sets the parts of the token request that a client does not set: resources, audiences, extra parameters, and
    /// scopes for a call without any.
    #[must_use]
    pub fn request(mut self, defaults: TokenRequest) -> Self {
        self.defaults = defaults;
        self.last = Mutex::default();
        self
    }

    fn with_scopes(&self, scopes: &[&str]) -> Result<TokenRequest, TokenError> {
        if scopes.is_empty() {
            return Ok(self.defaults.clone());
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != scopes {
            let set: ScopeSet = scopes.join(" ").parse().map_err(|error| {
                TokenError::configuration(format!("an Azure client requested {error}"))
            })?;
            let request = TokenRequest::new().with_scopes(set).or(&self.defaults);
            let scopes = scopes.iter().copied().map(str::to_owned);
            *last = (scopes.collect(), request);
        }
        Ok(last.1.clone())
    }

    async fn token(&self, scopes: &[&str]) -> Result<Token, TokenError> {
        let request = self.with_scopes(scopes)?;
        let token = self.source.access_token(&request).await?;
        token.require_bearer()?;
        Ok(token)
    }
}

#[async_trait]
impl TokenCredential for SourceCredential {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let token = self.token(scopes).await;
        let token = token.map_err(|error| azure_core::Error::new(ErrorKind::Credential, error))?;
        let secret = Secret::new(token.expose().to_owned());
        Ok(AccessToken::new(secret, expires_on(token.expires_at())))
    }
}

/// Returns the end of year 9999 for a later time, and for a token that never expires.
fn expires_on(at: Option<SystemTime>) -> OffsetDateTime {
    const LATEST: i64 = 253_402_300_799;
    let seconds = at.map(|at| {
        at.duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default()
    });
    let seconds = seconds.and_then(|since| i64::try_from(since.as_secs()).ok());
    let seconds = seconds.unwrap_or(LATEST).min(LATEST);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

impl fmt::Debug for SourceCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceCredential")
            .field("request", &self.defaults)
            .finish_non_exhaustive()
    }
}
