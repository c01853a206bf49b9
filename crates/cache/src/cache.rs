use std::{fmt, sync::Arc};

use async_trait::async_trait;
use hallpass_core::{AccessToken, TokenError, TokenRequest, TokenSource};
use tokio::{runtime::Handle, sync::watch, time};

use crate::{
    flight, nesting, panics,
    shared::{MAX_TASKS, Shared, Waiting},
    slot::Ready,
    stats::{Stats, count},
    step::{NextStep, Outcome},
};

/// A cache around any source, which shares one token between all calls.
///
/// A hit costs nanoseconds; [`access_token`](hallpass_core::TokenSourceExt::access_token) allocates nothing,
/// [`token`](TokenSource::token) only its future. A miss makes one request, regardless of the number of callers, and
/// all get its result. A token is refreshed ahead of its expiry by a separate task; no caller waits for it, and the old
/// token is returned until it expires. Failures are cached for a while and shared too.
///
/// ```
/// use std::sync::Arc;
/// use hallpass_cache::CachedTokenSource;
/// use hallpass_core::{TokenRequest, TokenSource, TokenSourceExt};
/// # use hallpass_testkit::ScriptedSource;
/// # use hallpass_core::{AccessToken, Clock, SystemClock};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let hour = std::time::Duration::from_secs(3_600);
/// # let token = AccessToken::bearer("t", SystemClock.moment(), hour)?;
/// # let source = ScriptedSource::new([Ok(token)]);
/// # let calls = source.clone();
/// let source: Arc<dyn TokenSource> = Arc::new(CachedTokenSource::new(source));
/// for _ in 0..1_000 {
///     source.access_token(&TokenRequest::default()).await?;
/// }
/// # assert_eq!(calls.calls(), 1); // one request
/// # Ok(())
/// # }
/// ```
///
/// # Runtime
///
/// Fetches run as tasks of the tokio runtime of the caller that starts them. If that runtime shuts down, waiters on
/// another runtime take over. The cache is never bound to one runtime.
///
/// # Cancellation
///
/// A cancelled caller cancels nothing for the others: the fetch continues and its result is cached. When the cache is
/// dropped, its fetches stop, and tokens already fetched are still put into the shared store, as long as the runtime
/// runs. A program calls [`shutdown`](Self::shutdown) before it exits.
pub struct CachedTokenSource<S> {
    pub(crate) shared: Arc<Shared<S>>,
    /// False after a shutdown. That, or a closed channel, stops the fetching tasks.
    alive: watch::Sender<bool>,
}

impl<S: TokenSource + 'static> CachedTokenSource<S> {
    /// Creates a cache from its parts, with the sender of `shared.alive`.
    pub(crate) fn from_parts(shared: Shared<S>, alive: watch::Sender<bool>) -> Self {
        let shared = Arc::new(shared);
        Self { shared, alive }
    }

    /// Returns another owner of this cache: its tasks stop when the last one is dropped.
    pub(crate) fn share(&self) -> Self {
        let (shared, alive) = (self.shared.clone(), self.alive.clone());
        Self { shared, alive }
    }

    /// Returns the inner source.
    pub fn get_ref(&self) -> &S {
        &self.shared.source
    }

    /// Returns the inner source; the tokens are dropped, and fetches in progress are cancelled, unless a
    /// [`TokenHandle`](crate::TokenHandle) still uses them.
    pub fn into_inner(self) -> Arc<S> {
        self.shared.source.clone()
    }

    /// Stops the fetches in progress, and waits until fetched tokens are in the shared store and leases are released.
    ///
    /// Call it before the runtime shuts down: callers get a token before it is put into the store, so that nobody waits
    /// for a slow store, and a runtime drops its tasks when it shuts down. Other processes would then find no token,
    /// and wait for seconds for an abandoned lease.
    ///
    /// It takes at most twice the [`store_write_timeout`](crate::CacheBuilder::store_write_timeout), and returns immediately
    /// without a store, or outside of a tokio runtime. Afterwards a cached token is still returned until it expires, and
    /// a call that needs a fetch fails.
    ///
    /// ```
    /// use hallpass_cache::{CachedTokenSource, MemoryTokenStore};
    /// use hallpass_core::{TokenRequest, TokenSourceExt};
    /// # use hallpass_testkit::ScriptedSource;
    /// # use hallpass_core::{AccessToken, Clock, SystemClock};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let hour = std::time::Duration::from_secs(3_600);
    /// # let source = ScriptedSource::new([Ok(AccessToken::bearer("t", SystemClock.moment(), hour)?)]);
    /// # let store = MemoryTokenStore::default();
    /// let cache = CachedTokenSource::builder(source).store(store, "login.example/orders").build();
    /// let token = cache.access_token(&TokenRequest::default()).await?;
    /// // The job's work.
    /// # let _ = token;
    /// cache.shutdown().await;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancellation
    ///
    /// The fetches stop nevertheless, and their cleanup continues.
    pub async fn shutdown(&self) {
        self.alive.send_replace(false);
        if Handle::try_current().is_err() {
            return;
        }
        let put_and_release = self.shared.policy.store_write_timeout.saturating_mul(2);
        let _ = time::timeout(put_and_release, self.shared.work.acquire_many(MAX_TASKS)).await;
    }

    /// Returns counters of the cache's activity so far.
    ///
    /// With the `metrics` feature this also publishes the counters of hits and misses, which are otherwise published
    /// whenever a fetch ends.
    pub fn stats(&self) -> Stats {
        let shared = &self.shared;
        let flights = shared.keys.flights() + usize::from(shared.default.in_flight());
        shared.observe.publish(&shared.counters, &shared.keys);
        shared.counters.snapshot(shared.keys.len(), flights)
    }
}

impl<S: TokenSource + 'static> CachedTokenSource<S> {
    /// Returns a token without waiting: the hot path. The clock is read once.
    #[inline]
    fn ready(&self, request: &TokenRequest) -> Option<AccessToken> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let ready = if request.is_default() {
            shared.default.ready(now)
        } else {
            shared.keys.with(request, |slot| slot.ready(now)).flatten()
        }?;
        Some(self.hit(request, ready))
    }

    /// Counts a hit, and starts the refresh if this caller is chosen for it.
    #[inline]
    pub(crate) fn hit(&self, request: &TokenRequest, ready: Ready) -> AccessToken {
        self.shared.counters.hit();
        if self.shared.lacks_keeper() && request.is_default() {
            flight::spawn_keeper(&self.shared);
        }
        if ready.refresh {
            self.refresh(request, ready)
        } else {
            ready.token
        }
    }

    /// Starts a refresh, and returns the cached token.
    #[cold]
    fn refresh(&self, request: &TokenRequest, ready: Ready) -> AccessToken {
        let shared = &self.shared;
        if !*shared.alive.borrow() {
            return ready.token;
        }
        // If it was evicted in the meantime, there is nothing to refresh.
        let Some(slot) = shared.known_slot(request) else {
            return ready.token;
        };
        let now = shared.clock.now();
        match Handle::try_current() {
            Ok(runtime) => {
                let permit = shared.permit(request);
                if let Some(flight) = slot.refresh(now, shared.epoch(), &shared.policy, permit) {
                    flight::spawn(shared, &runtime, slot, request.clone(), flight);
                }
            }
            // Outside of a runtime: the next caller inside one does it.
            Err(_) => slot.abandon_claim(now),
        }
        ready.token
    }

    /// Removes a refused token from the shared store, so that no other process gets it. Outside of a runtime the next
    /// fetch does it.
    fn forget(&self, request: TokenRequest, token: &AccessToken) {
        let shared = &self.shared;
        if shared.store.is_none() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let (shared, token, work) = (shared.clone(), token.clone(), shared.work_permit());
        runtime.spawn(async move {
            if let Some(store) = &shared.store {
                store.forget(&request, &token, shared.context()).await;
            }
            drop(work);
        });
    }

    /// Joins a flight or starts one: the slow path.
    pub(crate) async fn wait(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let shared = &self.shared;
        count(&shared.counters.misses);
        let mut permit = None;
        let mut lost = 0;
        while lost < MAX_LOST_FLIGHTS {
            if !*shared.alive.borrow() {
                return Err(
                    TokenError::unavailable("the token cache was shut down").with_transient(false)
                );
            }
            let runtime = Handle::try_current().map_err(|_| {
                TokenError::configuration("the token cache was called outside of a tokio runtime")
                    .with_hint(
                        "call it from within a tokio runtime, whose tasks fetch tokens; code that blocks uses \
                         `BlockingTokenSource` of hallpass-blocking",
                    )
            })?;
            permit = permit.or_else(|| shared.permit(request));
            // Without a permit, no other key is evicted for this one.
            let slot = match &permit {
                Some(_) => Some(shared.slot(request)),
                None => shared.known_slot(request),
            };
            let Some(slot) = slot else {
                permit = Some(shared.wait_for_permit().await?);
                continue;
            };
            let epoch = shared.epoch();
            let step = slot.begin(shared.clock.now(), epoch, &shared.policy, permit.take());
            let ticket = match step {
                NextStep::Ready(token) => return Ok(token),
                NextStep::Failed(error) => {
                    count(&shared.counters.cached_failures);
                    return Err(error);
                }
                // Another key was inserted and evicted this one; look it up again.
                NextStep::Evicted => continue,
                NextStep::Full => {
                    permit = Some(shared.wait_for_permit().await?);
                    continue;
                }
                NextStep::Join(ticket) => ticket,
                NextStep::Start(flight, ticket) => {
                    flight::spawn(shared, &runtime, slot.clone(), request.clone(), flight);
                    ticket
                }
            };
            let _circle = nesting::wait_for(&ticket.node)?;
            let waiting = Waiting::new(shared);
            let landed =
                time::timeout(shared.policy.waiter_timeout(), landed(ticket.receiver)).await;
            drop(waiting);
            match landed {
                Ok(Some(Ok(token))) if shared.expired_in_transit(&token) => {}
                Ok(Some(outcome)) => return outcome,
                // The flight's runtime has shut down: start another flight.
                Ok(None) => {}
                // Its runtime is not being driven.
                Err(_) => slot.abandon(ticket.flight, shared.clock.now()),
            }
            lost += 1;
        }
        Err(TokenError::unavailable(format!(
            "the token fetch was lost {MAX_LOST_FLIGHTS} times in a row, because the tokio runtimes that ran it shut down or stopped"
        ))
        .with_hint("request tokens from within a tokio runtime that keeps running"))
    }
}

/// The maximum number of lost flights that a caller waits for. A runtime that shuts down drops each new task, so there
/// must be a limit.
const MAX_LOST_FLIGHTS: usize = 8;

async fn landed(mut receiver: watch::Receiver<Outcome>) -> Outcome {
    let outcome = receiver.wait_for(Option::is_some).await.ok()?;
    outcome.clone()
}

#[async_trait]
impl<S: TokenSource + 'static> TokenSource for CachedTokenSource<S> {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        match self.ready(request) {
            Some(token) => Ok(token),
            None => self.wait(request).await,
        }
    }

    fn ready_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        self.ready(request)
    }

    fn invalidate(&self, token: &AccessToken) {
        let shared = &self.shared;
        // First a source that caches tokens itself, or the next fetch would return the refused one again.
        if panics::catch(|| shared.source.invalidate(token)).is_none() {
            shared.observe.source_panicked("invalidate");
        }
        if shared.store.is_some() {
            shared.holders.note_refused(token);
        }
        let now = shared.clock.now();
        for (slot, request) in shared.holders.slots_with(token) {
            if slot.invalidate(token, now, &shared.policy) {
                count(&shared.counters.invalidations);
                shared.observe.invalidated();
                self.forget(request, token);
            }
        }
    }

    fn check_token(&self, request: &TokenRequest, token: &AccessToken) -> Result<(), TokenError> {
        self.shared.source.check_token(request, token)
    }

    fn credential_epoch(&self) -> u64 {
        self.shared.epoch()
    }

    async fn credential_digest(&self) -> Option<[u8; 32]> {
        self.shared.credential_digest().await
    }

    fn binds_tokens(&self) -> bool {
        self.shared.source.binds_tokens()
    }
}

impl<S> fmt::Debug for CachedTokenSource<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedTokenSource")
            .field("name", &self.shared.observe.cache)
            .field("policy", &self.shared.policy)
            .finish_non_exhaustive()
    }
}
