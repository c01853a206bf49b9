use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use hallpass_core::{AccessToken, Clock, SystemClock, TokenError, TokenRequest, TokenSource};

use crate::TokenManagement;

/// Remembers the tokens that come out of a source, to have the server forget them when the program ends.
///
/// It goes **between** the source and its cache: what a cache hands out again came by here once. Without it a token
/// lives on at the server until it expires, which is fine for most programs; it is there for those whose tokens must not
/// outlive them. [`TokenManagement::revoke_on_shutdown`] makes one.
///
/// ```no_run
/// use std::sync::Arc;
/// use hallpass_core::{Secret, TokenRequest, TokenSource};
/// use hallpass_endpoint::{ClientCredentials, ClientSecretBasic, Endpoint, TokenManagement};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let login = Endpoint::discover("https://login.example").build()?;
/// let how = ClientSecretBasic::new(Secret::new(std::env::var("CLIENT_SECRET")?)?);
/// let source = ClientCredentials::builder(login.clone(), "orders-service", how.clone()).build()?;
/// let tokens = Arc::new(TokenManagement::builder(login, "orders-service", how).build()?);
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

/// What became of the tokens at a [shutdown](RevokeOnShutdown::shutdown).
#[derive(Debug, Default)]
#[must_use = "a token that was not revoked lives on"]
pub struct Revocations {
    revoked: usize,
    failures: Vec<TokenError>,
}

impl Revocations {
    /// How many tokens the server has forgotten.
    pub fn revoked(&self) -> usize {
        self.revoked
    }

    /// Why others could not be revoked, one for each: they live on until they expire.
    pub fn failures(&self) -> &[TokenError] {
        &self.failures
    }
}

impl<S> RevokeOnShutdown<S> {
    pub(crate) fn new(source: S, tokens: Arc<TokenManagement>) -> Self {
        Self {
            source,
            tokens,
            held: Mutex::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Reads time from this clock: a test's.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Revokes every token that came by and has not expired, one after the other.
    ///
    /// Call it when all calls are done: a cache above still holds the tokens, and APIs may refuse them from now on. A
    /// token that is fetched later is remembered for another shutdown. Each takes one request within the retries and the
    /// deadline of the [`TokenManagement`]; put a `tokio::time::timeout` around it where the whole must not take longer.
    ///
    /// # Cancellation
    ///
    /// Dropping the future leaves what is not revoked yet to another call.
    pub async fn shutdown(&self) -> Revocations {
        let mut done = Revocations::default();
        for token in self.live() {
            match self.tokens.revoke(&token).await {
                Ok(()) => {
                    done.revoked += 1;
                    self.held().retain(|known| !known.is_same(&token));
                }
                Err(error) => {
                    tracing::warn!(%error, "a token could not be revoked");
                    done.failures.push(error);
                }
            }
        }
        done
    }

    /// The source.
    pub fn get_ref(&self) -> &S {
        &self.source
    }

    /// The source, without this; the tokens that came by live on.
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
        // From a cache below, and remembered when it came out of there first.
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
}
