//! Refreshes of a discovered document (RFC 8414).

use std::time::Duration;

use hallpass::endpoint::{ClientCredentials, ClientSecretBasic, Retry};
use hallpass_testkit::ManualClock;
use serde_json::json;
use wiremock::{Mock, matchers::method};

use crate::{
    discovery::{OAUTH, ask, count, discover, document, ok, server, source},
    support::{ID, secret},
};

// covers: C-57
#[tokio::test]
async fn a_document_lives_for_a_while_and_outlives_a_failed_refresh() {
    let server = server(|issuer| ok(document(issuer))).await;
    let clock = ManualClock::new();
    let endpoint = discover(&server.uri())
        .lifetime(Duration::from_secs(600))
        .clock(clock.clone())
        .build()
        .unwrap();
    let source = source(endpoint);
    let read = async |expect| {
        ask(&source).await.unwrap();
        assert_eq!(count(&server, OAUTH).await, expect);
    };
    read(1).await;
    clock.advance(Duration::from_secs(599));
    read(1).await;
    clock.advance(Duration::from_secs(1));
    read(2).await;

    server.reset().await;
    let token = json!({ "access_token": "t0k3n", "token_type": "Bearer", "expires_in": 60 });
    Mock::given(method("POST"))
        .respond_with(ok(token))
        .mount(&server)
        .await;
    clock.advance(Duration::from_secs(600));
    // 404 now: the old document is used, and the next attempt is delayed.
    read(1).await;
    read(1).await;
    clock.advance(Duration::from_secs(60));
    read(2).await;
}

// covers: C-57
#[tokio::test]
async fn a_slow_refresh_of_a_known_document_fails_no_call() {
    for (deadline, patience) in [
        // The call's own deadline, and a caller that drops the call.
        (Duration::from_millis(400), Duration::from_secs(60)),
        (Duration::from_secs(60), Duration::from_millis(50)),
    ] {
        let server = server(|issuer| ok(document(issuer))).await;
        let clock = ManualClock::new();
        let endpoint = discover(&server.uri()).clock(clock.clone());
        let authentication = ClientSecretBasic::new(secret("s3cr3t"));
        let source = ClientCredentials::builder(endpoint.build().unwrap(), ID, authentication)
            .danger_allow_http_on_loopback()
            .retry(Retry::new().deadline(deadline))
            .build()
            .unwrap();
        ask(&source).await.unwrap();
        let slow = ok(document(&server.uri())).set_delay(Duration::from_secs(60));
        Mock::given(method("GET"))
            .respond_with(slow)
            .with_priority(1)
            .mount(&server)
            .await;
        clock.advance(Duration::from_secs(3_600));
        let call = tokio::time::timeout(patience, ask(&source)).await;
        assert!(call.is_err() || call.is_ok_and(|token| token.is_ok()));
        assert_eq!(count(&server, OAUTH).await, 2);
        // The next calls use the old document, and do not read it again.
        for _ in 0..3 {
            ask(&source).await.unwrap();
        }
        assert_eq!(count(&server, OAUTH).await, 2);
    }
}
