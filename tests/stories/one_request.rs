//! `Retry::never`: a call sends one request, even if the response asks for another.

use hallpass::{
    ErrorKind, TokenRequest, TokenSource,
    endpoint::{
        ClientCredentials, ClientSecretBasic, ClientSecretPost, Endpoint, Retry, TokenManagement,
    },
    jwt::Dpop,
};
use hallpass_testkit::RotatingSecret;
use serde_json::json;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use crate::{
    proofs::{Prudent, Seen},
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
    let how = ClientSecretPost::new(secret("s3cr3t"));
    let source = ClientCredentials::builder(endpoint.url(), ID, how)
        .danger_allow_http_on_loopback()
        .dpop(Dpop::generate().unwrap())
        .retry(Retry::never())
        .build()
        .unwrap();
    let error = source.token(&TokenRequest::default()).await.unwrap_err();
    let nonces = |requests: &[Seen]| -> Vec<Option<String>> {
        let nonces = requests.iter().map(Seen::nonce);
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
