//! Cached failures: their duration, and their early end.

use std::time::Duration;

use hallpass_core::{ErrorKind, TokenError};
use tokio::time::advance;

use crate::support::{Answer, HOUR, MINUTE, Mint, SECOND, ask, down, name, refused, settle};

// covers: F-55, F-76
#[tokio::test(start_paused = true)]
async fn transient_failures_back_off_exponentially() {
    let mint = Mint::new([down()]);
    let cache = mint.cached();
    for _ in 0..600 {
        ask(&cache).await.unwrap_err();
        tokio::time::sleep(SECOND).await;
    }
    let gaps: Vec<f64> = mint.gaps().iter().map(Duration::as_secs_f64).collect();
    for (n, gap) in gaps.iter().enumerate() {
        let full = f64::from(1_u32 << n.min(16)).min(60.0);
        // The next call comes within a second.
        assert!(*gap >= full / 2.0 && *gap <= full + 1.0, "{n}: {gaps:?}");
    }
    assert!((12..=25).contains(&gaps.len()), "{gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn a_success_resets_the_backoff() {
    let mint = Mint::new([down(), down(), down(), Answer::New(10 * SECOND), down()]);
    let cache = mint.cached();
    for _ in 0..20 {
        if ask(&cache).await.is_ok() {
            break;
        }
        advance(SECOND).await;
    }
    assert_eq!(mint.calls(), 4);
    advance(10 * SECOND).await;
    ask(&cache).await.unwrap_err();
    mint.then([Answer::New(HOUR)]);
    advance(SECOND).await;
    name(&cache).await;
    assert_eq!(mint.calls(), 6, "one second, as after a first failure");
}

// covers: F-52
#[tokio::test(start_paused = true)]
async fn retry_after_applies_to_all_callers_of_a_key() {
    let wait = TokenError::unavailable("busy").with_retry_after(2 * MINUTE);
    let mint = Mint::new([Answer::Fail(wait), Answer::New(HOUR)]);
    let cache = mint.cached();
    for passed in 0..119 {
        let error = ask(&cache).await.unwrap_err();
        // The rest of the wait.
        assert_eq!(error.retry_after(), Some((120 - passed) * SECOND));
        advance(SECOND).await;
    }
    assert_eq!(mint.calls(), 1);
    advance(SECOND).await;
    assert_eq!(name(&cache).await, "t2");
}

// covers: F-52
#[tokio::test(start_paused = true)]
async fn a_short_retry_after_does_not_shorten_the_backoff() {
    for wait in [Duration::ZERO, SECOND] {
        let busy = TokenError::unavailable("busy").with_retry_after(wait);
        let mint = Mint::new([Answer::Fail(busy), Answer::New(HOUR)]);
        let cache = mint.builder().backoff(MINUTE, MINUTE).build();
        ask(&cache).await.unwrap_err();
        let left = ask(&cache).await.unwrap_err().retry_after().unwrap();
        assert!((MINUTE / 2..=MINUTE).contains(&left), "{left:?}");
        advance(2 * SECOND).await;
        ask(&cache).await.unwrap_err();
        assert_eq!(mint.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_cached_failure_states_the_remaining_wait() {
    for failure in [down(), refused()] {
        let mint = Mint::new([failure]);
        let cache = mint.builder().backoff(MINUTE, MINUTE).refusal_ttl(MINUTE);
        let cache = cache.build();
        // The source's own error names no wait.
        assert_eq!(ask(&cache).await.unwrap_err().retry_after(), None);
        let left = ask(&cache).await.unwrap_err().retry_after().unwrap();
        assert!((MINUTE / 2..=MINUTE).contains(&left), "{left:?}");
        advance(10 * SECOND).await;
        let later = ask(&cache).await.unwrap_err().retry_after().unwrap();
        assert_eq!(later + 10 * SECOND, left);
        // Waiting for this long is enough, and no longer than needed.
        advance(later.saturating_sub(SECOND)).await;
        ask(&cache).await.unwrap_err();
        assert_eq!(mint.calls(), 1);
        advance(SECOND).await;
        ask(&cache).await.unwrap_err();
        assert_eq!(mint.calls(), 2);
    }
}

// covers: F-54
#[tokio::test(start_paused = true)]
async fn a_long_retry_after_delays_no_caller_and_is_bounded() {
    let wait = || Answer::Fail(TokenError::unavailable("busy").with_retry_after(24 * HOUR));
    let mint = Mint::new([Answer::New(HOUR), wait(), Answer::New(HOUR)]);
    let cache = mint.cached();
    name(&cache).await;
    advance(58 * MINUTE).await;
    assert_eq!(name(&cache).await, "t1");
    settle().await;
    assert_eq!((mint.calls(), name(&cache).await), (2, "t1".to_owned()));
    advance(3 * MINUTE).await;
    let start = tokio::time::Instant::now();
    let error = ask(&cache).await.unwrap_err();
    assert_eq!(start.elapsed(), std::time::Duration::ZERO);
    // An hour is obeyed, and three minutes have passed.
    assert_eq!(error.retry_after(), Some(57 * MINUTE));
    advance(57 * MINUTE).await;
    assert_eq!(name(&cache).await, "t3", "a day is cut to an hour");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_cached_for_a_limited_time() {
    let mint = Mint::new([refused(), Answer::New(HOUR)]);
    let cache = mint.builder().refusal_ttl(10 * SECOND).build();
    for _ in 0..10 {
        let error = ask(&cache).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
        advance(SECOND).await;
    }
    assert_eq!(mint.calls(), 2 - 1);
    assert_eq!(name(&cache).await, "t2");
}

// covers: F-98, I-15
#[tokio::test(start_paused = true)]
async fn new_credentials_end_a_cached_refusal() {
    let mint = Mint::new([refused(), Answer::New(HOUR)]);
    let cache = mint.cached();
    ask(&cache).await.unwrap_err();
    advance(SECOND).await;
    ask(&cache).await.unwrap_err();
    assert_eq!(mint.calls(), 1);
    mint.rotate();
    assert_eq!(name(&cache).await, "t2");
}

#[tokio::test(start_paused = true)]
async fn new_credentials_do_not_end_a_backoff() {
    let mint = Mint::new([down()]);
    let cache = mint.builder().backoff(MINUTE, MINUTE).build();
    ask(&cache).await.unwrap_err();
    mint.rotate();
    advance(SECOND).await;
    ask(&cache).await.unwrap_err();
    assert_eq!(mint.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_refused_refresh_costs_no_caller_the_cached_token() {
    let mint = Mint::new([Answer::New(HOUR), refused()]);
    let cache = mint.cached();
    name(&cache).await;
    advance(58 * MINUTE).await;
    for _ in 0..119 {
        assert_eq!(name(&cache).await, "t1");
        advance(SECOND).await;
        settle().await;
    }
    assert_eq!(mint.calls(), 5, "at 0, 30, 60 and 90 s");
}
