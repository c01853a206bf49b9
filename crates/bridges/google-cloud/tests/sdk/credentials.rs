//! Clients of the Google Cloud SDK with tokens of a source, against a service that checks them.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use crate::shared::{CANARY, Client, Service, text};
use async_trait::async_trait;
use google_cloud_auth::credentials::{
    AccessTokenCredentials, CacheableResource, Credentials, CredentialsProvider as _, EntityTag,
};
use google_cloud_gax::{
    error::{
        CredentialsError, Error,
        rpc::{Code, Status},
    },
    retry_policy::{Aip194Strict, NeverRetry, RetryPolicy as _},
    retry_result::RetryResult,
    retry_state::RetryState,
};
use hallpass_cache::CachedTokenSource;
use hallpass_core::{AccessToken, ErrorKind, TokenError, TokenRequest, TokenSource};
use hallpass_google_cloud::{RefusedTokenRetry, SourceCredentials};
use hallpass_testkit::{
    FakeTokens, Gate, ManualClock, ScriptedSource,
    bridge::{self, Adapter, BoxError, Credential, Rule},
    leak,
};
use http::{Extensions, HeaderMap, header::AUTHORIZATION};

/// A service, and credentials with a cached source that gets these results.
async fn setup<const N: usize>(
    results: impl FnOnce(&Service) -> [Result<AccessToken, TokenError>; N],
) -> (Service, ScriptedSource, SourceCredentials, ManualClock) {
    let clock = ManualClock::new();
    let service = Service::start(&clock).await;
    let source = ScriptedSource::new(results(&service));
    let cache = CachedTokenSource::builder(source.clone()).clock(clock.clone());
    let credentials = SourceCredentials::new(cache.build());
    (service, source, credentials, clock)
}

#[tokio::test]
async fn a_client_sends_cached_tokens_of_a_source() {
    let (service, source, credentials, _) = setup(|service| [Ok(service.issue(1))]).await;
    let credentials = credentials.quota_project("billing").unwrap();
    let client = service.client(credentials, NeverRetry).await;
    for _ in 0..3 {
        client.call().await.unwrap();
    }
    assert_eq!(source.calls(), 1);
    assert_eq!(service.statuses(), [200; 3]);
    assert_eq!(service.quota_projects(), ["billing"; 3]);
}

#[tokio::test]
async fn the_request_of_the_credentials_is_sent() {
    let tokens: Arc<dyn TokenSource> =
        Arc::new(CachedTokenSource::builder(FakeTokens::valid()).build());
    let request = TokenRequest::new().with_scopes("cloud-platform".parse().unwrap());
    let credentials = SourceCredentials::new(tokens.clone()).request(request.clone());
    let credentials = AccessTokenCredentials::from(credentials);
    let token = credentials.access_token().await.unwrap();
    let ready = tokens.ready_token(&request).unwrap();
    assert_eq!(token.token, ready.expose());
}

#[tokio::test]
async fn the_entity_tag_changes_with_the_token() {
    let tokens = FakeTokens::valid();
    let credentials = SourceCredentials::new(tokens.clone());
    let headers = async |tag: Option<EntityTag>| {
        let mut extensions = Extensions::new();
        if let Some(tag) = tag {
            extensions.insert(tag);
        }
        match credentials.headers(extensions).await.unwrap() {
            CacheableResource::New { entity_tag, data } => Some((entity_tag, data)),
            CacheableResource::NotModified => None,
        }
    };
    let (first, data) = headers(None).await.unwrap();
    assert_eq!(data[AUTHORIZATION], "Bearer fake-1");
    assert!(data[AUTHORIZATION].is_sensitive());
    assert_eq!(headers(None).await.unwrap().0, first);
    assert_eq!(headers(Some(first.clone())).await, None);
    tokens.invalidate(&tokens.ready_token(&TokenRequest::new()).unwrap());
    let (second, data) = headers(Some(first)).await.unwrap();
    assert_eq!(data[AUTHORIZATION], "Bearer fake-2");
    assert_eq!(headers(Some(second)).await, None);
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
    let clock = ManualClock::new();
    let service = Service::start(&clock).await;
    let gate = Gate::new();
    let source = Issuer(service.clone(), gate.clone(), Arc::default());
    let tokens = CachedTokenSource::builder(source.clone()).clock(clock.clone());
    let tokens: Arc<dyn TokenSource> = Arc::new(tokens.build());
    let credentials = SourceCredentials::new(tokens.clone());
    let client = service.client(credentials, NeverRetry).await;

    calls(&client, 50).await;
    // The token is due for renewal, and no call waits for that.
    clock.advance(Duration::from_secs(3_590));
    calls(&client, 50).await;
    gate.arrived(1).await;
    calls(&client, 50).await;
    gate.open();
    let ready = || tokens.ready_token(&TokenRequest::new()).unwrap();
    while ready().expose() != text(2) {
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
    let (service, source, credentials, clock) =
        setup(|service| [Ok(service.issue(1)), Err(down)]).await;
    let client = service.client(credentials, NeverRetry).await;
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
    assert!(error.is_authentication() && error.is_transient_and_before_rpc());
    assert_eq!(
        TokenError::find_in(&error).unwrap().kind(),
        ErrorKind::Unavailable
    );
    assert_eq!(service.statuses(), [200; 3]);
    assert_eq!(source.calls(), 3);
}

#[tokio::test]
async fn a_client_retries_a_transient_token_error() {
    let clock = ManualClock::new();
    let service = Service::start(&clock).await;
    let down = TokenError::unavailable("the server is down");
    let source = ScriptedSource::new([Err(down), Ok(service.issue(1))]);
    let credentials = SourceCredentials::new(source.clone());
    let client = service.client(credentials, Aip194Strict).await;
    client.call().await.unwrap();
    assert_eq!(source.calls(), 2);
    assert_eq!(service.statuses(), [200]);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let refused = TokenError::credentials_refused("the secret is wrong").with_hint("renew it");
    let (service, source, credentials, _) = setup(|_| [Err(refused)]).await;
    let client = service.client(credentials, Aip194Strict).await;
    let error = client.call().await.unwrap_err();
    assert!(error.is_authentication() && !error.is_transient_and_before_rpc());
    let cause = TokenError::find_in(&error).unwrap();
    assert_eq!(cause.kind(), ErrorKind::CredentialsRefused);
    assert_eq!(cause.hint(), Some("renew it"));
    assert_eq!(source.calls(), 1);
    assert_eq!(service.statuses(), Vec::<u16>::new());
}

#[tokio::test]
async fn without_the_policy_a_refused_token_is_used_again() {
    let (service, source, credentials, _) =
        setup(|service| [Ok(service.issue(1)), Ok(service.issue(2))]).await;
    let client = service.client(credentials, Aip194Strict).await;
    client.call().await.unwrap();
    service.revoke(1);
    for _ in 0..2 {
        let error = client.call().await.unwrap_err();
        assert_eq!(error.http_status_code(), Some(401));
    }
    assert_eq!(service.statuses(), [200, 401, 401]);
    assert_eq!(source.calls(), 1);
}

#[tokio::test]
async fn the_policy_replaces_a_refused_token_at_once() {
    for challenge in [
        None,
        Some("Bearer realm=\"https://accounts.google.com/\", error=\"invalid_token\""),
        Some("Bearer"),
        Some("Basic realm=\"x\", Bearer error=\"invalid_token\""),
    ] {
        let (service, source, credentials, clock) =
            setup(|service| [Ok(service.issue(1)), Ok(service.issue(2))]).await;
        service.set_challenge(challenge);
        let policy = RefusedTokenRetry::new(&credentials, Aip194Strict);
        let client = service.client(credentials, policy).await;
        client.call().await.unwrap();
        clock.advance(Duration::from_secs(1));
        service.revoke(1);
        client.call().await.unwrap();
        client.call().await.unwrap();
        assert_eq!(service.statuses(), [200, 401, 200, 200], "{challenge:?}");
        assert_eq!(source.calls(), 2);
    }
}

#[tokio::test]
async fn other_refusals_keep_the_token() {
    for challenge in [
        "Bearer error=\"insufficient_scope\"",
        "Bearer realm=\"x\", Bearer error=\"insufficient_scope\"",
        "Basic realm=\"x\"",
    ] {
        let (service, source, credentials, clock) =
            setup(|service| [Ok(service.issue(1)), Ok(service.issue(2))]).await;
        service.set_challenge(Some(challenge));
        let policy = RefusedTokenRetry::new(&credentials, Aip194Strict);
        let client = service.client(credentials, policy).await;
        client.call().await.unwrap();
        clock.advance(Duration::from_secs(1));
        service.revoke(1);
        client.call().await.unwrap_err();
        assert_eq!(service.statuses(), [200, 401], "{challenge}");
        assert_eq!(source.calls(), 1);
    }
}

#[test]
fn only_the_first_refusal_of_a_token_is_retried() {
    let service = |code| Error::service(Status::default().set_code(code));
    let http = |status| Error::http(status, HeaderMap::new(), "".into());
    let no_token = TokenError::unavailable("the server is down");
    let no_token = CredentialsError::from_source(true, no_token);
    let credentials = SourceCredentials::new(FakeTokens::valid());
    let policy = RefusedTokenRetry::new(&credentials, NeverRetry);
    for (error, refused) in [
        (http(401), true),
        (http(403), false),
        (http(503), false),
        (service(Code::Unauthenticated), true),
        (service(Code::PermissionDenied), false),
        (Error::authentication(no_token), false),
    ] {
        let shown = error.to_string();
        let state = RetryState::new(false).set_attempt_count(1_u32);
        let error = match policy.on_error(&state, error) {
            RetryResult::Continue(error) if refused => error,
            RetryResult::Exhausted(_) if !refused => continue,
            other => panic!("{shown}: {other:?}"),
        };
        let state = state.set_attempt_count(2_u32);
        assert!(policy.on_error(&state, error).is_permanent());
    }
}

#[tokio::test]
async fn a_token_that_stays_refused_is_sent_twice() {
    let clock = ManualClock::new();
    let service = Service::start(&clock).await;
    let credentials = SourceCredentials::new(FakeTokens::valid());
    let policy = RefusedTokenRetry::new(&credentials, Aip194Strict);
    let client = service.client(credentials, policy).await;
    let error = client.call().await.unwrap_err();
    assert_eq!(error.http_status_code(), Some(401));
    assert_eq!(service.statuses(), [401, 401]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_refusals_of_one_token_cost_one_request() {
    let (service, source, credentials, clock) =
        setup(|service| [Ok(service.issue(1)), Ok(service.issue(2))]).await;
    let policy = RefusedTokenRetry::new(&credentials, Aip194Strict);
    let client = service.client(credentials, policy).await;
    calls(&client, 1).await;
    clock.advance(Duration::from_secs(1));
    service.revoke(1);
    calls(&client, 50).await;
    assert_eq!(source.calls(), 2);
    let good = service
        .statuses()
        .into_iter()
        .filter(|status| *status == 200);
    assert_eq!(good.count(), 51);
}

#[tokio::test]
async fn a_dropped_call_cancels_the_wait_for_a_token() {
    let clock = ManualClock::new();
    let service = Service::start(&clock).await;
    let gate = Gate::new();
    let source = ScriptedSource::gated([Ok(service.issue(1))], gate.clone());
    let credentials = SourceCredentials::new(source.clone());
    let client = service.client(credentials, NeverRetry).await;
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
async fn the_universe_domain_is_that_of_the_credentials() {
    let credentials = Credentials::from(SourceCredentials::new(FakeTokens::valid()));
    assert_eq!(credentials.universe_domain().await, None);
    let credentials = SourceCredentials::new(FakeTokens::valid()).universe_domain("example.com");
    let credentials = Credentials::from(credentials);
    let domain = credentials.universe_domain().await;
    assert_eq!(domain.as_deref(), Some("example.com"));
}

#[tokio::test]
async fn an_invalid_quota_project_is_refused() {
    let credentials = SourceCredentials::new(FakeTokens::valid());
    let error = credentials.quota_project("a\nb").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
}

#[tokio::test]
async fn no_output_shows_a_token() {
    let (service, _, credentials, _) = setup(|service| [Ok(service.issue(1))]).await;
    let policy = RefusedTokenRetry::new(&credentials, NeverRetry);
    let headers = credentials.headers(Extensions::new()).await.unwrap();
    let CacheableResource::New { data, .. } = &headers else {
        panic!("no headers");
    };
    assert!(leak::find(data[AUTHORIZATION].to_str().unwrap(), CANARY).is_some());
    let shown = format!("{credentials:?}{policy:?}{headers:?}");
    let client = service.client(credentials, NeverRetry).await;
    service.revoke(1);
    let error = client.call().await.unwrap_err();
    for shown in [shown, format!("{client:?}"), leak::error_chain(&error)] {
        leak::assert_clean(&shown, CANARY);
    }
}

/// The credentials, and the time before the call that first returned each token.
struct Bridge(SourceCredentials, Mutex<HashMap<String, Instant>>);

impl fmt::Debug for Bridge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[async_trait]
impl Adapter for Bridge {
    async fn credential(&self) -> Result<Credential, BoxError> {
        let start = Instant::now();
        let headers = self.0.headers(Extensions::new()).await?;
        let CacheableResource::New { data, .. } = headers else {
            return Err("no headers".into());
        };
        let header = data[AUTHORIZATION].to_str()?;
        let token = header.strip_prefix("Bearer ").ok_or("no bearer token")?;
        self.1
            .lock()
            .unwrap()
            .entry(token.to_owned())
            .or_insert(start);
        Ok(Credential::new(token).shown(&data))
    }

    async fn refuse(&self, token: &str) {
        let start = self.1.lock().unwrap()[token];
        let state = RetryState::new(false)
            .set_attempt_count(1_u32)
            .set_start(start);
        let error = Error::http(401, HeaderMap::new(), "".into());
        let policy = RefusedTokenRetry::new(&self.0, NeverRetry);
        assert!(policy.on_error(&state, error).is_continue());
    }
}

#[tokio::test]
async fn the_credentials_keep_the_rules_for_adapters() {
    let adapter =
        |source: Arc<dyn TokenSource>| Bridge(SourceCredentials::new(source), Mutex::default());
    let exceptions = [(Rule::ReportsExpiry, "headers have no expiry")];
    assert_eq!(bridge::check(adapter, &exceptions).await, []);
}
