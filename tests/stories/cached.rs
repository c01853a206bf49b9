//! The cache with a real client and a server: sharing, refusals by an API, secret rotation.

use std::sync::Arc;

use hallpass::{
    ErrorKind, TokenRequest, TokenSource,
    cache::CachedTokenSource,
    camall::Camall,
    endpoint::{ClientCredentials, ClientSecretPost},
};
use hallpass_testkit::{AuthorizationServer, Client, RotatingSecret};

use crate::support::{CANARY, ID, secret};

async fn server(client_secret: &str) -> AuthorizationServer {
    AuthorizationServer::builder()
        .client(Client::new(ID, client_secret).scopes("orders.read orders.write"))
        .start()
        .await
}

async fn api_status(server: &AuthorizationServer, source: &impl TokenSource) -> u16 {
    let token = source.token(&TokenRequest::default()).await.unwrap();
    let call = reqwest::Client::new()
        .get(server.api_url("/orders"))
        .header("authorization", token.header_value().clone());
    call.send().await.unwrap().status().as_u16()
}

// covers: C-35, F-82
#[tokio::test]
async fn a_revoked_token_costs_one_refusal_and_one_request() {
    let server = server("s3cr3t").await;
    let camall = Camall::builder(ID, secret("s3cr3t"))
        .token_endpoint(server.token_endpoint())
        .danger_allow_http_on_loopback();
    let source = Arc::new(CachedTokenSource::new(camall.build().unwrap()));
    for _ in 0..3 {
        assert_eq!(api_status(&server, &*source).await, 200);
    }
    assert_eq!(server.token_request_count(), 1);
    server.revoke_all_tokens();
    assert_eq!(api_status(&server, &*source).await, 401);
    let token = source.token(&TokenRequest::default()).await.unwrap();
    let reports: Vec<_> = (0..1_000)
        .map(|_| {
            let (source, token) = (source.clone(), token.clone());
            tokio::spawn(async move { source.invalidate(&token) })
        })
        .collect();
    for report in reports {
        report.await.unwrap();
    }
    assert_eq!(api_status(&server, &*source).await, 200);
    assert_eq!(server.token_request_count(), 2);
}

// covers: C-62
#[tokio::test]
async fn each_set_of_scopes_has_a_token_of_its_own() {
    let server = server(CANARY).await;
    let source = CachedTokenSource::new(
        crate::support::builder(&server.token_endpoint())
            .build()
            .unwrap(),
    );
    let ask = async |scopes: &str| {
        let request = TokenRequest::new().with_scopes(scopes.parse().unwrap());
        source.token(&request).await.unwrap()
    };
    let read = ask("orders.read").await;
    assert_eq!(read.scopes().as_str(), "orders.read");
    let both = ask("orders.write orders.read").await;
    assert!(ask("orders.read orders.write").await.is_same(&both));
    assert!(ask("orders.read").await.is_same(&read));
    assert_eq!(server.token_request_count(), 2);
}

// covers: F-98, I-15
#[tokio::test]
async fn a_wrong_secret_is_tried_once_and_a_new_one_at_once() {
    let server = server("second").await;
    let rotating = RotatingSecret::new("first");
    let authentication = ClientSecretPost::new(rotating.clone());
    let source = ClientCredentials::builder(server.token_endpoint(), ID, authentication)
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    let source = CachedTokenSource::new(source);
    for _ in 0..100 {
        let refusal = source.token(&TokenRequest::default()).await.unwrap_err();
        assert_eq!(refusal.kind(), ErrorKind::CredentialsRefused);
    }
    assert_eq!(server.token_request_count(), 1);
    rotating.rotate("second");
    source.token(&TokenRequest::default()).await.unwrap();
    assert_eq!(server.token_request_count(), 2);
}
