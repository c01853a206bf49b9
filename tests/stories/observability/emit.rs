//! Triggers every event, metric and trace.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hallpass::{
    AccessToken, Clock as _, ErrorKind, Event, Quota, Secret, SecretError, SecretSource,
    SystemClock, TokenError, TokenRequest, TokenSource, async_trait,
    authorize::{Authorizer, RequestHead, Target},
    cache::{CachedTokenSource, Lease, LeaseOutcome, StoreEntry, StoreError, StoreKey, TokenStore},
    endpoint::{
        AuthenticationContext, ClientAuthentication as _, ClientCredentials, ClientSecretBasic,
        Endpoint, HttpTransport, MutualTls, RefreshToken, Strongest, TokenManagement,
    },
    jwt::{AssertionSettings, Dpop, PrivateKeyJwt},
    profiles::{Profiles, Selection, Tenants},
    secrets::{CachedSecret, FileSecret, SecretPair, VaultSecret},
};
use hallpass_testkit::{
    AuthorizationServer, Client, ManualClock, RotatingSecret, ScriptedSource, faults,
    raw::{self, RawServer},
};
use http::{HeaderMap, Method, StatusCode, header::WWW_AUTHENTICATE};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{any, path},
};

use super::EventLog;
use crate::{
    mtls_server::Identity,
    proofs::Prudent,
    shared::assertions::key,
    support::{ID, builder, fetch, secret},
    tls::Authority,
};

/// A server that never responds.
#[derive(Debug)]
struct Down;

#[async_trait]
impl TokenStore for Down {
    async fn look_up(&self, _: &StoreKey) -> Result<Option<StoreEntry>, StoreError> {
        Err(StoreError::new("down"))
    }

    async fn put(
        &self,
        _: &StoreKey,
        _: &[u8],
        _: Duration,
        _: Option<&Lease>,
    ) -> Result<(), StoreError> {
        Err(StoreError::new("down"))
    }

    async fn remove(&self, _: &StoreKey, _: u64) -> Result<(), StoreError> {
        Err(StoreError::new("down"))
    }

    async fn lease(&self, _: &StoreKey, _: Duration) -> Result<LeaseOutcome, StoreError> {
        Err(StoreError::new("down"))
    }

    async fn extend(&self, _: &StoreKey, _: &Lease, _: Duration) -> Result<bool, StoreError> {
        Err(StoreError::new("down"))
    }

    async fn release(&self, _: &StoreKey, _: &Lease) -> Result<(), StoreError> {
        Err(StoreError::new("down"))
    }
}

/// An observer that panics when a token is refused.
struct Brittle(ScriptedSource);

#[async_trait]
impl TokenSource for Brittle {
    async fn token(&self, request: &TokenRequest) -> Result<AccessToken, TokenError> {
        self.0.token(request).await
    }

    fn invalidate(&self, _: &AccessToken) {
        std::panic::resume_unwind(Box::new(()));
    }
}

/// Triggers all events of a cache.
pub(super) async fn cache(log: &EventLog) {
    const HOUR: Duration = Duration::from_secs(3_600);
    let clock = ManualClock::new();
    let token = |name: &str| AccessToken::bearer(name, clock.moment(), HOUR);
    let down = TokenError::new(ErrorKind::Unavailable, "down");
    let first = token("first").unwrap();
    let quota = Quota::new("client_per_hour", 7).with_limit(10);
    let first = first.with_quotas(vec![quota]);
    let results = [Ok(first.clone()), Err(down), Ok(token("second").unwrap())];
    let cache = CachedTokenSource::builder(Brittle(ScriptedSource::new(results)))
        .clock(clock.clone())
        .min_interval(Duration::ZERO)
        .max_keys(1)
        .store(Down, "orders")
        .observer(Arc::new(log.clone()))
        .observer(Arc::new(|_: &Event<'_>| {
            std::panic::resume_unwind(Box::new(()))
        }))
        .build();
    let ask = TokenRequest::default();
    let settled = async |fetches| {
        while cache.stats().fetches < fetches || cache.stats().flights > 0 {
            tokio::task::yield_now().await;
        }
    };
    assert!(cache.token(&ask).await.unwrap().is_same(&first));
    settled(1).await;
    // A failed refresh, and a successful one.
    clock.advance(Duration::from_secs(3_500));
    cache.token(&ask).await.unwrap();
    settled(2).await;
    clock.advance(Duration::from_secs(70));
    cache.token(&ask).await.unwrap();
    settled(3).await;
    clock.advance(Duration::from_secs(10));
    let second = cache.token(&ask).await.unwrap();
    cache.invalidate(&second);
    for scope in ["a", "b"] {
        let key = TokenRequest::new().with_scopes(scope.parse().unwrap());
        cache.token(&key).await.unwrap();
    }
}

/// Triggers all events of an integration.
pub(super) async fn integration(log: &EventLog) {
    const MINUTE: Duration = Duration::from_secs(60);
    let token = |name: &str| AccessToken::bearer(name, SystemClock.moment(), MINUTE);
    let [first, second] = ["first", "second"].map(|name| token(name).unwrap());
    let refused = TokenError::credentials_refused("the secret is wrong");
    let results = [Ok(first), Ok(second), Err(refused)];
    let source = Arc::new(ScriptedSource::new(results));
    let authorizer = Authorizer::builder(source)
        .allow_origin("https://api.example")
        .allow_origin("http://127.0.0.1:9")
        .danger_allow_http_on_loopback()
        .observer(Arc::new(log.clone()))
        .observer(Arc::new(|_: &Event<'_>| {
            std::panic::resume_unwind(Box::new(()))
        }))
        .build()
        .unwrap();
    let none = HeaderMap::new();
    let permit =
        |host| authorizer.permit(head(Some(Target::new("https", host, None)), &none), None);
    assert!(permit("other.example").is_err());
    let mut strange = HeaderMap::new();
    strange.insert("host", "other.example".parse().unwrap());
    let target = Some(Target::new("https", "api.example", None));
    assert!(authorizer.permit(head(target, &strange), None).is_err());
    let mut permit = permit("api.example").unwrap().unwrap();
    let first = permit.token().await.unwrap();
    let mut evaluate = |token, status, challenge: &str| {
        let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, challenge.parse().unwrap())]);
        permit.evaluate_response(token, status, &headers)
    };
    for (status, challenge) in [
        (StatusCode::OK, ""),
        (
            StatusCode::FORBIDDEN,
            r#"Bearer error="insufficient_scope", scope="a""#,
        ),
        (StatusCode::UNAUTHORIZED, "Basic"),
        (StatusCode::UNAUTHORIZED, "Bearer"),
    ] {
        evaluate(&first, status, challenge);
    }
    let second = permit.replacement(&first).await.unwrap().unwrap();
    permit.evaluate_response(&second, StatusCode::UNAUTHORIZED, &none);
    assert!(permit.token().await.is_err());
}

/// Triggers all events of endpoint's sources.
pub(super) async fn endpoint() {
    let server = AuthorizationServer::builder()
        .client(Client::new(ID, "s3cr3t"))
        .start()
        .await;
    let basic = ClientSecretBasic::new(secret("s3cr3t"));
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let source = ClientCredentials::builder(server.token_endpoint(), ID, basic)
        .danger_allow_http_on_loopback()
        .transport(HttpTransport::danger_from_client(client))
        .lenient_responses()
        .build()
        .unwrap();
    let fault = |name| faults::named(name).unwrap();
    server.inject_faults([fault("status_503"), fault("token_type_missing")]);
    source.token(&TokenRequest::default()).await.unwrap();
    assert_eq!(server.token_request_count(), 2);

    let body = r#"{"access_token":"t","token_type":"Bearer","expires_in":90000}"#;
    let server = RawServer::always(raw::json(200, body)).await;
    fetch(builder(&server.url("/token"))).await.unwrap();
}

/// A source that fails with a transient error from the second call on.
#[derive(Debug)]
struct OnceOnly(AtomicBool);

#[async_trait]
impl SecretSource for OnceOnly {
    async fn secret(&self) -> Result<Secret, SecretError> {
        if self.0.swap(true, Ordering::SeqCst) {
            return Err(SecretError::unavailable("the vault is away"));
        }
        Ok(secret("s3cr3t"))
    }
}

/// Triggers all events of secret sources, including those that endpoint reports about them.
pub(super) async fn secrets() {
    let path = std::env::temp_dir().join(format!("hallpass-observability-{}", std::process::id()));
    let open_to_all = fs::Permissions::from_mode(0o644);
    fs::write(&path, "first").unwrap();
    fs::set_permissions(&path, open_to_all).unwrap();
    let file = FileSecret::new(&path);
    file.secret().await.unwrap();
    fs::write(&path, "second").unwrap();
    let second = file.secret().await;
    fs::remove_file(&path).unwrap();
    assert_eq!(second.unwrap().expose(), "second");

    let clock = ManualClock::new();
    let cached = CachedSecret::new(OnceOnly(AtomicBool::new(false)), Duration::from_secs(60));
    let cached = cached.clock(clock.clone());
    cached.secret().await.unwrap();
    clock.advance(Duration::from_secs(61));
    cached.secret().await.unwrap();

    let mock = MockServer::start().await;
    let found = serde_json::json!({ "data": { "data": { "key": "s3cr3t" }, "metadata": { "version": 1 } } });
    let answer = ResponseTemplate::new(200).set_body_json(found);
    Mock::given(any()).respond_with(answer).mount(&mock).await;
    let vault = VaultSecret::builder(mock.uri(), secret("a token"), "kv", "orders", "key")
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    assert_eq!(vault.secret().await.unwrap().expose(), "s3cr3t");

    let server = AuthorizationServer::builder()
        .client(Client::new(ID, "s3cr3t"))
        .start()
        .await;
    let pair = SecretPair::new(secret("rotated out"), secret("s3cr3t"));
    let source =
        ClientCredentials::builder(server.token_endpoint(), ID, ClientSecretBasic::new(pair))
            .danger_allow_http_on_loopback()
            .build()
            .unwrap();
    source.token(&TokenRequest::default()).await.unwrap();
}

/// Triggers endpoint's events about discovery, certificates, refresh tokens and revocation.
pub(super) async fn servers() {
    let server = MockServer::start().await;
    let issuer = server.uri();
    let document = serde_json::json!({
        "issuer": issuer, "token_endpoint": format!("{issuer}/token"), "revocation_endpoint": format!("{issuer}/missing"),
    });
    let granted = serde_json::json!({ "access_token": "t", "token_type": "Bearer", "refresh_token": "second" });
    let once = |at: &str, answer: serde_json::Value| {
        let answer = ResponseTemplate::new(200).set_body_json(answer);
        Mock::given(path(at.to_owned())).respond_with(answer)
    };
    let found = once("/.well-known/oauth-authorization-server", document);
    found.up_to_n_times(1).mount(&server).await;
    once("/token", granted).mount(&server).await;
    let clock = ManualClock::new();
    let endpoint = Endpoint::discover(&issuer)
        .danger_allow_http_on_loopback()
        .clock(clock.clone())
        .build()
        .unwrap();
    let authentication = Strongest::new(ClientSecretBasic::new(secret("s3cr3t")));
    let source = ClientCredentials::builder(endpoint.clone(), ID, authentication.clone())
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    let tokens = TokenManagement::builder(endpoint, ID, authentication)
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    let revoking = Arc::new(tokens).revoke_on_shutdown(source);
    revoking.token(&TokenRequest::default()).await.unwrap();
    clock.advance(Duration::from_secs(4_000));
    assert_eq!(revoking.shutdown().await.failures().len(), 1);

    let store = RotatingSecret::new("first");
    store.fail_saving(Some(SecretError::new("the disk is full")));
    let basic = ClientSecretBasic::new(secret("s3cr3t"));
    let refreshed = RefreshToken::builder(format!("{issuer}/token"), ID, basic, store)
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    refreshed.token(&TokenRequest::default()).await.unwrap();

    let authority = Authority::new("clients");
    let [old, new] = ["old", "new"].map(|name| Identity::new(&authority, name).pem());
    let text = RotatingSecret::new(&old);
    let certificate = MutualTls::new(text.clone());
    certificate.identity().await.unwrap();
    text.rotate(&new);
    certificate.identity().await.unwrap();
}

/// Triggers the events about DPoP-bound tokens in endpoint and the integrations.
pub(super) async fn proofs() {
    let (_server, endpoint) = Prudent::start("/token", |seen, _| {
        let body = match seen.nonce() {
            None => serde_json::json!({ "error": "use_dpop_nonce" }),
            Some(_) => serde_json::json!({ "access_token": "t", "token_type": "DPoP" }),
        };
        let status = if seen.nonce().is_none() { 400 } else { 200 };
        let answer = ResponseTemplate::new(status).set_body_json(body);
        answer.insert_header("dpop-nonce", "one")
    })
    .await;
    let basic = ClientSecretBasic::new(secret("s3cr3t"));
    let source = ClientCredentials::builder(endpoint.url(), ID, basic)
        .danger_allow_http_on_loopback()
        .dpop(Dpop::generate().unwrap())
        .build()
        .unwrap();
    let authorizer = Authorizer::builder(Arc::new(source)).allow_origin("https://api.example");
    let target = Target::new("https", "api.example", None);
    let permit = authorizer.build().unwrap();
    let permit = permit.permit(head(Some(target), &HeaderMap::new()), None);
    let mut permit = permit.unwrap().unwrap();
    let token = permit.token().await.unwrap();
    let proof = permit.proof(&token, &Method::GET, "/").await.unwrap();
    assert!(proof.is_some());
    let demand = r#"DPoP error="use_dpop_nonce""#.parse().unwrap();
    let mut headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, demand)]);
    headers.insert("dpop-nonce", "two".parse().unwrap());
    permit.evaluate_response(&token, StatusCode::UNAUTHORIZED, &headers);
    assert!(permit.replacement(&token).await.unwrap().is_some());
}

pub(super) async fn assertions() {
    let settings = AssertionSettings::new("https://login.example").unwrap();
    let _ = settings.clone().danger_token_endpoint_as_audience();
    let repeated = PrivateKeyJwt::new(settings, key("repeated")).reuse_assertions();
    let context = AuthenticationContext::new(ID, "https://login.example/token");
    repeated.credentials(&context).await.unwrap();
    let second = repeated.credentials(&context).await.unwrap();
    repeated.refused(&second);
}

fn head<'a>(target: Option<Target<'a>>, headers: &'a HeaderMap) -> RequestHead<'a> {
    RequestHead::new(&Method::GET, target, "/orders", headers)
}

pub(super) async fn profiles() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tenants.toml");
    let profile = |name: &str| {
        format!(
            "[profile.{name}]\nissuer = 'https://login.example'\nclient_id = 'a'\nclient_secret = 'env:A'\n"
        )
    };
    fs::write(&path, profile("a") + &profile("b")).unwrap();
    let tenants = Tenants::builder().max_tenants(1);
    let tenants = tenants.load(Profiles::builder().file(&path)).unwrap();
    for name in ["a", "b"] {
        tenants.source(name).unwrap();
    }
    let selection = Selection::new().profile("a").danger_allow_mixed_settings();
    tenants.profiles().unwrap().settings(&selection).unwrap();
    fs::write(&path, profile("a") + &profile("b") + "unknown = 1\n").unwrap();
    let reload = tenants.reload().await.unwrap();
    assert_eq!(reload.failed.len(), 1);
    fs::write(&path, "[").unwrap();
    // Again, with an equal error.
    for _ in 0..2 {
        tenants.reload().await.unwrap_err();
    }
}
