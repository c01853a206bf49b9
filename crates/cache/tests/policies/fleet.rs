//! Many processes on one store: one request for all of them, at any server latency, and no result is lost.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use hallpass_cache::{
    CachedTokenSource, Lease, LeaseOutcome, MemoryTokenStore, StoreEntry, StoreError, StoreKey,
    TokenStore,
};
use hallpass_core::{
    AccessToken, Clock, Moment, SystemClock, Timestamp, TokenError, TokenRequest, TokenSource,
};
use hallpass_testkit::ScriptedSource;
use tokio::time::{Instant, advance};

use crate::{
    distant::{Distant, MILLISECOND, NAMESPACE, default_key, process},
    support::{Answer, HOUR, MINUTE, Mint, SECOND, ask, key, name, settle},
};

#[tokio::test(start_paused = true)]
async fn short_jobs_make_one_request_in_all() {
    let mint = Mint::hourly().latency(50 * MILLISECOND);
    let store = Distant::new(&mint);
    for job in 0..5 {
        let start = Instant::now();
        let cache = process(&mint, &store);
        assert_eq!(name(&cache).await, "t1");
        drop(cache);
        // The look-up, and for the first process the lease, another look-up and the fetch: nobody waits for the put.
        let took = start.elapsed().as_millis();
        let expected = if job == 0 { 53 } else { 1 };
        assert!(took <= expected + 2, "job {job}: {took} ms");
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!(mint.calls(), 1);
    assert_eq!((store.asked("put"), store.asked("release")), (1, 1));
}

#[test]
fn shutdown_puts_the_token_into_the_store() {
    let token = AccessToken::bearer("t1", SystemClock.moment(), HOUR).unwrap();
    let source = ScriptedSource::new([Ok(token)]);
    let store = MemoryTokenStore::default();
    for _ in 0..5 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let cache = CachedTokenSource::builder(source.clone()).store(store.clone(), NAMESPACE);
        let cache = cache.build();
        runtime.block_on(async {
            name(&cache).await;
            cache.shutdown().await;
        });
    }
    assert_eq!(source.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn shutdown_stops_fetches_and_releases_leases() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint);
    let cache = Arc::new(process(&mint, &store));
    name(&*cache).await;
    let gate = mint.close();
    let waiting = {
        let cache = cache.clone();
        tokio::spawn(async move { cache.token(&key("other")).await })
    };
    gate.arrived(1).await;
    let start = Instant::now();
    cache.shutdown().await;
    assert!(start.elapsed() <= 3 * MILLISECOND, "{:?}", start.elapsed());
    assert_eq!(store.asked("lease"), store.asked("release"));
    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "the token cache was shut down");
    // A cached token is still used; it is not refreshed.
    advance(58 * MINUTE).await;
    assert_eq!(name(&*cache).await, "t1");
    settle().await;
    assert!(!cache.token(&key("more")).await.unwrap_err().is_transient());
    assert_eq!(mint.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn shutdown_waits_for_two_store_timeouts_at_most() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint);
    let cache = mint.builder().store(store.clone(), NAMESPACE);
    let cache = cache.store_write_timeout(SECOND).build();
    let gate = mint.close();
    let (token, ()) = tokio::join!(ask(&cache), async {
        gate.arrived(1).await;
        store.set(Ok(()), HOUR);
        gate.open();
    });
    token.unwrap();
    let start = Instant::now();
    cache.shutdown().await;
    let took = start.elapsed();
    assert!((SECOND..=2 * SECOND).contains(&took), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_fetch_leaves_no_lease() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint);
    let cache = Arc::new(process(&mint, &store));
    let gate = mint.close();
    let caller = {
        let cache = cache.clone();
        tokio::spawn(async move { ask(&*cache).await })
    };
    gate.arrived(1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    drop(cache);
    mint.close().open();
    tokio::time::sleep(2 * MILLISECOND).await;
    let start = Instant::now();
    assert_eq!(name(&process(&mint, &store)).await, "t2");
    assert!(start.elapsed() <= 5 * MILLISECOND, "{:?}", start.elapsed());
}

/// Returns the maximum number of store calls by a process that waits for `latency`: a look-up at each poll, a lease at
/// every second one.
///
/// The pauses are 50 ms, doubled up to 2 s, each up to a quarter shorter; one more look-up happens when the first lease
/// should have expired. Each call takes a millisecond.
fn most_questions(latency: Duration) -> usize {
    let (mut waited, mut pause) = (Duration::ZERO, Duration::from_millis(50));
    let mut looks = 2;
    while waited < latency {
        looks += 1;
        waited += pause * 3 / 4;
        pause = (pause * 2).min(2 * SECOND);
    }
    // From the third second on, a lease at each poll.
    let leases = if latency < 2 * SECOND {
        looks / 2 + 1
    } else {
        looks
    };
    looks + leases
}

// covers: F-89
#[tokio::test(start_paused = true)]
async fn a_hundred_processes_make_one_request_at_any_latency() {
    for latency in [
        200 * MILLISECOND,
        2 * SECOND,
        4 * SECOND,
        20 * SECOND,
        50 * SECOND,
    ] {
        let mint = Mint::hourly().latency(latency);
        let store = Distant::new(&mint);
        let start = Instant::now();
        let mut processes = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let cache = process(&mint, &store);
            processes.spawn(async move { (name(&cache).await, cache.stats().store_faults) });
        }
        let outcomes = processes.join_all().await;
        assert!(
            outcomes
                .iter()
                .all(|(token, faults)| token == "t1" && *faults == 0)
        );
        assert_eq!(mint.calls(), 1, "{latency:?}");
        // The last one polls within one pause.
        let late = start.elapsed().saturating_sub(latency);
        assert!(
            late <= latency.min(2 * SECOND) + 60 * MILLISECOND,
            "{latency:?}: {late:?}"
        );
        let extensions = usize::try_from(latency.as_secs()).unwrap();
        assert!(store.asked("extend") <= extensions, "{latency:?}");
        let asked = store.questions() - store.asked("extend") - 3;
        let most = 100 * most_questions(latency);
        assert!(asked <= most, "{latency:?}: {asked} of {most}");
    }
}

/// Lets a hundred processes ask at once: all get the token of one request.
async fn a_hundred_processes_share_one_fetch(mint: &Mint, store: &Distant) {
    let mut processes = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let cache = process(mint, store);
        processes.spawn(async move { name(&cache).await });
    }
    let tokens = processes.join_all().await;
    assert!(tokens.iter().all(|token| token == "t1"));
    assert_eq!(mint.calls(), 1);
}

// covers: F-89
#[tokio::test(start_paused = true)]
async fn processes_get_a_token_at_once_if_the_store_notifies() {
    for latency in [2 * SECOND, 20 * SECOND] {
        let mint = Mint::hourly().latency(latency);
        let store = Distant::new(&mint).notifying();
        let start = Instant::now();
        a_hundred_processes_share_one_fetch(&mint, &store).await;
        // The put, a pause of up to 20 ms, and a look-up.
        let late = start.elapsed().saturating_sub(latency);
        assert!(late <= 40 * MILLISECOND, "{latency:?}: {late:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_process_wakes_the_next_if_the_store_notifies() {
    let mint = Mint::hourly().latency(5 * SECOND);
    let error = TokenError::unavailable("down");
    mint.then([Answer::Fail(error), Answer::New(HOUR)]);
    let store = Distant::new(&mint).notifying();
    let one = process(&mint, &store);
    let other = process(&mint, &store);
    let start = Instant::now();
    let (failed, token) = tokio::join!(ask(&one), async {
        tokio::time::sleep(SECOND).await;
        name(&other).await
    });
    failed.unwrap_err();
    assert_eq!(token, "t2");
    let late = start.elapsed().saturating_sub(10 * SECOND);
    assert!(late <= 40 * MILLISECOND, "{late:?}");
}

/// A store that reports changes endlessly, or panics.
#[derive(Debug)]
struct Noisy(Distant, bool);

#[async_trait]
impl TokenStore for Noisy {
    async fn look_up(&self, key: &StoreKey) -> Result<Option<StoreEntry>, StoreError> {
        self.0.look_up(key).await
    }

    async fn put(
        &self,
        key: &StoreKey,
        entry: &[u8],
        ttl: Duration,
        lease: Option<&Lease>,
    ) -> Result<(), StoreError> {
        self.0.put(key, entry, ttl, lease).await
    }

    async fn remove(&self, key: &StoreKey, fence: u64) -> Result<(), StoreError> {
        self.0.remove(key, fence).await
    }

    async fn lease(&self, key: &StoreKey, ttl: Duration) -> Result<LeaseOutcome, StoreError> {
        self.0.lease(key, ttl).await
    }

    async fn extend(
        &self,
        key: &StoreKey,
        lease: &Lease,
        ttl: Duration,
    ) -> Result<bool, StoreError> {
        self.0.extend(key, lease, ttl).await
    }

    async fn release(&self, key: &StoreKey, lease: &Lease) -> Result<(), StoreError> {
        self.0.release(key, lease).await
    }

    async fn changed(&self, _: &StoreKey) {
        assert!(self.1, "the store's own words");
    }
}

#[tokio::test(start_paused = true)]
async fn endless_notifications_do_not_cause_endless_lookups() {
    for ends in [true, false] {
        let mint = Mint::hourly().latency(20 * SECOND);
        let store = Distant::new(&mint);
        let holder = process(&mint, &store);
        let waiting = mint
            .builder()
            .store(Noisy(store.clone(), ends), NAMESPACE)
            .build();
        let (first, second) = tokio::join!(name(&holder), async {
            tokio::time::sleep(SECOND).await;
            name(&waiting).await
        });
        assert_eq!((first.as_str(), second.as_str()), ("t1", "t1"));
        // As many as without notifications, and one or two for each change that is used.
        let asked = store.questions() - store.asked("extend");
        let most = most_questions(20 * SECOND) + if ends { 2 * 50 } else { 0 };
        assert!(asked <= most + 5, "{asked}");
        assert_eq!(mint.calls(), 1);
    }
}

// covers: F-90
#[tokio::test(start_paused = true)]
async fn exactly_one_process_replaces_a_crashed_one() {
    let mint = Mint::hourly().latency(4 * SECOND);
    let store = Distant::new(&mint);
    // It crashes with the lease: nobody extends or releases it.
    let three = 3 * SECOND;
    store
        .inner
        .lease(&default_key(), three)
        .await
        .unwrap()
        .granted()
        .unwrap();
    let start = Instant::now();
    a_hundred_processes_share_one_fetch(&mint, &store).await;
    let took = start.elapsed();
    assert!(
        took <= three + 4 * SECOND + 2 * SECOND + 100 * MILLISECOND,
        "{took:?}"
    );
}

// covers: F-90
#[tokio::test(start_paused = true)]
async fn waiting_processes_give_up_one_by_one() {
    fastrand::seed(7);
    let mint = Mint::hourly();
    let store = Distant::new(&mint);
    // Its holder hangs, and the store considers it alive.
    store
        .inner
        .lease(&default_key(), HOUR)
        .await
        .unwrap()
        .granted()
        .unwrap();
    let start = Instant::now();
    let mut processes = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let cache = mint.builder().store(store.clone(), NAMESPACE);
        let cache = cache.fetch_timeout(10 * SECOND).build();
        processes.spawn(async move { name(&cache).await });
    }
    processes.join_all().await;
    let took = start.elapsed();
    assert!((10 * SECOND..13 * SECOND).contains(&took), "{took:?}");
    // Each process picks a time within ten seconds, and a put takes a millisecond.
    assert!(mint.calls() <= 2, "{}", mint.calls());
}

#[tokio::test(start_paused = true)]
async fn a_failing_server_does_not_queue_up_processes() {
    let mint = Mint::new([Answer::Fail(TokenError::unavailable("down"))]).latency(10 * SECOND);
    let store = Distant::new(&mint);
    let start = Instant::now();
    let mut processes = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let cache = process(&mint, &store);
        processes.spawn(async move { ask(&cache).await.is_err() });
    }
    assert!(processes.join_all().await.iter().all(|failed| *failed));
    // Two fetches of others are waited for, each noticed within two seconds, then five seconds at most, and its own.
    let took = start.elapsed();
    assert!(took <= (2 * 12 + 5 + 10) * SECOND + SECOND, "{took:?}");
    assert!(
        took >= 20 * SECOND,
        "they do not all fetch at once: {took:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_failed_process_leaves_the_fetch_to_the_next() {
    let mint = Mint::hourly().latency(SECOND);
    let error = TokenError::unavailable("down");
    mint.then([Answer::Fail(error), Answer::New(HOUR)]);
    let store = Distant::new(&mint);
    let mut processes = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let cache = process(&mint, &store);
        processes.spawn(async move { ask(&cache).await.map(|token| token.expose().to_owned()) });
    }
    let outcomes = processes.join_all().await;
    let failed = outcomes.iter().filter(|outcome| outcome.is_err()).count();
    assert_eq!((failed, mint.calls()), (1, 2));
}

// covers: F-81, I-12
#[tokio::test(start_paused = true)]
async fn only_the_refused_token_is_removed_from_the_store() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint);
    let (one, other) = (process(&mint, &store), process(&mint, &store));
    let first = ask(&one).await.unwrap();
    tokio::time::sleep(SECOND).await;
    assert!(ask(&other).await.unwrap().is_same(&first));
    one.invalidate(&first);
    one.shutdown().await;
    assert!(store.entry().await.is_none(), "before anyone fetches");
    let third = process(&mint, &store);
    assert_eq!(name(&third).await, "t2");
    tokio::time::sleep(SECOND).await;
    // This report is late: its token is not the current one.
    other.invalidate(&first);
    assert_eq!(name(&other).await, "t2");
    other.shutdown().await;
    assert!(store.entry().await.is_some());
    assert_eq!((mint.calls(), store.asked("remove")), (2, 1));
}

/// A clock whose wall-clock time is five minutes behind.
#[derive(Clone, Debug)]
struct Behind<C>(C);

impl<C: Clock> Clock for Behind<C> {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn wall(&self) -> std::time::SystemTime {
        self.0.wall() - 5 * MINUTE
    }
}

/// A source whose tokens are dated by that clock.
struct OnHostBehind(Mint);

#[async_trait]
impl TokenSource for OnHostBehind {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let token = self.0.token(request).await?;
        let Moment {
            timestamp, wall, ..
        } = token.requested_at();
        let requested_at = Moment::new(timestamp, wall - 5 * MINUTE);
        Ok(AccessToken::bearer(
            token.expose(),
            requested_at,
            token.lifetime(),
        )?)
    }
}

// covers: F-81, F-95
#[tokio::test(start_paused = true)]
async fn a_host_whose_clock_is_behind_shares_its_new_token() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint);
    let ahead = process(&mint, &store);
    let behind = CachedTokenSource::builder(OnHostBehind(mint.clone()))
        .clock(Behind(mint.clock()))
        .store(store.clone(), NAMESPACE)
        .build();
    let refused = ask(&ahead).await.unwrap();
    tokio::time::sleep(SECOND).await;
    let same = ask(&behind).await.unwrap();
    assert!(same.is_same(&refused));
    for cache in [&ahead as &dyn TokenSource, &behind] {
        cache.invalidate(&refused);
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(name(&behind).await, "t2");
    tokio::time::sleep(SECOND).await;
    assert_eq!(name(&ahead).await, "t2");
    assert_eq!(mint.calls(), 2);
}

/// A server with a custom response member, whose tokens never expire.
struct Instance(Mint);

#[async_trait]
impl TokenSource for Instance {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        let token = self.0.token(request).await?;
        let extra = ("instance_url".into(), r#""https://eu1.example""#.to_owned());
        Ok(token.with_extra([extra]))
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_of_another_process_is_complete() {
    let mint = Mint::new([Answer::New(Duration::from_secs(u64::MAX))]);
    let store = Distant::new(&mint);
    for _ in 0..3 {
        let cache = CachedTokenSource::builder(Instance(mint.clone()))
            .clock(mint.clock())
            .store(store.clone(), NAMESPACE)
            .build();
        let token = ask(&cache).await.unwrap();
        assert_eq!(
            token.extra("instance_url"),
            Some(r#""https://eu1.example""#)
        );
        cache.shutdown().await;
        assert_eq!(cache.stats().store_faults, 0);
    }
    assert_eq!(mint.calls(), 1);
}

/// A source of tokens for everyone, which accepts only those that it returned last.
struct Strict(Mint, &'static str);

#[async_trait]
impl TokenSource for Strict {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        self.0.token(request).await
    }

    fn check_token(&self, _: &TokenRequest, token: &AccessToken) -> Result<(), TokenError> {
        assert_ne!(self.1, "panics", "the source's own words");
        if token.expose() == self.1 {
            return Ok(());
        }
        Err(TokenError::request_refused("too few scopes"))
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_from_the_store_passes_the_checks_of_the_source() {
    for (accepts, token, calls) in [("t1", "t1", 1), ("t2", "t2", 2), ("panics", "t2", 2)] {
        let mint = Mint::hourly();
        let store = Distant::new(&mint);
        let lenient = process(&mint, &store);
        name(&lenient).await;
        lenient.shutdown().await;
        // Through a pointer and a cache, as in practice.
        let strict = Arc::new(Strict(mint.clone(), accepts));
        let strict = CachedTokenSource::builder(strict).clock(mint.clock());
        let strict = strict.store(store.clone(), NAMESPACE).build();
        assert_eq!(name(&strict).await, token);
        assert_eq!(mint.calls(), calls, "{accepts}");
    }
}
