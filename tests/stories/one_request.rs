//! `Retry::never`: a call sends one request, even if the response asks for another.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use hallpass::{
    ErrorKind, TokenRequest, TokenSource,
    endpoint::{
        ClientAuthentication, ClientCredentials, ClientSecretBasic, ClientSecretPost, Endpoint,
        Retry, Strongest, TokenManagement,
    },
    jwt::Dpop,
};
use hallpass_testkit::RotatingSecret;
use serde_json::json;
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::path};

use crate::{
    discovery::{self, OAUTH, discover, document, ok},
    proofs::{Prudent, VerifiedProof},
    secrets::{server, statuses},
    support::{ID, secret, static_token},
};

// covers: F-110
#[tokio::test]
async fn rotated_credentials_are_used_by_the_next_call() {
    for (retry, first_call) in [
        (Retry::new(), [401, 200].as_slice()),
        (Retry::never(), &[401]),
    ] {
        let server = server("second").await;
        let rotating = RotatingSecret::new("first");
        rotating.rotate_after_reading("second");
        let source = ClientCredentials::builder(
            server.token_endpoint(),
            ID,
            ClientSecretPost::new(rotating.clone()),
        );
        let source = source.danger_allow_http_on_loopback().retry(retry);
        let source = source.build().unwrap();
        let result = source.token(&TokenRequest::default()).await;
        assert_eq!(result.is_ok(), first_call.len() == 2);
        assert_eq!(statuses(&server), first_call);
        source.token(&TokenRequest::default()).await.unwrap();
        assert_eq!(statuses(&server), [first_call, &[200]].concat());
        assert_eq!(
            rotating.refusals(),
            1,
            "the secret's source learns of the refusal"
        );
    }
}

// covers: C-70
#[tokio::test]
async fn a_demanded_nonce_is_used_by_the_next_call() {
    let (_server, endpoint) = Prudent::start("/token", |seen, _| match seen.nonce() {
        None => ResponseTemplate::new(400)
            .insert_header("dpop-nonce", "n")
            .set_body_json(json!({ "error": "use_dpop_nonce" })),
        Some(_) => ResponseTemplate::new(200).set_body_json(json!({
            "access_token": "t", "token_type": "DPoP", "expires_in": 60,
        })),
    })
    .await;
    let authentication = ClientSecretPost::new(secret("s3cr3t"));
    let source = ClientCredentials::builder(endpoint.url(), ID, authentication)
        .danger_allow_http_on_loopback()
        .dpop(Dpop::generate().unwrap())
        .retry(Retry::never())
        .build()
        .unwrap();
    let error = source.token(&TokenRequest::default()).await.unwrap_err();
    let nonces = |requests: &[VerifiedProof]| -> Vec<Option<String>> {
        let nonces = requests.iter().map(VerifiedProof::nonce);
        nonces.map(|nonce| nonce.map(str::to_owned)).collect()
    };
    assert_eq!(nonces(&endpoint.seen()), [None]);
    assert!(error.is_transient(), "{error}");
    assert!(error.hint().unwrap().contains("next call"), "{error}");
    source.token(&TokenRequest::default()).await.unwrap();
    assert_eq!(nonces(&endpoint.seen()), [Some("n".to_owned())]);
}

// covers: F-110
#[tokio::test]
async fn a_revocation_is_sent_once() {
    let server = MockServer::start().await;
    let refusal = ResponseTemplate::new(401).set_body_json(json!({ "error": "invalid_client" }));
    Mock::given(path("/revoke"))
        .respond_with(refusal)
        .mount(&server)
        .await;
    let rotating = RotatingSecret::new("first");
    rotating.rotate_after_reading("second");
    let endpoint = Endpoint::new("https://login.example/token")
        .with_revocation_endpoint(format!("{}/revoke", server.uri()));
    let tokens = TokenManagement::builder(endpoint, ID, ClientSecretBasic::new(rotating))
        .danger_allow_http_on_loopback()
        .retry(Retry::never())
        .build()
        .unwrap();
    let error = tokens.revoke(&static_token("t")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::CredentialsRefused);
    assert_eq!(server.received_requests().await.unwrap().len(), 1);
}

/// Returns the number of requests for metadata and for tokens.
async fn counts(server: &MockServer) -> (usize, usize) {
    let metadata = discovery::count(server, OAUTH).await;
    (metadata, discovery::count(server, "/token").await)
}

/// Sends two calls with discovery; documents are never reused. Returns the numbers of requests after each call.
async fn failing_calls(
    server: &MockServer,
    authentication: impl ClientAuthentication + 'static,
    retry: Retry,
) -> [(usize, usize); 2] {
    let endpoint = discover(&server.uri()).lifetime(Duration::ZERO);
    let source = ClientCredentials::builder(endpoint.build().unwrap(), ID, authentication)
        .danger_allow_http_on_loopback()
        .retry(retry)
        .build()
        .unwrap();
    let request = TokenRequest::default();
    source.token(&request).await.unwrap_err();
    let first = counts(server).await;
    source.token(&request).await.unwrap_err();
    [first, counts(server).await]
}

/// Starts a server with these responses to requests for metadata and for tokens.
async fn failing(
    metadata: impl Fn(&str) -> ResponseTemplate + Send + Sync + 'static,
    token: ResponseTemplate,
) -> MockServer {
    let server = MockServer::start().await;
    let issuer = server.uri();
    Mock::given(path(OAUTH))
        .respond_with(move |_: &Request| metadata(&issuer))
        .mount(&server)
        .await;
    Mock::given(path("/token"))
        .respond_with(token)
        .mount(&server)
        .await;
    server
}

// covers: F-35
#[tokio::test]
async fn discovery_adds_one_request_for_the_document() {
    let authentication = || ClientSecretPost::new(secret("s3cr3t"));
    let down = || ResponseTemplate::new(503);
    let quick = Retry::new().min_delay(Duration::from_millis(1));
    for (retry, no_document, no_token) in [
        (Retry::never(), [(1, 0), (2, 0)], [(1, 1), (2, 2)]),
        // As a control: one attempt and two retries.
        (quick, [(3, 0), (6, 0)], [(3, 3), (6, 6)]),
    ] {
        let server = failing(move |_| down(), down()).await;
        assert_eq!(
            failing_calls(&server, authentication(), retry).await,
            no_document
        );
        let server = failing(|issuer| ok(document(issuer)), down()).await;
        assert_eq!(
            failing_calls(&server, authentication(), retry).await,
            no_token
        );
    }
}

/// The server's metadata names another method each time it is read.
// covers: F-110
#[tokio::test]
async fn a_changed_method_is_used_by_the_next_call() {
    const METHODS: [&str; 2] = ["client_secret_basic", "client_secret_post"];
    let refused = ResponseTemplate::new(401).set_body_json(json!({ "error": "invalid_client" }));
    for (retry, after_each) in [
        (Retry::never(), [(1, 1), (2, 2)]),
        // As a control: the other method is tried at once.
        (Retry::new(), [(2, 2), (4, 4)]),
    ] {
        let reads = AtomicUsize::new(0);
        let alternating = move |issuer: &str| {
            let mut document = document(issuer);
            let method = METHODS[reads.fetch_add(1, Ordering::SeqCst) % 2];
            document["token_endpoint_auth_methods_supported"] = json!([method]);
            ok(document)
        };
        let server = failing(alternating, refused.clone()).await;
        // Two secrets: one that the server has refused is not sent to it by another method.
        let basic = ClientSecretBasic::new(secret("one"));
        let authentication = Strongest::new(ClientSecretPost::new(secret("other"))).or(basic);
        assert_eq!(
            failing_calls(&server, authentication, retry).await,
            after_each
        );
        let requests = server.received_requests().await.unwrap();
        let sent = requests.iter().filter(|sent| sent.url.path() == "/token");
        let basic: Vec<_> = sent
            .map(|sent| sent.headers.contains_key("authorization"))
            .collect();
        let expected: Vec<_> = [true, false]
            .into_iter()
            .cycle()
            .take(basic.len())
            .collect();
        assert_eq!(basic, expected);
    }
}
