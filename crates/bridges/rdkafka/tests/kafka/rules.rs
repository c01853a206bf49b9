//! Rules for adapters, and a refresh and an outage under load.

use std::{
    sync::Arc,
    thread,
    time::{Duration, UNIX_EPOCH},
};

use hallpass_core::{TokenError, TokenRequest, TokenSourceExt as _, async_trait};
use hallpass_rdkafka::{KafkaTokens, TokenContext};
use hallpass_testkit::bridge::{self, Adapter, BoxError, Credential, Rule};
use rdkafka::{
    ClientContext as _,
    error::{KafkaError, RDKafkaErrorCode},
};
use tokio::{runtime::Handle, sync::oneshot, task::yield_now};

use crate::{
    renewal::{LAST_MINUTES, Renewal},
    support::within,
};

/// A context whose calls are made on threads without a runtime, such as that of a producer.
#[derive(Debug)]
struct Polled(Arc<TokenContext>);

#[async_trait]
impl Adapter for Polled {
    async fn credential(&self) -> Result<Credential, BoxError> {
        let (sender, answer) = oneshot::channel();
        let context = self.0.clone();
        thread::spawn(move || {
            // rdkafka passes the error's text to librdkafka.
            let answer = context.generate_oauth_token(None);
            let _ = sender.send(answer.map_err(|error| error.to_string()));
        });
        let token = answer.await??;
        let end = Duration::from_millis(token.lifetime_ms.try_into()?);
        Ok(Credential::new(token.token).expires_at(UNIX_EPOCH + end))
    }

    async fn refuse(&self, _: &str) {
        let error = KafkaError::Global(RDKafkaErrorCode::Authentication);
        self.0
            .error(error, "broker: SASL authentication error: refused");
    }
}

#[tokio::test]
async fn a_context_follows_the_rules_for_adapters() {
    let exceptions = [
        (
            Rule::ReportsRefusals,
            "librdkafka's error does not name the token, so that a late one invalidates its successor",
        ),
        (
            Rule::SurvivesCancellation,
            "librdkafka's calls are synchronous; the fetch is cancelled with the client",
        ),
    ];
    let create = |source| {
        let tokens = KafkaTokens::new(source, Handle::current()).timeout(Duration::from_secs(5));
        Polled(Arc::new(TokenContext::new(tokens)))
    };
    assert_eq!(bridge::check(create, &exceptions).await, []);
}

/// Creates the tokens of ten clients, which share a cache whose token is in its last minutes.
async fn expiring(second: Result<(), TokenError>) -> (Vec<KafkaTokens>, Arc<Renewal>) {
    let renewal = Renewal::new(second);
    let cache = renewal.cached();
    cache.access_token(&TokenRequest::new()).await.unwrap();
    renewal.reach_last_minutes();
    let create = |_| KafkaTokens::new(cache.clone(), Handle::current());
    ((0..10).map(create).collect(), renewal)
}

/// Returns the tokens of ten calls of each client, at the same time; each call succeeds.
fn call(clients: &[KafkaTokens]) -> Vec<String> {
    let calls = |tokens: &KafkaTokens| {
        let calls = (0..10).map(|_| tokens.oauth_token().unwrap().token);
        calls.collect::<Vec<_>>()
    };
    thread::scope(|scope| {
        let threads = clients
            .iter()
            .map(|tokens| scope.spawn(move || calls(tokens)));
        let threads: Vec<_> = threads.collect();
        let calls = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap());
        calls.collect()
    })
}

#[tokio::test]
async fn no_call_waits_for_a_refresh() {
    let (clients, renewal) = expiring(Ok(())).await;
    // The refresh does not end before all of them have.
    assert_eq!(call(&clients), ["token-1"; 100]);
    renewal.gate.arrived(1).await;
    renewal.gate.open();
    within(async {
        while clients[0].oauth_token().unwrap().token != "token-2" {
            yield_now().await;
        }
    })
    .await;
    renewal.clock.advance(LAST_MINUTES);
    assert_eq!(call(&clients), ["token-2"; 100]);
    assert_eq!(renewal.calls(), 2);
}

#[tokio::test]
async fn calls_go_on_while_the_token_server_is_down() {
    let down = TokenError::unavailable("the server is down");
    let (clients, renewal) = expiring(Err(down)).await;
    renewal.gate.open();
    assert_eq!(call(&clients), ["token-1"; 100]);
    renewal.gate.arrived(1).await;
    assert_eq!(call(&clients), ["token-1"; 100]);
    assert_eq!(renewal.calls(), 2);
}
