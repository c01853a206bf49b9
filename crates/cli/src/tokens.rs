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
    failure::{Exit, Failure},
    source::Lazy,
    store::{FileTokenStore, Label},
};

/// How long to wait for what was fetched to be kept: the token is there, and the next run can do without.
const SETTLE: Duration = Duration::from_millis(500);
/// How long to wait for a token's successor, which is fetched ahead of its expiry.
const RENEWAL: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(10);

/// A source of tokens that is shared with other runs.
pub(crate) struct Tokens {
    pub(crate) settings: Arc<Settings>,
    pub(crate) source: Arc<CachedTokenSource<Lazy>>,
    store: Option<FileTokenStore>,
}

impl Tokens {
    pub(crate) fn new(settings: Settings, common: &Common) -> Self {
        let settings = Arc::new(settings);
        let cache = CachedTokenSource::builder(Lazy::new(settings.clone())).name("hallpass");
        let folder = (settings.cache && !common.no_cache).then(config::cache_folder);
        let store = folder.flatten().map(|folder| {
            let label = Label {
                profile: settings.profile.clone().unwrap_or_default(),
                host: settings.host(),
                scope: settings.request.scopes().to_string(),
            };
            FileTokenStore::new(folder, label)
        });
        let cache = match &store {
            Some(store) => cache.store(store.clone(), &settings.namespace()),
            None => cache,
        };
        Self {
            settings,
            source: Arc::new(cache.build()),
            store,
        }
    }

    /// A token that will not expire in a moment, if the server lets us have one.
    pub(crate) async fn token(&self) -> Result<AccessToken, TokenError> {
        let token = self.source.token(&self.settings.request).await?;
        Ok(self.renewed(token).await)
    }

    /// A token that was fetched by this run.
    pub(crate) async fn fresh_token(&self) -> Result<AccessToken, TokenError> {
        let token = self.source.token(&self.settings.request).await?;
        if self.source.stats().fetches > 0 {
            return Ok(token);
        }
        self.source.invalidate(&token);
        self.source.token(&self.settings.request).await
    }

    /// The token's successor where the cache finds it due, or else itself: a run is too short for renewals that
    /// nobody waits for. Where none can be had, a token that lives is good.
    async fn renewed(&self, token: AccessToken) -> AccessToken {
        let request = &self.settings.request;
        let old = |now: &AccessToken| now.is_same(&token);
        let left = token.expires().saturating_since(SystemClock.now());
        // Far from its end, none is due: do not even ask.
        if self.source.stats().fetches > 0 || left > token.lifetime() / 2 {
            return token;
        }
        let until = Instant::now() + RENEWAL;
        // The first look starts the renewal.
        while self.source.ready_token(request).as_ref().is_none_or(old) {
            let in_flight = self.source.stats().flights > 0;
            if !in_flight || Instant::now() >= until {
                return token;
            }
            sleep(LOOK).await;
        }
        self.source.ready_token(request).unwrap_or(token)
    }

    /// Waits until what was fetched is kept for other runs.
    pub(crate) async fn settle(&self) {
        if let Some(store) = &self.store {
            // A disk that is slow costs the next run a request, and this one no more than that.
            let _ = timeout(SETTLE, store.settled()).await;
        }
    }
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
