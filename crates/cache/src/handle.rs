use std::{fmt, sync::Arc};

use async_trait::async_trait;
use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource};

use crate::{cache::CachedTokenSource, slot::Slot};

/// A handle to the token of one request in a [`CachedTokenSource`], from [`bind`](CachedTokenSource::bind): a hit needs
/// no look-up by key.
///
/// It is for programs with many keys that know early which of them a caller uses: one handle for each tenant, for
/// example. It remains valid after a refresh, an expiry, a failure and
/// [`invalidate`](TokenSource::invalidate). Keyed calls of the cache and all handles of a request share one token.
///
/// ```
/// use hallpass_cache::CachedTokenSource;
/// use hallpass_core::TokenRequest;
/// # use hallpass_testkit::StaticSource;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let source = StaticSource::new("fake");
/// let tokens = CachedTokenSource::new(source);
/// let blue = tokens.bind(TokenRequest::new().with_parameter("tenant", "blue")?);
/// for _ in 0..1_000 {
///     let token = blue.access_token().await?;
/// #   let _ = token;
/// }
/// # assert_eq!(tokens.stats().misses, 1);
/// # Ok(())
/// # }
/// ```
///
/// # As a source
///
/// A handle is a [`TokenSource`] for its request only, which is also its default request: an authorizer for one tenant
/// takes the tenant's handle. A call for another request fails with
/// [`ErrorKind::Configuration`](hallpass_core::ErrorKind::Configuration).
///
/// # Memory
///
/// A handle holds its request and its key in the cache, with the token: about 600 bytes and the token itself. The key
/// is not evicted before its last handle is dropped, and does not count towards
/// [`max_keys`](crate::CacheBuilder::max_keys), so drop the handles of tenants that are removed. It also holds the
/// cache: its tasks stop when the cache and all handles are dropped.
pub struct TokenHandle<S> {
    slot: Arc<Slot>,
    cache: CachedTokenSource<S>,
    request: TokenRequest,
}

impl<S: TokenSource + 'static> CachedTokenSource<S> {
    /// Returns a handle to the token of this request, whose hits need no look-up by key; fetches nothing.
    ///
    /// See [`TokenHandle`] for what it holds.
    pub fn bind(&self, request: TokenRequest) -> TokenHandle<S> {
        TokenHandle {
            slot: self.shared.pin(&request),
            cache: self.share(),
            request,
        }
    }
}

impl<S: TokenSource + 'static> TokenHandle<S> {
    /// Returns a token for the handle's request: the cached one at once and without an allocation, otherwise as
    /// [`TokenSource::token`] of the cache does.
    ///
    /// # Errors
    ///
    /// Those of the cache.
    ///
    /// # Cancellation
    ///
    /// Dropping the future abandons this call only.
    pub async fn access_token(&self) -> Result<AccessToken, TokenError> {
        match self.ready_token() {
            Some(token) => Ok(token),
            // Boxed, so that the future of a hit is small.
            None => Box::pin(self.cache.wait(&self.request)).await,
        }
    }

    /// Returns the cached token without waiting, if there is one that has not expired.
    #[inline]
    pub fn ready_token(&self) -> Option<AccessToken> {
        let ready = self.slot.ready(self.cache.shared.clock.now())?;
        Some(self.cache.hit(&self.request, ready))
    }

    /// Returns the request of this handle.
    pub fn request(&self) -> &TokenRequest {
        &self.request
    }

    fn is_own(&self, request: &TokenRequest) -> bool {
        request.is_default() || *request == self.request
    }
}

#[async_trait]
impl<S: TokenSource + 'static> TokenSource for TokenHandle<S> {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        if self.is_own(request) {
            return Self::access_token(self).await;
        }
        Err(
            TokenError::configuration("the token handle belongs to another token request")
                .with_hint("request the token from the cache, or from a handle of this request"),
        )
    }

    fn ready_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        self.is_own(request).then(|| Self::ready_token(self))?
    }

    fn invalidate(&self, token: &AccessToken) {
        self.cache.invalidate(token);
    }

    fn check_token(&self, request: &TokenRequest, token: &AccessToken) -> Result<(), TokenError> {
        let own = request.is_default();
        let request = if own { &self.request } else { request };
        self.cache.check_token(request, token)
    }

    fn binds_tokens(&self) -> bool {
        self.cache.binds_tokens()
    }

    fn credential_epoch(&self) -> u64 {
        self.cache.credential_epoch()
    }

    async fn credential_digest(&self) -> Option<[u8; 32]> {
        self.cache.credential_digest().await
    }
}

impl<S> Drop for TokenHandle<S> {
    fn drop(&mut self) {
        self.cache.shared.unpin(&self.request);
    }
}

impl<S> fmt::Debug for TokenHandle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenHandle")
            .field("cache", &self.cache)
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}
