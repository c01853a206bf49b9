//! Revocation of a source's tokens when a program ends.

use std::{sync::Arc, time::Duration};

use hallpass::{
    AccessToken, ErrorKind, TokenRequest, TokenSource as _,
    cache::CachedTokenSource,
    endpoint::{ClientCredentials, ClientSecretBasic},
};
use hallpass_testkit::ManualClock;
use serde_json::json;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::path};

use crate::{
    management::{add, count, serve, tokens},
    support::{ID, hasty, secret},
};

#[tokio::test]
async fn a_shutdown_revokes_what_came_by_and_has_not_expired() {
    let server = serve("/revoke", ResponseTemplate::new(200)).await;
    for (name, lifetime) in [("one", 60), ("two", 3_600), ("three", 3_600)] {
        let token = json!({ "access_token": name, "token_type": "Bearer", "expires_in": lifetime });
        Mock::given(path("/token"))
            .respond_with(ResponseTemplate::new(200).set_body_json(token))
            .up_to_n_times(1)
            .mount(&server)
            .await;
    }
    let clock = ManualClock::new();
    let authentication = ClientSecretBasic::new(secret("s3cr3t"));
    let source = ClientCredentials::builder(format!("{}/token", server.uri()), ID, authentication)
        .danger_allow_http_on_loopback()
        .clock(clock.clone())
        .build()
        .unwrap();
    let tokens = Arc::new(tokens(&server.uri()).build().unwrap());
    let revoking = Arc::new(tokens.revoke_on_shutdown(source).clock(clock.clone()));
    let cache = CachedTokenSource::builder(revoking.clone())
        .clock(clock.clone())
        .build();
    let ask = async |scope: &str| -> AccessToken {
        let request = TokenRequest::new().with_scopes(scope.parse().unwrap());
        cache.token(&request).await.unwrap()
    };
    assert_eq!(ask("a").await.expose(), "one");
    assert_eq!(ask("b").await.expose(), "two");
    assert_eq!(ask("c").await.expose(), "three");
    assert_eq!(ask("b").await.expose(), "two", "from the cache");
    clock.advance(Duration::from_secs(61));

    let done = revoking.shutdown().await;
    assert_eq!((done.revoked(), done.failures().len()), (2, 0));
    assert_eq!(count(&server, "/revoke").await, 2, "the first had expired");
    let again = revoking.shutdown().await;
    assert_eq!((again.revoked(), again.failures().len()), (0, 0));
    assert!(!format!("{revoking:?}").contains("three"));
}

#[tokio::test]
async fn a_failed_revocation_is_reported_and_can_be_retried() {
    let server = MockServer::start().await;
    let token = json!({ "access_token": "one", "token_type": "Bearer", "expires_in": 60 });
    add(
        &server,
        "/token",
        ResponseTemplate::new(200).set_body_json(token),
    )
    .await;
    Mock::given(path("/revoke"))
        .respond_with(ResponseTemplate::new(503))
        .up_to_n_times(1)
        .mount(&server)
        .await;
    add(&server, "/revoke", ResponseTemplate::new(200)).await;
    let authentication = ClientSecretBasic::new(secret("s3cr3t"));
    let source = ClientCredentials::builder(format!("{}/token", server.uri()), ID, authentication)
        .danger_allow_http_on_loopback()
        .build()
        .unwrap();
    let tokens = Arc::new(tokens(&server.uri()).transport(hasty()).build().unwrap());
    let revoking = tokens.revoke_on_shutdown(source);
    revoking.token(&TokenRequest::default()).await.unwrap();
    let first = revoking.shutdown().await;
    assert_eq!((first.revoked(), first.failures().len()), (0, 1));
    assert_eq!(first.failures()[0].kind(), ErrorKind::Unavailable);
    let second = revoking.shutdown().await;
    assert_eq!((second.revoked(), second.failures().len()), (1, 0));
}
