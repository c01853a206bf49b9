//! Clients of rdkafka against a broker that checks their tokens.

use std::{sync::Arc, time::Duration};

use crate::support::{Authentication, Broker, Recorder, Source, token};
use hallpass_cache::CachedTokenSource;
use hallpass_core::{
    ErrorKind, Secret, TokenError, TokenRequest, TokenSource, TokenSourceExt as _,
};
use hallpass_endpoint::{ClientCredentials, ClientSecretBasic};
use hallpass_rdkafka::{KafkaTokens, TokenContext};
use hallpass_testkit::{AuthorizationServer, Client, leak};
use rdkafka::{config::RDKafkaLogLevel, consumer::StreamConsumer, producer::FutureProducer};
use tokio::runtime::Handle;

const DEFAULT: TokenRequest = TokenRequest::new();

type RecordingProducer = FutureProducer<TokenContext<Recorder>>;

/// Starts an authorization server, and returns it with a cached source of its tokens.
async fn tokens() -> (AuthorizationServer, Arc<dyn TokenSource>) {
    let server = AuthorizationServer::builder().client(Client::new("orders", "s3cr3t"));
    let server = server.start().await;
    let secret = Secret::new("s3cr3t").unwrap();
    let source = ClientCredentials::builder(
        server.token_endpoint(),
        "orders",
        ClientSecretBasic::new(secret),
    );
    let source = source.danger_allow_http_on_loopback().build().unwrap();
    let tokens = CachedTokenSource::builder(source).build();
    (server, Arc::new(tokens))
}

/// Returns tokens for which librdkafka asks once per second.
fn kafka_tokens(source: impl TokenSource + 'static) -> KafkaTokens {
    KafkaTokens::new(source, Handle::current()).refresh_interval(Duration::from_secs(1))
}

fn authentication(connection: usize, token: &str, accepted: bool) -> Authentication {
    Authentication {
        connection,
        token: token.to_owned(),
        accepted,
    }
}

#[tokio::test]
async fn a_producer_connects_with_a_token_of_the_source() {
    let (server, tokens) = tokens().await;
    let broker = Broker::start().await;
    let context = TokenContext::new(kafka_tokens(tokens.clone()));
    let producer: FutureProducer<TokenContext> =
        broker.config().create_with_context(context).unwrap();
    broker.requested(1).await;
    let token = tokens.access_token(&DEFAULT).await.unwrap();
    assert_eq!(
        broker.authentications(),
        [authentication(1, token.expose(), true)]
    );
    assert_eq!(server.token_request_count(), 1);
    drop(producer);
}

#[tokio::test]
async fn a_consumer_connects_with_a_token_of_the_source() {
    let (server, tokens) = tokens().await;
    let token = tokens.access_token(&DEFAULT).await.unwrap();
    let broker = Broker::start().await;
    let context = TokenContext::new(kafka_tokens(tokens));
    let consumer: StreamConsumer<TokenContext> =
        broker.config().create_with_context(context).unwrap();
    tokio::select! {
        () = broker.requested(1) => {}
        message = consumer.recv() => panic!("{message:?}"),
    }
    assert_eq!(
        broker.authentications(),
        [authentication(1, token.expose(), true)]
    );
    assert_eq!(server.token_request_count(), 1);
}

#[tokio::test]
async fn the_next_connection_uses_a_renewed_token() {
    let source = Source::default();
    source.set_ready(Some(token("first")));
    let broker = Broker::start().await;
    let context = TokenContext::new(kafka_tokens(source.clone()));
    let producer: FutureProducer<TokenContext> =
        broker.config().create_with_context(context).unwrap();
    broker.requested(1).await;
    source.set_ready(Some(token("second")));
    // librdkafka has the new token before it asks a second time.
    source.read_again(2).await;
    broker.disconnect();
    let all = broker.until(|all| all.len() == 2).await;
    let expected = [
        authentication(1, "first", true),
        authentication(2, "second", true),
    ];
    assert_eq!(all, expected);
    drop(producer);
}

#[tokio::test]
async fn a_session_is_renewed_with_the_newest_token() {
    let source = Source::default();
    source.set_ready(Some(token("first")));
    let broker = Broker::start().await;
    broker.set_session_lifetime(Duration::from_secs(1));
    let context = TokenContext::new(kafka_tokens(source.clone()));
    let producer: FutureProducer<TokenContext> =
        broker.config().create_with_context(context).unwrap();
    broker.until(|all| all.len() == 2).await;
    source.set_ready(Some(token("second")));
    let mut all = broker
        .until(|all| all.last().is_some_and(|last| last.token == "second"))
        .await;
    // One connection, whose client authenticates again before its session ends (KIP-368).
    assert_eq!(all.pop(), Some(authentication(1, "second", true)));
    assert_eq!(all, vec![authentication(1, "first", true); all.len()]);
    drop(producer);
}

#[tokio::test]
async fn a_refused_token_is_replaced() {
    let (server, tokens) = tokens().await;
    let first = tokens.access_token(&DEFAULT).await.unwrap();
    let broker = Broker::start().await;
    broker.refuse(first.expose());
    let context = TokenContext::new(kafka_tokens(tokens.clone()));
    let producer: FutureProducer<TokenContext> =
        broker.config().create_with_context(context).unwrap();
    broker.requested(1).await;
    let second = tokens.access_token(&DEFAULT).await.unwrap();
    let mut all = broker.authentications();
    let last = all.pop().unwrap();
    assert_eq!(last, authentication(all.len() + 1, second.expose(), true));
    assert!(!all.is_empty());
    for (connection, refused) in (1..).zip(all) {
        assert_eq!(refused, authentication(connection, first.expose(), false));
    }
    assert_eq!(server.token_request_count(), 2);
    drop(producer);
}

#[tokio::test]
async fn a_failed_refresh_invalidates_no_token() {
    let source = Source::default();
    source.set_ready(Some(token("first")));
    let broker = Broker::start().await;
    let recorder = Recorder::default();
    let kafka_tokens = Arc::new(kafka_tokens(source.clone()));
    let context = TokenContext::with_context(kafka_tokens.clone(), recorder.clone());
    let producer: RecordingProducer = broker.config().create_with_context(context).unwrap();
    broker.requested(1).await;
    source.set_ready(None);
    source.answer(Err(
        TokenError::unavailable("no route to the server").with_hint("open the firewall")
    ));
    recorder
        .failed("no route to the server; open the firewall")
        .await;
    // librdkafka keeps the token that it has.
    broker.disconnect();
    let all = broker.until(|all| all.len() == 2).await;
    assert_eq!(all[1], authentication(2, "first", true));
    assert_eq!(source.invalidated(), Vec::<String>::new());
    let error = kafka_tokens.last_error().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.hint(), Some("open the firewall"));
    drop(producer);
}

#[tokio::test]
async fn a_token_server_that_hangs_does_not_stop_the_poll_thread() {
    let source = Source::default();
    let broker = Broker::start().await;
    let recorder = Recorder::default();
    let tokens = kafka_tokens(source.clone()).timeout(Duration::from_millis(10));
    let context = TokenContext::with_context(tokens, recorder.clone());
    let producer: RecordingProducer = broker
        .config()
        .set("statistics.interval.ms", "10")
        .create_with_context(context)
        .unwrap();
    recorder.failed("no access token was fetched in time").await;
    recorder.polled(3).await;
    assert_eq!(source.calls(), 1);
    // librdkafka asks again 10 s after an error.
    source.answer(Ok(token("late")));
    broker.requested(1).await;
    assert_eq!(broker.authentications(), [authentication(1, "late", true)]);
    assert_eq!(source.calls(), 1);
    drop(producer);
}

#[tokio::test]
async fn no_log_and_no_error_shows_a_token() {
    const CANARY: &str = "c4nary-of-kafka";
    let source = Source::default();
    source.set_ready(Some(token(CANARY)));
    source.answer(Err(TokenError::new(ErrorKind::Unavailable, "down")));
    let broker = Broker::start().await;
    let recorder = Recorder::default();
    let context = TokenContext::with_context(kafka_tokens(source.clone()), recorder.clone());
    let producer: RecordingProducer = broker
        .config()
        .set("debug", "all")
        .set_log_level(RDKafkaLogLevel::Debug)
        .create_with_context(context)
        .unwrap();
    broker.requested(1).await;
    broker.refuse(CANARY);
    broker.disconnect();
    recorder.failed("SASL authentication error").await;
    assert!(recorder.text().contains("OAUTHBEARER"));
    // The broker received it.
    assert_eq!(broker.authentications()[0].token, CANARY);
    leak::assert_clean(&recorder.text(), CANARY);
    drop(producer);
}
