//! Tokens that a resource server refuses.

use std::{sync::Arc, time::Duration};

use hallpass_cache::{CachedTokenSource, MemoryTokenStore};
use hallpass_core::{AccessToken, Clock as _, ErrorKind, TokenRequest, TokenSource};
use hallpass_testkit::{ScriptedSource, TokioClock};
use tokio::time::{Instant, advance};

use crate::distant::{Distant, process};
use crate::support::{Answer, HOUR, MINUTE, Mint, SECOND, ask, callers, key, name, settle};

// covers: F-82, C-35
#[tokio::test(start_paused = true)]
async fn a_thousand_invalidations_of_a_token_make_one_fetch() {
    let mint = Mint::hourly();
    let cache = Arc::new(mint.cached());
    let token = ask(&*cache).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let (cache, token) = (cache.clone(), token.clone());
        tasks.spawn(async move {
            cache.invalidate(&token);
            tokio::task::yield_now().await;
            name(&*cache).await
        });
    }
    assert_eq!(tasks.join_all().await, vec!["t2"; 1_000]);
    assert_eq!((mint.calls(), cache.stats().invalidations), (2, 1));
}

// covers: F-81
#[tokio::test(start_paused = true)]
async fn invalidating_an_older_token_changes_nothing() {
    let mint = Mint::hourly();
    let cache = mint.cached();
    let old = ask(&cache).await.unwrap();
    cache.invalidate(&old);
    assert_eq!(name(&cache).await, "t2");
    cache.invalidate(&old);
    assert_eq!(name(&cache).await, "t2");
    assert_eq!(mint.calls(), 2);
}

// covers: F-81, I-12
#[tokio::test(start_paused = true)]
async fn a_token_fetched_before_the_invalidation_is_discarded() {
    let mint = Mint::hourly();
    let cache = Arc::new(mint.cached());
    let token = ask(&*cache).await.unwrap();
    advance(58 * MINUTE).await;
    let gate = mint.close();
    ask(&*cache).await.unwrap();
    gate.arrived(1).await;
    // The refresh is in progress: its result may be as revoked as this token.
    cache.invalidate(&token);
    let waiting = callers(&cache, 1).await;
    gate.open();
    let outcome = waiting.join_all().await.remove(0);
    assert_eq!(outcome.unwrap().expose(), "t3", "t2 was discarded");
    assert_eq!(mint.calls(), 3);
}

/// The shared store is slow: the refusal comes while the refresh waits for it, and before the source is called.
// covers: F-81
#[tokio::test(start_paused = true)]
async fn a_token_requested_after_the_invalidation_is_used() {
    let mint = Mint::hourly();
    let store = Distant::immediate(&mint);
    let cache = process(&mint, &store);
    let token = ask(&cache).await.unwrap();
    settle().await;
    advance(58 * MINUTE).await;
    store.next_takes(SECOND / 20);
    ask(&cache).await.unwrap();
    settle().await;
    assert_eq!(mint.calls(), 1, "the look-up is in progress");
    cache.invalidate(&token);
    assert_eq!(name(&cache).await, "t2");
    assert_eq!(mint.calls(), 2);
}

// covers: C-35
#[tokio::test(start_paused = true)]
async fn an_api_that_refuses_all_tokens_causes_few_requests() {
    let mint = Mint::hourly();
    let cache = mint.cached();
    let (mut refused, mut told) = (0, 0);
    for _ in 0..60_000 {
        match ask(&cache).await {
            Ok(token) => {
                refused += 1;
                cache.invalidate(&token);
            }
            Err(error) => {
                told += 1;
                assert_eq!(error.kind(), ErrorKind::Unavailable);
                assert!(error.retry_after().is_some());
                assert!(error.to_string().contains("refused the last"), "{error}");
                assert!(error.hint().unwrap().contains("audience"));
            }
        }
        advance(SECOND / 100).await;
    }
    // 10 minutes: 0.5, 1, 2 ... 32 s apart, then a minute.
    assert_eq!(mint.calls(), refused);
    assert!((14..=18).contains(&refused), "{refused}");
    assert!(told > 50_000, "{told}");
    // Once the API is fixed, everything works at once.
    advance(MINUTE).await;
    name(&cache).await;
    advance(2 * MINUTE).await;
    let good = ask(&cache).await.unwrap();
    cache.invalidate(&good);
    assert_ne!(name(&cache).await, good.expose());
}

/// A refresh is in progress while the sixth token in a row is refused: the next fetch is 16 s away.
// covers: C-35, F-81
#[tokio::test(start_paused = true)]
async fn waiters_get_an_error_rather_than_a_long_wait() {
    let mint = Mint::new([Answer::Advised(10 * SECOND, SECOND)]);
    let cache = Arc::new(mint.cached());
    for _ in 0..5 {
        cache.invalidate(&ask(&*cache).await.unwrap());
        advance(MINUTE / 4).await;
    }
    let token = ask(&*cache).await.unwrap();
    advance(2 * SECOND).await;
    let gate = mint.close();
    ask(&*cache).await.unwrap();
    gate.arrived(1).await;
    cache.invalidate(&token);
    let waiting = callers(&cache, 1).await;
    let start = Instant::now();
    gate.open();
    let error = waiting.join_all().await.remove(0).unwrap_err();
    assert_eq!(start.elapsed(), Duration::ZERO);
    assert!(error.to_string().contains("the last 6 tokens"), "{error}");
    assert_eq!(error.retry_after(), Some(16 * SECOND));
    assert_eq!(mint.calls(), 7);
    // After that time the next fetch is made, whose result is used.
    advance(16 * SECOND).await;
    assert_eq!(name(&*cache).await, "t8");
}

#[tokio::test(start_paused = true)]
async fn a_token_is_dropped_under_exactly_the_keys_that_hold_it() {
    let mint = Mint::new([Answer::Same(HOUR)]);
    let cache = mint.cached();
    let token = ask(&cache).await.unwrap();
    cache.token(&key("a")).await.unwrap();
    mint.then([Answer::New(HOUR)]);
    cache.token(&key("b")).await.unwrap();
    advance(SECOND).await;
    cache.invalidate(&token);
    assert_eq!(cache.stats().invalidations, 2);
    assert!(cache.ready_token(&TokenRequest::default()).is_none());
    assert!(cache.ready_token(&key("a")).is_none());
    assert!(cache.ready_token(&key("b")).is_some());
    assert_eq!(mint.invalidated(), 1, "the source is notified too");
}

/// The refusal arrives after the key was evicted, and the shared store still holds the token.
#[tokio::test(start_paused = true)]
async fn a_refused_token_of_an_evicted_key_is_not_taken_from_a_store() {
    let mint = Mint::hourly();
    let store = MemoryTokenStore::new(mint.clock());
    let builder = mint.builder().max_keys(1);
    let cache = builder.store(store, "login.example/orders").build();
    let token = cache.token(&key("a")).await.unwrap();
    let mut evicting = ["b", "c", "d"].into_iter();
    while cache.ready_token(&key("a")).is_some() {
        cache.token(&key(evicting.next().unwrap())).await.unwrap();
    }
    settle().await;
    let calls = mint.calls();
    // Without a refusal, the store has it.
    let again = cache.token(&key("a")).await.unwrap();
    assert!(again.is_same(&token));
    assert_eq!(mint.calls(), calls);
    while cache.ready_token(&key("a")).is_some() {
        cache.token(&key(evicting.next().unwrap())).await.unwrap();
    }
    settle().await;
    let calls = mint.calls();
    cache.invalidate(&token);
    let next = cache.token(&key("a")).await.unwrap();
    assert!(!next.is_same(&token));
    assert_eq!(mint.calls(), calls + 1);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_repeats_a_refused_token_is_asked_slowly() {
    let mint = Mint::new([Answer::Same(HOUR)]);
    let cache = mint.cached();
    for _ in 0..6_000 {
        if let Ok(token) = ask(&cache).await {
            cache.invalidate(&token);
        }
        settle().await;
        advance(SECOND / 100).await;
    }
    assert!((7..=9).contains(&mint.calls()), "{}", mint.calls());
}

/// The age of a token that was refused before is no sign that it is good.
#[tokio::test(start_paused = true)]
async fn a_source_that_repeats_an_old_token_is_asked_slowly() {
    let clock = TokioClock::new();
    let token = AccessToken::bearer("t", clock.moment(), HOUR).unwrap();
    let source = ScriptedSource::new([Ok(token)]);
    let calls = source.clone();
    let cache = CachedTokenSource::builder(source).clock(clock).build();
    advance(2 * MINUTE).await;
    let start = Instant::now();
    while start.elapsed() < MINUTE {
        if let Ok(token) = ask(&cache).await {
            cache.invalidate(&token);
        }
        advance(SECOND / 100).await;
    }
    assert!((7..=9).contains(&calls.calls()), "{}", calls.calls());
}

// covers: F-18, F-81
#[tokio::test(start_paused = true)]
async fn after_a_refresh_without_news_a_token_can_be_refused() {
    let mint = Mint::hourly();
    let cache = mint.cached();
    let token = ask(&cache).await.unwrap();
    mint.then([Answer::New(Duration::ZERO)]);
    advance(58 * MINUTE).await;
    assert_eq!(name(&cache).await, "t1");
    settle().await;
    assert_eq!((mint.calls(), name(&cache).await), (2, "t1".to_owned()));
    mint.then([Answer::New(HOUR)]);
    cache.invalidate(&token);
    assert_eq!(name(&cache).await, "t3");
}

// covers: C-35
#[tokio::test(start_paused = true)]
async fn refusals_with_good_tokens_between_are_not_consecutive() {
    // Good tokens that are replaced by a refresh, and good ones that are replaced after their expiry.
    for life in [58 * MINUTE, HOUR] {
        let mint = Mint::hourly();
        let cache = mint.cached();
        for day in 0..30 {
            for _ in 0..24 {
                let token = ask(&cache).await.unwrap();
                assert!(!token.is_expired(mint.clock().now()));
                advance(life).await;
                ask(&cache).await.unwrap();
                settle().await;
            }
            let young = ask(&cache).await.unwrap();
            advance(SECOND).await;
            cache.invalidate(&young);
            let next = ask(&cache).await;
            assert!(next.is_ok(), "day {day}: {next:?}");
        }
    }
}

/// Tokens of two seconds, with an API that drops them up to a second early.
// covers: C-35, F-68
#[tokio::test(start_paused = true)]
async fn short_tokens_that_an_api_drops_early_fail_no_call() {
    let mint = Mint::new([Answer::New(2 * SECOND)]);
    let cache = mint.cached();
    for step in 0..6_000 {
        let token = ask(&cache).await;
        let token = token.unwrap_or_else(|error| panic!("step {step}: {error}"));
        let age = mint
            .clock()
            .now()
            .saturating_since(token.requested_at().timestamp);
        if age >= SECOND {
            cache.invalidate(&token);
            ask(&cache).await.expect("another one");
        }
        settle().await;
        advance(SECOND / 100).await;
    }
    // One each second.
    assert!((59..=61).contains(&mint.calls()), "{}", mint.calls());
}

// covers: C-35
#[tokio::test(start_paused = true)]
async fn tokens_refused_at_once_are_fetched_ever_more_rarely() {
    let mint = Mint::new([Answer::New(2 * SECOND)]);
    let cache = mint.cached();
    for _ in 0..6_000 {
        if let Ok(token) = ask(&cache).await {
            cache.invalidate(&token);
        }
        advance(SECOND / 100).await;
    }
    assert!((7..=9).contains(&mint.calls()), "{}", mint.calls());
}
