//! Tokens that another process put into the store replace older ones in this process without a call.

use std::sync::Arc;

use hallpass_cache::CachedTokenSource;
use hallpass_core::{TokenRequest, TokenSource as _};
use tokio::time::{Instant, advance};

use crate::{
    distant::{Distant, NAMESPACE, process},
    support::{Answer, HOUR, MINUTE, Mint, SECOND, ask, key, name, settle},
};

type Process = Arc<CachedTokenSource<Mint>>;

/// Returns processes that all have the first token of this key.
async fn processes(mint: &Mint, store: &Distant, request: &TokenRequest) -> Vec<Process> {
    let mut processes = Vec::new();
    for _ in 0..100 {
        let process = Arc::new(process(mint, store));
        assert_eq!(process.token(request).await.unwrap().expose(), "t1");
        processes.push(process);
    }
    tokio::time::sleep(SECOND).await;
    processes
}

/// Returns the number of processes whose calls return this token at once.
fn with_token(processes: &[Process], request: &TokenRequest, token: &str) -> usize {
    let ready = processes
        .iter()
        .filter_map(|process| process.ready_token(request));
    ready.filter(|ready| ready.expose() == token).count()
}

#[tokio::test(start_paused = true)]
async fn a_401_of_one_process_renews_the_token_of_all() {
    for request in [TokenRequest::new(), key("orders")] {
        let mint = Mint::hourly();
        let store = Distant::new(&mint).notifying();
        let processes = processes(&mint, &store, &request).await;
        mint.then([Answer::New(HOUR)]);
        let refused = processes[0].ready_token(&request).unwrap();
        let start = Instant::now();
        processes[0].invalidate(&refused);
        assert_eq!(processes[0].token(&request).await.unwrap().expose(), "t2");
        tokio::time::sleep(SECOND.saturating_sub(start.elapsed())).await;
        assert_eq!(with_token(&processes, &request, "t2"), 100);
        assert_eq!(mint.calls(), 2);
        let others = processes[1..].iter().map(|process| process.stats());
        let invalidations: u64 = others.map(|stats| stats.invalidations).sum();
        assert_eq!(invalidations, 0);
        // For the removal and for the new token, one look-up each.
        assert!(store.asked("look_up") <= 2 * 100 + 1);
        // The adopted token can be refused like any other.
        let adopted = processes[50].ready_token(&request).unwrap();
        processes[50].invalidate(&adopted);
        assert_eq!(processes[50].token(&request).await.unwrap().expose(), "t3");
    }
}

#[tokio::test(start_paused = true)]
async fn one_task_watches_a_key_as_long_as_it_has_a_token() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint).notifying();
    let cache = process(&mint, &store);
    name(&cache).await;
    // A refresh, with the watch of the token before.
    advance(58 * MINUTE).await;
    name(&cache).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!((name(&cache).await, store.listeners()), ("t2".into(), 1));
    // Without a call the token expires, and its watch ends; the next one has its own.
    tokio::time::sleep(HOUR + 2 * MINUTE).await;
    assert_eq!(store.listeners(), 0);
    assert_eq!(name(&cache).await, "t3");
    tokio::time::sleep(SECOND).await;
    assert_eq!(store.listeners(), 1);
}

#[tokio::test(start_paused = true)]
async fn without_notifications_each_process_sees_its_own_401() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint);
    let request = TokenRequest::new();
    let processes = processes(&mint, &store, &request).await;
    processes[0].invalidate(&ask(&*processes[0]).await.unwrap());
    assert_eq!(name(&*processes[0]).await, "t2");
    tokio::time::sleep(MINUTE).await;
    assert_eq!(with_token(&processes, &request, "t1"), 99);
    for process in &processes[1..] {
        process.invalidate(&ask(&**process).await.unwrap());
        assert_eq!(name(&**process).await, "t2");
    }
    assert_eq!((mint.calls(), store.listeners()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refresh_by_one_process_is_read_by_the_others() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint).notifying();
    let request = TokenRequest::new();
    let processes = processes(&mint, &store, &request).await;
    advance(58 * MINUTE).await;
    name(&*processes[0]).await;
    tokio::time::sleep(SECOND).await;
    let before = store.questions();
    assert_eq!(with_token(&processes, &request, "t2"), 100);
    settle().await;
    assert_eq!((mint.calls(), store.questions()), (2, before));
}

#[tokio::test(start_paused = true)]
async fn a_removed_entry_takes_no_token_from_a_process() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint).notifying();
    let request = TokenRequest::new();
    let processes = processes(&mint, &store, &request).await;
    processes[0].invalidate(&ask(&*processes[0]).await.unwrap());
    tokio::time::sleep(SECOND).await;
    assert!(store.entry().await.is_none());
    assert_eq!(with_token(&processes, &request, "t1"), 99);
}

#[tokio::test(start_paused = true)]
async fn an_older_token_is_not_adopted() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint).notifying();
    let one = process(&mint, &store);
    let mut other = mint.builder();
    mint.then([Answer::New(30 * MINUTE)]);
    other = other.store(store.clone(), NAMESPACE);
    let other = other.build();
    mint.then([Answer::New(HOUR), Answer::New(30 * MINUTE)]);
    assert_eq!(
        (name(&one).await, name(&other).await),
        ("t1".into(), "t1".into())
    );
    tokio::time::sleep(SECOND).await;
    one.invalidate(&ask(&one).await.unwrap());
    assert_eq!(name(&one).await, "t2");
    tokio::time::sleep(SECOND).await;
    assert_eq!(name(&other).await, "t1");
    assert!(other.stats().store_hits == 1);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_with_the_cache_or_the_token() {
    let mint = Mint::new([Answer::New(10 * MINUTE)]);
    let store = Distant::new(&mint).notifying();
    let cache = process(&mint, &store);
    for number in 0..10 {
        cache.token(&key(number)).await.unwrap();
        // Only one watch for each key.
        cache.token(&key(number)).await.unwrap();
    }
    settle().await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(store.listeners(), 10);
    tokio::time::sleep(12 * MINUTE).await;
    assert_eq!(store.listeners(), 0, "the tokens have expired");
    for drop_it in [true, false] {
        let cache = process(&mint, &store);
        name(&cache).await;
        tokio::time::sleep(SECOND).await;
        assert_eq!(store.listeners(), 1);
        if drop_it {
            drop(cache);
            settle().await;
            assert_eq!(store.listeners(), 0);
        } else {
            cache.shutdown().await;
            settle().await;
            assert_eq!(store.listeners(), 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_number_of_watches_is_bounded() {
    let mint = Mint::hourly();
    let store = Distant::new(&mint).notifying();
    let cache = mint
        .builder()
        .store(store.clone(), NAMESPACE)
        .max_keys(1_010);
    let cache = cache.build();
    for number in 0..1_010 {
        cache.token(&key(number)).await.unwrap();
    }
    tokio::time::sleep(SECOND).await;
    assert_eq!(store.listeners(), 1_000);
    // Evicted keys are not watched: others take their places.
    for number in 2_000..2_500 {
        cache.token(&key(number)).await.unwrap();
    }
    tokio::time::sleep(2 * MINUTE).await;
    let left = store.listeners();
    assert!((400..=520).contains(&left), "{left}");
}
