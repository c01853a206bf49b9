//! Services with transparent tokens: reqwest and tower clients over the cache, a real endpoint and a protected API.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hallpass::{
    ErrorKind, TokenError, TokenRequest, TokenSource,
    authorize::{ApiRefusal, Authorizer, AuthorizerBuilder},
    cache::CachedTokenSource,
    endpoint::Retry,
    reqwest_ext::{RequestBuilderExt as _, TokenMiddleware},
    tower_ext::TokenLayer,
};
use hallpass_testkit::{
    AuthorizationServer, Client,
    leak::{self, Capture},
    raw::{self, RawServer},
};
use http_body_util::Empty;
use hyper_util::{client::legacy::Client as Hyper, rt::TokioExecutor};
use reqwest_middleware::ClientBuilder;
use tokio::task::JoinSet;
use tower::{Layer as _, ServiceExt as _};

use crate::support::{CANARY, ID, builder};

async fn server() -> AuthorizationServer {
    AuthorizationServer::builder()
        .client(Client::new(ID, CANARY).scopes("orders.read orders.write"))
        .api_scope("orders.read")
        .start()
        .await
}

fn authorizer(server: &AuthorizationServer) -> AuthorizerBuilder {
    let source = builder(&server.token_endpoint()).build().unwrap();
    // A token revoked within the first half second of its life is replaced at once.
    let cache = CachedTokenSource::builder(source).min_interval(Duration::ZERO);
    let origin = server.api_url("");
    Authorizer::builder(Arc::new(cache.build()))
        .allow_origin(origin.strip_suffix("/api").unwrap())
        .danger_allow_http_on_loopback()
        .name("orders")
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

// covers: C-35, F-82, I-12
#[tokio::test]
async fn a_token_revoked_under_a_hundred_callers_costs_one_request() {
    let server = server().await;
    let authorizer = authorizer(&server).build().unwrap();
    let client = client();
    let url = server.api_url("/orders");
    let first = client.get(&url).send_with(&authorizer).await.unwrap();
    assert_eq!(
        (first.status().as_u16(), server.token_request_count()),
        (200, 1)
    );

    for round in 2..5 {
        server.revoke_all_tokens();
        let mut callers = JoinSet::new();
        for _ in 0..100 {
            let get = client.get(&url);
            let authorizer = authorizer.clone();
            callers.spawn(async move { get.send_with(&authorizer).await.unwrap().status() });
        }
        for status in callers.join_all().await {
            assert_eq!(status, 200);
        }
        assert_eq!(server.token_request_count(), round);
    }
}

// covers: C-35, F-82
#[tokio::test]
async fn the_same_by_a_middleware_and_by_a_layer() {
    let server = server().await;
    let authorizer = authorizer(&server).build().unwrap();
    let url = server.api_url("/orders");
    let middleware = ClientBuilder::new(client())
        .with(TokenMiddleware::new(authorizer.clone()))
        .build();
    let hyper = Hyper::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let layer = TokenLayer::new(authorizer).retry_cloned().layer(hyper);
    for round in 1..4 {
        let mut callers = JoinSet::new();
        for _ in 0..50 {
            let get = middleware.get(&url);
            callers.spawn(async move { get.send().await.unwrap().status() });
            let get = http::Request::get(&url).body(Empty::new()).unwrap();
            let layer = layer.clone();
            callers.spawn(async move { layer.oneshot(get).await.unwrap().status() });
        }
        for status in callers.join_all().await {
            assert_eq!(status, 200);
        }
        assert_eq!(server.token_request_count(), round);
        server.revoke_all_tokens();
    }
}

// covers: C-36
#[tokio::test]
async fn missing_scopes_are_named_and_not_requested_again() {
    let server = server().await;
    let writing = TokenRequest::new().with_scopes("orders.write".parse().unwrap());
    let authorizer = authorizer(&server).build().unwrap();
    for _ in 0..10 {
        let get = client().get(server.api_url("/orders"));
        let response = get.send_with_request(&authorizer, &writing).await.unwrap();
        assert_eq!(response.status(), 403);
        let refusal = response.extensions().get::<ApiRefusal>().unwrap();
        assert!(refusal.is_insufficient_scope());
        assert_eq!(refusal.scope().unwrap().as_str(), "orders.read");
    }
    assert_eq!(
        (server.token_request_count(), server.api_call_count()),
        (1, 10)
    );
    // With the required scope, it succeeds.
    let reading = TokenRequest::new().with_scopes("orders.read".parse().unwrap());
    let get = client().get(server.api_url("/orders"));
    let response = get.send_with_request(&authorizer, &reading).await.unwrap();
    assert_eq!(response.status(), 200);
}

// covers: C-37, I-02
#[tokio::test]
async fn another_origin_gets_neither_token_nor_request() {
    let (server, other) = (server().await, RawServer::always(raw::json(200, "")).await);
    let strict = authorizer(&server).build().unwrap();
    let error = client()
        .get(other.url("/"))
        .send_with(&strict)
        .await
        .unwrap_err();
    assert_eq!(
        error.token_error().unwrap().kind(),
        ErrorKind::Configuration
    );
    assert_eq!(
        (other.connection_count(), server.token_request_count()),
        (0, 0)
    );

    let lenient = authorizer(&server).pass_other_origins().build().unwrap();
    client()
        .get(other.url("/"))
        .send_with(&lenient)
        .await
        .unwrap();
    let request = String::from_utf8(other.requests().remove(0)).unwrap();
    assert!(!request.contains("authorization"), "{request}");
    assert_eq!(server.token_request_count(), 0);
}

#[tokio::test]
async fn a_header_of_the_callers_own_goes_as_it_is() {
    let server = server().await;
    let get = client().get(server.api_url("/orders")).bearer_auth("mine");
    let response = get
        .send_with(&authorizer(&server).build().unwrap())
        .await
        .unwrap();
    // The refused token is not one of ours.
    assert_eq!(
        (response.status().as_u16(), server.token_request_count()),
        (401, 0)
    );
    let get = client().get(server.api_url("/orders")).bearer_auth("mine");
    let replacing = authorizer(&server).replace_authorization().build().unwrap();
    assert_eq!(get.send_with(&replacing).await.unwrap().status(), 200);
}

// covers: F-34
#[tokio::test]
async fn without_a_token_the_api_is_not_called() {
    let server = server().await;
    server.rotate_secret(ID, "another");
    let authorizer = authorizer(&server).build().unwrap();
    let get = client().get(server.api_url("/orders"));
    let error = get.send_with(&authorizer).await.unwrap_err();
    let told = error.token_error().unwrap();
    assert_eq!(told.kind(), ErrorKind::CredentialsRefused);
    assert_eq!(told.oauth_error().unwrap().code(), "invalid_client");

    let hyper = Hyper::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let get = http::Request::get(server.api_url("/orders")).body(Empty::new());
    let error = TokenLayer::new(authorizer)
        .layer(hyper)
        .oneshot(get.unwrap())
        .await
        .unwrap_err();
    let told = error.downcast_ref::<TokenError>().unwrap();
    assert_eq!(told.kind(), ErrorKind::CredentialsRefused);
    assert_eq!(server.api_call_count(), 0);
}

/// An API that repeats the refused token and requires a scope in the same header.
fn echoing(token: &str) -> String {
    format!(
        r#"Bearer error="insufficient_scope", error_description="{token} is not enough", scope="admin", hint="{token}""#
    )
}

// covers: F-99, F-100, F-101
#[tokio::test]
async fn nothing_that_is_shown_or_traced_holds_a_token() {
    const TOKEN: &str = "CANARY-token-0123456789";
    let capture = Capture::start();
    let grant = format!(r#"{{"access_token":"{TOKEN}","token_type":"Bearer","expires_in":3600}}"#);
    let issuer = RawServer::always(raw::json(200, grant)).await;
    let invalid = format!(r#"Bearer error="invalid_token", error_description="{TOKEN}""#);
    let api = RawServer::start([
        raw::http(403, &[("www-authenticate", &echoing(TOKEN))], ""),
        raw::http(401, &[("www-authenticate", &invalid)], ""),
        raw::Reply::nothing().then_reset(),
    ])
    .await;
    let source = builder(&issuer.url("/token"))
        .retry(Retry::never())
        .build()
        .unwrap();
    let source: Arc<dyn TokenSource> = Arc::new(CachedTokenSource::new(source));
    let unbuilt = Authorizer::builder(source)
        .allow_origin(&api.url(""))
        .danger_allow_http_on_loopback();
    let mut shown = format!("{unbuilt:?}");
    let authorizer = unbuilt.build().unwrap();
    let layer = TokenLayer::new(authorizer.clone()).retry_cloned();
    shown += &format!(
        "{authorizer:?} {layer:?} {:?}",
        TokenMiddleware::new(authorizer.clone())
    );

    let get = |path: &str| client().get(api.url(path)).send_with(&authorizer);
    for _ in 0..2 {
        let response = get("/orders").await.unwrap();
        let refusal = response.extensions().get::<ApiRefusal>().unwrap();
        // Not the response: reqwest shows its headers, which the API wrote.
        shown += &format!("{refusal:?} {refusal}");
    }
    let error = get("/orders?q=1").await.unwrap_err();
    shown += &leak::error_chain(&error);
    let other = client()
        .get("http://127.0.0.1:9/")
        .send_with(&authorizer)
        .await;
    shown += &leak::error_chain(&other.unwrap_err());

    leak::assert_clean(&shown, TOKEN);
    leak::assert_clean(&capture.text(), TOKEN);
    // Positive controls: it was sent, it was repeated, and the events were captured.
    let sent = String::from_utf8(api.requests().remove(0)).unwrap();
    assert!(leak::find(&sent, TOKEN).is_some() && leak::find(&echoing(TOKEN), TOKEN).is_some());
    for event in [
        "API requests sent over plain HTTP",
        "insufficient scope",
        "token refused",
        "request not sent: its origin is not allowed",
    ] {
        assert!(
            capture.text().contains(event),
            "{event}: {}",
            capture.text()
        );
    }
}
