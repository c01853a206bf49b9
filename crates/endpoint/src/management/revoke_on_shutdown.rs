use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use hallpass_core::{AccessToken, Clock, SystemClock, TokenError, TokenRequest, TokenSource};

use super::client::TokenManagement;

/// A token source that records the tokens of another one, to revoke them when the program ends.
///
/// Place it **between** the source and its cache: every token in the cache has passed through here once. Without it a
/// token stays valid until it expires, which is fine for most programs; use it if tokens must not outlive the program.
/// [`TokenManagement::revoke_on_shutdown`] creates one.
///
/// ```no_run
/// use std::sync::Arc;
/// use hallpass_core::{Secret, TokenRequest, TokenSource};
/// use hallpass_endpoint::{ClientCredentials, ClientSecretBasic, Endpoint, TokenManagement};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let login = Endpoint::discover("https://login.example").build()?;
/// let authentication = ClientSecretBasic::new(Secret::new(std::env::var("CLIENT_SECRET")?)?);
/// let source = ClientCredentials::builder(login.clone(), "orders-service", authentication.clone()).build()?;
/// let tokens = Arc::new(TokenManagement::builder(login, "orders-service", authentication).build()?);
///
/// let revoking = Arc::new(tokens.revoke_on_shutdown(source));
/// let cache = revoking.clone(); // CachedTokenSource::builder(revoking.clone()).build()
/// cache.token(&TokenRequest::default()).await?;
///
/// // When all calls are done.
/// let done = revoking.shutdown().await;
/// println!("{} tokens revoked, {} not", done.revoked(), done.failures().len());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RevokeOnShutdown<S> {
    source: S,
    tokens: Arc<TokenManagement>,
    held: Mutex<Vec<AccessToken>>,
    clock: Arc<dyn Clock>,
}

/// The result of a [shutdown](RevokeOnShutdown::shutdown).
#[derive(Debug, Default)]
#[must_use = "a token that was not revoked lives on"]
pub struct Revocations {
    revoked: usize,
    failures: Vec<TokenError>,
}

impl Revocations {
    /// Returns the number of revoked tokens.
    pub fn revoked(&self) -> usize {
        self.revoked
    }

    /// Returns one error for each token that could not be revoked and stays valid until it expires.
    pub fn failures(&self) -> &[TokenError] {
        &self.failures
    }
}

impl TokenManagement {
    /// Wraps `source` to record its tokens and revoke them when the program ends.
    ///
    /// Place it between the source and its cache; see [`RevokeOnShutdown`].
    pub fn revoke_on_shutdown<S: TokenSource>(self: &Arc<Self>, source: S) -> RevokeOnShutdown<S> {
        RevokeOnShutdown::new(source, self.clone())
    }
}

impl<S> RevokeOnShutdown<S> {
    fn new(source: S, tokens: Arc<TokenManagement>) -> Self {
        Self {
            source,
            tokens,
            held: Mutex::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Sets the clock, for tests.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Revokes every recorded token that has not expired, one after the other.
    ///
    /// Call it after all other calls have finished: a cache above still holds the tokens, which APIs may now refuse. A
    /// token that is fetched later is recorded for another shutdown. Each revocation is one request, with the retries
    /// and the deadline of the [`TokenManagement`]; wrap the call in `tokio::time::timeout` to limit the total.
    ///
    /// # Cancellation
    ///
    /// Dropping the future leaves the remaining tokens to another call.
    pub async fn shutdown(&self) -> Revocations {
        let mut done = Revocations::default();
        for token in self.live() {
            match self.tokens.revoke(&token).await {
                Ok(()) => {
                    done.revoked += 1;
                    self.held().retain(|known| !known.is_same(&token));
                }
                Err(error) => {
                    tracing::warn!(%error, "token not revoked");
                    done.failures.push(error);
                }
            }
        }
        done
    }

    /// Returns the source.
    pub fn get_ref(&self) -> &S {
        &self.source
    }

    /// Returns the source without this wrapper; the recorded tokens stay valid.
    pub fn into_inner(self) -> S {
        self.source
    }

    fn live(&self) -> Vec<AccessToken> {
        let now = self.clock.now();
        let mut held = self.held();
        held.retain(|known| !known.is_expired(now));
        held.clone()
    }

    fn remember(&self, token: &AccessToken) {
        let now = self.clock.now();
        let mut held = self.held();
        held.retain(|known| !known.is_expired(now) && !known.is_same(token));
        held.push(token.clone());
    }

    fn held(&self) -> MutexGuard<'_, Vec<AccessToken>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl<S: TokenSource> TokenSource for RevokeOnShutdown<S> {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let token = self.source.token(request).await?;
        self.remember(&token);
        Ok(token)
    }

    fn ready_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        // The token comes from a cache below, and was recorded when it first passed through here.
        self.source.ready_token(request)
    }

    fn invalidate(&self, token: &AccessToken) {
        self.source.invalidate(token);
    }

    fn check_token(&self, request: &TokenRequest, token: &AccessToken) -> Result<(), TokenError> {
        self.source.check_token(request, token)
    }

    fn credential_epoch(&self) -> u64 {
        self.source.credential_epoch()
    }

    async fn credential_digest(&self) -> Option<[u8; 32]> {
        self.source.credential_digest().await
    }

    fn binds_tokens(&self) -> bool {
        self.source.binds_tokens()
    }
}
