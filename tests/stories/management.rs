//! Introspection (RFC 7662) and revocation (RFC 7009) of our own tokens.

use std::time::{Duration, SystemTime};

use hallpass::{
    ErrorKind, Secret, SecretError, SecretSource, TokenError, TokenRequest, TokenSource,
    async_trait,
    endpoint::{
        ClientCredentials, ClientSecretBasic, Endpoint, Introspection, Retry, TokenManagement,
        TokenManagementBuilder,
    },
    jwt::{AssertionSettings, PrivateKeyJwt},
};
use hallpass_testkit::{
    ManualClock,
    leak::Capture,
    raw::{self, RawServer},
};
use serde_json::json;
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{body_string, header, method, path},
};

use crate::{
    assertions::{assert_off, clocks_off},
    peer::OidcProvider,
    shared::assertions::key,
    support::{CANARY, ID, secret, static_token},
};

const TOKEN: &str = "t0k3n.of-the/story+==";

pub(crate) fn tokens(url: &str) -> TokenManagementBuilder {
    let endpoint = Endpoint::new(format!("{url}/token"))
        .with_introspection_endpoint(format!("{url}/introspect"))
        .with_revocation_endpoint(format!("{url}/revoke"));
    let authentication = ClientSecretBasic::new(secret("s3cr3t"));
    TokenManagement::builder(endpoint, ID, authentication)
        .danger_allow_http_on_loopback()
        .retry(Retry::never())
}

pub(crate) async fn serve(at: &str, answer: ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    add(&server, at, answer).await;
    server
}

pub(crate) async fn add(server: &MockServer, at: &str, answer: ResponseTemplate) {
    let mock = Mock::given(method("POST")).and(path(at));
    mock.respond_with(answer).mount(server).await;
}

pub(crate) async fn count(server: &MockServer, at: &str) -> usize {
    let requests = server.received_requests().await.unwrap();
    let here = requests.iter().filter(|request| request.url.path() == at);
    here.count()
}

async fn introspect(server: &MockServer) -> Result<Introspection, TokenError> {
    let tokens = tokens(&server.uri()).build().unwrap();
    tokens.introspect(&static_token(TOKEN)).await
}

// covers: C-01, C-07, C-08, C-09, C-33
#[tokio::test]
async fn a_request_is_a_form_with_the_token_and_authentication() {
    let server = MockServer::start().await;
    for (at, hint) in [
        ("/introspect", "access_token"),
        ("/revoke", "refresh_token"),
    ] {
        let form = format!("token_type_hint={hint}&token=t0k3n.of-the%2Fstory%2B%3D%3D");
        Mock::given(method("POST"))
            .and(path(at))
            .and(body_string(form))
            .and(header("content-type", "application/x-www-form-urlencoded"))
            .and(header(
                "authorization",
                "Basic b3JkZXJzLXNlcnZpY2U6czNjcjN0",
            ))
            .respond_with(ResponseTemplate::new(200).set_body_json(json!({ "active": true })))
            .expect(1)
            .mount(&server)
            .await;
    }
    assert!(introspect(&server).await.unwrap().is_active());
    let tokens = tokens(&server.uri()).build().unwrap();
    // In a task, as services do it.
    let revoked = tokio::spawn(async move { tokens.revoke_refresh_token(&secret(TOKEN)).await });
    revoked.await.unwrap().unwrap();
}

// covers: F-04, F-05, F-31, F-33, F-38, F-49, F-50, F-100
#[tokio::test]
async fn no_error_shows_the_token() {
    use ErrorKind::{
        Configuration, CredentialsRefused, RequestRefused, Unavailable, UnusableResponse,
    };
    let capture = Capture::start();
    let template = |status| ResponseTemplate::new(status);
    let error = |status, code: &str| {
        let echo = format!("not {TOKEN} nor s3cr3t");
        template(status).set_body_json(json!({ "error": code, "error_description": echo }))
    };
    let redirect = template(307).insert_header("location", "https://elsewhere.example/x?y");
    for (answer, kind, says) in [
        (
            error(401, "invalid_client"),
            CredentialsRefused,
            "client_secret",
        ),
        (template(403), CredentialsRefused, "gave no reason"),
        (
            error(400, "unsupported_token_type"),
            RequestRefused,
            "unsupported_token_type",
        ),
        (template(404), Configuration, "introspection endpoint"),
        (redirect, Configuration, "elsewhere.example"),
        (template(503), Unavailable, "returned an error"),
        (template(204), UnusableResponse, "other than 200"),
        (template(200), UnusableResponse, "`active`"),
        (
            template(200).set_body_string(TOKEN),
            UnusableResponse,
            "`active`",
        ),
        (
            template(200)
                .set_body_json(json!({ "active": true }))
                .insert_header("content-encoding", "gzip"),
            UnusableResponse,
            "compressed",
        ),
        (
            template(200).set_body_string("x".repeat(2 << 20)),
            UnusableResponse,
            "larger than",
        ),
    ] {
        let server = serve("/introspect", answer).await;
        let error = introspect(&server).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert_eq!(error.kind(), kind, "{text}");
        assert!(text.contains(says), "{says}: {text}");
        assert!(
            !text.contains("t0k3n") && !text.contains("s3cr3t"),
            "{text}"
        );
        assert!(text.contains("127.0.0.1"), "{text}");
        assert_eq!(count(&server, "/introspect").await, 1, "{says}");
    }
    assert!(!capture.text().contains("t0k3n") && !capture.text().contains("s3cr3t"));
}

// covers: F-30, F-32, F-34
#[tokio::test]
async fn a_success_that_is_an_error_is_not_a_success() {
    let of = async |body: &str| {
        let answer = ResponseTemplate::new(200).set_body_raw(body, "text/plain");
        let server = MockServer::start().await;
        add(&server, "/introspect", answer.clone()).await;
        add(&server, "/revoke", answer).await;
        let tokens = tokens(&server.uri()).build().unwrap();
        let token = static_token(TOKEN);
        let introspected = tokens.introspect(&token).await.map(drop);
        (introspected, tokens.revoke(&token).await)
    };
    let (introspected, revoked) =
        of(r#"{"error":"invalid_client","error_description":"no t0k3n.of-the/story+=="}"#).await;
    for error in [introspected.unwrap_err(), revoked.unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::CredentialsRefused, "{error}");
        assert_eq!(error.oauth_error().unwrap().code(), "invalid_client");
        assert!(!format!("{error:?}").contains("t0k3n"), "{error:?}");
    }
    // The content of any other response to a revocation is ignored (RFC 7009 section 2.2).
    let (introspected, revoked) = of("<html><title>Sign in</title></html>").await;
    let error = introspected.unwrap_err();
    assert_eq!(error.server_message(), Some("Sign in"));
    assert!(error.to_string().contains("web page"), "{error}");
    revoked.unwrap();
    let (introspected, _) = of(r#"{"message":"not today"}"#).await;
    assert_eq!(
        introspected.unwrap_err().server_message(),
        Some("not today")
    );
    let (introspected, revoked) = of(r#"{"active":true,"error":"odd"}"#).await;
    introspected.unwrap();
    assert_eq!(revoked.unwrap_err().oauth_error().unwrap().code(), "odd");
}

// covers: F-31
#[tokio::test]
async fn a_refusal_does_not_speak_of_grants() {
    for (status, code, says) in [
        (401, "unauthorized_client", "check `client_id`"),
        (400, "unauthorized_client", "allow introspection requests"),
        (
            400,
            "unsupported_grant_type",
            "allow introspection requests",
        ),
        (403, "access_denied", "allow introspection requests"),
        (
            503,
            "temporarily_unavailable",
            "temporarily cannot introspect tokens",
        ),
        (400, "unsupported_token_type", "tokens of this type"),
        (415, "", "with_introspection_endpoint"),
    ] {
        let answer = ResponseTemplate::new(status);
        let answer = if code.is_empty() {
            answer
        } else {
            answer.set_body_json(json!({ "error": code }))
        };
        let server = serve("/introspect", answer).await;
        let error = introspect(&server).await.unwrap_err();
        let text = error.to_string().replace(&format!(": `{code}`"), "");
        assert!(text.contains(says), "{code}: {text}");
        for other in ["grant", "audience", "revoke", "issue", "``"] {
            assert!(!text.contains(other), "{code}: {text}");
        }
    }
}

#[tokio::test]
async fn a_missing_address_is_an_error_when_it_is_needed() {
    let bare = |endpoint: Endpoint| {
        let authentication = ClientSecretBasic::new(secret("s3cr3t"));
        TokenManagement::builder(endpoint, ID, authentication).danger_allow_http_on_loopback()
    };
    let tokens = bare("https://login.example/token".into()).build().unwrap();
    let error = tokens.revoke(&static_token(TOKEN)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let text = error.to_string();
    assert!(
        text.contains("`revocation_endpoint`") && text.contains("Endpoint::discover"),
        "{text}"
    );
    let wrong = Endpoint::new("https://login.example/token")
        .with_revocation_endpoint("http://login.example/r");
    assert_eq!(
        bare(wrong).build().unwrap_err().setting(),
        "revocation_endpoint"
    );
    let no_id = TokenManagement::builder(
        "https://login.example/token",
        "",
        ClientSecretBasic::new(secret("x")),
    );
    assert_eq!(no_id.build().unwrap_err().setting(), "client_id");

    // A server whose metadata names no such endpoint still issues tokens.
    let server = MockServer::start().await;
    let document = json!({ "issuer": server.uri(), "token_endpoint": format!("{}/token", server.uri()), "introspection_endpoint": "http://login.example" });
    let answer = ResponseTemplate::new(200).set_body_json(document);
    Mock::given(method("GET"))
        .respond_with(answer)
        .mount(&server)
        .await;
    let discovered = Endpoint::discover(server.uri())
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    let tokens = bare(discovered).build().unwrap();
    let error = tokens.revoke(&static_token(TOKEN)).await.unwrap_err();
    assert!(
        error.to_string().contains("metadata has no such endpoint"),
        "{error}"
    );
    let error = tokens.introspect(&static_token(TOKEN)).await.unwrap_err();
    assert!(error.to_string().contains("loopback only"), "{error}");
}

/// A secret source that changes with the second reading.
#[derive(Debug, Default)]
struct Changing(std::sync::atomic::AtomicU64);

#[async_trait]
impl SecretSource for Changing {
    async fn secret(&self) -> Result<Secret, SecretError> {
        let reading = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Secret::new(if reading == 0 { "old" } else { "new" })
    }
}

// covers: C-28, F-110
#[tokio::test]
async fn a_secret_is_tried_again_only_if_it_changed() {
    let server = MockServer::start().await;
    let refusal = ResponseTemplate::new(401).set_body_json(json!({ "error": "invalid_client" }));
    Mock::given(header("authorization", "Basic b3JkZXJzLXNlcnZpY2U6bmV3"))
        .respond_with(ResponseTemplate::new(200))
        .mount(&server)
        .await;
    add(&server, "/revoke", refusal).await;
    let changing = tokens(&server.uri());
    let endpoint = Endpoint::new("https://login.example/token")
        .with_revocation_endpoint(format!("{}/revoke", server.uri()));
    let rotated =
        TokenManagement::builder(endpoint, ID, ClientSecretBasic::new(Changing::default()))
            .danger_allow_http_on_loopback()
            .build()
            .unwrap();
    rotated.revoke(&static_token(TOKEN)).await.unwrap();
    assert_eq!(count(&server, "/revoke").await, 2);
    let fixed = changing.build().unwrap();
    assert!(fixed.revoke(&static_token(TOKEN)).await.is_err());
    assert_eq!(count(&server, "/revoke").await, 3);
}

// covers: F-35, F-52
#[tokio::test]
async fn a_transient_failure_is_retried() {
    let server = MockServer::start().await;
    Mock::given(path("/revoke"))
        .respond_with(ResponseTemplate::new(503))
        .up_to_n_times(2)
        .mount(&server)
        .await;
    add(&server, "/revoke", ResponseTemplate::new(200)).await;
    let retry = Retry::new().min_delay(Duration::from_millis(1));
    let tokens = tokens(&server.uri()).retry(retry).build().unwrap();
    tokens.revoke(&static_token(TOKEN)).await.unwrap();
    assert_eq!(count(&server, "/revoke").await, 3);
}

// covers: C-41
#[tokio::test]
async fn the_real_server_introspects_and_revokes_a_token() {
    let Some(peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let login = Endpoint::discover(peer.received("issuer"))
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    let authentication = ClientSecretBasic::new(secret(peer.client_secret("basic")));
    let source = ClientCredentials::builder(login.clone(), "basic", authentication.clone())
        .danger_allow_http_on_loopback()
        .scope("api:read")
        .build()
        .unwrap();
    let manage = |login, authentication: ClientSecretBasic| {
        TokenManagement::builder(login, "basic", authentication)
            .danger_allow_http_on_loopback()
            .build()
            .unwrap()
    };
    let tokens = manage(login.clone(), authentication);
    let token = source.token(&TokenRequest::default()).await.unwrap();
    let known = tokens.introspect(&token).await.unwrap();
    assert!(known.is_active());
    assert_eq!(
        (known.client_id(), known.scopes().as_str()),
        (Some("basic"), "api:read")
    );
    let expires = known.expires_at().unwrap();
    let ours = token.expires_at().unwrap();
    let apart = expires
        .duration_since(ours)
        .unwrap_or_else(|error| error.duration());
    assert!(apart < Duration::from_secs(5), "{apart:?}");

    let wrong = manage(
        login,
        ClientSecretBasic::new(secret(CANARY.split('ü').next().unwrap())),
    );
    let error = wrong.revoke(&token).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialsRefused, "{error}");
    assert!(tokens.introspect(&token).await.unwrap().is_active());

    tokens.revoke(&token).await.unwrap();
    assert!(!tokens.introspect(&token).await.unwrap().is_active());
    // An unknown token counts as revoked.
    tokens.revoke(&token).await.unwrap();
}

// covers: F-71
#[tokio::test]
async fn a_wrong_clock_explains_refused_credentials() {
    let refusal = ResponseTemplate::new(401).set_body_json(json!({ "error": "invalid_client" }));
    let server = serve("/introspect", refusal).await;
    for (clock, side) in clocks_off() {
        let settings = AssertionSettings::new("https://login.example").unwrap();
        let authentication = PrivateKeyJwt::new(settings.clock(clock), key("any"));
        let endpoint = Endpoint::new(format!("{}/token", server.uri()))
            .with_introspection_endpoint(format!("{}/introspect", server.uri()));
        let tokens = TokenManagement::builder(endpoint, ID, authentication)
            .danger_allow_http_on_loopback()
            .hints(|_| Some("call the help desk".into()))
            .build()
            .unwrap();
        let error = tokens.introspect(&static_token(TOKEN)).await.unwrap_err();
        assert_off(&error, side);
    }
}

// covers: F-53
#[tokio::test]
async fn a_retry_after_date_is_compared_with_the_clock_setting() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    // Without a `Date`, which the HTTP server of other tests adds.
    let ninety_seconds_later = [("retry-after", "Fri, 15 Jan 2027 08:01:30 GMT")];
    let server = RawServer::always(raw::http(429, &ninety_seconds_later, "")).await;
    let clock = ManualClock::new();
    clock.set_wall(now);
    let endpoint = Endpoint::new("https://login.example/token")
        .with_revocation_endpoint(server.url("/revoke"));
    let authentication = ClientSecretBasic::new(secret("s3cr3t"));
    let tokens = TokenManagement::builder(endpoint, ID, authentication)
        .danger_allow_http_on_loopback()
        .retry(Retry::never())
        .clock(clock)
        .build()
        .unwrap();
    let error = tokens.revoke(&static_token(TOKEN)).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(90)));
}
