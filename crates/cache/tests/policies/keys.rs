//! Keys: the whole request counts, and their number is limited.

use std::sync::Arc;

use hallpass_core::{TokenRequest, TokenSource};

use crate::support::{Answer, HOUR, Mint, SECOND, key, name, settle};

// covers: C-62, F-98
#[tokio::test(start_paused = true)]
async fn each_part_of_a_request_is_part_of_its_key_in_any_order() {
    let mint = Mint::hourly();
    let cache = mint.cached();
    let requests = [
        TokenRequest::new(),
        key("a"),
        key("a b"),
        key("a").with_resource("https://a.example").unwrap(),
        key("a").with_resource("https://b.example").unwrap(),
        key("a").with_audience("https://a.example").unwrap(),
        key("a").with_parameter("tenant", "1").unwrap(),
        key("a").with_parameter("tenant", "2").unwrap(),
    ];
    let mut tokens = Vec::new();
    for request in &requests {
        tokens.push(cache.token(request).await.unwrap().expose().to_owned());
    }
    let expected: Vec<String> = (1..=requests.len()).map(|n| format!("t{n}")).collect();
    assert_eq!(tokens, expected);
    let same = cache.token(&key("b a")).await.unwrap();
    assert_eq!((same.expose(), mint.calls()), ("t3", requests.len()));
}

// covers: F-83
#[tokio::test(start_paused = true)]
async fn the_number_of_cached_keys_is_bounded() {
    let mint = Mint::hourly();
    let cache = mint.builder().max_keys(1_000).build();
    name(&cache).await;
    for number in 0..20_000 {
        cache.token(&key(number)).await.unwrap();
    }
    let stats = cache.stats();
    assert_eq!((stats.keys, stats.evictions), (1_000, 19_000));
    assert_eq!(mint.calls(), 20_001);
    // The default key is not counted, and never evicted.
    assert_eq!(name(&cache).await, "t1");
}

// covers: F-83
#[tokio::test(start_paused = true)]
async fn an_unused_key_is_evicted_before_a_used_one() {
    let mint = Mint::hourly();
    let cache = mint.builder().max_keys(100).build();
    cache.token(&key("in use")).await.unwrap();
    for number in 0..1_000 {
        cache.token(&key(number)).await.unwrap();
        assert!(cache.ready_token(&key("in use")).is_some(), "{number}");
    }
    assert!(cache.ready_token(&key(0)).is_none());
}

// covers: F-83
#[tokio::test(start_paused = true)]
async fn a_key_with_a_flight_keeps_its_waiters() {
    let mint = Mint::hourly();
    let gate = mint.close();
    let cache = Arc::new(mint.builder().max_keys(3).build());
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..10 {
        let cache = cache.clone();
        waiting.spawn(async move { cache.token(&key(number)).await });
    }
    gate.arrived(10).await;
    assert_eq!(
        cache.stats().keys,
        10,
        "over the bound for as long as all fly"
    );
    gate.open();
    for outcome in waiting.join_all().await {
        outcome.unwrap();
    }
    assert_eq!(mint.calls(), 10);
    cache.token(&key("next")).await.unwrap();
    assert_eq!(cache.stats().keys, 3);
}

#[tokio::test(start_paused = true)]
async fn an_evicted_key_returns_without_its_old_tokens() {
    let mint = Mint::new([Answer::New(HOUR)]);
    let cache = mint.builder().max_keys(1).build();
    let old = cache.token(&key("a")).await.unwrap();
    cache.token(&key("b")).await.unwrap();
    let back = cache.token(&key("a")).await.unwrap();
    assert_eq!(back.expose(), "t3");
    tokio::time::advance(SECOND).await;
    cache.invalidate(&old);
    settle().await;
    assert!(cache.ready_token(&key("a")).is_some());
    assert_eq!(cache.stats().invalidations, 0);
}
