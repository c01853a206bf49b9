//! Single-flight per key, and the results of waiters.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, OnceLock, Weak},
    time::Duration,
};

use async_trait::async_trait;
use hallpass_cache::CachedTokenSource;
use hallpass_core::{AccessToken, Clock as _, ErrorKind, TokenError, TokenRequest, TokenSource};
use hallpass_testkit::{Gate, TokioClock};

use crate::support::{Answer, HOUR, MINUTE, Mint, SECOND, ask, callers, down, key, name, settle};

// covers: F-75, I-13
#[tokio::test(start_paused = true)]
async fn ten_thousand_callers_of_an_uncached_key_make_one_request() {
    let mint = Mint::hourly();
    let gate = mint.close();
    let cache = Arc::new(mint.cached());
    let tasks = callers(&cache, 10_000).await;
    gate.arrived(1).await;
    assert_eq!(cache.stats().waiters, 10_000);
    gate.open();
    for outcome in tasks.join_all().await {
        assert_eq!(outcome.unwrap().expose(), "t1");
    }
    assert_eq!(mint.calls(), 1);
    let stats = cache.stats();
    assert_eq!((stats.misses, stats.hits, stats.waiters), (10_000, 0, 0));
    assert_eq!((stats.fetches, stats.flights), (1, 0));
}

// covers: F-76, I-06
#[tokio::test(start_paused = true)]
async fn ten_thousand_callers_of_a_failing_key_share_one_error() {
    let mint = Mint::new([down()]);
    let gate = mint.close();
    let cache = Arc::new(mint.cached());
    let tasks = callers(&cache, 10_000).await;
    gate.open();
    for outcome in tasks.join_all().await {
        assert_eq!(outcome.unwrap_err().to_string(), "the server is down");
    }
    assert_eq!(mint.calls(), 1);
    // New callers get the same result, at once.
    for _ in 0..1_000 {
        ask(&*cache).await.unwrap_err();
    }
    assert_eq!(mint.calls(), 1);
    assert_eq!(cache.stats().cached_failures, 1_000);
}

// covers: F-72, I-06
#[tokio::test(start_paused = true)]
async fn a_flight_continues_after_its_caller_is_cancelled() {
    let mint = Mint::hourly();
    let gate = mint.close();
    let cache = Arc::new(mint.cached());
    let mut leader = callers(&cache, 1).await;
    let mut waiters = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let cache = cache.clone();
        waiters.spawn(async move { name(&*cache).await });
    }
    gate.arrived(1).await;
    settle().await;
    leader.abort_all();
    assert!(
        leader
            .join_next()
            .await
            .unwrap()
            .unwrap_err()
            .is_cancelled()
    );
    assert_eq!(cache.stats().waiters, 10);
    gate.open();
    assert_eq!(waiters.join_all().await, ["t1"; 10]);
    assert_eq!(mint.calls(), 1);
}

// covers: F-73
#[tokio::test(start_paused = true)]
async fn a_fetch_without_waiters_fills_the_cache() {
    let mint = Mint::hourly();
    let gate = mint.close();
    let cache = Arc::new(mint.cached());
    let mut waiters = callers(&cache, 3).await;
    gate.arrived(1).await;
    waiters.shutdown().await;
    assert_eq!((cache.stats().waiters, cache.stats().flights), (0, 1));
    gate.open();
    settle().await;
    assert_eq!(cache.stats().flights, 0);
    let token = cache.ready_token(&TokenRequest::default());
    assert_eq!(token.unwrap().expose(), "t1");
    assert_eq!(mint.calls(), 1);
}

// covers: F-74
#[tokio::test(start_paused = true)]
async fn a_panic_of_the_source_fails_the_waiters_of_one_flight() {
    let mint = Mint::new([Answer::Panic, Answer::New(HOUR)]);
    let gate = mint.close();
    let cache = Arc::new(mint.cached());
    let tasks = callers(&cache, 5).await;
    gate.open();
    for outcome in tasks.join_all().await {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.is_transient());
        assert!(!format!("{error:?}").contains("own words"), "{error:?}");
    }
    tokio::time::advance(2 * SECOND).await;
    assert_eq!(name(&*cache).await, "t2");
    assert_eq!(mint.calls(), 2);
}

// covers: F-73, F-85
#[tokio::test(start_paused = true)]
async fn a_source_that_hangs_ends_at_the_fetch_timeout() {
    let mint = Mint::new([Answer::Hang, Answer::New(HOUR)]);
    let cache = mint.builder().fetch_timeout(5 * SECOND).build();
    let start = tokio::time::Instant::now();
    let error = ask(&cache).await.unwrap_err();
    assert_eq!(start.elapsed(), 5 * SECOND);
    assert!(error.is_transient());
    assert_eq!(
        error.to_string(),
        "the token source did not answer within 5s"
    );
    assert_eq!(cache.stats().flights, 0);
    tokio::time::advance(2 * SECOND).await;
    assert_eq!(name(&cache).await, "t2");
}

// covers: F-80
#[tokio::test(start_paused = true)]
async fn a_flight_is_cancelled_when_the_cache_is_dropped() {
    /// A source whose fetch never ends, and shows when it is dropped.
    struct Endless(Arc<()>);

    #[async_trait]
    impl TokenSource for Endless {
        async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
            let _held = self.0.clone();
            std::future::pending().await
        }
    }

    let held = Arc::new(());
    let cache = Arc::new(CachedTokenSource::new(Endless(held.clone())));
    let mut waiters = callers(&cache, 1).await;
    settle().await;
    assert_eq!(Arc::strong_count(&held), 3);
    waiters.shutdown().await;
    assert_eq!(Arc::strong_count(&held), 3);
    drop(cache);
    settle().await;
    assert_eq!(Arc::strong_count(&held), 1);
}

/// A source that calls the cache around it.
#[derive(Default)]
struct Recursive {
    around: OnceLock<std::sync::Weak<CachedTokenSource<Recursive>>>,
    /// The keys that it requests, one after the other; then the request that it was called with.
    keys: Mutex<VecDeque<TokenRequest>>,
}

#[async_trait]
impl TokenSource for Recursive {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let cache = self.around.get().unwrap().upgrade().unwrap();
        let next = self.keys.lock().unwrap().pop_front();
        cache.token(next.as_ref().unwrap_or(request)).await
    }
}

impl Recursive {
    fn cached(keys: impl IntoIterator<Item = TokenRequest>) -> Arc<CachedTokenSource<Self>> {
        let cache = Arc::new(CachedTokenSource::new(Self {
            keys: Mutex::new(keys.into_iter().collect()),
            ..Self::default()
        }));
        cache.get_ref().around.set(Arc::downgrade(&cache)).unwrap();
        cache
    }
}

// covers: F-86
#[tokio::test(start_paused = true)]
async fn a_source_that_calls_its_own_cache_gets_an_error() {
    let other_key = Recursive::cached([key("b")]);
    let there_and_back = Recursive::cached([key("b"), TokenRequest::new()]);
    for cache in [Recursive::cached([]), other_key, there_and_back] {
        let error = tokio::time::timeout(MINUTE, ask(&*cache)).await;
        let error = error.expect("no deadlock").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(
            error.to_string().contains("called its own cache"),
            "{error}"
        );
    }
}

/// A source that calls another cache.
struct Asks {
    other: OnceLock<std::sync::Weak<CachedTokenSource<Self>>>,
    gate: Gate,
}

#[async_trait]
impl TokenSource for Asks {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        self.gate.pass().await;
        let other = self.other.get().and_then(std::sync::Weak::upgrade);
        other.expect("a cache").token(request).await
    }
}

// covers: F-86
#[tokio::test(start_paused = true)]
async fn caches_that_call_each_other_do_not_deadlock() {
    let gate = Gate::new();
    let caches = [(); 3].map(|()| {
        Arc::new(CachedTokenSource::new(Asks {
            other: OnceLock::new(),
            gate: gate.clone(),
        }))
    });
    for (at, cache) in caches.iter().enumerate() {
        let next = Arc::downgrade(&caches[(at + 1) % caches.len()]);
        cache.get_ref().other.set(next).unwrap();
    }
    let mut calls = tokio::task::JoinSet::new();
    for cache in &caches {
        let cache = cache.clone();
        calls.spawn(async move { ask(&*cache).await });
    }
    // Each flight was started by its own caller.
    gate.arrived(3).await;
    let start = tokio::time::Instant::now();
    gate.open();
    for outcome in calls.join_all().await {
        let error = outcome.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(
            error.to_string().contains("called its own cache"),
            "{error}"
        );
    }
    assert!(start.elapsed() < SECOND, "{:?}", start.elapsed());
}

/// A source that needs the token of `b` for that of `a`; or that stops waiting for it, and is needed by it.
struct Nested {
    own: OnceLock<Weak<CachedTokenSource<Self>>>,
    clock: TokioClock,
    gives_up: bool,
}

impl Nested {
    fn cached(gives_up: bool) -> Arc<CachedTokenSource<Self>> {
        let clock = TokioClock::new();
        let source = Self {
            own: OnceLock::new(),
            clock: clock.clone(),
            gives_up,
        };
        let cache = CachedTokenSource::builder(source).clock(clock);
        let cache = Arc::new(cache.max_concurrent_fetches(1).build());
        let own = Arc::downgrade(&cache);
        cache.get_ref().own.set(own).expect("set once");
        cache
    }
}

#[async_trait]
impl TokenSource for Nested {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let own = self.own.get().and_then(Weak::upgrade).expect("in use");
        let is_first = *request == key("a");
        if is_first && !self.gives_up {
            return own.token(&key("b")).await;
        }
        if is_first {
            let other = tokio::time::timeout(SECOND, own.token(&key("b"))).await;
            assert!(other.is_err());
            tokio::time::sleep(10 * SECOND).await;
        } else if self.gives_up {
            tokio::time::sleep(2 * SECOND).await;
            return own.token(&key("a")).await;
        }
        Ok(AccessToken::bearer("t", self.clock.moment(), HOUR)?)
    }
}

/// It waits neither for the permit of the fetch that needs it, nor for the result of the first fetch.
// covers: F-86
#[tokio::test(start_paused = true)]
async fn a_nested_fetch_does_not_wait_for_what_needs_it() {
    let start = tokio::time::Instant::now();
    let token = Nested::cached(false).token(&key("a")).await.unwrap();
    assert_eq!((token.expose(), start.elapsed()), ("t", Duration::ZERO));
}

// covers: F-86
#[tokio::test(start_paused = true)]
async fn a_wait_that_ended_is_no_part_of_a_cycle() {
    let cache = Nested::cached(true);
    assert_eq!(cache.token(&key("a")).await.unwrap().expose(), "t");
    assert_eq!(cache.token(&key("b")).await.unwrap().expose(), "t");
}

#[tokio::test(start_paused = true)]
async fn the_default_key_needs_no_permit() {
    let mint = Mint::hourly();
    let cache = Arc::new(mint.builder().max_concurrent_fetches(1).build());
    cache.token(&key("first")).await.unwrap();
    let gate = mint.close();
    let other = cache.clone();
    let slow = tokio::spawn(async move { other.token(&key("slow")).await });
    gate.arrived(1).await;
    mint.close().open();
    let start = tokio::time::Instant::now();
    assert_eq!(name(&*cache).await, "t3");
    assert_eq!(start.elapsed(), Duration::ZERO);
    gate.open();
    slow.await.unwrap().unwrap();
}

// covers: F-86
#[tokio::test(start_paused = true)]
async fn a_cache_around_a_cache_is_not_a_cycle() {
    let mint = Mint::hourly();
    let inner = mint.cached();
    let outer = CachedTokenSource::builder(inner)
        .clock(mint.clock())
        .build();
    assert_eq!(name(&outer).await, "t1");
    assert_eq!(name(&outer).await, "t1");
    assert_eq!(mint.calls(), 1);
    // A refused token is dropped from both.
    outer.invalidate(&ask(&outer).await.unwrap());
    assert_eq!(name(&outer).await, "t2");
    assert_eq!(mint.invalidated(), 1);
}

// covers: F-84
#[tokio::test(start_paused = true)]
async fn a_slow_key_does_not_delay_another() {
    let mint = Mint::hourly();
    let gate = mint.close();
    let cache = Arc::new(mint.cached());
    let slow = callers(&cache, 1).await;
    gate.arrived(1).await;
    mint.close().open();
    let other = cache.token(&key("b")).await.unwrap();
    assert_eq!(other.expose(), "t2");
    assert_eq!(cache.stats().waiters, 1);
    gate.open();
    slow.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn into_inner_returns_the_source() {
    let cache = Mint::hourly().cached();
    assert_eq!(name(&cache).await, "t1");
    assert_eq!(cache.get_ref().calls(), 1);
    assert_eq!(cache.into_inner().calls(), 1);
}

#[test]
fn a_miss_outside_of_a_runtime_is_a_configuration_error() {
    struct Fixed;

    #[async_trait]
    impl TokenSource for Fixed {
        async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
            Err(TokenError::unavailable("never asked"))
        }
    }

    let cache = CachedTokenSource::new(Fixed);
    let mut call = std::pin::pin!(ask(&cache));
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Err(error)) = call.as_mut().poll(&mut context) else {
        panic!("no answer at once");
    };
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(error.to_string().contains("tokio runtime"), "{error}");
}
