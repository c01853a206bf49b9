//! Processes that end: what they fetched is shared, and their leases are released.

use std::sync::Arc;

use hallpass_cache::{CachedTokenSource, MemoryTokenStore};
use hallpass_core::{AccessToken, Clock as _, SystemClock, TokenSource as _};
use hallpass_testkit::ScriptedSource;
use tokio::time::{Instant, advance};

use crate::{
    distant::{Distant, MILLISECOND, NAMESPACE, process},
    support::{HOUR, MINUTE, Mint, SECOND, ask, key, name, settle, spawn_ask},
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
        // One store call, and for the first process the fetch: nobody waits for the put.
        let fetch = if job == 0 { 50 } else { 0 };
        assert_eq!(start.elapsed(), (fetch + 1) * MILLISECOND, "job {job}");
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!(mint.calls(), 1);
    assert_eq!(store.questions(), 5 + 2);
    assert_eq!((store.asked("put"), store.asked("release")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_job_waits_for_at_most_three_store_calls() {
    // The first one, with credentials that no process has used.
    let mint = Mint::hourly().digest(1);
    let store = Distant::new(&mint).notifying();
    for (job, calls) in [(0, 2), (1, 1), (2, 1)] {
        let start = Instant::now();
        let cache = process(&mint, &store);
        assert_eq!(name(&cache).await, "t1");
        assert_eq!(start.elapsed(), calls * MILLISECOND, "job {job}");
        cache.shutdown().await;
    }
    assert_eq!(mint.calls(), 1);
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
    assert_eq!(store.asked("look_up_or_lease"), store.asked("release"));
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
    let caller = spawn_ask(&cache);
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
