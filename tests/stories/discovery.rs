//! Endpoints discovered from the issuer (RFC 8414).

use std::{fs, path::Path, time::Duration};

use hallpass::{
    ErrorKind, TokenError, TokenRequest, TokenSource,
    endpoint::{
        ClientAuthentication, ClientCredentials, ClientSecretBasic, Discovery, Endpoint, JwtBearer,
        PublicClient, Retry, Strongest, TokenManagement,
    },
    jwt::{AssertionSettings, ClientSecretJwt, PrivateKeyJwt, SignedAssertion, SigningKey},
};
use hallpass_testkit::{
    AuthorizationServer, Client,
    leak::Capture,
    raw::{self, RawServer, Reply},
};
use serde_json::{Value, json};
use wiremock::{
    Mock, MockServer, ResponseTemplate,
    matchers::{method, path},
};

use crate::{
    peer::OidcProvider,
    shared::assertions,
    support::{CANARY, ID, hasty, secret, static_token},
};

pub(crate) const OAUTH: &str = "/.well-known/oauth-authorization-server";

/// Starts a server that returns this at the location of RFC 8414, and issues tokens.
pub(crate) async fn server(metadata: impl Fn(&str) -> ResponseTemplate) -> MockServer {
    let server = MockServer::start().await;
    let answer = metadata(&server.uri());
    Mock::given(method("GET"))
        .and(path(OAUTH))
        .respond_with(answer)
        .mount(&server)
        .await;
    let token = json!({ "access_token": "t0k3n", "token_type": "Bearer", "expires_in": 60 });
    Mock::given(method("POST"))
        .and(path("/token"))
        .respond_with(ResponseTemplate::new(200).set_body_json(token))
        .mount(&server)
        .await;
    server
}

pub(crate) fn document(issuer: &str) -> Value {
    json!({ "issuer": issuer, "token_endpoint": format!("{issuer}/token") })
}

pub(crate) fn ok(body: Value) -> ResponseTemplate {
    ResponseTemplate::new(200).set_body_json(body)
}

pub(crate) fn discover(issuer: &str) -> Discovery {
    Endpoint::discover(issuer).danger_allow_http_on_loopback()
}

pub(crate) fn source(endpoint: Endpoint) -> ClientCredentials {
    ClientCredentials::builder(endpoint, ID, ClientSecretBasic::new(secret("s3cr3t")))
        .danger_allow_http_on_loopback()
        .retry(Retry::never())
        .build()
        .unwrap()
}

pub(crate) async fn ask(source: &impl TokenSource) -> Result<String, TokenError> {
    let token = source.token(&TokenRequest::default()).await?;
    Ok(token.expose().to_owned())
}

pub(crate) async fn count(server: &MockServer, path: &str) -> usize {
    let requests = server.received_requests().await.unwrap();
    let here = requests.iter().filter(|request| request.url.path() == path);
    here.count()
}

// covers: C-41, C-52, C-53, C-54, C-57
#[tokio::test]
async fn an_issuer_is_all_that_is_named() {
    let server = server(|issuer| ok(document(issuer))).await;
    let endpoint = discover(&server.uri()).build().unwrap();
    assert_eq!(
        count(&server, OAUTH).await,
        0,
        "nothing before the first token"
    );
    let (one, other) = (source(endpoint.clone()), source(endpoint.clone()));
    for source in [&one, &other, &one] {
        assert_eq!(ask(source).await.unwrap(), "t0k3n");
    }
    assert_eq!(count(&server, OAUTH).await, 1, "clones share one document");
    assert_eq!(count(&server, "/token").await, 3);
    let metadata = endpoint.metadata().await.unwrap().unwrap();
    assert_eq!(metadata.issuer(), server.uri());
    let requests = server.received_requests().await.unwrap();
    let get = &requests[0];
    assert!(get.body.is_empty() && !get.headers.contains_key("authorization"));
    assert_eq!(get.headers["accept"], "application/json");
    // An endpoint that was set explicitly has no metadata.
    assert!(
        Endpoint::new("https://a.example/t")
            .metadata()
            .await
            .unwrap()
            .is_none()
    );
}

/// Neither a token request nor token management exceeds its deadline, and the error names the metadata.
#[tokio::test]
async fn metadata_that_never_comes_keeps_nobody() {
    let server = RawServer::always(Reply::nothing().then_stall()).await;
    let endpoint = discover(&server.url("")).build().unwrap();
    let retry = Retry::never().deadline(Duration::from_millis(50));
    let authentication = || ClientSecretBasic::new(secret("s3cr3t"));
    let source = ClientCredentials::builder(endpoint.clone(), ID, authentication())
        .danger_allow_http_on_loopback()
        .retry(retry)
        .build()
        .unwrap();
    let tokens = TokenManagement::builder(endpoint, ID, authentication())
        .danger_allow_http_on_loopback()
        .retry(retry)
        .build()
        .unwrap();
    let token = static_token("t0k3n");
    let host = server.address().to_string();
    for error in [
        ask(&source).await.unwrap_err(),
        tokens.revoke(&token).await.unwrap_err(),
        tokens.introspect(&token).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.host(), Some(&*host));
        let text = error.to_string();
        assert!(
            text.contains("the server's metadata did not arrive within the call's deadline"),
            "{text}"
        );
    }
    assert_eq!(server.request_count(), 3);
}

/// A wrong document, with the kind of the error and a word of its message.
async fn check(
    answer: impl Fn(&str) -> ResponseTemplate,
    kind: ErrorKind,
    transient: bool,
    says: &str,
) {
    let server = server(answer).await;
    let source = source(discover(&server.uri()).build().unwrap());
    let error = ask(&source).await.unwrap_err();
    let text = error.to_string();
    assert_eq!(
        (error.kind(), error.is_transient()),
        (kind, transient),
        "{text}"
    );
    assert!(text.contains(says), "{says}: {text}");
    assert!(!format!("{error:?} {text}").contains("CANARY"), "{text}");
    assert_eq!(count(&server, "/token").await, 0, "{says}");
}

// covers: C-53, F-117, F-118
#[tokio::test]
async fn a_document_that_is_not_the_issuers_is_not_used() {
    use ErrorKind::{Configuration, UnusableResponse};
    let other = |change: fn(String) -> String| {
        move |issuer: &str| {
            let mut document = document(issuer);
            document["issuer"] = change(issuer.to_owned()).into();
            ok(document)
        }
    };
    check(
        other(|issuer| issuer + "/"),
        Configuration,
        false,
        "a slash at the end",
    )
    .await;
    check(
        other(|issuer| issuer.to_uppercase()),
        Configuration,
        false,
        "another issuer",
    )
    .await;
    check(
        other(|_| "https://login.еxample".into()),
        Configuration,
        false,
        "another issuer",
    )
    .await;
    check(
        other(|issuer| issuer.replace("127.0.0.1", "localhost")),
        Configuration,
        false,
        "another issuer",
    )
    .await;
    check(
        |_| ok(json!({ "token_endpoint": "CANARY" })),
        UnusableResponse,
        false,
        "no `issuer`",
    )
    .await;
    check(
        |issuer| ok(json!({ "issuer": issuer })),
        UnusableResponse,
        false,
        "no `token_endpoint`",
    )
    .await;
}

// covers: C-55, F-118
#[tokio::test]
async fn an_address_in_it_that_may_not_have_credentials_is_not_used() {
    use ErrorKind::UnusableResponse;
    let at = |url: &'static str| {
        move |issuer: &str| ok(json!({ "issuer": issuer, "token_endpoint": url }))
    };
    check(
        at("http://login.example/CANARY"),
        UnusableResponse,
        false,
        "loopback only",
    )
    .await;
    check(
        at("https://u:CANARY@login.example/t"),
        UnusableResponse,
        false,
        "user name",
    )
    .await;
    check(
        at("https://login.example/t#CANARY"),
        UnusableResponse,
        false,
        "fragment",
    )
    .await;
}

// covers: C-54, F-04, F-08, F-119
#[tokio::test]
async fn an_answer_that_is_no_document_is_an_error() {
    use ErrorKind::{Configuration, Unavailable, UnusableResponse};
    check(
        |_| ResponseTemplate::new(404).set_body_string("CANARY"),
        Configuration,
        false,
        "openid_location",
    )
    .await;
    check(
        |issuer| {
            ResponseTemplate::new(302)
                .insert_header("location", format!("{issuer}/elsewhere?CANARY"))
        },
        Configuration,
        false,
        "redirects requests for its metadata to `/elsewhere` on the same host",
    )
    .await;
    check(
        |issuer| ResponseTemplate::new(200).set_body_raw(document(issuer).to_string(), "text/html"),
        UnusableResponse,
        false,
        "content type",
    )
    .await;
    check(
        |issuer| ResponseTemplate::new(201).set_body_json(document(issuer)),
        Configuration,
        false,
        "no metadata",
    )
    .await;
    check(
        |_| ResponseTemplate::new(503).insert_header("retry-after", "7"),
        Unavailable,
        true,
        "temporarily unavailable",
    )
    .await;
    check(
        |issuer| {
            let mut document = document(issuer);
            document["filler"] = "CANARY".repeat(200_000).into();
            ok(document)
        },
        UnusableResponse,
        false,
        "larger than",
    )
    .await;
}

// covers: F-118
#[tokio::test]
async fn an_endpoint_at_another_host_is_used_and_logged() {
    let tokens = AuthorizationServer::builder()
        .client(Client::new(ID, "s3cr3t"))
        .start()
        .await;
    let elsewhere = tokens.token_endpoint().replace("127.0.0.1", "localhost");
    let server =
        server(|issuer| ok(json!({ "issuer": issuer, "token_endpoint": elsewhere }))).await;
    let capture = Capture::start();
    let source = source(discover(&server.uri()).build().unwrap());
    ask(&source).await.unwrap();
    let told = capture.text();
    let line = told
        .lines()
        .find(|line| line.contains("token endpoint discovered"))
        .unwrap();
    assert!(
        line.contains("localhost:") && line.contains("127.0.0.1:"),
        "{line}"
    );
}

// covers: F-75, F-76
#[tokio::test]
async fn many_callers_read_one_document_and_share_one_failure() {
    let slow = |issuer: &str| ok(document(issuer)).set_delay(Duration::from_millis(50));
    let server = server(slow).await;
    let endpoint = discover(&server.uri()).build().unwrap();
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let endpoint = endpoint.clone();
            tokio::spawn(async move { endpoint.metadata().await.map(|_| ()) })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(count(&server, OAUTH).await, 1);

    let down =
        self::server(|_| ResponseTemplate::new(503).set_delay(Duration::from_millis(50))).await;
    let endpoint = discover(&down.uri()).build().unwrap();
    let calls = (0..100).map(|_| endpoint.metadata());
    let mut calls: Vec<_> = calls.map(Box::pin).collect();
    // All are waiting before the first gets its response.
    let mut results = Vec::new();
    std::future::poll_fn(|cx| {
        calls.retain_mut(|call| match call.as_mut().poll(cx) {
            std::task::Poll::Ready(result) => {
                results.push(result);
                false
            }
            std::task::Poll::Pending => true,
        });
        if calls.is_empty() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    assert_eq!(results.len(), 100);
    assert!(
        results
            .iter()
            .all(|result| result.as_ref().is_err_and(TokenError::is_transient))
    );
    assert_eq!(count(&down, OAUTH).await, 1);
    // A later call tries again.
    assert!(endpoint.metadata().await.is_err());
    assert_eq!(count(&down, OAUTH).await, 2);
}

// covers: F-41, F-46
#[tokio::test]
async fn a_server_that_is_down_or_stalls_is_reported_as_such() {
    let nobody = raw::refused_url().unwrap();
    let nobody = nobody.trim_end_matches('/');
    let stalled = raw::RawServer::always(raw::Reply::nothing().then_stall()).await;
    let stalled = stalled.url("");
    for issuer in [nobody, stalled.trim_end_matches('/')] {
        let issuer = url_of(issuer);
        let endpoint = discover(&issuer).transport(hasty()).build().unwrap();
        let error = ask(&source(endpoint)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.is_transient());
    }
}

/// Returns scheme, host and port only.
fn url_of(url: &str) -> String {
    url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/")
}

// covers: C-41, C-45, C-47, C-56
#[tokio::test]
async fn the_real_server_is_found_and_the_strongest_way_chosen() {
    let Some(peer) = OidcProvider::start(&[]).await else {
        return;
    };
    let issuer = peer.received("issuer");
    let pem = fs::read_to_string(Path::new(peer.received("keys")).join("es256.pem")).unwrap();
    for discovery in [discover(issuer), discover(issuer).openid_location()] {
        let key = SigningKey::from_pem(&pem).unwrap().with_key_id("es256");
        let signed = PrivateKeyJwt::new(AssertionSettings::for_discovered_issuer(), key);
        let authentication = Strongest::new(PublicClient::new())
            .or(ClientSecretBasic::new(secret(CANARY)))
            .or(signed);
        let endpoint = discovery.build().unwrap();
        let source = ClientCredentials::builder(endpoint, "key-es256", authentication.clone())
            .danger_allow_http_on_loopback()
            .scope("api:read")
            .build()
            .unwrap();
        let token = source.token(&TokenRequest::default()).await.unwrap();
        assert_eq!(token.scopes().as_str(), "api:read");
        assert_eq!(authentication.last_method(), Some("private_key_jwt"));
    }
    let slash = format!("{issuer}/");
    let error = ask(&source(discover(&slash).build().unwrap()))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("a slash at the end"), "{error}");
}

#[test]
fn an_assertion_for_a_discovered_issuer_needs_one() {
    let settings = AssertionSettings::for_discovered_issuer;
    let token_endpoint = "https://login.example/token";
    let signed = PrivateKeyJwt::new(settings(), assertions::key("a key"));
    let hashed = ClientSecretJwt::new(settings(), secret(&"s".repeat(32)));
    let methods: [Box<dyn ClientAuthentication>; 2] = [Box::new(signed), Box::new(hashed)];
    for authentication in methods {
        let source = ClientCredentials::builder(token_endpoint, ID, authentication);
        let error = source.build().unwrap_err();
        assert_eq!(error.setting(), "authentication");
        assert!(error.to_string().contains("Endpoint::discover"), "{error}");
    }
    let assertion = SignedAssertion::new(settings(), assertions::key("a key"));
    let source = JwtBearer::builder(token_endpoint, ID, PublicClient::new(), assertion);
    assert_eq!(source.build().unwrap_err().setting(), "assertion");
}
