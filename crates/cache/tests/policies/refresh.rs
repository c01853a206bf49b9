//! Refresh ahead of expiry: on demand, by one caller, and never blocking.

use std::{sync::Arc, time::Duration};

use hallpass_core::{Clock as _, TokenRequest, TokenSource};
use tokio::time::advance;

use crate::support::{Answer, HOUR, MINUTE, Mint, SECOND, ask, down, name, settle, spawn_ask};

// covers: C-21
#[tokio::test(start_paused = true)]
async fn a_caller_past_the_refresh_point_gets_the_cached_token() {
    let mint = Mint::hourly();
    let cache = mint.cached();
    assert_eq!(name(&cache).await, "t1");
    advance(54 * MINUTE).await;
    assert_eq!(name(&cache).await, "t1");
    settle().await;
    assert_eq!(mint.calls(), 1, "before the window, nothing is asked for");

    advance(4 * MINUTE).await;
    let gate = mint.close();
    for _ in 0..1_000 {
        let ready = cache.ready_token(&TokenRequest::default());
        assert_eq!(ready.unwrap().expose(), "t1");
    }
    gate.arrived(1).await;
    assert_eq!((mint.calls(), cache.stats().flights), (2, 1));
    assert_eq!(name(&cache).await, "t1", "while the refresh runs");
    gate.open();
    settle().await;
    assert_eq!(name(&cache).await, "t2");
    let stats = cache.stats();
    assert_eq!((stats.refreshes, stats.misses, mint.calls()), (1, 1, 2));
}

#[tokio::test(start_paused = true)]
async fn an_idle_service_makes_no_requests() {
    let mint = Mint::hourly();
    let cache = mint.cached();
    name(&cache).await;
    tokio::time::sleep(24 * HOUR).await;
    assert_eq!(mint.calls(), 1);
    assert_eq!(name(&cache).await, "t2");
}

#[tokio::test(start_paused = true)]
async fn a_warm_token_is_never_missed() {
    let mint = Mint::hourly().latency(SECOND);
    let cache = mint.builder().keep_warm().build();
    assert_eq!(cache.stats().fetches, 0, "nothing before the first call");
    name(&cache).await;
    for hour in 1..=24 {
        tokio::time::sleep(HOUR).await;
        assert!(
            cache.ready_token(&TokenRequest::default()).is_some(),
            "{hour}"
        );
    }
    // One every 55 to 57.5 minutes.
    assert!((26..=27).contains(&mint.calls()), "{}", mint.calls());
    assert_eq!(cache.stats().misses, 1);
    drop(cache);
    let calls = mint.calls();
    tokio::time::sleep(24 * HOUR).await;
    assert_eq!(mint.calls(), calls, "it ends with the cache");
}

#[tokio::test(start_paused = true)]
async fn a_warm_token_survives_an_outage() {
    let mint = Mint::hourly();
    let cache = mint.builder().keep_warm().build();
    name(&cache).await;
    mint.then([down()]);
    tokio::time::sleep(2 * HOUR).await;
    ask(&cache).await.unwrap_err();
    mint.then([Answer::New(HOUR)]);
    tokio::time::sleep(2 * MINUTE).await;
    let misses = cache.stats().misses;
    name(&cache).await;
    assert_eq!(cache.stats().misses, misses, "nobody had to ask");
}

// covers: F-55, I-06
#[tokio::test(start_paused = true)]
async fn the_old_token_is_served_while_refreshes_fail() {
    let mint = Mint::hourly();
    let cache = mint.cached();
    name(&cache).await;
    mint.then([down()]);
    advance(57 * MINUTE + 30 * SECOND).await;
    let mut served = 0;
    while tokio::time::Instant::now().elapsed() < HOUR {
        match ask(&cache).await {
            Ok(token) => assert_eq!(token.expose(), "t1"),
            Err(_) => break,
        }
        served += 1;
        tokio::time::sleep(SECOND).await;
    }
    assert_eq!(served, 150, "2.5 minutes were left");
    // The first token, then refreshes 1, 2, 4 ... 60 s apart, each up to a half shorter, at the next full second:
    // at the longest after 0, 1, 3, 7, 15, 31, 63, 123 s; at the shortest after 0, 1, 3, 6, 11, 20, 37, 68, 99, 130 s.
    assert!((9..=11).contains(&mint.calls()), "{}", mint.calls());
    let calls = mint.calls();
    ask(&cache).await.unwrap_err();
    assert_eq!(mint.calls(), calls, "the back-off holds beyond expiry");
    mint.then([Answer::New(HOUR)]);
    advance(MINUTE).await;
    ask(&cache).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_servers_advice_sets_the_refresh_point() {
    struct Advised(Mint);

    #[async_trait::async_trait]
    impl TokenSource for Advised {
        async fn token(
            &self,
            request: &TokenRequest,
        ) -> Result<hallpass_core::AccessToken, hallpass_core::TokenError> {
            let token = self.0.token(request).await?;
            Ok(token.with_refresh_in(HOUR / 2))
        }
    }

    let mint = Mint::hourly();
    let cache = hallpass_cache::CachedTokenSource::builder(Advised(mint.clone()))
        .clock(mint.clock())
        .build();
    name(&cache).await;
    advance(29 * MINUTE).await;
    name(&cache).await;
    settle().await;
    assert_eq!(mint.calls(), 1);
    advance(4 * MINUTE).await;
    name(&cache).await;
    settle().await;
    assert_eq!((mint.calls(), name(&cache).await), (2, "t2".to_owned()));
}

/// Keeps eight callers busy for this long; returns the worst wait.
async fn traffic(cache: Arc<impl TokenSource + 'static>, time: Duration) -> Duration {
    let mut tasks = tokio::task::JoinSet::new();
    let start = tokio::time::Instant::now();
    for _ in 0..8 {
        let cache = cache.clone();
        tasks.spawn(async move {
            let mut worst = Duration::ZERO;
            while start.elapsed() < time {
                let called = tokio::time::Instant::now();
                ask(&*cache).await.expect("no call fails");
                worst = worst.max(called.elapsed());
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            worst
        });
    }
    tasks.join_all().await.into_iter().max().expect("a task")
}

// covers: F-67, F-68, I-11
#[tokio::test(start_paused = true)]
async fn short_tokens_are_refreshed_once_a_lifetime() {
    for (lifetime, least, most) in [(60, 1, 2), (5, 3, 4), (1, 13, 17)] {
        let latency = Duration::from_millis(20);
        let mint = Mint::new([Answer::New(lifetime * SECOND)]).latency(latency);
        let cache = Arc::new(mint.cached());
        name(&*cache).await;
        let worst = traffic(cache.clone(), 12 * SECOND).await;
        assert_eq!(worst, Duration::ZERO, "{lifetime}");
        let calls = mint.calls();
        assert!(
            (least..=most).contains(&calls),
            "{lifetime} s: {calls} requests"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_refresh_window_is_at_most_a_fifth_of_the_lifetime() {
    let mint = Mint::new([Answer::New(24 * HOUR)]);
    let cache = mint.builder().max_refresh_window(10 * HOUR).build();
    name(&cache).await;
    // A fifth of 24 hours is 4.8 hours.
    advance(19 * HOUR).await;
    name(&cache).await;
    settle().await;
    assert_eq!(mint.calls(), 1);
    advance(3 * HOUR).await;
    name(&cache).await;
    settle().await;
    assert_eq!(mint.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_warm_token_is_fetched_again_after_an_invalidation() {
    let mint = Mint::hourly();
    let cache = mint.builder().keep_warm().build();
    let token = ask(&cache).await.unwrap();
    tokio::time::sleep(10 * MINUTE).await;
    cache.invalidate(&token);
    tokio::time::sleep(31 * SECOND).await;
    let ready = cache.ready_token(&TokenRequest::default());
    assert_eq!(ready.unwrap().expose(), "t2");
}

// covers: F-18
#[tokio::test(start_paused = true)]
async fn a_token_without_a_lifetime_is_not_refreshed_ahead() {
    let mint = Mint::new([Answer::New(Duration::ZERO)]);
    let cache = mint.builder().keep_warm().build();
    name(&cache).await;
    tokio::time::sleep(HOUR).await;
    assert!(mint.calls() <= 62, "{}", mint.calls());
}

#[tokio::test(start_paused = true)]
async fn a_refresh_without_a_lifetime_is_repeated_after_a_minute() {
    let mint = Mint::hourly();
    let cache = mint.cached();
    name(&cache).await;
    mint.then([Answer::New(Duration::ZERO)]);
    let (shorter, instant) = (Duration::from_millis(59_999), Duration::from_millis(1));
    advance(58 * MINUTE).await;
    for (wait, calls) in [(Duration::ZERO, 2), (shorter, 2), (instant, 3)] {
        advance(wait).await;
        assert_eq!(name(&cache).await, "t1");
        settle().await;
        assert_eq!(mint.calls(), calls);
    }
}

/// A source with its own cache: returns its token with the true time of its request until shortly before expiry.
struct Agent {
    mint: Mint,
    kept: std::sync::Mutex<Option<hallpass_core::AccessToken>>,
}

#[async_trait::async_trait]
impl TokenSource for Agent {
    async fn token(
        &self,
        request: &TokenRequest,
    ) -> Result<hallpass_core::AccessToken, hallpass_core::TokenError> {
        let fresh = self.mint.token(request).await?;
        let soon = self.mint.clock().now().saturating_add(10 * SECOND);
        let mut kept = self.kept.lock().unwrap();
        let token = kept.take().filter(|token| !token.is_expired(soon));
        Ok(kept.insert(token.unwrap_or(fresh)).clone())
    }
}

// covers: F-68, I-11
#[tokio::test(start_paused = true)]
async fn a_repeated_token_is_refreshed_at_half_of_its_remaining_life() {
    let mint = Mint::hourly();
    let agent = Agent {
        mint: mint.clone(),
        kept: std::sync::Mutex::default(),
    };
    let cache = hallpass_cache::CachedTokenSource::builder(agent).clock(mint.clock());
    let cache = cache.build();
    let first = ask(&cache).await.unwrap();
    for _ in 0..3_599 {
        ask(&cache).await.expect("no call fails");
        settle().await;
        advance(SECOND).await;
    }
    // Due after 55 to 57.5 minutes, then at halves of 150 to 300 s.
    let gaps = mint.gaps();
    assert!((5..=7).contains(&mint.calls()), "{gaps:?}");
    let mut left = 3_600.0 - gaps[0].as_secs_f64();
    for gap in &gaps[1..gaps.len() - 1] {
        // The next call may come a second later.
        let gap = gap.as_secs_f64();
        assert!((left / 2.0..=left / 2.0 + 1.0).contains(&gap), "{gaps:?}");
        left -= gap;
    }
    assert!(
        !ask(&cache).await.unwrap().is_same(&first),
        "ahead of its expiry"
    );
    assert_eq!(cache.stats().misses, 1);
}

// covers: F-67
#[tokio::test(start_paused = true)]
async fn a_token_that_is_due_at_once_is_refreshed_at_the_interval() {
    let tenth = SECOND / 10;
    let mint = Mint::new([Answer::New(4 * tenth)]);
    let cache = mint.cached();
    for _ in 0..100 {
        name(&cache).await;
        settle().await;
        advance(tenth / 2).await;
    }
    let gaps = mint.gaps();
    assert!(gaps.iter().all(|gap| *gap >= 5 * tenth), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn a_warm_token_is_not_fetched_beside_a_caller() {
    let mint = Mint::hourly();
    let cache = Arc::new(mint.builder().keep_warm().build());
    let token = ask(&*cache).await.unwrap();
    let gate = mint.close();
    cache.invalidate(&token);
    let caller = spawn_ask(&cache);
    gate.arrived(1).await;
    // The keeper looks every half second, and every half minute at least.
    tokio::time::sleep(MINUTE / 2 + SECOND).await;
    assert_eq!(mint.calls(), 2);
    gate.open();
    caller.await.unwrap().unwrap();
}
