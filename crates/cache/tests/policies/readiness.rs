//! The state of a token for a probe, and the warm-up of a service.

use std::time::Duration;

use hallpass_cache::Readiness;
use hallpass_core::{ErrorKind, TokenError, TokenRequest, TokenSource};
use tokio::time::{Instant, advance};

use crate::support::{Answer, HOUR, MINUTE, Mint, SECOND, ask, down, key, refused, settle};

#[tokio::test(start_paused = true)]
async fn a_valid_token_is_ready_for_the_rest_of_its_lifetime() {
    let mint = Mint::hourly();
    let cache = mint.cached();
    let request = TokenRequest::default();
    assert!(matches!(cache.readiness(&request), Readiness::Missing));
    assert!(matches!(cache.readiness(&key("a")), Readiness::Missing));
    assert_eq!(mint.calls(), 0, "a look at the state fetches nothing");
    ask(&cache).await.unwrap();
    advance(20 * MINUTE).await;
    let state = cache.readiness(&request);
    assert!(matches!(state, Readiness::Ready { valid_for, .. } if valid_for == 40 * MINUTE));
    advance(40 * MINUTE).await;
    assert!(matches!(cache.readiness(&request), Readiness::Missing));
}

#[tokio::test(start_paused = true)]
async fn a_failing_refresh_makes_a_valid_token_stale() {
    let mint = Mint::new([Answer::New(HOUR), down()]);
    let cache = mint.cached();
    let request = TokenRequest::default();
    ask(&cache).await.unwrap();
    advance(58 * MINUTE).await;
    ask(&cache).await.unwrap();
    settle().await;
    advance(MINUTE).await;
    let state = cache.readiness(&request);
    assert!(state.is_ready());
    let Readiness::Stale {
        valid_for, failure, ..
    } = state
    else {
        panic!("{state:?}");
    };
    assert_eq!((valid_for, failure.failing_for), (MINUTE, MINUTE));

    // The series of failures began with the refresh, and ends with a token.
    advance(2 * MINUTE).await;
    ask(&cache).await.unwrap_err();
    let state = cache.readiness(&request);
    assert!(!state.is_ready());
    let Readiness::Unavailable(failure) = state else {
        panic!("{state:?}");
    };
    assert_eq!(failure.failing_for, 3 * MINUTE);
    mint.then([Answer::New(HOUR)]);
    advance(5 * MINUTE).await;
    ask(&cache).await.unwrap();
    assert_eq!(cache.readiness(&request).as_str(), "ready");
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_not_an_outage() {
    let mint = Mint::new([refused()]);
    let cache = mint.cached();
    ask(&cache).await.unwrap_err();
    let state = cache.readiness(&TokenRequest::default());
    assert!(matches!(state, Readiness::Refused(_)), "{state:?}");
    let failure = state.failure().unwrap();
    assert_eq!(failure.error.kind(), ErrorKind::CredentialsRefused);
    assert_eq!(failure.failing_for, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_fetches_all_requests_at_once() {
    let mint = Mint::hourly().latency(SECOND);
    let cache = mint.cached();
    ask(&cache).await.unwrap();
    let began = Instant::now();
    let requests = [TokenRequest::default(), key("a"), key("b"), key("a")];
    cache.warm_up(requests, MINUTE).await.unwrap();
    assert_eq!((began.elapsed(), mint.calls()), (SECOND, 3));
    assert!(cache.ready_token(&key("b")).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_retries_transient_failures() {
    let mint = Mint::new([down(), down(), Answer::New(HOUR)]);
    let cache = mint.cached();
    let default = [TokenRequest::default()];
    cache.warm_up(default, MINUTE).await.unwrap();
    assert_eq!(mint.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_fails_at_once_for_a_permanent_error() {
    let mint = Mint::new([refused()]);
    let cache = mint.cached();
    let began = Instant::now();
    let error = cache.warm_up([TokenRequest::default()], MINUTE).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::CredentialsRefused);
    assert_eq!((began.elapsed(), mint.calls()), (Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_does_not_wait_for_a_retry_after_its_timeout() {
    let busy = TokenError::unavailable("busy").with_retry_after(MINUTE);
    let cache = Mint::new([Answer::Fail(busy)]).cached();
    let began = Instant::now();
    let error = cache.warm_up([TokenRequest::default()], 30 * SECOND).await;
    assert!(error.unwrap_err().to_string().contains("busy"));
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_warm_up_ends_by_its_timeout_and_the_fetch_continues() {
    let mint = Mint::hourly().latency(5 * SECOND);
    let cache = mint.cached();
    let began = Instant::now();
    let error = cache.warm_up([TokenRequest::default()], 2 * SECOND).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(began.elapsed(), 2 * SECOND);
    cache
        .warm_up([TokenRequest::default()], 4 * SECOND)
        .await
        .unwrap();
    assert_eq!((began.elapsed(), mint.calls()), (5 * SECOND, 1));
}
