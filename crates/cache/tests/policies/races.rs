//! Shutdowns and invalidations that overlap with the calls of a shared store.

use std::sync::Arc;

use hallpass_core::TokenSource as _;
use tokio::time::{Instant, sleep};

use crate::{
    distant::{Distant, MILLISECOND, process},
    support::{Mint, SECOND, ask, spawn_ask},
};

// covers: F-89
#[tokio::test(start_paused = true)]
async fn a_shutdown_at_any_time_leaves_no_lease() {
    // A fetch and its put take seven milliseconds: a call of the store for the token and one for the credentials, the
    // source, two calls of the store.
    for elapsed in 0..12 {
        let mint = Mint::hourly().latency(3 * MILLISECOND).digest(1);
        let store = Distant::new(&mint);
        let cache = Arc::new(process(&mint, &store));
        let caller = spawn_ask(&cache);
        sleep(elapsed * MILLISECOND + MILLISECOND / 2).await;
        cache.shutdown().await;
        let fetched = caller.await.unwrap().is_ok();
        let start = Instant::now();
        ask(&process(&mint, &store)).await.unwrap();
        let took = start.elapsed();
        assert!(took <= 20 * MILLISECOND, "{elapsed}: {took:?}");
        assert!(!fetched || mint.calls() == 1, "{elapsed}: a token was lost");
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_refused_while_it_is_put_is_not_shared() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint);
    let cache = Arc::new(process(&mint, &store));
    let gate = mint.close();
    let caller = spawn_ask(&cache);
    gate.arrived(1).await;
    // The put, during which the token is refused.
    store.next_takes(SECOND);
    gate.open();
    let token = caller.await.unwrap().unwrap();
    sleep(MILLISECOND).await;
    cache.invalidate(&token);
    sleep(2 * SECOND).await;
    assert_eq!(store.asked("put"), 1);
    assert!(store.entry().await.is_none());
}
