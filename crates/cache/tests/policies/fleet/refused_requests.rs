//! Refusals of a request, such as a scope that the client may not have, which concern one key of all processes.

use hallpass_cache::TokenStore as _;
use hallpass_core::{ErrorKind, TokenError, TokenRequest, TokenSource as _};
use tokio::time::{Instant, advance};

use super::credentials::{PROCESSES, errors, fleet};
use crate::{
    distant::{Distant, MILLISECOND, NAMESPACE, default_key, process},
    support::{Answer, HOUR, MINUTE, Mint, SECOND, key, name},
};

fn refused() -> Answer {
    Answer::Fail(TokenError::request_refused("the scope is not allowed"))
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_is_sent_once_for_the_fleet() {
    for notifies in [true, false] {
        let mint = Mint::new([refused()]).latency(50 * MILLISECOND).digest(1);
        let store = Distant::new(&mint).notifying_if(notifies);
        let fleet = fleet(&mint, &store);
        let start = Instant::now();
        let kinds = errors(&fleet, &TokenRequest::new()).await;
        assert_eq!(kinds, [ErrorKind::RequestRefused; PROCESSES]);
        assert_eq!(mint.calls(), 1, "{notifies}");
        let took = start.elapsed();
        assert!(took <= SECOND, "{notifies}: {took:?}");
        // A process that starts later gets the server's words.
        let error = process(&mint, &store).token(&TokenRequest::new()).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("the scope is not allowed"), "{error}");
        assert!(error.contains("another process"), "{error}");
        assert_eq!(mint.calls(), 1);
        // Once more after the refusal's time, which began with the first one.
        advance((31 * SECOND).saturating_sub(start.elapsed())).await;
        mint.then([Answer::New(HOUR)]);
        assert_eq!(errors(&fleet, &TokenRequest::new()).await, []);
        assert_eq!(mint.calls(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_concerns_one_key() {
    let mint = Mint::new([refused(), Answer::New(HOUR)]).digest(1);
    let store = Distant::new(&mint);
    let fleet = fleet(&mint, &store);
    let kinds = errors(&fleet, &key("refused")).await;
    assert_eq!(kinds, [ErrorKind::RequestRefused; PROCESSES]);
    assert_eq!(errors(&fleet, &key("other")).await, []);
    assert_eq!(mint.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn other_credentials_are_tried_despite_a_refused_request() {
    let mint = Mint::new([refused()]).digest(1);
    let store = Distant::new(&mint);
    let refused = process(&mint, &store);
    refused.token(&TokenRequest::new()).await.unwrap_err();
    refused.shutdown().await;
    let other = Mint::hourly().digest(2);
    let after = fleet(&other, &store);
    assert_eq!(errors(&after, &TokenRequest::new()).await, []);
    assert_eq!((mint.calls(), other.calls()), (1, 1));
    // The token has replaced the refusal, and is good for any process.
    assert_eq!(name(&process(&mint, &store)).await, "t1");
    assert_eq!(mint.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn refusals_of_different_credentials_stay_side_by_side() {
    let (one, other) = ([refused()], [refused()]);
    let (one, other) = (Mint::new(one).digest(1), Mint::new(other).digest(2));
    let store = Distant::new(&one);
    for _ in 0..3 {
        for mint in [&one, &other] {
            let process = process(mint, &store);
            process.token(&TokenRequest::new()).await.unwrap_err();
            process.shutdown().await;
        }
    }
    assert_eq!((one.calls(), other.calls()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_replaces_no_token() {
    let mint = Mint::new([Answer::New(HOUR), refused()]).digest(1);
    let store = Distant::new(&mint);
    let first = process(&mint, &store);
    name(&first).await;
    tokio::time::sleep(SECOND).await;
    // The permission is withdrawn before the token ends: the refresh is refused, and the token stays.
    advance(58 * MINUTE).await;
    name(&first).await;
    tokio::time::sleep(SECOND).await;
    first.shutdown().await;
    assert_eq!((mint.calls(), first.stats().failures), (2, 1));
    let entry = store.entry().await.unwrap();
    let entry = String::from_utf8_lossy(entry.bytes()).into_owned();
    assert!(entry.contains("\"token\":\"t1\""), "{entry}");
}

#[tokio::test(start_paused = true)]
async fn without_a_lease_a_refusal_is_not_shared() {
    let mint = Mint::new([refused()]).digest(1);
    let store = Distant::new(&mint);
    // Another process holds the lease for too long, and may still put a token.
    let lease = store.inner.lease(&default_key(), HOUR).await.unwrap();
    assert!(lease.into_lease().is_some());
    let cache = mint.builder().store(store.clone(), NAMESPACE);
    let cache = cache.fetch_timeout(SECOND).build();
    let error = cache.token(&TokenRequest::new()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RequestRefused);
    cache.shutdown().await;
    assert!(store.entry().await.is_none());
}

// covers: F-92
#[tokio::test(start_paused = true)]
async fn a_refusal_replaces_an_entry_that_nobody_can_use() {
    for unusable in [&b""[..], b"\x00\xff", b"{\"version\":1,\"kind\":\"new\"}"] {
        let mint = Mint::new([refused()]).digest(1);
        let store = Distant::new(&mint);
        let (key, entries) = (default_key(), &store.inner);
        entries.put(&key, unusable, HOUR, None).await.unwrap();
        let fleet = fleet(&mint, &store);
        let kinds = errors(&fleet, &TokenRequest::new()).await;
        assert_eq!(kinds, [ErrorKind::RequestRefused; PROCESSES]);
        assert_eq!(mint.calls(), 1, "{unusable:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_lasts_as_long_as_its_reader_says() {
    for error in [
        TokenError::request_refused("the scope is not allowed"),
        TokenError::credentials_refused("wrong secret"),
    ] {
        let mint = Mint::new([Answer::Fail(error)]).digest(1);
        let store = Distant::new(&mint);
        let patient = mint.builder().refusal_ttl(HOUR);
        let patient = patient.store(store.clone(), NAMESPACE).build();
        patient.token(&TokenRequest::new()).await.unwrap_err();
        patient.shutdown().await;
        mint.then([Answer::New(HOUR)]);
        let eager = process(&mint, &store);
        for _ in 0..29 {
            eager.token(&TokenRequest::new()).await.unwrap_err();
            advance(SECOND).await;
        }
        assert_eq!(mint.calls(), 1);
        advance(SECOND).await;
        assert_eq!(name(&eager).await, "t2");
    }
}
