//! The calls of `KafkaTokens`, without a client.

use std::{
    sync::Arc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hallpass_core::{AccessToken, Clock as _, ErrorKind, Moment, SystemClock, TokenError};
use hallpass_rdkafka::KafkaTokens;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::{runtime::Handle, sync::oneshot, task::yield_now};

use crate::support::{Source, token, within};

const REFUSAL: &str =
    "127.0.0.1:9092/bootstrap: SASL authentication error: {\"status\":\"invalid_token\"}";

fn authentication_error() -> KafkaError {
    KafkaError::Global(RDKafkaErrorCode::Authentication)
}

fn kafka_tokens(source: &Source) -> KafkaTokens {
    KafkaTokens::new(source.clone(), Handle::current()).timeout(Duration::from_secs(3_600))
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

#[tokio::test]
async fn a_call_on_an_async_thread_does_not_wait() {
    let source = Source::default();
    let tokens = kafka_tokens(&source);
    let error = tokens.oauth_token().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.is_transient());
    source.called(1).await;
    // Each call joins the first one's fetch.
    assert!(tokens.oauth_token().is_err());
    source.answer(Ok(token("late")));
    let late = within(async {
        loop {
            match tokens.oauth_token() {
                Ok(late) => return late,
                Err(_) => yield_now().await,
            }
        }
    });
    assert_eq!(late.await.token, "late");
    assert_eq!(source.calls(), 1);
    assert!(tokens.last_error().is_none());
}

#[tokio::test]
async fn a_failure_of_an_earlier_fetch_is_reported() {
    let source = Source::default();
    let tokens = kafka_tokens(&source);
    assert!(tokens.oauth_token().is_err());
    let refused = TokenError::new(ErrorKind::CredentialsRefused, "the secret is wrong");
    source.answer(Err(refused));
    source.ended(1).await;
    // The call starts another fetch, and does not wait for it.
    let error = tokens.oauth_token().err().unwrap();
    assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
    assert_eq!(source.calls(), 1);
    source.called(2).await;
    let last = tokens.last_error().unwrap();
    assert_eq!(last.kind(), ErrorKind::CredentialsRefused);
}

/// Makes a call on a thread of its own, within a runtime if there is one.
fn call(
    tokens: &Arc<KafkaTokens>,
    runtime: Option<Handle>,
) -> oneshot::Receiver<Result<String, TokenError>> {
    let (sender, answer) = oneshot::channel();
    let tokens = tokens.clone();
    thread::spawn(move || {
        let _context = runtime.as_ref().map(Handle::enter);
        let _ = sender.send(tokens.oauth_token().map(|token| token.token));
    });
    answer
}

#[tokio::test]
async fn a_call_that_does_not_wait_returns_before_one_that_does() {
    let source = Source::default();
    let tokens = Arc::new(kafka_tokens(&source));
    let waiting = call(&tokens, None);
    source.called(1).await;
    let other = within(call(&tokens, Some(Handle::current())))
        .await
        .unwrap();
    assert!(other.unwrap_err().is_transient());
    source.answer(Ok(token("late")));
    assert_eq!(within(waiting).await.unwrap().unwrap(), "late");
    assert_eq!(source.calls(), 1);
}

#[tokio::test]
async fn a_late_token_is_not_used_after_its_expiry() {
    let source = Source::default();
    let tokens = kafka_tokens(&source);
    assert!(tokens.oauth_token().is_err());
    // The wall clock was set back by an hour since.
    let minute = Duration::from_secs(60);
    let past = SystemClock.now().saturating_sub(minute);
    let past = Moment::new(past, SystemTime::now() + 60 * minute);
    let expired = AccessToken::bearer("expired", past, minute).unwrap();
    source.answer(Ok(expired));
    source.ended(1).await;
    // The next call starts another fetch.
    assert!(tokens.oauth_token().is_err());
    source.called(2).await;
}

#[tokio::test]
async fn a_dropped_client_cancels_its_fetch() {
    let source = Source::default();
    let tokens = kafka_tokens(&source);
    assert!(tokens.oauth_token().is_err());
    source.called(1).await;
    drop(tokens);
    source.ended(1).await;
}

#[tokio::test]
async fn the_lifetime_ends_with_the_interval_or_the_token() {
    let source = Source::default();
    let tokens = kafka_tokens(&source);
    let lifetime = |token: AccessToken| {
        source.set_ready(Some(token));
        let before = SystemTime::now();
        let end = tokens.oauth_token().unwrap().lifetime_ms;
        (before, end, SystemTime::now())
    };
    // librdkafka asks again after 80 %.
    let (before, end, after) = lifetime(token("hour"));
    let interval = Duration::from_millis(12_500);
    assert!((millis(before + interval)..=millis(after + interval)).contains(&end));

    let short = AccessToken::bearer("short", SystemClock.moment(), Duration::from_secs(5));
    let short = short.unwrap();
    let (_, end, _) = lifetime(short.clone());
    assert!((end - millis(short.expires_at().unwrap())).abs() <= 1);

    let (before, end, after) =
        lifetime(AccessToken::bearer("unlimited", SystemClock.moment(), Duration::MAX).unwrap());
    assert!((millis(before + interval)..=millis(after + interval)).contains(&end));

    // The wall clock was set ahead, or back, after the token was issued: the token lives as long as before.
    let hours = Duration::from_secs(7_200);
    for wall in [SystemTime::now() - hours, SystemTime::now() + hours] {
        let minute = Duration::from_secs(60);
        let issued = Moment::new(SystemClock.now(), wall);
        let token = AccessToken::bearer("set", issued, minute).unwrap();
        let (before, end, after) = lifetime(token);
        assert!((millis(before + interval)..=millis(after + interval)).contains(&end));
        let late = SystemClock.now().saturating_sub(Duration::from_secs(55));
        let token = AccessToken::bearer("late", Moment::new(late, wall), minute).unwrap();
        let (before, end, after) = lifetime(token);
        assert!((millis(before)..=millis(after + Duration::from_secs(5))).contains(&end));
    }
}

#[tokio::test]
async fn the_refresh_interval_has_bounds() {
    let source = Source::default();
    let forever = AccessToken::bearer("first", SystemClock.moment(), Duration::MAX);
    source.set_ready(Some(forever.unwrap()));
    for (set, seconds) in [(Duration::ZERO, 1.0), (Duration::MAX, 3_600.0)] {
        let tokens = kafka_tokens(&source).refresh_interval(set);
        let lifetime = Duration::from_secs_f64(seconds * 1.25);
        let before = millis(SystemTime::now() + lifetime);
        let end = tokens.oauth_token().unwrap().lifetime_ms;
        let after = millis(SystemTime::now() + lifetime);
        assert!((before..=after).contains(&end));
    }
}

#[tokio::test]
async fn a_refusal_invalidates_the_token_once() {
    let source = Source::default();
    source.set_ready(Some(token("first")));
    let tokens = kafka_tokens(&source);
    assert_eq!(tokens.oauth_token().unwrap().token, "first");
    for _ in 0..3 {
        tokens.handle_error(&authentication_error(), REFUSAL);
    }
    assert_eq!(source.invalidated(), ["first"]);
    // The next token is fetched at once.
    source.answer(Ok(token("second")));
    source.ended(1).await;
    assert_eq!(tokens.oauth_token().unwrap().token, "second");
    assert_eq!(source.calls(), 1);
}

#[tokio::test]
async fn a_refusal_during_a_fetch_starts_no_other_fetch() {
    let source = Source::default();
    source.set_ready(Some(token("first")));
    let tokens = kafka_tokens(&source);
    assert!(tokens.oauth_token().is_ok());
    source.set_ready(None);
    assert!(tokens.oauth_token().is_err());
    source.called(1).await;
    tokens.handle_error(&authentication_error(), REFUSAL);
    assert_eq!(source.invalidated(), ["first"]);
    source.answer(Ok(token("second")));
    source.ended(1).await;
    assert_eq!(tokens.oauth_token().unwrap().token, "second");
    assert_eq!(source.calls(), 1);
}

#[tokio::test]
async fn other_errors_invalidate_nothing() {
    let source = Source::default();
    source.set_ready(Some(token("first")));
    let tokens = kafka_tokens(&source);
    assert!(tokens.oauth_token().is_ok());
    let down = KafkaError::Global(RDKafkaErrorCode::AllBrokersDown);
    tokens.handle_error(&down, REFUSAL);
    let failed = "Failed to acquire SASL OAUTHBEARER token: the server is down";
    tokens.handle_error(&authentication_error(), failed);
    assert_eq!(source.invalidated(), Vec::<String>::new());
    tokens.handle_error(&authentication_error(), REFUSAL);
    assert_eq!(source.invalidated(), ["first"]);
}

#[tokio::test]
async fn a_runtime_that_was_shut_down_is_an_error() {
    let runtime = tokio::runtime::Builder::new_multi_thread().build().unwrap();
    let source = Source::default();
    let tokens = KafkaTokens::new(source.clone(), runtime.handle().clone());
    runtime.shutdown_background();
    // The runtime may still accept the task, and drop it later.
    within(async {
        let stopped = |message: &str| message.contains("its runtime was shut down");
        while !stopped(&tokens.oauth_token().err().unwrap().message()) {
            yield_now().await;
        }
    })
    .await;
}
