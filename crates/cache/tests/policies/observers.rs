//! The events that observers receive, and that an observer cannot harm the cache.

use std::sync::{Arc, Mutex};

use hallpass_cache::CachedTokenSource;
use hallpass_core::{Event, EventKind, Observer, TokenSource as _};
use hallpass_testkit::leak::Capture;
use tokio::time::advance;

use crate::support::{Answer, HOUR, MINUTE, Mint, SECOND, ask, callers, down, key, name, settle};

/// An observer that records its events.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Observer for Notes {
    fn observe(&self, event: &Event<'_>) {
        assert_eq!(event.name, "orders");
        self.0.lock().unwrap().push(format!("{:?}", event.kind));
    }
}

impl Notes {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn observed(mint: &Mint) -> (Notes, CachedTokenSource<Mint>) {
    let notes = Notes::default();
    let builder = mint.builder().name("orders").max_keys(1);
    (notes.clone(), builder.observer(Arc::new(notes)).build())
}

// covers: F-101
#[tokio::test(start_paused = true)]
async fn each_step_is_observed_in_order() {
    let mint = Mint::hourly().latency(2 * SECOND);
    let (notes, cache) = observed(&mint);
    let token = ask(&cache).await.unwrap();
    let fetched = "Fetched { duration: 2s, lifetime: 3600s, scopes: {} }";
    assert_eq!(
        notes.take(),
        [
            "FetchStarted",
            fetched,
            "FetchCompleted { waiters: 1, replaced_age: None }"
        ]
    );

    // A hit.
    name(&cache).await;
    assert_eq!(notes.take(), [""; 0]);

    // A refresh that fails, and one that succeeds.
    mint.then([down()]);
    advance(58 * MINUTE).await;
    name(&cache).await;
    settle().await;
    advance(2 * SECOND).await;
    settle().await;
    let told = notes.take();
    assert_eq!(told.len(), 6, "{told:?}");
    assert_eq!(told[0], "RefreshStarted { remaining: Some(118s) }");
    assert_eq!(told[1], "FetchStarted");
    assert!(
        told[2].starts_with("FetchFailed { duration: 2s, error: TokenError { kind: Unavailable")
    );
    assert!(told[3].starts_with("BackingOff { wait: "), "{told:?}");
    assert_eq!(told[4], "CachedTokenServed { remaining: 116s }");
    assert_eq!(told[5], "FetchCompleted { waiters: 0, replaced_age: None }");
    mint.then([Answer::New(HOUR)]);
    advance(MINUTE).await;
    name(&cache).await;
    settle().await;
    advance(2 * SECOND).await;
    settle().await;
    assert_eq!(
        notes.take(),
        [
            "RefreshStarted { remaining: Some(56s) }",
            "FetchStarted",
            fetched,
            "FetchCompleted { waiters: 0, replaced_age: Some(3546s) }"
        ]
    );

    // A refusal: once, however often it is reported, and not for an outdated token.
    cache.invalidate(&token);
    assert_eq!(notes.take(), [""; 0]);
    let token = ask(&cache).await.unwrap();
    for _ in 0..3 {
        cache.invalidate(&token);
    }
    assert_eq!(notes.take(), ["Invalidated"]);

    for scope in ["a", "b"] {
        cache.token(&key(scope)).await.unwrap();
    }
    let evicted = |line: &&String| *line == "Evicted { keys: 1 }";
    assert_eq!(notes.take().iter().filter(evicted).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_eviction_is_reported_only_if_a_key_was_evicted() {
    let mint = Mint::hourly();
    let (notes, cache) = observed(&mint);
    for scope in ["a", "b"] {
        drop(cache.bind(key(scope)));
    }
    assert_eq!(notes.take(), ["Evicted { keys: 1 }"]);
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_fails_neither_flight_nor_caller() {
    let capture = Capture::start();
    let mint = Mint::hourly();
    let notes = Notes::default();
    let panics = |_: &Event<'_>| std::panic::resume_unwind(Box::new("CANARY of the observer"));
    let cache = mint
        .builder()
        .name("orders")
        .observer(Arc::new(panics))
        .observer(Arc::new(notes.clone()));
    let cache = Arc::new(cache.build());
    let gate = mint.close();
    let waiting = callers(&cache, 100).await;
    gate.open();
    for token in waiting.join_all().await {
        assert_eq!(token.unwrap().expose(), "t1");
    }
    let token = ask(&*cache).await.unwrap();
    cache.invalidate(&token);
    assert_eq!(name(&*cache).await, "t2");
    // The other one receives the event nevertheless.
    let told = notes.take();
    let landed = |line: &&String| line.starts_with("FetchCompleted");
    assert_eq!(told.iter().filter(landed).count(), 2);
    let text = capture.text();
    let said = "observer panicked; it stays registered, and this is logged once";
    assert_eq!(text.matches(said).count(), 1, "{text}");
    assert!(!text.contains("CANARY"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn an_observer_can_call_the_cache() {
    let mint = Mint::hourly();
    let cache = Arc::new_cyclic(|cache: &std::sync::Weak<CachedTokenSource<Mint>>| {
        let cache = cache.clone();
        let asks = move |event: &Event<'_>| {
            let Some(cache) = cache.upgrade() else { return };
            cache.stats();
            let token = cache.ready_token(&hallpass_core::TokenRequest::default());
            let landed = matches!(event.kind, EventKind::FetchCompleted { .. });
            if let Some(token) = token.filter(|_| landed) {
                cache.invalidate(&token);
            }
        };
        mint.builder().observer(Arc::new(asks)).build()
    });
    assert_eq!(name(&*cache).await, "t1");
    settle().await;
    assert_eq!(cache.stats().invalidations, 1);
    assert_eq!(name(&*cache).await, "t2");
}
