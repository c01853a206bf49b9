use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use google_cloud_auth::{
    credentials::{
        AccessToken, AccessTokenCredentialsProvider, CacheableResource, CredentialsProvider,
        EntityTag,
    },
    errors::CredentialsError,
};
use hallpass_core::{
    AccessToken as Token, TokenError, TokenRequest, TokenSource, TokenSourceExt as _,
};
use http::{Extensions, HeaderMap, HeaderValue, header::AUTHORIZATION};

/// Credentials of the Google Cloud SDK from a token source, for `with_credentials` of a client's builder.
///
/// A client asks for the headers before each attempt to send a request. Use a cached source: a request then waits for the
/// authorization server only if there is no valid token. The [`EntityTag`] of the headers changes with the token.
///
/// The SDK does not report a refused token to its credentials; [`RefusedTokenRetry`](crate::RefusedTokenRetry) does.
///
/// # Errors
///
/// A [`CredentialsError`] whose source is the [`TokenError`], with its kind and its hint, and which is transient if that
/// is: a client then tries again. A token that is bound to a key (DPoP) is no bearer token, and is refused.
///
/// # Cancellation
///
/// As [`TokenSource::token`].
#[derive(Clone)]
pub struct SourceCredentials {
    source: Arc<dyn TokenSource>,
    request: TokenRequest,
    quota_project: Option<HeaderValue>,
    universe_domain: Option<String>,
    last: Arc<Mutex<Option<Last>>>,
}

/// The last token that was used.
struct Last {
    token: Token,
    tag: EntityTag,
    headers: HeaderMap,
    /// The time of its first use.
    since: Instant,
    /// No other token was used before.
    is_first: bool,
}

impl SourceCredentials {
    /// Creates credentials with this source's default tokens.
    pub fn new(source: impl TokenSource + 'static) -> Self {
        Self {
            source: Arc::new(source),
            request: TokenRequest::new(),
            quota_project: None,
            universe_domain: None,
            last: Arc::default(),
        }
    }

    /// Sets the token request, with the scope `https://www.googleapis.com/auth/cloud-platform` for example. The SDK names no
    /// scopes.
    #[must_use]
    pub fn request(mut self, request: TokenRequest) -> Self {
        self.request = request;
        self.last = Arc::default();
        self
    }

    /// Sets the project that quotas and costs of the requests are charged to: the header `x-goog-user-project`.
    ///
    /// # Errors
    ///
    /// An error of kind [`Configuration`](hallpass_core::ErrorKind::Configuration) for a text that no header can have.
    pub fn quota_project(mut self, project: &str) -> Result<Self, TokenError> {
        let project = HeaderValue::from_str(project).map_err(|error| {
            TokenError::configuration("the quota project is no valid header value")
                .with_source(error)
        })?;
        self.quota_project = Some(project);
        self.last = Arc::default();
        Ok(self)
    }

    /// Sets the universe domain that the tokens are for. A client for another one refuses the credentials. Default:
    /// `googleapis.com`.
    #[must_use]
    pub fn universe_domain(mut self, domain: impl Into<String>) -> Self {
        self.universe_domain = Some(domain.into());
        self
    }

    /// Drops the token that a call since `start` was refused with, unless another one was used in the meantime.
    pub(crate) fn report_refusal(&self, start: Instant) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = last
            .as_ref()
            .filter(|last| last.is_first || last.since <= start)
            .map(|last| last.token.clone());
        drop(last);
        if let Some(token) = refused {
            self.source.invalidate(&token);
        }
    }

    async fn token(&self) -> Result<Token, CredentialsError> {
        let token = self.source.access_token(&self.request).await;
        let token = token.and_then(|token| token.require_bearer().map(|()| token));
        token.map_err(|error| {
            let transient = error.is_transient();
            CredentialsError::from_source(transient, error)
        })
    }
}

impl CredentialsProvider for SourceCredentials {
    async fn headers(
        &self,
        extensions: Extensions,
    ) -> Result<CacheableResource<HeaderMap>, CredentialsError> {
        let token = self.token().await?;
        let mut slot = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = slot.is_none();
        let last = match &mut *slot {
            Some(last) if last.token.is_same(&token) => last,
            slot => {
                let mut headers = HeaderMap::with_capacity(2);
                headers.insert(AUTHORIZATION, token.header_value().clone());
                if let Some(project) = &self.quota_project {
                    headers.insert("x-goog-user-project", project.clone());
                }
                slot.insert(Last {
                    token,
                    tag: EntityTag::new(),
                    headers,
                    since: Instant::now(),
                    is_first,
                })
            }
        };
        if extensions.get() == Some(&last.tag) {
            return Ok(CacheableResource::NotModified);
        }
        Ok(CacheableResource::New {
            entity_tag: last.tag.clone(),
            data: last.headers.clone(),
        })
    }

    async fn universe_domain(&self) -> Option<String> {
        self.universe_domain.clone()
    }
}

impl AccessTokenCredentialsProvider for SourceCredentials {
    async fn access_token(&self) -> Result<AccessToken, CredentialsError> {
        let token = self.token().await?.expose().to_owned();
        Ok(AccessToken { token })
    }
}

impl fmt::Debug for SourceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceCredentials")
            .field("request", &self.request)
            .field("quota_project", &self.quota_project)
            .field("universe_domain", &self.universe_domain)
            .finish_non_exhaustive()
    }
}
