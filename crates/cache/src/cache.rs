use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use hallpass_core::{AccessToken, Clock, TokenError, TokenRequest, TokenSource};
use tokio::{runtime::Handle, sync::watch, time};

use crate::{
    CacheBuilder, Stats, flight,
    keys::{Holders, Keys},
    level2::{Context, SecondLevel},
    nesting,
    observe::Observe,
    panics,
    policy::Policy,
    slot::{Ready, Slot},
    stats::{Counters, count},
    step::{Begin, Flight, Outcome},
    upstream::{Place, Upstream},
};

/// A cache around any source, which shares one token between all calls.
///
/// A hit costs nanoseconds; [`ready_token`](TokenSource::ready_token) allocates nothing, [`token`](TokenSource::token)
/// only its future. A miss makes one request, regardless of the number of callers, and all get its result. A token is
/// refreshed ahead of its expiry by a separate task; no caller waits for it, and the old token is returned until it
/// expires. Failures are cached for a while and shared too.
///
/// ```
/// use std::sync::Arc;
/// use hallpass_cache::CachedTokenSource;
/// use hallpass_core::{Secret, TokenRequest, TokenSource};
/// # use hallpass_testkit::{ManualClock, ScriptedSource};
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
///     source.token(&TokenRequest::default()).await?;
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
    shared: Arc<Shared<S>>,
    /// False after a shutdown. That, or a closed channel, stops the fetching tasks.
    alive: watch::Sender<bool>,
}

pub(crate) struct Shared<S> {
    pub(crate) source: Arc<S>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) policy: Policy,
    pub(crate) observe: Observe,
    pub(crate) default: Arc<Slot>,
    pub(crate) upstream: Upstream,
    pub(crate) keys: Keys,
    pub(crate) holders: Holders,
    pub(crate) counters: Counters,
    pub(crate) store: Option<SecondLevel>,
    pub(crate) keep_warm: bool,
    /// True while a task refreshes the default token.
    pub(crate) kept_warm: AtomicBool,
    pub(crate) alive: watch::Receiver<bool>,
    /// Each task that uses the shared store has a receiver.
    pub(crate) work: watch::Sender<()>,
    /// The epoch that the source returned last.
    last_epoch: AtomicU64,
}

impl<S: TokenSource + 'static> CachedTokenSource<S> {
    /// Creates a cache around `source`, with the default settings.
    pub fn new(source: S) -> Self {
        Self::builder(source).build()
    }

    /// Creates a builder for a cache with custom settings.
    pub fn builder(source: S) -> CacheBuilder<S> {
        CacheBuilder::new(source)
    }

    pub(crate) fn from_builder(builder: CacheBuilder<S>) -> Self {
        let (alive, watching) = watch::channel(true);
        let policy = Policy {
            shared: builder.store.is_some(),
            ..builder.policy
        };
        let store = builder
            .store
            .map(|(store, namespace)| SecondLevel::new(store, namespace, &policy));
        let shared = Arc::new(Shared {
            source: Arc::new(builder.source),
            clock: builder.clock,
            observe: Observe::new(builder.name, builder.observers),
            default: Arc::new(Slot::new()),
            upstream: Upstream::new(policy.max_concurrent_fetches),
            keys: Keys::new(policy.max_keys),
            holders: Holders::default(),
            counters: Counters::default(),
            store,
            keep_warm: builder.keep_warm,
            kept_warm: AtomicBool::new(false),
            policy,
            alive: watching,
            work: watch::Sender::new(()),
            last_epoch: AtomicU64::new(0),
        });
        Self { shared, alive }
    }

    /// Returns the inner source.
    pub fn get_ref(&self) -> &S {
        &self.shared.source
    }

    /// Returns the inner source; the tokens are dropped, and fetches in progress are cancelled.
    pub fn into_inner(self) -> Arc<S> {
        self.shared.source.clone()
    }

    /// Stops the fetches in progress, and waits until fetched tokens are in the shared store and leases are released.
    ///
    /// Call it before the runtime shuts down: callers get a token before it is put into the store, so that nobody waits
    /// for a slow store, and a runtime drops its tasks when it shuts down. Other processes would then find no token,
    /// and wait for seconds for an abandoned lease.
    ///
    /// It takes at most twice the [`store_write_timeout`](CacheBuilder::store_write_timeout), and returns immediately
    /// without a store. Afterwards a cached token is still returned until it expires, and a call that needs a fetch
    /// fails.
    ///
    /// ```
    /// use hallpass_cache::{CachedTokenSource, MemoryTokenStore};
    /// use hallpass_core::{TokenRequest, TokenSource};
    /// # use hallpass_testkit::ScriptedSource;
    /// # use hallpass_core::{AccessToken, Clock, SystemClock};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let hour = std::time::Duration::from_secs(3_600);
    /// # let source = ScriptedSource::new([Ok(AccessToken::bearer("t", SystemClock.moment(), hour)?)]);
    /// # let store = MemoryTokenStore::default();
    /// let cache = CachedTokenSource::builder(source).store(store, "login.example/orders").build();
    /// let token = cache.token(&TokenRequest::default()).await?;
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
        let put_and_release = self.shared.policy.store_write_timeout.saturating_mul(2);
        let _ = time::timeout(put_and_release, self.shared.work.closed()).await;
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

impl<S> Shared<S> {
    pub(crate) fn context(&self) -> Context<'_> {
        Context {
            observe: &self.observe,
            clock: &self.clock,
            counters: &self.counters,
        }
    }
}

impl<S: TokenSource + 'static> Shared<S> {
    /// Returns a token without waiting: the hot path. The clock is read once.
    #[inline]
    fn ready(self: &Arc<Self>, request: &TokenRequest) -> Option<AccessToken> {
        let now = self.clock.now();
        let ready = if request.is_default() {
            self.default.ready(now)
        } else {
            self.keys.with(request, |slot| slot.ready(now)).flatten()
        }?;
        self.counters.hit();
        Some(if ready.renew {
            self.renew(request, ready)
        } else {
            ready.token
        })
    }

    /// Starts a refresh, and returns the cached token.
    #[cold]
    fn renew(self: &Arc<Self>, request: &TokenRequest, ready: Ready) -> AccessToken {
        if !*self.alive.borrow() {
            return ready.token;
        }
        // If it was evicted in the meantime, there is nothing to refresh.
        let Some(slot) = self.known_slot(request) else {
            return ready.token;
        };
        let now = self.clock.now();
        match Handle::try_current() {
            Ok(runtime) => {
                let place = self.place(request);
                if let Some(flight) = slot.renew(now, self.epoch(), &self.policy, place) {
                    self.spawn(&runtime, slot, request.clone(), flight);
                }
            }
            // Outside of a runtime: the next caller inside one does it.
            Err(_) => slot.abandon_claim(now),
        }
        ready.token
    }

    /// Returns a permit to start a flight for this key, if one is available.
    fn place(&self, request: &TokenRequest) -> Option<Place> {
        if request.is_default() || nesting::is_within_fetch() {
            return Some(Place::Free);
        }
        self.upstream.place()
    }

    /// Returns the epoch of the source's credentials, or the last known one if the source panics.
    pub(crate) fn epoch(&self) -> u64 {
        let epoch = panics::catch(|| self.source.credential_epoch());
        if let Some(epoch) = epoch {
            self.last_epoch.store(epoch, Ordering::Relaxed);
            return epoch;
        }
        self.observe.source_panicked("credential_epoch");
        self.last_epoch.load(Ordering::Relaxed)
    }

    /// Removes a refused token from the shared store, so that no other process gets it. Outside of a runtime the next
    /// fetch does it.
    fn forget(self: &Arc<Self>, request: TokenRequest, token: &AccessToken) {
        if self.store.is_none() {
            return;
        }
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let (shared, token, work) = (self.clone(), token.clone(), self.work.subscribe());
        runtime.spawn(async move {
            if let Some(store) = &shared.store {
                store.forget(&request, &token, shared.context()).await;
            }
            drop(work);
        });
    }

    fn known_slot(&self, request: &TokenRequest) -> Option<Arc<Slot>> {
        if request.is_default() {
            return Some(self.default.clone());
        }
        self.keys.known(request)
    }

    /// Returns the key's slot, existing or new.
    fn slot(&self, request: &TokenRequest) -> Arc<Slot> {
        if request.is_default() {
            return self.default.clone();
        }
        let (slot, evicted) = self.keys.slot(request);
        if evicted > 0 {
            self.counters
                .evictions
                .fetch_add(evicted as u64, Ordering::Relaxed);
            self.observe.evicted(evicted);
        }
        slot
    }

    pub(crate) fn spawn(
        self: &Arc<Self>,
        runtime: &Handle,
        slot: Arc<Slot>,
        request: TokenRequest,
        flight: Flight,
    ) {
        let span = self.observe.span(flight.renewal);
        if flight.renewal {
            count(&self.counters.renewals);
        }
        runtime.spawn(flight::carry_out(self.clone(), slot, request, flight, span));
    }

    /// Returns true if a token that was valid when its flight landed has expired before its waiter ran. A token without
    /// a lifetime is valid for those who waited for it.
    fn came_late(&self, token: &AccessToken) -> bool {
        !token.lifetime().is_zero() && token.is_expired(self.clock.now())
    }

    /// Waits for a permit to start a flight, until another one ends.
    async fn wait_for_place(&self) -> Result<Place, TokenError> {
        let limit = self.policy.fetch_timeout;
        let _waiting = Waiting::new(self);
        let place = self.upstream.wait_for_place(limit).await;
        place.ok_or_else(|| {
            let max = self.policy.max_concurrent_fetches;
            let message = format!(
                "{max} token fetches for other keys are under way, and none of them ended within {limit:?}"
            );
            TokenError::unavailable(message)
                .with_hint("where the server can take more requests, raise `CacheBuilder::max_concurrent_fetches`")
        })
    }

    /// Joins a flight or starts one: the slow path.
    async fn wait(self: &Arc<Self>, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        count(&self.counters.misses);
        let mut place = None;
        let mut lost = 0;
        while lost < TAKE_OVERS {
            if !*self.alive.borrow() {
                return Err(
                    TokenError::unavailable("the token cache was shut down").with_transient(false)
                );
            }
            let runtime = Handle::try_current().map_err(|_| {
                TokenError::configuration("the token cache was called outside of a tokio runtime")
                    .with_hint("call it from within one: fetches run as its tasks")
            })?;
            place = place.or_else(|| self.place(request));
            // Without a permit, no other key is evicted for this one.
            let slot = match &place {
                Some(_) => Some(self.slot(request)),
                None => self.known_slot(request),
            };
            let Some(slot) = slot else {
                place = Some(self.wait_for_place().await?);
                continue;
            };
            let epoch = self.epoch();
            let begin = slot.begin(self.clock.now(), epoch, &self.policy, place.take());
            let ticket = match begin {
                Begin::Ready(token) => return Ok(token),
                Begin::Failed(error) => {
                    count(&self.counters.repeated_failures);
                    return Err(error);
                }
                // Another key was inserted and evicted this one; look it up again.
                Begin::Evicted => continue,
                Begin::Full => {
                    place = Some(self.wait_for_place().await?);
                    continue;
                }
                Begin::Join(ticket) => ticket,
                Begin::Start(flight, ticket) => {
                    self.spawn(&runtime, slot.clone(), request.clone(), flight);
                    ticket
                }
            };
            let _circle = nesting::wait_for(&ticket.node)?;
            let waiting = Waiting::new(self);
            let landed = time::timeout(self.policy.waiter_timeout(), landed(ticket.receiver)).await;
            drop(waiting);
            match landed {
                Ok(Some(Ok(token))) if self.came_late(&token) => {}
                Ok(Some(outcome)) => return outcome,
                // The flight's runtime has shut down, and someone must take over.
                Ok(None) => {}
                // Its runtime is not being driven.
                Err(_) => slot.abandon(ticket.flight, self.clock.now()),
            }
            lost += 1;
        }
        Err(TokenError::unavailable(format!(
            "the token fetch was lost {TAKE_OVERS} times in a row: the runtimes that it ran on shut down or stood still"
        ))
        .with_hint("ask for tokens from within a runtime that goes on running"))
    }
}

/// The maximum number of lost flights that a caller waits for. A runtime that shuts down drops each new task, so there
/// must be a limit.
const TAKE_OVERS: usize = 8;

async fn landed(mut receiver: watch::Receiver<Outcome>) -> Outcome {
    let outcome = receiver.wait_for(Option::is_some).await.ok()?;
    outcome.clone()
}

/// A guard that counts a caller while it waits.
struct Waiting<'a, S>(&'a Shared<S>);

impl<'a, S> Waiting<'a, S> {
    fn new(shared: &'a Shared<S>) -> Self {
        shared.counters.waiters.fetch_add(1, Ordering::Relaxed);
        Self(shared)
    }
}

impl<S> Drop for Waiting<'_, S> {
    fn drop(&mut self) {
        self.0.counters.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl<S: TokenSource + 'static> TokenSource for CachedTokenSource<S> {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        match self.shared.ready(request) {
            Some(token) => Ok(token),
            None => self.shared.wait(request).await,
        }
    }

    fn ready_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        self.shared.ready(request)
    }

    fn invalidate(&self, token: &AccessToken) {
        let shared = &self.shared;
        // First a source that caches tokens itself, or the next fetch would return the refused one again.
        if panics::catch(|| shared.source.invalidate(token)).is_none() {
            shared.observe.source_panicked("invalidate");
        }
        let now = shared.clock.now();
        for (slot, request) in shared.holders.of(token) {
            if slot.invalidate(token, now, &shared.policy) {
                count(&shared.counters.invalidations);
                shared.observe.invalidated();
                shared.forget(request, token);
            }
        }
    }

    fn check_token(&self, request: &TokenRequest, token: &AccessToken) -> Result<(), TokenError> {
        self.shared.source.check_token(request, token)
    }

    fn credential_epoch(&self) -> u64 {
        self.shared.epoch()
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
