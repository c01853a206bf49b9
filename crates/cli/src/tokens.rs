//! Gets a token from the cache of earlier runs, or else from the server.

use std::{sync::Arc, time::Duration};

use hallpass::{
    AccessToken, Clock as _, SystemClock, TokenError, TokenSource, cache::CachedTokenSource,
    jwt::Dpop, profiles::ProfileSource,
};
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, sleep, timeout},
};

use crate::{
    config::{Settings, TokenCache},
    explain,
    failure::{Exit, Failure},
    store::{FileTokenStore, Label},
};

/// The timeout for storing a fetched token: the run has its token, and the next one can do without.
const SETTLE_TIMEOUT: Duration = Duration::from_millis(500);
/// The timeout of Redis, to which each run connects first.
const REDIS_TIMEOUT: Duration = Duration::from_millis(500);
/// The remaining validity with which a token is printed at once: a slow server must not delay it.
const MIN_VALIDITY: Duration = Duration::from_secs(60);
/// The remaining validity with which a token is printed: a whole second, and the time to print it.
const MIN_PRINTED_VALIDITY: Duration = Duration::from_millis(1_100);
/// The longest wait for the successor of a token that is valid for less than [`MIN_VALIDITY`].
const REFRESH_TIMEOUT: Duration = Duration::from_secs(3);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A source of tokens that is shared with other runs.
pub(crate) struct Tokens {
    pub(crate) settings: Arc<Settings>,
    pub(crate) source: Arc<CachedTokenSource<ProfileSource>>,
}

impl Tokens {
    /// Creates the source. Reads the key that tokens are bound to, if there is one: cached tokens are found by it.
    ///
    /// # Errors
    ///
    /// Fails for a Redis store whose settings are wrong, and for a key that cannot be read.
    pub(crate) fn new((settings, cache): (Settings, TokenCache)) -> Result<Self, Failure> {
        let settings = Arc::new(settings);
        let source = ProfileSource::new(settings.clone());
        let source = match read_dpop_key(&settings)? {
            Some(key) => source.sharing_bound_tokens(key),
            None => source,
        };
        let cache = match cache {
            TokenCache::None => source.without_shared_refusals().cache_builder(),
            TokenCache::Files(directory) => {
                let label = Label {
                    profile: settings.profile.clone().unwrap_or_default(),
                    host: settings.host(),
                    scope: settings.request.scopes().to_string(),
                };
                let store = FileTokenStore::new(directory, label);
                let builder = source.without_shared_refusals().cache_builder();
                builder.store(store, &settings.namespace())
            }
            TokenCache::Redis => {
                let builder = source.shared_cache_builder()?;
                let timeout = settings.redis.as_ref().and_then(|redis| redis.timeout);
                match timeout {
                    Some(_) => builder,
                    None => builder
                        .store_timeout(REDIS_TIMEOUT)
                        .store_start_timeout(REDIS_TIMEOUT),
                }
            }
        };
        Ok(Self {
            settings,
            source: Arc::new(cache.name("hallpass").build()),
        })
    }

    /// Returns a token that is valid for a whole second or more.
    ///
    /// A cached token that is valid for another minute or more is returned at once, regardless of the server. One that
    /// is valid for less and due for refresh is replaced if its successor arrives within [`REFRESH_TIMEOUT`]; otherwise
    /// it is returned, unless it is about to expire: then a new one is fetched.
    ///
    /// # Errors
    ///
    /// Returns the errors of the source, `UnusableResponse` for a token that is issued for a second or less, and
    /// `Unavailable` for one that arrived too late.
    pub(crate) async fn token(&self) -> Result<AccessToken, Failure> {
        let token = self.lasting_token().await;
        self.finish(token).await
    }

    /// Returns a newly fetched token.
    ///
    /// # Errors
    ///
    /// As for [`token`](Self::token).
    pub(crate) async fn fresh_token(&self) -> Result<AccessToken, Failure> {
        let token = self.new_token().await;
        self.finish(token).await
    }

    async fn finish(&self, token: Result<AccessToken, TokenError>) -> Result<AccessToken, Failure> {
        self.settle().await;
        token
            .and_then(refuse_short)
            .map_err(|error| explain::token_error(&error, &self.settings))
    }

    async fn lasting_token(&self) -> Result<AccessToken, TokenError> {
        let token = self.source.token(&self.settings.request).await?;
        let left = remaining(&token);
        if self.source.stats().fetches > 0 || left >= MIN_VALIDITY {
            return Ok(token);
        }
        self.await_successor(token, left).await
    }

    async fn new_token(&self) -> Result<AccessToken, TokenError> {
        let token = self.source.token(&self.settings.request).await?;
        if self.source.stats().fetches > 0 {
            return Ok(token);
        }
        self.source.invalidate(&token);
        self.source.token(&self.settings.request).await
    }

    /// Waits for the successor of a token that is due for refresh. Returns the token itself if none arrives in time.
    async fn await_successor(
        &self,
        token: AccessToken,
        left: Duration,
    ) -> Result<AccessToken, TokenError> {
        let request = &self.settings.request;
        // Storing other tokens takes time too, before the token is printed.
        let needed = MIN_PRINTED_VALIDITY + SETTLE_TIMEOUT;
        let until = Instant::now() + left.saturating_sub(needed).min(REFRESH_TIMEOUT);
        loop {
            // The first lookup starts the refresh.
            match self.source.ready_token(request) {
                Some(ready) if !ready.is_same(&token) => return Ok(ready),
                // No valid token is left: only now does this run depend on the server.
                None => return self.source.token(request).await,
                Some(_) => {}
            }
            let in_flight = self.source.stats().flights > 0;
            if !in_flight || Instant::now() >= until {
                break;
            }
            sleep(POLL_INTERVAL).await;
        }
        if remaining(&token) < needed {
            self.source.invalidate(&token);
            return self.source.token(request).await;
        }
        Ok(token)
    }

    /// Stops background work, and waits within a bound until fetched tokens are stored for other runs.
    ///
    /// A refresh that nobody awaits is cancelled.
    pub(crate) async fn settle(&self) {
        // With a slow disk the next run sends a request; this run is not delayed further.
        let _ = timeout(SETTLE_TIMEOUT, self.source.shutdown()).await;
    }
}

fn read_dpop_key(settings: &Settings) -> Result<Option<Dpop>, Failure> {
    if settings.dpop.is_none() {
        return Ok(None);
    }
    block_on(async {
        let key = settings.dpop_key().await;
        key.map_err(|error| explain::token_error(&error, settings))
    })
}

fn remaining(token: &AccessToken) -> Duration {
    token.deadline().saturating_since(SystemClock.now())
}

/// Checks a token again after all waiting: no run uses one that is about to expire.
fn refuse_short(token: AccessToken) -> Result<AccessToken, TokenError> {
    let lifetime = token.lifetime();
    if remaining(&token) >= MIN_PRINTED_VALIDITY {
        Ok(token)
    } else if lifetime < MIN_PRINTED_VALIDITY {
        let seconds = lifetime.as_secs();
        let message = format!(
            "the server issued a token with an `expires_in` of {seconds}, too short to use"
        );
        Err(TokenError::unusable_response(message)
            .with_hint("configure a lifetime of several minutes at the server"))
    } else {
        Err(TokenError::unavailable(
            "less than a second of the token's lifetime was left when it arrived",
        ))
    }
}

/// Creates a single-threaded runtime: threads would cost more than reading a cached token.
pub(crate) fn runtime() -> Result<Runtime, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| {
        Failure::new(
            Exit::Output,
            "the asynchronous runtime could not be started",
        )
        .with_cause(error)
    })
}

/// Runs the future to completion. Work on other threads, such as a DNS lookup, is left behind.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = runtime()?;
    let outcome = runtime.block_on(future);
    runtime.shutdown_background();
    outcome
}
