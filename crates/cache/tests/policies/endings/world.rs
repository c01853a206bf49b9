//! A source and a store whose polls can be interrupted, and a clock that outlives a runtime.

use std::{
    ops::Deref,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use hallpass_cache::{
    CachedTokenSource, EntryOrLease, Lease, LeaseOutcome, MemoryTokenStore, StoreEntry, StoreError,
    StoreKey, TokenStore,
};
use hallpass_core::{
    AccessToken, Clock, Event, Moment, Timestamp, TokenError, TokenRequest, TokenSource,
};
use hallpass_testkit::{Breakpoint, ManualClock};
use tokio::{
    runtime::{Builder, Runtime},
    task::{JoinHandle, yield_now},
    time::{Instant, sleep},
};

use crate::{
    distant::{NAMESPACE, default_key},
    support::{HOUR, SECOND, key},
};

/// A cache, and the request of its callers.
#[derive(Clone)]
pub(crate) struct Cache(Arc<CachedTokenSource<Source>>, TokenRequest);

impl Deref for Cache {
    type Target = CachedTokenSource<Source>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

/// The state before the call that is interrupted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Before {
    /// No token, and no store.
    Nothing,
    /// No token for a key, whose fetch has the only place.
    Keyed,
    /// A token past its refresh point.
    Due,
    /// A token that was refused.
    Refused,
    /// An empty store.
    Shared,
    /// A store with a token past its refresh point.
    SharedDue,
    /// A store with a token that was refused.
    SharedRefused,
    /// A store, and another process that fetches for a second.
    Held,
    /// A store, and the lease of a process that crashed.
    Abandoned,
}

impl Before {
    pub(crate) const ALL: [Self; 9] = [
        Self::Nothing,
        Self::Keyed,
        Self::Due,
        Self::Refused,
        Self::Shared,
        Self::SharedDue,
        Self::SharedRefused,
        Self::Held,
        Self::Abandoned,
    ];

    pub(crate) fn is_shared(self) -> bool {
        !matches!(
            self,
            Self::Nothing | Self::Keyed | Self::Due | Self::Refused
        )
    }

    /// Returns the number of calls of the source before the one that is interrupted.
    fn earlier_calls(self) -> usize {
        match self {
            Self::Due | Self::Refused | Self::SharedDue | Self::SharedRefused => 1,
            _ => 0,
        }
    }
}

/// The parts that outlive a runtime and a process.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) before: Before,
    clock: RunClock,
    store: Interruptible,
    source: Source,
    /// Disabled while the state is prepared.
    breakpoint: Arc<Mutex<Breakpoint>>,
}

impl World {
    pub(crate) fn new(before: Before) -> Self {
        let clock = RunClock::new();
        let breakpoint = Arc::new(Mutex::new(Breakpoint::never()));
        let source = Source {
            clock: clock.clone(),
            breakpoint: breakpoint.clone(),
            calls: Arc::default(),
            failures: Arc::default(),
            latency: Duration::ZERO,
            has_digest: before.is_shared(),
        };
        let store = Interruptible {
            inner: MemoryTokenStore::new(clock.clone()),
            breakpoint: breakpoint.clone(),
        };
        Self {
            before,
            clock,
            store,
            source,
            breakpoint,
        }
    }

    /// Fails this many calls of the source.
    pub(crate) fn fail(self, calls: usize) -> Self {
        self.source.failures.store(calls, SeqCst);
        self
    }

    pub(crate) fn runtime(&self) -> Runtime {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async { self.clock.start() });
        runtime
    }

    /// Ends a runtime with all of its tasks.
    pub(crate) fn leave(&self, runtime: Runtime) {
        runtime.block_on(async { self.clock.stop() });
        drop(runtime);
    }

    /// Creates the cache of a process.
    pub(crate) fn cache(&self) -> Cache {
        self.cache_of(self.source.clone())
    }

    fn cache_of(&self, source: Source) -> Cache {
        let breakpoint = self.breakpoint.clone();
        let builder = CachedTokenSource::builder(source)
            .clock(self.clock.clone())
            .max_concurrent_fetches(1)
            .observer(Arc::new(move |_: &Event<'_>| step(&breakpoint)));
        let cache = if self.before.is_shared() {
            builder.store(self.store.clone(), NAMESPACE).build()
        } else {
            builder.build()
        };
        let request = match self.before {
            Before::Keyed => key("a"),
            _ => TokenRequest::default(),
        };
        Cache(Arc::new(cache), request)
    }

    /// Establishes the state before the call, and sets the breakpoint.
    pub(crate) async fn prepare(&self, cache: &Cache, breakpoint: &Breakpoint) {
        if self.before.earlier_calls() > 0 {
            let token = ask(cache).await.unwrap();
            settle(cache).await;
            match self.before {
                Before::Refused | Before::SharedRefused => {
                    self.clock.advance(2 * SECOND);
                    *self.breakpoint.lock().unwrap() = breakpoint.clone();
                    cache.invalidate(&token);
                }
                _ => self.clock.advance(59 * 60 * SECOND),
            }
        }
        *self.breakpoint.lock().unwrap() = breakpoint.clone();
        match self.before {
            Before::Abandoned => {
                let ttl = 3 * SECOND;
                let lease = self.store.inner.lease(&default_key(), ttl).await.unwrap();
                assert!(matches!(lease, LeaseOutcome::Granted(_)));
            }
            Before::Held => {
                let other = self.cache_of(Source {
                    latency: SECOND,
                    ..self.source.clone()
                });
                tokio::spawn(async move {
                    let token = ask(&other).await;
                    settle(&other).await;
                    token
                });
                while self.calls() == 0 && !breakpoint.is_reached() {
                    yield_now().await;
                }
            }
            _ => {}
        }
    }

    /// Starts callers of the default token.
    pub(crate) fn callers(
        cache: &Cache,
        count: usize,
    ) -> Vec<JoinHandle<Result<AccessToken, TokenError>>> {
        let callers = (0..count).map(|_| {
            let cache = cache.clone();
            tokio::spawn(async move { ask(&cache).await })
        });
        callers.collect()
    }

    /// Returns the number of calls of the source that began.
    pub(crate) fn calls(&self) -> usize {
        self.source.calls.load(SeqCst)
    }

    /// Returns the number of calls of the source if no work is lost.
    pub(crate) fn expected_calls(&self) -> usize {
        self.before.earlier_calls() + 1
    }

    /// Returns true if this cache, or else the store, has the result of the call.
    pub(crate) fn has_result(&self, cache: Option<&Cache>) -> bool {
        let earlier = self.before.earlier_calls();
        let ready = cache.and_then(|cache| cache.ready_token(&cache.1));
        if ready.is_some_and(|token| number(&token) > earlier) {
            return true;
        }
        let runtime = Builder::new_current_thread().build().unwrap();
        let entry = runtime.block_on(self.store.inner.look_up(&default_key()));
        let entry = entry.unwrap();
        let text = entry.map(|entry| String::from_utf8(entry.bytes().to_vec()).unwrap());
        let is_result = |number| {
            let member = format!(r#""token":"t{number}""#);
            text.as_ref().is_some_and(|text| text.contains(&member))
        };
        (earlier + 1..=self.calls()).any(is_result)
    }

    /// Returns true if this token was refused before the call.
    pub(crate) fn is_refused(&self, token: &AccessToken) -> bool {
        assert!(!token.is_expired(self.clock.now()));
        matches!(self.before, Before::Refused | Before::SharedRefused) && number(token) == 1
    }
}

fn number(token: &AccessToken) -> usize {
    token.expose()[1..].parse().unwrap()
}

pub(crate) async fn ask(cache: &Cache) -> Result<AccessToken, TokenError> {
    cache.token(&cache.1).await
}

/// Counts a call that is not a future.
fn step(breakpoint: &Mutex<Breakpoint>) {
    let breakpoint = breakpoint.lock().unwrap().clone();
    breakpoint.step();
}

/// Waits until the cache's tasks have done their work, for ten minutes at most.
pub(crate) async fn settle(cache: &Cache) {
    for _ in 0..60_000 {
        for _ in 0..60 {
            yield_now().await;
        }
        if cache.stats().flights == 0 {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("a fetch never ends");
}

/// A source of `t1`, `t2` and so on, each of an hour; clones share their counts.
#[derive(Clone)]
pub(crate) struct Source {
    clock: RunClock,
    breakpoint: Arc<Mutex<Breakpoint>>,
    calls: Arc<AtomicUsize>,
    failures: Arc<AtomicUsize>,
    latency: Duration,
    has_digest: bool,
}

impl Source {
    fn breakpoint(&self) -> Breakpoint {
        self.breakpoint.lock().unwrap().clone()
    }
}

#[async_trait]
impl TokenSource for Source {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        let call = async {
            let number = self.calls.fetch_add(1, SeqCst) + 1;
            let asked = self.clock.moment();
            yield_now().await;
            sleep(self.latency).await;
            if number <= self.failures.load(SeqCst) {
                return Err(TokenError::unavailable("the server is down"));
            }
            Ok(AccessToken::bearer(&format!("t{number}"), asked, HOUR)?)
        };
        self.breakpoint().wrap(call).await
    }

    fn invalidate(&self, _: &AccessToken) {
        step(&self.breakpoint);
    }

    fn check_token(&self, _: &TokenRequest, _: &AccessToken) -> Result<(), TokenError> {
        step(&self.breakpoint);
        Ok(())
    }

    fn credential_epoch(&self) -> u64 {
        step(&self.breakpoint);
        0
    }

    async fn credential_digest(&self) -> Option<[u8; 32]> {
        let digest = async {
            yield_now().await;
            self.has_digest.then_some([7; 32])
        };
        self.breakpoint().wrap(digest).await
    }

    fn binds_tokens(&self) -> bool {
        step(&self.breakpoint);
        false
    }
}

/// A store whose calls take effect before their response arrives, as those of a network store do. It has no notifications:
/// processes poll.
#[derive(Clone, Debug)]
struct Interruptible {
    inner: MemoryTokenStore,
    breakpoint: Arc<Mutex<Breakpoint>>,
}

impl Interruptible {
    async fn call<T>(&self, call: impl Future<Output = T>) -> T {
        let breakpoint = self.breakpoint.lock().unwrap().clone();
        let call = async {
            let response = call.await;
            yield_now().await;
            response
        };
        breakpoint.wrap(call).await
    }
}

#[async_trait]
impl TokenStore for Interruptible {
    async fn look_up(&self, key: &StoreKey) -> Result<Option<StoreEntry>, StoreError> {
        self.call(self.inner.look_up(key)).await
    }

    async fn put(
        &self,
        key: &StoreKey,
        entry: &[u8],
        ttl: Duration,
        lease: Option<&Lease>,
    ) -> Result<(), StoreError> {
        self.call(self.inner.put(key, entry, ttl, lease)).await
    }

    async fn remove(&self, key: &StoreKey, fence: u64) -> Result<(), StoreError> {
        self.call(self.inner.remove(key, fence)).await
    }

    async fn lease(&self, key: &StoreKey, ttl: Duration) -> Result<LeaseOutcome, StoreError> {
        self.call(self.inner.lease(key, ttl)).await
    }

    async fn look_up_or_lease(
        &self,
        key: &StoreKey,
        except: Option<u64>,
        ttl: Duration,
    ) -> Result<EntryOrLease, StoreError> {
        self.call(self.inner.look_up_or_lease(key, except, ttl))
            .await
    }

    async fn extend(
        &self,
        key: &StoreKey,
        lease: &Lease,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        self.call(self.inner.extend(key, lease, ttl)).await
    }

    async fn release(&self, key: &StoreKey, lease: &Lease) -> Result<(), StoreError> {
        self.call(self.inner.release(key, lease)).await
    }
}

/// A clock on the paused time of one runtime after another. It stands still between two, and never goes back.
#[derive(Clone, Debug)]
struct RunClock(Arc<Mutex<Run>>);

#[derive(Debug)]
struct Run {
    base: Moment,
    /// The start of the current runtime; none between two.
    origin: Option<Instant>,
}

impl RunClock {
    fn new() -> Self {
        let base = ManualClock::new().moment();
        Self(Arc::new(Mutex::new(Run { base, origin: None })))
    }

    fn start(&self) {
        self.0.lock().unwrap().origin = Some(Instant::now());
    }

    fn stop(&self) {
        let now = self.moment();
        *self.0.lock().unwrap() = Run {
            base: now,
            origin: None,
        };
    }

    fn advance(&self, duration: Duration) {
        let base = &mut self.0.lock().unwrap().base;
        base.timestamp = base.timestamp.saturating_add(duration);
        base.wall += duration;
    }
}

impl Clock for RunClock {
    fn now(&self) -> Timestamp {
        self.moment().timestamp
    }

    fn wall(&self) -> SystemTime {
        self.moment().wall
    }

    fn moment(&self) -> Moment {
        let run = self.0.lock().unwrap();
        let elapsed = run.origin.map_or(Duration::ZERO, |origin| origin.elapsed());
        let timestamp = run.base.timestamp.saturating_add(elapsed);
        Moment::new(timestamp, run.base.wall + elapsed)
    }
}
