//! The second level: slow, down, corrupt or wrong, it costs callers nothing but the sharing.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use hallpass_cache::{
    CachedTokenSource, Lease, LeaseOutcome, MemoryTokenStore, StoreEntry, StoreError, StoreKey,
    TokenStore,
};
use hallpass_core::{Clock as _, TokenRequest, TokenSource as _};
use hallpass_testkit::ManualClock;
use tokio::time::{Instant, advance};

use crate::{
    distant::{Distant, MILLISECOND, NAMESPACE, default_key},
    support::{Answer, HOUR, MINUTE, Manual, Mint, SECOND, ask, down, key, name, settle},
};

/// Returns a lease that is later than any other.
fn latest() -> Lease {
    Lease::new(u64::MAX)
}

fn cached(mint: &Mint, store: impl TokenStore + 'static) -> CachedTokenSource<Mint> {
    mint.builder().store(store, NAMESPACE).build()
}

#[tokio::test(start_paused = true)]
async fn a_hundred_processes_make_one_request() {
    let mint = Mint::hourly().latency(SECOND);
    let store = MemoryTokenStore::new(mint.clock());
    let mut processes = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let cache = cached(&mint, store.clone());
        processes.spawn(async move {
            let token = name(&cache).await;
            (token, cache.stats().store_hits)
        });
    }
    let outcomes = processes.join_all().await;
    assert!(outcomes.iter().all(|(token, _)| token == "t1"));
    assert_eq!(outcomes.iter().map(|(_, hits)| hits).sum::<u64>(), 99);
    assert_eq!(mint.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn keys_and_namespaces_are_separate() {
    let mint = Mint::hourly();
    let store = MemoryTokenStore::new(mint.clock());
    let one = cached(&mint, store.clone());
    assert_eq!(name(&one).await, "t1");
    assert_eq!(one.token(&key("a")).await.unwrap().expose(), "t2");
    let tenant = mint
        .builder()
        .store(store.clone(), "another tenant")
        .build();
    assert_eq!(name(&tenant).await, "t3");
    let same = cached(&mint, store);
    assert_eq!(same.token(&key("a")).await.unwrap().expose(), "t2");
    assert_eq!(name(&same).await, "t1");
}

#[tokio::test(start_paused = true)]
async fn a_refresh_by_one_process_serves_the_others() {
    let mint = Mint::hourly();
    let store = MemoryTokenStore::new(mint.clock());
    let (one, other) = (cached(&mint, store.clone()), cached(&mint, store));
    assert_eq!(
        (name(&one).await, name(&other).await),
        ("t1".into(), "t1".into())
    );
    advance(58 * MINUTE).await;
    name(&one).await;
    settle().await;
    name(&other).await;
    settle().await;
    assert_eq!(
        (name(&one).await, name(&other).await),
        ("t2".into(), "t2".into())
    );
    assert_eq!(mint.calls(), 2);
}

// covers: F-87, F-88, F-97
#[tokio::test(start_paused = true)]
async fn a_slow_or_failing_store_fails_no_caller() {
    type Begin = fn(&Distant);

    let faults: [(&str, Begin, Duration); 3] = [
        (
            "down",
            |store| store.set(Err("connection refused"), Duration::ZERO),
            Duration::ZERO,
        ),
        // One timeout, although failures are shared too. It includes the time to connect.
        ("slow", |store| store.set(Ok(()), 5 * SECOND), 2 * SECOND),
        ("read-only", Distant::refuse_writes, Duration::ZERO),
    ];
    for (fault, begin, at_most) in faults {
        let mint = Mint::hourly().digest(1);
        let store = Distant::immediate(&mint);
        begin(&store);
        let cache = cached(&mint, store.clone());
        let start = Instant::now();
        assert_eq!(name(&cache).await, "t1");
        assert!(start.elapsed() <= at_most, "{fault}: {:?}", start.elapsed());
        tokio::time::sleep(SECOND).await;
        assert!(cache.stats().store_faults > 0, "{fault}");
        assert_eq!(cache.stats().failures, 0, "{fault}");
    }
}

// covers: F-88
#[tokio::test(start_paused = true)]
async fn a_store_that_keeps_failing_is_not_called_for_a_while() {
    let mint = Mint::hourly();
    let store = Distant::immediate(&mint);
    store.set(Ok(()), 5 * SECOND);
    let cache = cached(&mint, store.clone());
    for number in 0..100 {
        cache.token(&key(number)).await.unwrap();
    }
    let asked = store.questions();
    assert!(asked <= 6, "{asked}");
    store.set(Ok(()), Duration::ZERO);
    advance(20 * SECOND).await;
    cache.token(&key("after")).await.unwrap();
    settle().await;
    let other = cached(&mint, store);
    let shared = other.token(&key("after")).await.unwrap();
    assert_eq!((shared.expose(), mint.calls()), ("t101", 101));
}

// covers: F-92
#[tokio::test(start_paused = true)]
async fn an_entry_that_cannot_be_read_is_a_miss_and_overwritten() {
    let mint = Mint::hourly();
    let store = Distant::immediate(&mint);
    name(&cached(&mint, store.clone())).await;
    let (key, good) = (default_key(), store.entry().await.unwrap());
    let good = good.bytes();
    let text = str::from_utf8(good).unwrap();
    for bad in [
        b"".to_vec(),
        b"\x00\xff".to_vec(),
        good[..good.len() / 2].to_vec(),
        text.replace("\"t1\"", "7").into_bytes(),
    ] {
        let longer = HOUR + SECOND;
        store.inner.put(&key, &bad, longer, None).await.unwrap();
        let before = mint.calls();
        let cache = cached(&mint, store.clone());
        let token = name(&cache).await;
        assert_eq!(
            mint.calls(),
            before + 1,
            "{:?}",
            String::from_utf8_lossy(&bad)
        );
        assert_eq!(cache.stats().store_faults, 1);
        settle().await;
        assert_eq!(name(&cached(&mint, store.clone())).await, token);
    }
}

// covers: F-96
#[tokio::test(start_paused = true)]
async fn a_store_without_expiry_returns_no_expired_token() {
    let mint = Mint::hourly();
    // Its clock stands still.
    let store = MemoryTokenStore::new(ManualClock::new());
    name(&cached(&mint, store.clone())).await;
    settle().await;
    assert_eq!(name(&cached(&mint, store.clone())).await, "t1");
    advance(HOUR).await;
    assert_eq!(name(&cached(&mint, store.clone())).await, "t2");
}

// covers: F-89, F-90
#[tokio::test(start_paused = true)]
async fn an_abandoned_lease_delays_others_for_seconds_only() {
    let mint = Mint::hourly();
    let store = Distant::immediate(&mint);
    let elsewhere = cached(&mint, store.clone());
    mint.then([Answer::Hang]);
    let gate = mint.close();
    let dying = tokio::spawn(async move { ask(&elsewhere).await });
    gate.arrived(1).await;
    dying.abort();
    mint.then([Answer::New(HOUR)]);
    mint.close().open();
    let start = Instant::now();
    assert_eq!(name(&cached(&mint, store)).await, "t2");
    assert!(start.elapsed() <= 4 * SECOND, "{:?}", start.elapsed());
}

// covers: F-89, F-91
#[tokio::test(start_paused = true)]
async fn a_process_that_was_suspended_overwrites_nothing_newer() {
    let mint = Mint::hourly();
    let store = Distant::immediate(&mint);
    let gate = mint.close();
    let slow = cached(&mint, store.clone());
    let slow = tokio::spawn(async move {
        let token = name(&slow).await;
        settle().await;
        token
    });
    gate.arrived(1).await;
    // Its lease expires, and another process fetches and puts.
    advance(20 * SECOND).await;
    mint.close().open();
    let quick = cached(&mint, store.clone());
    assert_eq!(name(&quick).await, "t2");
    settle().await;
    gate.open();
    assert_eq!(slow.await.unwrap(), "t1");
    settle().await;
    assert_eq!(name(&cached(&mint, store)).await, "t2");
}

// covers: F-95
#[tokio::test(start_paused = true)]
async fn an_entry_lives_no_longer_than_its_ttl_in_the_store() {
    let mint = Mint::hourly();
    let store = Distant::immediate(&mint);
    name(&cached(&mint, store.clone())).await;
    let (key, good) = (default_key(), store.entry().await.unwrap());
    let left = 30 * MINUTE;
    let latest = latest();
    let put = store.inner.put(&key, good.bytes(), left, Some(&latest));
    put.await.unwrap();
    let token = ask(&cached(&mint, store)).await.unwrap();
    assert_eq!(token.deadline().saturating_since(mint.clock().now()), left);
}

// covers: F-81, I-12
#[tokio::test(start_paused = true)]
async fn a_refused_token_is_not_taken_from_the_store_again() {
    let mint = Mint::hourly();
    let store = Distant::immediate(&mint);
    let (cache, other) = (cached(&mint, store.clone()), cached(&mint, store.clone()));
    let token = ask(&cache).await.unwrap();
    settle().await;
    advance(SECOND).await;
    cache.invalidate(&token);
    assert_eq!(name(&cache).await, "t2");
    settle().await;
    // And the others find its replacement there.
    name(&other).await;
    other.invalidate(&token);
    assert_eq!(name(&other).await, "t2");
    assert_eq!(mint.calls(), 2);
}

// covers: F-98
#[tokio::test(start_paused = true)]
async fn a_key_reveals_nothing_and_no_debug_shows_an_entry() {
    let mint = Mint::hourly();
    let store = Distant::immediate(&mint);
    let request = TokenRequest::new()
        .with_audience("https://CANARY.example")
        .unwrap();
    cached(&mint, store.clone()).token(&request).await.unwrap();
    settle().await;
    let key = StoreKey::new(NAMESPACE, &request);
    let entry = store.inner.look_up(&key).await.unwrap().unwrap();
    for part in [key.namespace(), key.request()] {
        assert_eq!(part.len(), 64);
        assert!(part.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    // The control: the token is in there.
    assert!(str::from_utf8(entry.bytes()).unwrap().contains("\"t1\""));
    for shown in [format!("{entry:?}"), format!("{:?}", store.inner)] {
        assert!(!shown.contains("t1"), "{shown}");
    }
}

// covers: F-89, F-90
#[tokio::test(start_paused = true)]
async fn waiting_for_a_lease_does_not_shorten_the_fetch_timeout() {
    let mint = Mint::hourly();
    let store = Distant::immediate(&mint);
    name(&cached(&mint, store.clone())).await;
    settle().await;
    let (key, there) = (default_key(), store.entry().await.unwrap());
    store.inner.remove(&key, there.fence()).await.unwrap();
    let lease = store.inner.lease(&key, MINUTE).await.unwrap();
    assert!(lease.into_lease().is_some(), "someone has it, and dies");
    let cache = mint.builder().store(store, NAMESPACE);
    assert_eq!(name(&cache.fetch_timeout(SECOND).build()).await, "t2");
}

#[tokio::test(start_paused = true)]
async fn a_token_without_a_lifetime_is_not_stored() {
    let mint = Mint::new([Answer::New(Duration::ZERO)]);
    let store = Distant::immediate(&mint);
    let cache = cached(&mint, store.clone());
    ask(&cache).await.unwrap();
    cache.shutdown().await;
    assert_eq!((store.asked("put"), store.asked("release")), (0, 1));
}

/// A failure is cached, so that there is no use for a lease, but another process may have put a token.
#[tokio::test(start_paused = true)]
async fn a_process_that_must_not_fetch_takes_no_lease() {
    use hallpass_core::TokenError;

    for (error, next) in [
        (TokenError::request_refused("no such scope"), key("a")),
        // It concerns all keys.
        (TokenError::credentials_refused("wrong secret"), key("b")),
    ] {
        let mint = Mint::new([Answer::Fail(error)]);
        let store = Distant::immediate(&mint);
        let cache = cached(&mint, store.clone());
        cache.token(&key("a")).await.unwrap_err();
        settle().await;
        advance(SECOND).await;
        cache.token(&next).await.unwrap_err();
        assert_eq!(mint.calls(), 1);
        let asked = ["look_up_or_lease", "look_up"].map(|what| store.asked(what));
        assert_eq!(asked, [1, 1], "{next:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_fails_is_looked_up_once_an_interval() {
    let mint = Mint::new([down()]);
    let store = Distant::immediate(&mint);
    let cache = mint.builder().store(store.clone(), NAMESPACE);
    let cache = cache.backoff(HOUR, HOUR).build();
    let (shorter, instant) = (Duration::from_millis(499), Duration::from_millis(1));
    ask(&cache).await.unwrap_err();
    settle().await;
    let first = store.questions();
    for looks in 1..=10 {
        advance(shorter).await;
        for (wait, looks) in [(Duration::ZERO, looks - 1), (instant, looks)] {
            advance(wait).await;
            ask(&cache).await.unwrap_err();
            settle().await;
            assert_eq!(store.questions(), first + looks, "{wait:?}");
        }
    }
    assert_eq!(mint.calls(), 1);
}

/// The failure is cached for a shorter time for all keys than for this one.
// covers: F-76
#[tokio::test(start_paused = true)]
async fn a_look_at_the_store_does_not_shorten_the_backoff() {
    let mint = Mint::new([down()]);
    let cache = mint.builder().store(Distant::immediate(&mint), NAMESPACE);
    let cache = cache.backoff(MINUTE, MINUTE).build();
    let wait = || {
        let state = cache.readiness(&TokenRequest::new());
        state.failure().unwrap().error.retry_after().unwrap()
    };
    ask(&cache).await.unwrap_err();
    settle().await;
    let before = wait();
    advance(SECOND).await;
    ask(&cache).await.unwrap_err();
    assert_eq!((wait() + SECOND, mint.calls()), (before, 1));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_fails_no_caller() {
    #[derive(Debug)]
    struct Panicking;

    #[async_trait]
    impl TokenStore for Panicking {
        async fn look_up(&self, _: &StoreKey) -> Result<Option<StoreEntry>, StoreError> {
            panic!("the store's own words")
        }
        async fn put(
            &self,
            _: &StoreKey,
            _: &[u8],
            _: Duration,
            _: Option<&Lease>,
        ) -> Result<(), StoreError> {
            unreachable!("no lease was given")
        }
        async fn remove(&self, _: &StoreKey, _: u64) -> Result<(), StoreError> {
            unreachable!("nothing was found")
        }
        async fn lease(&self, _: &StoreKey, _: Duration) -> Result<LeaseOutcome, StoreError> {
            unreachable!("the look-up failed")
        }
        async fn extend(&self, _: &StoreKey, _: &Lease, _: Duration) -> Result<bool, StoreError> {
            unreachable!("no lease was given")
        }
        async fn release(&self, _: &StoreKey, _: &Lease) -> Result<(), StoreError> {
            unreachable!("no lease was given")
        }
    }

    let cache = cached(&Mint::hourly(), Panicking);
    assert_eq!(name(&cache).await, "t1");
    assert_eq!(cache.stats().store_faults, 1);
}

// covers: F-81, I-12
#[tokio::test(start_paused = true)]
async fn a_discarded_token_is_not_stored() {
    let mint = Mint::new([Answer::Advised(10 * SECOND, 3 * SECOND)]);
    let store = Distant::immediate(&mint);
    let cache = Arc::new(cached(&mint, store.clone()));
    // Refused so often while young that the next fetch must wait longer than a caller does.
    for _ in 0..4 {
        let token = ask(&*cache).await.unwrap();
        advance(4 * SECOND).await;
        cache.invalidate(&token);
    }
    let token = ask(&*cache).await.unwrap();
    advance(4 * SECOND).await;
    let gate = mint.close();
    name(&*cache).await;
    gate.arrived(1).await;
    cache.invalidate(&token);
    gate.open();
    settle().await;
    ask(&*cache).await.unwrap_err();
    let calls = mint.calls();
    advance(6 * SECOND).await; // The one before expires, there too.
    assert_eq!(name(&cached(&mint, store)).await, format!("t{}", calls + 1));
}

#[tokio::test(start_paused = true)]
async fn a_shared_token_past_its_refresh_point_is_better_than_none() {
    let mint = Mint::hourly();
    let store = Distant::immediate(&mint);
    name(&cached(&mint, store.clone())).await;
    advance(58 * MINUTE).await;
    mint.then([Answer::Fail(hallpass_core::TokenError::unavailable("down"))]);
    let cache = cached(&mint, store);
    for _ in 0..100 {
        assert_eq!(name(&cache).await, "t1");
        settle().await;
        advance(SECOND).await;
    }
    // It is refreshed like any other: with backoff.
    assert!((7..=11).contains(&mint.calls()), "{}", mint.calls());
}

#[tokio::test(start_paused = true)]
async fn a_lifetime_of_a_year_is_shared() {
    let mint = Mint::new([Answer::New(365 * 24 * HOUR)]);
    let store = Distant::immediate(&mint);
    let [one, other] = [(); 2].map(|()| cached(&mint, store.clone()));
    let token = ask(&one).await.unwrap();
    let shared = ask(&other).await.unwrap();
    assert_eq!(mint.calls(), 1);
    assert_eq!(shared.lifetime(), token.lifetime());
}

/// The token of another process replaces one that is due if it lives longer, and is not due itself.
#[tokio::test(start_paused = true)]
async fn a_due_token_is_replaced_by_one_that_lives_longer() {
    // The time at which another process gets a token, its lifetime, and the number of fetches in all.
    for (at, lifetime, fetches) in [
        (3_595, MINUTE, 2),
        // The same expiry, an earlier one, and one that is due.
        (3_595, 5 * SECOND, 3),
        (3_597, 2 * SECOND, 3),
        (3_576, 25 * SECOND, 3),
    ] {
        let mint = Mint::hourly();
        let store = Distant::immediate(&mint);
        let [one, other] = [(); 2].map(|()| cached(&mint, store.clone()));
        name(&one).await;
        advance(at * SECOND).await;
        let entry = store.inner.look_up(&default_key()).await.unwrap().unwrap();
        store
            .inner
            .remove(&default_key(), entry.fence())
            .await
            .unwrap();
        mint.then([Answer::New(lifetime), Answer::New(HOUR)]);
        name(&other).await;
        advance((3_598 - at) * SECOND + 600 * MILLISECOND).await;
        name(&one).await;
        settle().await;
        assert_eq!(mint.calls(), fetches, "{at} {lifetime:?}");
    }
}

// covers: F-63, F-95
#[tokio::test]
async fn a_wall_clock_that_steps_back_revives_no_token() {
    let (clock, builder) = Manual::builder();
    let store = MemoryTokenStore::new(clock.clone());
    let cache = builder.store(store, NAMESPACE).build();
    let token = ask(&cache).await.unwrap();
    settle().await;
    clock.advance(58 * MINUTE);
    clock.set_wall(clock.wall() - HOUR);
    ask(&cache).await.unwrap();
    settle().await;
    let refreshed = ask(&cache).await.unwrap();
    assert_eq!(cache.stats().fetches, 2);
    assert!(refreshed.deadline() > token.deadline());
}

// covers: F-81, I-12
#[tokio::test(start_paused = true)]
async fn a_token_older_than_a_refused_one_is_not_read_from_the_store() {
    let mint = Mint::hourly();
    let store = Distant::immediate(&mint);
    let cache = cached(&mint, store.clone());
    let first = ask(&cache).await.unwrap();
    settle().await;
    advance(SECOND).await;
    // The store keeps the first one forever: neither its removal nor its replacement arrive.
    store.refuse_writes();
    for refused in [first, ask(&cache).await.unwrap()] {
        cache.invalidate(&refused);
        advance(SECOND).await;
        let next = ask(&cache).await.unwrap();
        assert!(next.requested_at().timestamp > refused.requested_at().timestamp);
        cache.invalidate(&next);
        advance(2 * SECOND).await;
    }
    assert_eq!(name(&cache).await, format!("t{}", mint.calls()));
}

#[tokio::test(start_paused = true)]
async fn an_entry_lives_for_the_rest_of_its_tokens_life() {
    let mint = Mint::new([Answer::New(2 * MINUTE)]).latency(30 * SECOND);
    let store = Distant::new(&mint);
    let cache = mint.builder().store(store.clone(), NAMESPACE).build();
    name(&cache).await;
    tokio::time::sleep(SECOND).await;
    let left = store.entry().await.unwrap().ttl().unwrap();
    assert!((85 * SECOND..90 * SECOND).contains(&left), "{left:?}");
}
