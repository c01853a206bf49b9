//! Gets a token: from the cache of other runs, or else from the server.

use std::{sync::Arc, time::Duration};

use hallpass::{
    AccessToken, TokenError, TokenSource,
    cache::CachedTokenSource,
    core::{Clock as _, SystemClock},
};
use tokio::{
    runtime::{Builder, Runtime},
    time::{Instant, sleep, timeout},
};

use crate::{
    args::Common,
    config::{self, Settings},
    explain,
    failure::{Exit, Failure},
    source::Lazy,
    store::{FileTokenStore, Label},
};

/// How long to wait for what was fetched to be kept: the token is there, and the next run can do without.
const SETTLE: Duration = Duration::from_millis(500);
/// A token that is valid for this long is printed at once: a slow server must not hold it back.
const VALID_ENOUGH: Duration = Duration::from_secs(60);
/// The longest wait for the successor of a token that is still valid, for less than [`VALID_ENOUGH`].
const RENEWAL_TIMEOUT: Duration = Duration::from_secs(3);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// A source of tokens that is shared with other runs.
pub(crate) struct Tokens {
    pub(crate) settings: Arc<Settings>,
    pub(crate) source: Arc<CachedTokenSource<Lazy>>,
}

impl Tokens {
    pub(crate) fn new(settings: Settings, common: &Common) -> Self {
        let settings = Arc::new(settings);
        // What one call of the source may take, and time for the shared store.
        let deadline = settings.call_deadline() * 2;
        let cache = CachedTokenSource::builder(Lazy::new(settings.clone()))
            .name("hallpass")
            .load_deadline(deadline);
        let folder = (settings.cache && !common.no_cache).then(config::cache_folder);
        let store = folder.flatten().map(|folder| {
            let label = Label {
                profile: settings.profile.clone().unwrap_or_default(),
                host: settings.host(),
                scope: settings.request.scopes().to_string(),
            };
            FileTokenStore::new(folder, label)
        });
        let cache = match store {
            Some(store) => cache.store(store, &settings.namespace()),
            None => cache,
        };
        Self {
            settings,
            source: Arc::new(cache.build()),
        }
    }

    /// Returns a token that is valid now.
    ///
    /// A kept token that is valid for another minute or more is returned at once, whatever the server does.
    /// One that is valid for less, and due, is replaced if its successor arrives within [`RENEWAL_TIMEOUT`]; if not, it
    /// is returned while it is valid.
    ///
    /// # Errors
    ///
    /// Those of the source, and `Unavailable` for a token that expired before it could be used.
    pub(crate) async fn token(&self) -> Result<AccessToken, Failure> {
        let token = self.lasting_token().await;
        self.settled(token).await
    }

    /// Returns a token that was fetched by this run.
    ///
    /// # Errors
    ///
    /// As for [`token`](Self::token).
    pub(crate) async fn fresh_token(&self) -> Result<AccessToken, Failure> {
        let token = self.new_token().await;
        self.settled(token).await
    }

    async fn settled(
        &self,
        token: Result<AccessToken, TokenError>,
    ) -> Result<AccessToken, Failure> {
        self.settle().await;
        token
            .and_then(unexpired)
            .map_err(|error| explain::token_error(&error, &self.settings))
    }

    async fn lasting_token(&self) -> Result<AccessToken, TokenError> {
        let token = self.source.token(&self.settings.request).await?;
        let left = token.expires().saturating_since(SystemClock.now());
        if self.source.stats().fetches > 0 || left >= VALID_ENOUGH {
            return Ok(token);
        }
        self.renewed(token, left).await
    }

    async fn new_token(&self) -> Result<AccessToken, TokenError> {
        let token = self.source.token(&self.settings.request).await?;
        if self.source.stats().fetches > 0 {
            return Ok(token);
        }
        self.source.invalidate(&token);
        self.source.token(&self.settings.request).await
    }

    /// Waits for the successor of a token that the cache finds due; returns the token itself if there is none in time.
    async fn renewed(&self, token: AccessToken, left: Duration) -> Result<AccessToken, TokenError> {
        let request = &self.settings.request;
        let until = Instant::now() + left.min(RENEWAL_TIMEOUT);
        loop {
            // The first look starts the renewal.
            match self.source.ready_token(request) {
                Some(ready) if !ready.is_same(&token) => return Ok(ready),
                // Nothing valid is left: only now does this run depend on the server.
                None => return self.source.token(request).await,
                Some(_) => {}
            }
            let in_flight = self.source.stats().flights > 0;
            if !in_flight || Instant::now() >= until {
                break;
            }
            sleep(POLL_INTERVAL).await;
        }
        if token.is_expired(SystemClock.now()) {
            return self.source.token(request).await;
        }
        Ok(token)
    }

    /// Ends what is in flight, and waits until what was fetched is kept for other runs, within a bound.
    ///
    /// A renewal that nobody waits for ends with this run.
    pub(crate) async fn settle(&self) {
        // A slow disk costs the next run a request, and this one no more than that.
        let _ = timeout(SETTLE, self.source.shutdown()).await;
    }
}

/// Checks a token once more after everything that was waited for: no run uses a token past its expiry.
fn unexpired(token: AccessToken) -> Result<AccessToken, TokenError> {
    if token.is_expired(SystemClock.now()) {
        return Err(TokenError::unavailable(
            "the token expired before it could be used",
        ));
    }
    Ok(token)
}

/// A runtime on this thread alone: threads would cost more than a token at hand.
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

/// Runs this to its end. What still runs on threads of its own, such as the look-up of a name, is left behind.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = runtime()?;
    let outcome = runtime.block_on(future);
    runtime.shutdown_background();
    outcome
}
