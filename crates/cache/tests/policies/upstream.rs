//! The state of the source for all keys: a refusal, a wait or an outage costs one request for any number of keys.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use hallpass_cache::{CachedTokenSource, MemoryTokenStore};
use hallpass_core::{AccessToken, ErrorKind, Event, EventKind, TokenError, TokenSource};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{Instant, advance},
};

use crate::support::{
    Answer, HOUR, MINUTE, Mint, SECOND, ask, callers, down, key, refused, settle,
};

const KEYS: usize = 200;

/// Calls for all keys at once, each in a task of its own.
async fn call_all(cache: &Arc<CachedTokenSource<Mint>>) -> Vec<Result<AccessToken, TokenError>> {
    let mut calls = JoinSet::new();
    for number in 0..KEYS {
        let cache = cache.clone();
        calls.spawn(async move { cache.token(&key(number)).await });
    }
    calls.join_all().await
}

// covers: C-28
#[tokio::test(start_paused = true)]
async fn a_wrong_secret_is_sent_once_per_refusal_ttl() {
    for latency in [std::time::Duration::ZERO, 2 * SECOND] {
        let mint = Mint::new([refused()]).latency(latency);
        let cache = Arc::new(mint.cached());
        for requests in 1..=20 {
            for _ in 0..3 {
                for outcome in call_all(&cache).await {
                    let error = outcome.unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
                }
                assert_eq!(mint.calls(), requests);
                advance(9 * SECOND).await;
            }
            advance(3 * SECOND).await;
        }
    }
}

// covers: F-98, I-15
#[tokio::test(start_paused = true)]
async fn new_credentials_end_the_refusal_of_all_keys() {
    let mint = Mint::new([refused()]);
    let cache = Arc::new(mint.cached());
    call_all(&cache).await;
    // The new secret is wrong too: that costs one more request.
    mint.rotate();
    call_all(&cache).await;
    assert_eq!(mint.calls(), 2);
    mint.then([Answer::New(HOUR)]);
    mint.rotate();
    for outcome in call_all(&cache).await {
        outcome.unwrap();
    }
    assert_eq!(mint.calls(), 2 + KEYS);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_secret_costs_one_request_per_refusal_ttl() {
    let mint = Mint::hourly();
    let cache = Arc::new(mint.cached());
    call_all(&cache).await;
    mint.then([refused()]);
    advance(58 * MINUTE).await;
    // All are due, and the first refresh finds out. It lands before the others begin.
    cache.ready_token(&key(0)).unwrap();
    settle().await;
    for outcome in call_all(&cache).await {
        outcome.expect("the tokens live on");
    }
    settle().await;
    assert_eq!(mint.calls(), KEYS + 1);
    advance(2 * MINUTE).await;
    for outcome in call_all(&cache).await {
        outcome.unwrap_err();
    }
    assert_eq!(mint.calls(), KEYS + 2);
}

// covers: F-52
#[tokio::test(start_paused = true)]
async fn retry_after_is_obeyed_for_all_keys() {
    let busy = TokenError::unavailable("busy").with_retry_after(MINUTE);
    let mint = Mint::new([Answer::Fail(busy), Answer::New(HOUR)]);
    let cache = Arc::new(mint.cached());
    for outcome in call_all(&cache).await {
        assert_eq!(outcome.unwrap_err().retry_after(), Some(MINUTE));
    }
    advance(59 * SECOND).await;
    for outcome in call_all(&cache).await {
        assert_eq!(outcome.unwrap_err().retry_after(), Some(SECOND));
    }
    assert_eq!(mint.calls(), 1);
    advance(SECOND).await;
    for outcome in call_all(&cache).await {
        outcome.unwrap();
    }
    assert_eq!(mint.calls(), 1 + KEYS);
}

// covers: F-55, F-76
#[tokio::test(start_paused = true)]
async fn an_outage_costs_one_request_a_step_for_any_number_of_keys() {
    let mint = Mint::new([down()]);
    let cache = Arc::new(mint.cached());
    for _ in 0..600 {
        for outcome in call_all(&cache).await {
            outcome.unwrap_err();
        }
        tokio::time::sleep(SECOND).await;
    }
    // As many as one key makes, whose steps are longer by a third.
    assert!((12..=33).contains(&mint.calls()), "{}", mint.calls());
    mint.then([Answer::New(HOUR)]);
    tokio::time::sleep(MINUTE).await;
    for outcome in call_all(&cache).await {
        outcome.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_one_key_does_not_affect_others() {
    let invalid = || Answer::Fail(TokenError::request_refused("no such scope"));
    let broken = || {
        let status = http::StatusCode::INTERNAL_SERVER_ERROR;
        Answer::Fail(TokenError::unavailable("a bug").with_status(status))
    };
    for failure in [invalid(), broken(), Answer::Panic] {
        let mint = Mint::new([failure, Answer::New(HOUR)]);
        let cache = mint.cached();
        cache.token(&key("bad")).await.unwrap_err();
        assert_eq!(cache.token(&key("good")).await.unwrap().expose(), "t2");
        cache.token(&key("bad")).await.unwrap_err();
        assert_eq!(mint.calls(), 2);
    }
}

/// The server was reached, and the credentials were accepted.
#[tokio::test(start_paused = true)]
async fn a_refused_request_ends_the_failure_of_all_keys() {
    let refused = TokenError::request_refused("no such scope");
    let mint = Mint::new([down(), Answer::Fail(refused), Answer::New(HOUR)]);
    let cache = Arc::new(mint.cached());
    call(&cache, "down").await.unwrap().unwrap_err();
    let gate = mint.close();
    advance(2 * SECOND).await;
    // The only one that is sent while the server may be down.
    let trial = call(&cache, "bad");
    gate.arrived(1).await;
    let waiting = ["one", "other"].map(|scope| call(&cache, scope));
    settle().await;
    assert_eq!(mint.calls(), 2);
    let others = mint.close();
    gate.open();
    trial.await.unwrap().unwrap_err();
    settle().await;
    assert_eq!(mint.calls(), 4, "both at once");
    others.open();
    for call in waiting {
        call.await.unwrap().unwrap();
    }
}

/// A source that refuses one key as if the client were at fault, and serves the others.
struct Partial(Mint);

#[async_trait::async_trait]
impl TokenSource for Partial {
    async fn token(
        &self,
        request: &hallpass_core::TokenRequest,
    ) -> Result<AccessToken, TokenError> {
        let token = self.0.token(request).await?;
        if *request == key("bad") {
            return Err(TokenError::unavailable("cannot be reached"));
        }
        Ok(token)
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_key_delays_others_once() {
    let mint = Mint::hourly();
    let cache = CachedTokenSource::builder(Partial(mint.clone()))
        .clock(mint.clock())
        .build();
    cache.token(&key("bad")).await.unwrap_err();
    cache.token(&key(0)).await.unwrap_err();
    let mut failed = 0;
    for number in 1..1_000 {
        advance(SECOND / 10).await;
        cache.token(&key("bad")).await.unwrap_err();
        failed += usize::from(cache.token(&key(number)).await.is_err());
    }
    // The first step is 1 s, up to a half shorter by jitter, and for other keys a quarter shorter again: 375 to 750 ms.
    assert!((3..=7).contains(&failed), "{failed}");
    // And the bad one backs off like any other: 1, 2, 4 ... s, each up to a half shorter.
    let bad = mint.calls() - (999 - failed);
    assert!((6..=10).contains(&bad), "{bad}");
}

#[tokio::test(start_paused = true)]
async fn concurrent_fetches_are_limited() {
    let mint = Mint::hourly();
    let cache = Arc::new(mint.builder().max_concurrent_fetches(10).build());
    ask(&*cache).await.unwrap();
    let gate = mint.close();
    let calls = {
        let cache = cache.clone();
        tokio::spawn(async move { call_all(&cache).await })
    };
    settle().await;
    assert_eq!((mint.calls(), cache.stats().flights), (11, 10));
    assert_eq!(cache.stats().keys, 10, "a key that waits holds nothing");
    assert_eq!(cache.stats().waiters, KEYS);
    // The default key waits for none of them.
    cache.invalidate(&ask(&*cache).await.unwrap());
    let default = callers(&cache, KEYS + 1);
    settle().await;
    gate.open();
    for outcome in calls.await.unwrap() {
        outcome.unwrap();
    }
    default.await.join_all().await.remove(0).unwrap();
    assert_eq!(mint.calls(), KEYS + 2);
}

#[tokio::test(start_paused = true)]
async fn keys_beyond_a_source_that_hangs_get_that_error() {
    let mint = Mint::new([Answer::Hang]);
    let cache = Arc::new(
        mint.builder()
            .max_keys(10)
            .max_concurrent_fetches(8)
            .build(),
    );
    let start = tokio::time::Instant::now();
    let mut errors = [0, 0];
    for outcome in call_all(&cache).await {
        let error = outcome.unwrap_err();
        assert!(error.is_transient());
        let full = error.to_string().contains("did not start within");
        errors[usize::from(full)] += 1;
    }
    assert!(start.elapsed() <= 3 * MINUTE, "{:?}", start.elapsed());
    assert_eq!(errors[0], mint.calls());
    assert!(errors[0] >= 8 && errors[1] > 0, "{errors:?}");
    assert!(cache.stats().keys <= 10 + 8, "{}", cache.stats().keys);
    assert_eq!(cache.stats().flights, 0);
}

// covers: F-83
#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn a_limit_of_one_key_fails_no_call() {
    let mint = Mint::hourly();
    let cache = Arc::new(mint.builder().max_keys(1).build());
    let mut tasks = JoinSet::new();
    for task in 0..64 {
        let cache = cache.clone();
        tasks.spawn(async move {
            for call in 0..200 {
                let request = key((task * 7 + call) % 50);
                cache.token(&request).await.expect("no call fails");
            }
        });
    }
    tasks.join_all().await;
}

/// A token that another process put into the store is found even while this process must not call the source.
// covers: C-35
#[tokio::test(start_paused = true)]
async fn a_cached_failure_hides_no_token_in_the_store() {
    let mint = Mint::hourly();
    let store = MemoryTokenStore::new(mint.clock());
    let landed = Arc::new(AtomicUsize::new(0));
    let count = landed.clone();
    let builder = || mint.builder().store(store.clone(), "login.example/orders");
    let one = builder().observer(Arc::new(move |event: &Event<'_>| {
        if matches!(event.kind, EventKind::FetchCompleted { .. }) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }));
    let (one, other) = (one.build(), builder().build());
    for _ in 0..6 {
        let token = ask(&one).await.unwrap();
        settle().await;
        advance(SECOND).await;
        one.invalidate(&token);
        advance(SECOND).await;
        if ask(&one).await.is_err() {
            break;
        }
    }
    let error = ask(&one).await.unwrap_err();
    assert!(error.to_string().contains("refused the last"), "{error}");
    // It queries the store twice a second, however often it is called.
    let before = landed.load(Ordering::Relaxed);
    for _ in 0..1_000 {
        ask(&one).await.unwrap_err();
        advance(SECOND / 1_000).await;
    }
    assert!((1..=3).contains(&(landed.load(Ordering::Relaxed) - before)));
    // The other process gets another token.
    let old = ask(&other).await.unwrap();
    other.invalidate(&old);
    let good = ask(&other).await.unwrap();
    settle().await;
    assert!(!good.is_same(&old));
    let calls = mint.calls();
    advance(SECOND).await;
    assert!(ask(&one).await.unwrap().is_same(&good));
    assert_eq!(mint.calls(), calls);
}

/// Calls for this key in a task of its own.
fn call(
    cache: &Arc<CachedTokenSource<Mint>>,
    scope: &'static str,
) -> JoinHandle<Result<AccessToken, TokenError>> {
    let cache = cache.clone();
    tokio::spawn(async move { cache.token(&key(scope)).await })
}

// covers: F-84
#[tokio::test(start_paused = true)]
async fn the_end_of_a_late_trial_does_not_end_the_next_one() {
    // It says nothing about the server.
    let unreadable = TokenError::unusable_response("cut").with_transient(true);
    let mint = Mint::new([Answer::Fail(unreadable), Answer::New(HOUR)]);
    let cache = Arc::new(mint.cached());
    let (first, start) = (mint.close(), Instant::now());
    let slow = call(&cache, "slow");
    first.arrived(1).await;
    advance(5 * SECOND).await;
    let second = mint.close();
    let next = call(&cache, "next");
    second.arrived(1).await;
    assert_eq!(start.elapsed(), 5 * SECOND, "nobody waits for longer");
    first.open();
    slow.await.unwrap().unwrap_err();
    mint.close().open();
    let last = call(&cache, "last");
    settle().await;
    assert_eq!(mint.calls(), 2);
    second.open();
    for call in [next, last] {
        call.await.unwrap().unwrap();
    }
}

// covers: F-52
#[tokio::test(start_paused = true)]
async fn of_failures_at_once_the_longest_wait_applies() {
    for waits in [[MINUTE, 2 * MINUTE], [2 * MINUTE, MINUTE]] {
        let mint = Mint::hourly();
        let cache = Arc::new(mint.cached());
        call(&cache, "accepted").await.unwrap().unwrap();
        let busy = waits.map(|wait| TokenError::unavailable("busy").with_retry_after(wait));
        mint.then(busy.map(Answer::Fail));
        let mut calls = Vec::new();
        for scope in ["one", "other"] {
            let gate = mint.close();
            let call = call(&cache, scope);
            gate.arrived(1).await;
            calls.push((gate, call));
        }
        for (gate, call) in calls {
            gate.open();
            call.await.unwrap().unwrap_err();
        }
        let error = call(&cache, "third").await.unwrap().unwrap_err();
        assert_eq!(error.retry_after(), Some(2 * MINUTE), "{waits:?}");
    }
}
