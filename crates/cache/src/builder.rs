use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use hallpass_core::{Clock, Observer, Observers, Prover, SystemClock, TokenSource};
use tokio::sync::{Semaphore, watch};

use crate::{
    cache::CachedTokenSource,
    keys::{Holders, Keys},
    level2::SecondLevel,
    observe::Observe,
    policy::Policy,
    shared::{MAX_TASKS, Shared},
    slot::Slot,
    stats::Counters,
    store::TokenStore,
    upstream::Upstream,
    watch::MAX_WATCHES,
};

/// A builder for a [`CachedTokenSource`].
///
/// ```
/// use std::time::Duration;
/// use hallpass_cache::CachedTokenSource;
/// # use hallpass_testkit::ScriptedSource;
/// # use hallpass_core::TokenError;
/// # let source = ScriptedSource::new([Err(TokenError::unavailable("down"))]);
///
/// let cache = CachedTokenSource::builder(source)
///     .name("orders")
///     .refusal_ttl(Duration::from_secs(10))
///     .max_keys(100)
///     .build();
/// ```
#[must_use]
pub struct CacheBuilder<S> {
    source: S,
    policy: Policy,
    clock: Arc<dyn Clock>,
    name: Arc<str>,
    metrics_label: Option<Arc<str>>,
    has_metrics: bool,
    observers: Observers,
    keep_warm: bool,
    /// The store and its namespace.
    store: Option<(Arc<dyn TokenStore>, String)>,
    prover: Option<Arc<dyn Prover>>,
}

impl<S: TokenSource + 'static> CacheBuilder<S> {
    fn new(source: S) -> Self {
        Self {
            source,
            policy: Policy::default(),
            clock: Arc::new(SystemClock),
            name: "tokens".into(),
            metrics_label: None,
            has_metrics: true,
            observers: Observers::default(),
            keep_warm: false,
            store: None,
            prover: None,
        }
    }

    /// Sets the cache's name in traces, in metrics and for observers. Default: `tokens`.
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the value of the label `cache` in metrics. Default: the [`name`](Self::name).
    ///
    /// Each value is a set of time series. Give caches of one kind the same one if there are many, such as one for each
    /// tenant: their counts add up. Without the feature `metrics`, or [without metrics](Self::without_metrics), this has no
    /// effect.
    pub fn metrics_label(mut self, label: &str) -> Self {
        self.metrics_label = Some(label.into());
        self
    }

    /// Publishes no metrics of this cache.
    pub fn without_metrics(mut self) -> Self {
        self.has_metrics = false;
        self
    }

    /// Sets the maximum time before expiry at which a token is refreshed. Default: 5 minutes.
    ///
    /// The window is a fifth of the lifetime if that is shorter, so that short-lived tokens are not refreshed at every
    /// call; the point within the window is random for each token.
    pub fn max_refresh_window(mut self, window: Duration) -> Self {
        self.policy.max_window = window;
        self
    }

    /// Sets the minimum time between two fetches for a key, regardless of the server's responses. Default: 500 ms.
    pub fn min_interval(mut self, interval: Duration) -> Self {
        self.policy.min_interval = interval;
        self
    }

    /// Sets the backoff after a first transient failure, and its maximum; it doubles in between, with jitter. Defaults:
    /// 1 s and 60 s.
    ///
    /// Failures that concern the server count for all keys: it cannot be reached, or responds with 429, 502, 503 or
    /// 504.
    pub fn backoff(mut self, min: Duration, max: Duration) -> Self {
        self.policy.min_backoff = min;
        self.policy.max_backoff = max.max(min);
        self
    }

    /// Sets the maximum `Retry-After` that is obeyed, for all keys. Default: an hour.
    pub fn max_retry_after(mut self, wait: Duration) -> Self {
        self.policy.max_retry_after = wait;
        self
    }

    /// Sets how long a permanent refusal is cached and returned to callers (negative cache), so that a wrong secret
    /// does not lock the account. Default: 30 s.
    ///
    /// A refusal of the credentials counts for all keys. It ends early when the source's
    /// [`credential_epoch`](TokenSource::credential_epoch) changes.
    pub fn refusal_ttl(mut self, memory: Duration) -> Self {
        self.policy.refusal_ttl = memory;
        self
    }

    /// Sets the timeout of a fetch, after which its waiters get an error. Default: 60 s.
    pub fn fetch_timeout(mut self, deadline: Duration) -> Self {
        self.policy.fetch_timeout = deadline;
        self
    }

    /// Sets the maximum number of cached keys, not counting the default one; beyond it, a key that was not used
    /// recently is evicted. Default: 10,000.
    pub fn max_keys(mut self, keys: usize) -> Self {
        self.policy.max_keys = keys.max(1);
        self
    }

    /// Sets the maximum number of concurrent fetches, not counting the default key's, so that a cache with many keys
    /// does not flood the server. Default: 64.
    ///
    /// Callers of further keys wait for a free permit, at most for the [`fetch_timeout`](Self::fetch_timeout); refreshes
    /// are postponed.
    ///
    /// Until the server has issued a first token, after a failure that concerns all keys, and when the credentials have
    /// changed, one fetch goes first and the others wait for its result, at most for 5 seconds: a wrong secret is sent
    /// once, not once for each key. With a [`store`](Self::store) that holds for all processes together, if the source
    /// has a [`credential_digest`](TokenSource::credential_digest).
    pub fn max_concurrent_fetches(mut self, fetches: usize) -> Self {
        self.policy.max_concurrent_fetches = fetches.max(1);
        self
    }

    /// Refreshes the default token when it is due even without calls, from the first call on.
    ///
    /// Without it an idle service requests no tokens, which is preferable if tokens are billed; with it the first call
    /// after a long pause does not wait.
    pub fn keep_warm(mut self) -> Self {
        self.keep_warm = true;
        self
    }

    /// Shares tokens with other processes through `store`.
    ///
    /// `namespace` separates tokens that must not be mixed: it should name the issuer and the client. Only a hash of it
    /// reaches the store.
    pub fn store(mut self, store: impl TokenStore + 'static, namespace: &str) -> Self {
        self.store = Some((Arc::new(store), namespace.to_owned()));
        self
    }

    /// Shares tokens that are bound to a key (DPoP, RFC 9449) through the [`store`](Self::store), with processes that have
    /// the same key: this prover is the source's, and declares that it is [shared](Prover::shared_key). A token that is
    /// bound to another key is neither written nor used. Default: bound tokens are not shared.
    pub fn shared_prover(mut self, prover: impl Prover + 'static) -> Self {
        self.prover = Some(Arc::new(prover));
        self
    }

    /// Sets the timeout of store calls that callers wait for: the look-up and the lease. Default: 100 ms.
    pub fn store_timeout(mut self, timeout: Duration) -> Self {
        self.policy.store_timeout = timeout;
        self
    }

    /// Sets the timeout of store calls that callers wait for until the store has answered once, counted from the first
    /// call, so that the store can connect: a process that starts on a busy host would fetch for itself otherwise. The
    /// longer one of it and [`store_timeout`](Self::store_timeout) applies. Default: 2 s.
    pub fn store_start_timeout(mut self, timeout: Duration) -> Self {
        self.policy.store_start_timeout = timeout;
        self
    }

    /// Sets the timeout of store calls that no caller waits for: putting a token, extending and releasing a lease, and
    /// the first look-up after a pause of the circuit breaker, so that a slow connection can be established. Default: 2
    /// s.
    pub fn store_write_timeout(mut self, timeout: Duration) -> Self {
        self.policy.store_write_timeout = timeout;
        self
    }

    /// Adds an observer of each event of a token's life, in addition to the traces.
    ///
    /// It is called during fetches, and never for a hit.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use hallpass_core::{Event, EventKind};
    /// # use hallpass_cache::CachedTokenSource;
    /// # use hallpass_testkit::ScriptedSource;
    /// # use hallpass_core::TokenError;
    /// # let source = ScriptedSource::new([Err(TokenError::unavailable("down"))]);
    ///
    /// let cache = CachedTokenSource::builder(source).observer(Arc::new(|event: &Event<'_>| {
    ///     if let EventKind::FetchFailed { error, .. } = event.kind {
    ///         eprintln!("{}: {error}", event.name);
    ///     }
    /// }));
    /// # let _ = cache.build();
    /// ```
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.add(observer);
        self
    }

    /// Sets the clock, for tests.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Builds the cache; fetches nothing.
    pub fn build(self) -> CachedTokenSource<S> {
        let (alive, watching) = watch::channel(true);
        let policy = Policy {
            shared: self.store.is_some(),
            ..self.policy
        };
        let store = self
            .store
            .map(|(store, namespace)| SecondLevel::new(store, namespace, self.prover, &policy))
            .map(Box::new);
        let label = self.metrics_label.unwrap_or_else(|| self.name.clone());
        let label = self.has_metrics.then_some(label);
        let shared = Shared {
            source: Arc::new(self.source),
            clock: self.clock,
            observe: Observe::new(self.name, label, self.observers),
            default: Arc::new(Slot::new()),
            upstream: Upstream::new(policy.max_concurrent_fetches),
            keys: Keys::new(policy.max_keys),
            holders: Holders::default(),
            counters: Counters::default(),
            store,
            watches: Arc::new(Semaphore::new(MAX_WATCHES)),
            keep_warm: self.keep_warm,
            kept_warm: AtomicBool::new(false),
            policy,
            alive: watching,
            work: Arc::new(Semaphore::new(MAX_TASKS as usize)),
            last_epoch: AtomicU64::new(0),
        };
        CachedTokenSource::from_parts(shared, alive)
    }
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
}

impl<S> fmt::Debug for CacheBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("name", &self.name)
            .field("policy", &self.policy)
            .field("keep_warm", &self.keep_warm)
            .finish_non_exhaustive()
    }
}
