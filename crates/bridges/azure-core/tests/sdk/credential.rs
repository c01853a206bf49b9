//! Clients of the Azure SDK with tokens of a source, against a service that checks them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, SystemTime},
};

use crate::shared::{CANARY, Client, SCOPE, Service, text};
use async_trait::async_trait;
use azure_core::{
    credentials::{TokenCredential as _, TokenRequestOptions},
    error::ErrorKind as AzureKind,
    http::{
        AsyncRawResponse, Context, Method, Request, StatusCode,
        headers::{AUTHORIZATION, Headers},
        policies::{
            Policy, PolicyResult,
            auth::{Authorizer, BearerTokenAuthorizationPolicy, OnChallenge},
        },
    },
};
use hallpass_azure_core::{RefusedTokenPolicy, SourceCredential};
use hallpass_cache::CachedTokenSource;
use hallpass_core::{AccessToken, ErrorKind, TokenError, TokenRequest, TokenSource};
use hallpass_testkit::{
    FakeTokens, Gate, ManualClock, ScriptedSource,
    bridge::{self, Adapter, BoxError, Credential},
    leak,
};

/// Returns a clock by whose wall a token of an hour has just expired: the SDK, which reads the system's clock, calls the
/// credential for each request, and returns its errors.
fn clock() -> ManualClock {
    let clock = ManualClock::new();
    clock.set_wall(SystemTime::now() - Duration::from_secs(3_601));
    clock
}

fn cached(source: &ScriptedSource, clock: &ManualClock) -> Arc<dyn TokenSource> {
    let cache = CachedTokenSource::builder(source.clone()).clock(clock.clone());
    Arc::new(cache.build())
}

/// A service, its clock, and a client with a cached source that gets these results.
fn setup<const N: usize>(
    results: impl FnOnce(&Service) -> [Result<AccessToken, TokenError>; N],
) -> (
    Service,
    ScriptedSource,
    Arc<dyn TokenSource>,
    Client,
    ManualClock,
) {
    let clock = clock();
    let service = Service::new(&clock);
    let source = ScriptedSource::new(results(&service));
    let tokens = cached(&source, &clock);
    let client = service.client(SourceCredential::new(tokens.clone()), Vec::new());
    (service, source, tokens, client, clock)
}

#[tokio::test]
async fn a_client_sends_cached_tokens_of_a_source() {
    let (service, source, tokens, client, _) = setup(|service| [Ok(service.issue(1))]);
    for _ in 0..3 {
        client.call().await.unwrap();
    }
    assert_eq!(source.calls(), 1);
    assert_eq!(service.statuses(), [200; 3]);
    // The client's scope is that of the token request.
    let request = TokenRequest::new().with_scopes(SCOPE.parse().unwrap());
    assert!(tokens.ready_token(&request).is_some());
    assert!(tokens.ready_token(&TokenRequest::new()).is_none());
}

#[tokio::test]
async fn a_client_sets_only_the_scopes_of_the_request() {
    let tokens = CachedTokenSource::builder(FakeTokens::valid()).build();
    let tokens: Arc<dyn TokenSource> = Arc::new(tokens);
    let defaults = TokenRequest::new().with_scopes("one".parse().unwrap());
    let defaults = defaults.with_audience("orders").unwrap();
    let credential = SourceCredential::new(tokens.clone()).request(defaults.clone());
    for (scopes, expected) in [(&[][..], "one"), (&["b", "a"], "a b"), (&["c"], "c")] {
        credential.get_token(scopes, None).await.unwrap();
        let scopes = expected.parse().unwrap();
        let request = defaults.clone().with_scopes(scopes);
        assert!(tokens.ready_token(&request).is_some(), "{expected}");
    }
    let error = credential.get_token(&["a\nb"], None).await.unwrap_err();
    assert_eq!(
        TokenError::find_in(&error).unwrap().kind(),
        ErrorKind::Configuration
    );
}

#[tokio::test]
async fn a_token_that_never_expires_has_a_latest_date() {
    let credential = SourceCredential::new(FakeTokens::valid());
    let token = credential.get_token(&[SCOPE], None).await.unwrap();
    assert_eq!(token.expires_on.unix_timestamp(), 253_402_300_799);
}

/// A source of the service's tokens. The first call returns at once, and each later one when the gate is open.
#[derive(Clone)]
struct Issuer(Service, Gate, Arc<AtomicU32>);

#[async_trait]
impl TokenSource for Issuer {
    async fn token(&self, _: &TokenRequest) -> Result<AccessToken, TokenError> {
        let number = 1 + self.2.fetch_add(1, Ordering::SeqCst);
        if number > 1 {
            self.1.pass().await;
        }
        Ok(self.0.issue(number))
    }
}

async fn calls(client: &Client, count: usize) {
    let calls: Vec<_> = (0..count)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.call().await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewal_under_load_delays_no_call() {
    let clock = clock();
    let service = Service::new(&clock);
    let gate = Gate::new();
    let source = Issuer(service.clone(), gate.clone(), Arc::default());
    let tokens = CachedTokenSource::builder(source.clone()).clock(clock.clone());
    let tokens: Arc<dyn TokenSource> = Arc::new(tokens.build());
    let client = service.client(SourceCredential::new(tokens.clone()), Vec::new());

    calls(&client, 50).await;
    // The token is due for renewal, and no call waits for that.
    clock.advance(Duration::from_secs(3_590));
    calls(&client, 50).await;
    gate.arrived(1).await;
    calls(&client, 50).await;
    gate.open();
    let request = TokenRequest::new().with_scopes(SCOPE.parse().unwrap());
    while tokens.ready_token(&request).unwrap().expose() != text(2) {
        tokio::task::yield_now().await;
    }
    clock.advance(Duration::from_secs(10));
    calls(&client, 50).await;
    assert_eq!(source.2.load(Ordering::SeqCst), 2);
    assert_eq!(service.statuses(), [200; 200]);
}

#[tokio::test]
async fn an_outage_is_bridged_until_the_token_expires() {
    let down = TokenError::unavailable("the server is down").with_hint("wait");
    let (service, source, _, client, clock) =
        setup(|service| [Ok(service.issue(1)), Err(down.clone())]);
    client.call().await.unwrap();
    clock.advance(Duration::from_secs(3_599));
    for _ in 0..2 {
        client.call().await.unwrap();
    }
    while source.calls() < 2 {
        tokio::task::yield_now().await;
    }
    // By then the backoff of the cache has ended too.
    clock.advance(Duration::from_secs(60));
    let error = client.call().await.unwrap_err();
    assert_eq!(
        TokenError::find_in(&error).unwrap().kind(),
        ErrorKind::Unavailable
    );
    assert_eq!(service.statuses(), [200; 3]);
    assert_eq!(source.calls(), 3);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let refused = TokenError::credentials_refused("the secret is wrong").with_hint("renew it");
    let (service, _, _, client, _) = setup(|_| [Err(refused)]);
    let error = client.call().await.unwrap_err();
    assert_eq!(*error.kind(), AzureKind::Credential);
    let cause = TokenError::find_in(&error).unwrap();
    assert_eq!(cause.kind(), ErrorKind::CredentialsRefused);
    assert_eq!(cause.hint(), Some("renew it"));
    assert_eq!(service.statuses(), Vec::<u16>::new());
}

#[tokio::test]
async fn without_the_policy_a_refused_token_is_used_again() {
    let (service, source, tokens, client, clock) =
        setup(|service| [Ok(service.issue(1)), Ok(service.issue(2))]);
    client.call().await.unwrap();
    clock.advance(Duration::from_secs(1));
    service.revoke(1);
    for _ in 0..2 {
        let error = client.call().await.unwrap_err();
        assert_eq!(error.http_status(), Some(StatusCode::Unauthorized));
    }
    let request = TokenRequest::new().with_scopes(SCOPE.parse().unwrap());
    tokens.invalidate(&tokens.ready_token(&request).unwrap());
    client.call().await.unwrap();
    assert_eq!(service.statuses(), [200, 401, 401, 200]);
    assert_eq!(source.calls(), 2);
}

#[tokio::test]
async fn the_policy_replaces_a_refused_token_at_once() {
    for challenge in [
        None,
        Some("Bearer authorization_uri=\"https://login.example/tenant\""),
        Some("Bearer error=\"invalid_token\""),
        Some("Basic realm=\"x\", Bearer error=\"invalid_token\""),
    ] {
        let (service, source, tokens, _, clock) =
            setup(|service| [Ok(service.issue(1)), Ok(service.issue(2))]);
        service.set_challenge(challenge);
        let policy = Arc::new(RefusedTokenPolicy::new(tokens.clone()));
        let client = service.client(SourceCredential::new(tokens), vec![policy]);
        client.call().await.unwrap();
        clock.advance(Duration::from_secs(1));
        service.revoke(1);
        client.call().await.unwrap();
        client.call().await.unwrap();
        assert_eq!(service.statuses(), [200, 401, 200, 200], "{challenge:?}");
        assert_eq!(source.calls(), 2);
    }
}

/// A client's own handling of a challenge: it authorizes the request again, as that of Key Vault does.
#[derive(Debug)]
struct AuthorizesAgain;

#[async_trait]
#[allow(elided_lifetimes_in_paths)]
impl OnChallenge for AuthorizesAgain {
    async fn on_challenge(
        &self,
        _: &Context,
        request: &mut Request,
        authorizer: &dyn Authorizer,
        _: &Headers,
    ) -> azure_core::Result<()> {
        let options = TokenRequestOptions::default();
        authorizer.authorize(request, &[SCOPE], options).await
    }
}

#[tokio::test]
async fn a_client_that_answers_challenges_needs_the_policy_too() {
    for (with_policy, expected) in [
        (false, vec![200, 401, 401]),
        (true, vec![200, 401, 401, 200]),
    ] {
        let (service, source, tokens, _, clock) =
            setup(|service| [Ok(service.issue(1)), Ok(service.issue(2))]);
        let credential = Arc::new(SourceCredential::new(tokens.clone()));
        let auth = BearerTokenAuthorizationPolicy::new(credential, [SCOPE])
            .with_on_challenge(Arc::new(AuthorizesAgain));
        let mut policies: Vec<Arc<dyn Policy>> = Vec::new();
        if with_policy {
            policies.push(Arc::new(RefusedTokenPolicy::new(tokens)));
        }
        let client = service.client_with(auth, policies);
        client.call().await.unwrap();
        clock.advance(Duration::from_secs(1));
        service.revoke(1);
        assert_eq!(client.call().await.is_ok(), with_policy);
        assert_eq!(service.statuses(), expected);
        assert_eq!(source.calls(), 1 + usize::from(with_policy));
    }
}

#[tokio::test]
async fn other_refusals_keep_the_token() {
    for challenge in [
        "Bearer error=\"insufficient_claims\", claims=\"eyJhY2Nlc3NfdG9rZW4iOnt9fQ==\"",
        "Bearer error=\"insufficient_scope\"",
        "Bearer realm=\"x\", Bearer error=\"insufficient_claims\"",
        "Bearer error=\"insufficient_claims\", error_description=\"verweigert für immer\"",
        "Basic realm=\"x\"",
    ] {
        let (service, source, tokens, _, clock) =
            setup(|service| [Ok(service.issue(1)), Ok(service.issue(2))]);
        service.set_challenge(Some(challenge));
        let policy = Arc::new(RefusedTokenPolicy::new(tokens.clone()));
        let client = service.client(SourceCredential::new(tokens), vec![policy]);
        client.call().await.unwrap();
        clock.advance(Duration::from_secs(1));
        service.revoke(1);
        client.call().await.unwrap_err();
        assert_eq!(service.statuses(), [200, 401], "{challenge}");
        assert_eq!(source.calls(), 1);
    }
}

#[tokio::test]
async fn a_dropped_call_cancels_the_wait_for_a_token() {
    let clock = clock();
    let service = Service::new(&clock);
    let gate = Gate::new();
    let source = ScriptedSource::gated([Ok(service.issue(1))], gate.clone());
    let client = service.client(SourceCredential::new(source.clone()), Vec::new());
    tokio::select! {
        biased;
        _ = client.call() => panic!("the call did not wait"),
        () = gate.arrived(1) => {}
    }
    gate.open();
    client.call().await.unwrap();
    assert_eq!(source.calls(), 2);
    assert_eq!(service.statuses(), [200]);
}

#[tokio::test]
async fn no_output_shows_a_token() {
    let (service, _, tokens, client, _) = setup(|service| [Ok(service.issue(1))]);
    let credential = SourceCredential::new(tokens.clone());
    let policy = RefusedTokenPolicy::new(tokens.clone());
    let token = credential.get_token(&[SCOPE], None).await.unwrap();
    service.revoke(1);
    let error = client.call().await.unwrap_err();
    assert!(leak::find(token.token.secret(), CANARY).is_some());
    for shown in [
        format!("{credential:?}{policy:?}{client:?}{token:?}"),
        leak::error_chain(&error),
    ] {
        leak::assert_clean(&shown, CANARY);
    }
}

/// A service that refuses every token.
#[derive(Debug)]
struct Refuses;

#[async_trait]
#[allow(elided_lifetimes_in_paths)]
impl Policy for Refuses {
    async fn send(&self, _: &Context, _: &mut Request, _: &[Arc<dyn Policy>]) -> PolicyResult {
        let (status, headers) = (StatusCode::Unauthorized, Headers::new());
        Ok(AsyncRawResponse::from_bytes(status, headers, ""))
    }
}

#[derive(Debug)]
struct Bridge(SourceCredential, RefusedTokenPolicy);

#[async_trait]
impl Adapter for Bridge {
    async fn credential(&self) -> Result<Credential, BoxError> {
        let token = self.0.get_token(&[SCOPE], None).await?;
        let credential = Credential::new(token.token.secret()).shown(&token);
        Ok(credential.expires_at(token.expires_on.into()))
    }

    async fn refuse(&self, token: &str) {
        let mut request = Request::new("https://vault.example/".parse().unwrap(), Method::Get);
        request.insert_header(AUTHORIZATION, format!("Bearer {token}"));
        let next: [Arc<dyn Policy>; 1] = [Arc::new(Refuses)];
        let sent = self.1.send(&Context::new(), &mut request, &next).await;
        assert_eq!(sent.unwrap().status(), StatusCode::Unauthorized);
    }
}

#[tokio::test]
async fn the_credential_keeps_the_rules_for_adapters() {
    let adapter = |source: Arc<dyn TokenSource>| {
        Bridge(
            SourceCredential::new(source.clone()),
            RefusedTokenPolicy::new(source),
        )
    };
    assert_eq!(bridge::check(adapter, &[]).await, []);
}
