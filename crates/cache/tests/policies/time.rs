//! Clocks that jump, machines that sleep, lifetimes from zero to infinite.

use std::time::Duration;

use async_trait::async_trait;
use hallpass_cache::CachedTokenSource;
use hallpass_core::{AccessToken, Clock as _, ErrorKind, TokenError, TokenRequest, TokenSource};
use tokio::time::advance;

use crate::support::{Answer, HOUR, MINUTE, Manual, Mint, SECOND, ask, name, settle};

// covers: F-63
#[tokio::test]
async fn a_jump_of_the_wall_clock_changes_nothing() {
    let (clock, cache) = Manual::cached();
    name(&cache).await;
    let wall = clock.wall();
    for jumped in [wall + HOUR, wall - HOUR, wall + 24 * 365 * HOUR] {
        clock.set_wall(jumped);
        name(&cache).await;
        settle().await;
        assert_eq!(cache.stats().fetches, 1);
    }
    clock.advance(HOUR);
    name(&cache).await;
    assert_eq!(cache.stats().fetches, 2);
}

// covers: F-64
#[tokio::test]
async fn a_token_that_expired_during_suspend_is_not_returned() {
    // The clock runs through suspend: it is two hours later at once, and no timer has fired.
    let (clock, cache) = Manual::cached();
    name(&cache).await;
    clock.advance(2 * HOUR);
    assert!(cache.ready_token(&TokenRequest::default()).is_none());
    let token = ask(&cache).await.unwrap();
    assert!(!token.is_expired(clock.now()));
}

// covers: F-18
#[tokio::test(start_paused = true)]
async fn a_token_without_a_lifetime_serves_only_waiting_callers() {
    let mint = Mint::new([Answer::New(Duration::ZERO)]);
    let cache = mint.cached();
    for number in 1..=10 {
        assert_eq!(name(&cache).await, format!("t{number}"));
    }
    // Each waits until the interval allows the next.
    assert_eq!(mint.calls(), 10);
    assert!(
        mint.gaps().iter().all(|gap| *gap >= SECOND / 2),
        "{:?}",
        mint.gaps()
    );
}

// covers: F-66, I-06
#[tokio::test(start_paused = true)]
async fn a_token_that_expires_on_its_way_is_retried_once() {
    let mint = Mint::new([Answer::New(SECOND)]).latency(2 * SECOND);
    let cache = mint.cached();
    let error = ask(&cache).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnusableResponse);
    assert!(error.is_transient());
    assert!(
        error.to_string().contains("expired before it arrived"),
        "{error}"
    );
    assert_eq!(mint.calls(), 2);
    ask(&cache).await.unwrap_err();
    assert_eq!(mint.calls(), 2, "and then there is a back-off");
}

// covers: F-66
#[tokio::test(start_paused = true)]
async fn one_slow_response_costs_one_more_fetch_and_no_error() {
    let mint = Mint::new([Answer::New(SECOND), Answer::New(HOUR)]).latency(2 * SECOND);
    let cache = mint.cached();
    assert_eq!(name(&cache).await, "t2");
    assert_eq!(mint.calls(), 2);
}

// covers: F-69
#[tokio::test(start_paused = true)]
async fn an_endless_lifetime_is_supported() {
    let mint = Mint::new([Answer::New(Duration::from_secs(u64::MAX))]);
    let cache = mint.cached();
    name(&cache).await;
    advance(24 * 365 * 100 * HOUR).await;
    assert_eq!(name(&cache).await, "t1");
    settle().await;
    assert_eq!(mint.calls(), 1);
}

// covers: F-68, I-11
#[tokio::test(start_paused = true)]
async fn a_server_repeating_an_expiring_token_gets_few_requests() {
    /// A source that returns the same token with its remaining lifetime.
    struct Dying(Mint, hallpass_core::Timestamp);

    #[async_trait]
    impl TokenSource for Dying {
        async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
            self.0.token(request).await?;
            let asked = self.0.clock().moment();
            let left = self.1.saturating_since(asked.timestamp);
            Ok(AccessToken::bearer("same", asked, left)?)
        }
    }

    let mint = Mint::hourly();
    let until = mint.clock().now().saturating_add(30 * SECOND);
    let cache = CachedTokenSource::builder(Dying(mint.clone(), until))
        .clock(mint.clock())
        .build();
    for _ in 0..29_990 {
        name(&cache).await;
        settle().await;
        advance(SECOND / 1_000).await;
    }
    // Each refresh is due after four fifths of the remaining lifetime.
    assert!((2..=12).contains(&mint.calls()), "{}", mint.calls());
    assert!(
        mint.gaps().iter().all(|gap| *gap >= SECOND / 2),
        "{:?}",
        mint.gaps()
    );
}

// covers: F-68
#[tokio::test(start_paused = true)]
async fn the_minimum_interval_can_be_set() {
    let mint = Mint::new([Answer::New(Duration::ZERO)]);
    let cache = mint.builder().min_interval(MINUTE).build();
    name(&cache).await;
    let start = tokio::time::Instant::now();
    name(&cache).await;
    assert_eq!(start.elapsed(), MINUTE);
}
